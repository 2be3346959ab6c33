"""What `init` and `update` are given is held to each other, for every method that updates from gradients."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings

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


def test_numbers_that_no_float_holds() -> None:
    """10^400 for a hyperparameter with a range: refused by its name, for every method."""
    for method in METHODS:
        for f in dataclasses.fields(method.obj):
            if f.init and isinstance(f.metadata.get("allowed"), str):
                with pytest.raises(RefoptError, match=f.name):
                    refopt.optimizer(method.name, **{f.name: 10**400})
