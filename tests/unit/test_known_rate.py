"""``lr="auto"``: what follows from L and mu."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentError


def quadratic():
    """4 and 1 on the diagonal: L = 4, mu = 1."""
    return refopt.problem("quadratic", spectrum=[1.0, 4.0], diagonal=True)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [("sgd", {"lr": 0.4}), ("momentum", {"lr": 4 / 9, "momentum": 1 / 9}), ("nesterov", {"lr": 0.25, "momentum": 1 / 3})],
)  # fmt: skip
def test_numbers_follow_from_the_constants(name: str, numbers: dict[str, float]) -> None:
    """The same run to the bit as with the numbers themselves; what is given besides wins."""
    problem = quadratic()
    mine = refopt.minimize(problem, name, lr="auto", steps=7)
    np.testing.assert_array_equal(mine.x, refopt.minimize(problem, name, steps=7, **numbers).x)
    if "momentum" in numbers:
        plain = refopt.minimize(problem, name, lr="auto", momentum=0.0, steps=7)
        np.testing.assert_array_equal(
            plain.x, refopt.minimize(problem, name, steps=7, lr=numbers["lr"], momentum=0.0).x
        )


def test_without_mu_gradient_descent_takes_one_over_l() -> None:
    """Of a function that is not strongly convex; and proximal methods take theirs by themselves."""
    p = refopt.from_functions(lambda x: float(2.0 * x @ x), lambda x: 4.0 * x, x0=np.array([1.0, -2.0]))
    p.lipschitz = 8.0
    np.testing.assert_array_equal(refopt.minimize(p, "sgd", lr="auto", steps=1).x, [0.5, -1.0])
    lasso = refopt.problem("logistic", l1=0.01)
    np.testing.assert_array_equal(
        refopt.minimize(lasso, "proximal-gradient", lr="auto", steps=3).x,
        refopt.minimize(lasso, "proximal-gradient", steps=3).x,
    )


@pytest.mark.parametrize(
    ("name", "further", "words"),
    [("adam", {}, "wanted a number for adam, got 'auto', which is for .*nesterov"),
     ("sgd", {"batch_size": 5}, "wanted a number"),
     ("sgd", {"problem": "rosenbrock"}, "does not know"),
     ("momentum", {"problem": "logistic"}, "knows no mu above zero")],
)  # fmt: skip
def test_what_cannot_be_known_is_refused(name: str, further: dict, words: str) -> None:
    """Another method, batches, a problem without the constants."""
    given = {"problem": "quadratic", "steps": 1, **further}
    with pytest.raises(ArgumentError, match=words):
        refopt.minimize(given.pop("problem"), name, lr="auto", **given)
