"""Comparing the numbers of a file of test vectors with a run's, the last state's among them.

Where the rule is exact, to the bit. Elsewhere every array and number of the state has a bound of its own:
the most that random changes of the gradients by one ulp did to it, times a margin. What those already
change altogether (eigenvectors of a multiple eigenvalue) is thereby free. Eigenvectors are determined up
to their signs, and so is what is kept in their basis: a state that holds an orthogonal matrix is compared
by absolute values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from refopt.core.arrays import is_array, to_numpy
from refopt.vectors import format as form

# Step, place, index, the file's number, refopt's.
Found = tuple[int, str, tuple[int, ...], str, str]


def entry_that_differs(
    a: np.ndarray, b: np.ndarray, allowed: float, scale: float
) -> tuple[tuple[int, ...], str, str] | None:
    """Return the first entry that differs: its index, and the numbers."""
    differ = np.argwhere(~np.atleast_1d(_same(a, b, allowed, scale)))
    if not len(differ):
        return None
    index = tuple(int(i) for i in differ[0])[: a.ndim]
    return index, form.hexadecimal(float(a[index])), form.hexadecimal(float(b[index]))


def _same(a: np.ndarray, b: np.ndarray, allowed: float, scale: float) -> np.ndarray:
    """Compare entry by entry: to the bit (the sign of a zero too), or to ``allowed * scale``."""
    if allowed == 0.0:
        return (a == b) & (np.signbit(a) == np.signbit(b)) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        return (np.abs(a.astype(np.float64) - b.astype(np.float64)) <= allowed * scale) | (a == b)


def held(want: Any, state: Any, near: list[Any], step: int, margin: float, eps: float) -> Found | None:
    """Return the first difference of the last state from a file's.

    Parameters
    ----------
    want : plain data
        The file's.
    state : state
        This run's.
    near : list of states
        Of runs whose gradients were moved by an ulp; empty: to the bit.
    step : int
        Told with the difference.
    margin, eps : float
        Times the largest change among `near`, and at least so many units of rounding, is allowed.
    """
    bare = bool(near) and any(_orthogonal(v) for v in _arrays(state))
    bounds = _bounds(state, near, margin, eps, bare) if near else None
    return _held(want, form.encode_state(state), bounds, bare, "state", step)


def _arrays(value: Any) -> Iterator[np.ndarray]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _arrays(part)
    elif is_array(value):
        yield to_numpy(value)


def _orthogonal(v: np.ndarray) -> bool:
    """Tell whether a matrix has orthonormal columns (or rows), and is no signed identity."""
    if v.ndim != 2 or min(v.shape) < 2:
        return False
    tall = v.astype(np.float64) if v.shape[0] >= v.shape[1] else v.T.astype(np.float64)
    near = np.allclose(tall.T @ tall, np.eye(tall.shape[1]), atol=1e-3)
    return bool(near and not np.allclose(np.abs(tall), np.eye(*tall.shape), atol=1e-3))


def _bounds(value: Any, near: list[Any], margin: float, eps: float, bare: bool) -> Any:
    """Return the state's structure with the allowed relative difference in place of arrays and numbers."""
    if isinstance(value, Mapping):
        return {k: _bounds(v, [n[k] for n in near], margin, eps, bare) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_bounds(v, [n[i] for n in near], margin, eps, bare) for i, v in enumerate(value)]
    if not (is_array(value) or isinstance(value, (float, np.floating))):
        return 0.0
    own = _bared(value, bare)
    scale = float(np.max(np.abs(own), initial=0.0))
    gaps = [float(np.max(np.abs(_bared(n, bare) - own), initial=0.0)) for n in near]
    relative = max(gaps) / scale if scale > 0.0 else (0.0 if max(gaps) == 0.0 else np.inf)
    return margin * max(eps, relative)


def _bared(value: Any, bare: bool) -> np.ndarray:
    array = np.asarray(to_numpy(value) if is_array(value) else value, dtype=np.float64)
    return np.abs(array) if bare else array


def _held(a: Any, b: Any, bounds: Any, bare: bool, place: str, step: int) -> Found | None:
    """Return the first difference of two states, both as a file holds them."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        if "data" in a and a["shape"] == b["shape"]:
            x, y = (_bared(form.decode(v["data"], v["shape"], "float64", place), bare) for v in (a, b))
            scale = float(np.max(np.abs(x[np.isfinite(x)]), initial=0.0))
            found = entry_that_differs(x, y, bounds or 0.0, scale)
            return (step, place, *found) if found else None
        parts = [(f"{place}.{k}", a[k], b[k], bounds and bounds[k]) for k in a]
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        parts = [(f"{place}[{i}]", u, v, bounds and bounds[i]) for i, (u, v) in enumerate(zip(a, b))]
    else:
        same = a == b and type(a) is type(b)
        return None if same or _near(a, b, bounds, bare) else (step, place, (), _brief(a), _brief(b))
    return next((f for f in (_held(u, v, w, bare, p, step) for p, u, v, w in parts) if f), None)


def _near(a: Any, b: Any, bound: Any, bare: bool) -> bool:
    """Tell whether two numbers, as a file holds them, are as near as `bound` allows."""
    if not (isinstance(a, str) and isinstance(b, str) and bound):
        return False
    x, y = (_bared(float.fromhex(v), bare) for v in (a, b))
    return bool(np.abs(x - y) <= bound * np.abs(x))


def _brief(value: Any) -> str:
    return f"the entries {sorted(value)}" if isinstance(value, dict) else str(value)
