"""Small leaves go through an elementwise rule as one vector, where calls cost more than arithmetic."""

from __future__ import annotations

import array_api_strict as strict
import numpy as np
import pytest
import refopt
from refopt.core.engines import array as engine
from refopt.core.errors import ShapeError

SHAPES = {"w": (4, 3), "b": (3,), "scalar": (), "large": (engine.SMALL + 1,)}


def run(
    together: bool, monkeypatch: pytest.MonkeyPatch, name: str, dtypes: dict[str, str]
) -> dict[str, np.ndarray]:
    """Three steps on strict arrays; what they leave in x and the state."""
    monkeypatch.setattr(engine, "SMALL", engine.SMALL if together else -1)
    rng = np.random.default_rng(0)

    def drawn() -> dict[str, np.ndarray]:
        return {
            k: strict.asarray(rng.standard_normal(s), dtype=getattr(strict, dtypes.get(k, "float64")))
            for k, s in SHAPES.items()
        }

    o, x = refopt.optimizer(name), drawn()
    s = o.init(x)
    for _ in range(3):
        x, s = o.update(x, drawn(), s)
    found = {f"x.{k}": v for k, v in x.items()}
    found |= {f"{n}.{k}": v for n, slot in s.items() if isinstance(slot, dict) for k, v in slot.items()}
    return {k: np.asarray(v._array) for k, v in found.items()}


@pytest.mark.parametrize("dtypes", [{}, {"b": "float32"}])
@pytest.mark.parametrize("name", ["adamw", "adan", "lion"])
def test_the_same_bits_as_leaf_by_leaf(
    name: str, dtypes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values, shapes and dtypes; and no result has a part of another's memory."""
    with monkeypatch.context() as m:
        one = run(False, m, name, dtypes)
    both = run(True, monkeypatch, name, dtypes)
    assert one.keys() == both.keys()
    for key, value in one.items():
        assert both[key].dtype == value.dtype and both[key].shape == value.shape
        np.testing.assert_array_equal(both[key], value)
    arrays = list(both.values())
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


def test_which_leaves_go_together() -> None:
    """Small ones of one dtype; large ones alone, and NumPy's, whose calls are cheap."""
    a, f, large = (
        strict.zeros(s, dtype=d)
        for s, d in ((3, strict.float64), (2, strict.float32), (engine.SMALL + 1, strict.float64))
    )
    assert engine._packs([[a, f, large, a], [a, f, large, a]]) == [[0, 3], [1], [2]]
    # A slot of another dtype than its neighbour's.
    assert engine._packs([[a, a], [a, strict.astype(a, strict.float32)]]) == [[0], [1]]
    assert engine._packs([[np.zeros(3), np.zeros(3)]]) == [[0], [1]]


def test_a_state_of_another_shape_is_refused() -> None:
    """Before anything is joined."""
    o = refopt.optimizer("adam")
    x = {k: strict.zeros(2, dtype=strict.float64) for k in "ab"}
    s = o.init({k: strict.zeros(3, dtype=strict.float64) for k in "ab"})
    with pytest.raises(ShapeError, match="no state of x"):
        o.advance(x, (x,), s)
