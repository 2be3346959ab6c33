"""What `init` and `update` are given is held to each other, for every method that updates from gradients."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import ConvergenceError, RefoptError
from refopt.core.registry import Entry

from tests.properties.test_everywhere import METHODS
from tests.properties.test_forms import UPDATES

X = np.array([[1.0, -2.0], [0.5, 3.0]])


@pytest.mark.parametrize("method", UPDATES, ids=[m.name for m in UPDATES])
def test_a_state_that_is_none_of_x(method: Entry) -> None:
    """Not a dict, without its entries, at a step before the first: an error of refopt that names s, and no warning."""
    o = refopt.optimizer(method.name)
    s = o.init(X)
    bad = [None, {}, [s], {**s, "t": -5}, {**s, "t": "a"}, {**s, "t": float("nan")}]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for state in bad:
            with pytest.raises(RefoptError, match="s: "):
                o.update(X, 0.1 * X, state)
        for grad in (X[0], X.astype("f4"), None, [1.0], {"a": X}, X.astype(object)):
            with pytest.raises(RefoptError, match="grad"):
                o.update(X, grad, s)
    # Squares overflow: taken, or a factorization that cannot be made is told.
    with contextlib.suppress(ConvergenceError), np.errstate(all="ignore"):
        o.update(X, 1e300 * X, s)


def _forms(value: Any) -> Any:
    """Return the shapes and dtypes of all arrays in a state that are not empty."""
    if isinstance(value, dict):
        return {k: _forms(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_forms(v) for v in value]
    return (value.shape, value.dtype) if isinstance(value, (np.ndarray, np.generic)) and value.size else None


@pytest.mark.parametrize("method", UPDATES, ids=[m.name for m in UPDATES])
def test_a_state_of_another_form(method: Entry) -> None:
    """After a step elsewhere: of another shape, transposed, of float32, of another leaf: refused, unless it has no array of such a form."""
    o = refopt.optimizer(method.name)
    wide = np.arange(1.0, 7.0).reshape(2, 3)
    for x, other in [
        (X, np.ones((3, 2))),
        (X, X[0]),
        (X, X.astype("f4")),
        (wide.T.copy(), wide),
        ({"a": X}, {"a": X, "b": X}),
        ({"a": X}, {"b": X}),
    ]:
        try:
            _, s = o.update(other, other, o.init(other))
            wanted = _forms(o.init(x))
        except RefoptError:
            continue  # not for vectors
        if any(_forms(s.get(k)) != w for k, w in wanted.items() if w not in (None, {}, [])):
            with pytest.raises(RefoptError, match=r"s\b"):
                o.update(x, x, s)


def test_numbers_that_no_float_holds() -> None:
    """10^400 for a hyperparameter with a range: refused by its name, for every method."""
    for method in METHODS:
        for f in dataclasses.fields(method.obj):
            if f.init and isinstance(f.metadata.get("allowed"), str):
                with pytest.raises(RefoptError, match=f.name):
                    refopt.optimizer(method.name, **{f.name: 10**400})


def test_a_call_with_too_few_arguments() -> None:
    """Not Python's bare TypeError, but one that names the method."""
    o = refopt.optimizer("adam")
    with pytest.raises(RefoptError, match="adam: update: missing a required argument: 's'"):
        o.update(X, X)


def test_whose_error_it_is() -> None:
    """What the zoo cannot make is told, wherever its files lie; what a user's function raises comes out as it is."""
    with pytest.raises(RefoptError, match="two-layer-relu: start: cannot be computed from seed = 0"):
        refopt.problem("two-layer-relu", width=10**30).start(0)

    def rate(t: int) -> float:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as info:
        refopt.optimizer("adam", lr=rate).update(X, X, refopt.optimizer("adam").init(X))
    assert not isinstance(info.value, RefoptError)
