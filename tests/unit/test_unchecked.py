"""``check=False`` of matrix functions: no value is looked at, all else is as before."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core import errors

A = np.array([[4.0, 1.0], [1.0, 3.0]])
NAMES = (
    "sqrtm-eigh",
    "sqrtm-newton-schulz",
    "inverse-pth-root",
    "spd-log",
    "spd-exp",
    "polar-newton-schulz",
    "polar-express",
    "inverse-newton",
)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_answer(name: str) -> None:
    """On what the checks let through the answer has the same bits; NaN and indefinite matrices are let through; a wrong
    shape, dtype, keyword or flag is told as before.
    """
    f = refopt.get(name)
    more: Any = {"steps": 6} if "steps" in f.__wrapped__.__code__.co_varnames else {}
    np.testing.assert_array_equal(f(A, check=False, **more), f(A, check=True, **more))
    with np.errstate(all="ignore"):
        for wrong in (np.array([[1.0, 3.0], [3.0, 1.0]]), np.array([[1.0, np.inf], [np.inf, 1.0]])):
            try:
                assert f(wrong, check=False, **more).shape == (2, 2)
            except np.linalg.LinAlgError:  # LAPACK itself
                assert not np.isfinite(wrong).all()
    with pytest.raises(errors.NonFiniteError):
        f(A * np.nan, **more)  # the flag holds for one call
    with pytest.raises(errors.ShapeError):
        f(A[0], check=False, **more)
    with pytest.raises(errors.DtypeError):
        f(A.astype(int), check=False, **more)
    with pytest.raises(errors.ArgumentTypeError, match="check"):
        f(A, check=0, **more)


def test_one_thread_alone() -> None:
    """What another thread turned off is on here, and an error turns it on again."""
    f = refopt.get("sqrtm-eigh")
    inside, leave = threading.Event(), threading.Event()

    class Slow(np.ndarray):
        """An array whose transpose waits."""

        def __array_finalize__(self, other: object) -> None:
            if threading.current_thread() is not threading.main_thread() and not leave.is_set():
                inside.set()
                leave.wait(10)

    thread = threading.Thread(target=lambda: f(A.view(Slow), check=False))
    thread.start()
    inside.wait(10)
    with pytest.raises(errors.NonFiniteError):
        f(A * np.nan)
    leave.set()
    thread.join()
    with pytest.raises(errors.ShapeError):
        f(A[0], check=False)
    with pytest.raises(errors.NonFiniteError):
        f(A * np.nan)


def test_it_is_on_every_page() -> None:
    assert all("check : bool" in m.obj.__doc__ for m in refopt.methods(kind="matfun"))
    with pytest.raises(errors.ArgumentTypeError, match="check"):
        refopt.get("cg")(A, np.ones(2), check=False)
