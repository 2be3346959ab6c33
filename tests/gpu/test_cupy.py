"""The CuPy engine against NumPy: runs on a machine with a GPU and CuPy, skips elsewhere.

It uses nothing but numpy, scipy, cupy and array-api-compat: ``python -m pytest tests/gpu``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.method import Elementwise

from tests.streams import stream

cupy = pytest.importorskip("cupy")
pytestmark = pytest.mark.gpu

try:
    if cupy.cuda.runtime.getDeviceCount() == 0:
        pytest.skip("no GPU", allow_module_level=True)
except cupy.cuda.runtime.CUDARuntimeError:
    pytest.skip("no GPU driver", allow_module_level=True)

OPTIMIZERS = [m for m in refopt.methods("optimizer") if getattr(m.obj, "given", None) == ("g",)]
NAMES = [m.name for m in OPTIMIZERS]


def _both(name: str, dtype: str, **kwargs: Any) -> tuple[np.ndarray, np.ndarray]:
    x, gradients = stream(2, "ill", steps=50)
    host, device = refopt.optimizer(name), refopt.optimizer(name, **kwargs)
    x = {k: v.astype(dtype) for k, v in x.items()}
    y = {k: cupy.asarray(v) for k, v in x.items()}
    sx, sy = host.init(x), device.init(y)
    for g in gradients:
        g = {k: v.astype(dtype) for k, v in g.items()}
        x, sx = host.update(x, g, sx)
        y, sy = device.update(y, {k: cupy.asarray(v) for k, v in g.items()}, sy)
    back = np.concatenate([y[k].get().ravel() for k in x])
    return np.concatenate([x[k].ravel() for k in x]), back


def _assert_near(got: np.ndarray, want: np.ndarray) -> None:
    # The device sums in another order and contracts to fused multiply-adds; fifty steps carry that on.
    bound = 2e4 * np.finfo(want.dtype).eps
    np.testing.assert_allclose(got, want, rtol=bound, atol=bound)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_array_engine_on_the_device(name: str, dtype: str) -> None:
    """CuPy arrays through the array engine: 50 steps near NumPy's."""
    want, got = _both(name, dtype)
    assert got.dtype == dtype
    _assert_near(got, want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [m.name for m in OPTIMIZERS if issubclass(m.obj, Elementwise)])
def test_fused_engine(name: str, dtype: str) -> None:
    """The rule fused into one kernel a leaf: 50 steps near NumPy's (the GPU may contract to fma)."""
    want, got = _both(name, dtype, engine="cupy")
    assert got.dtype == dtype
    _assert_near(got, want)
