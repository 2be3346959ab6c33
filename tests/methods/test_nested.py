"""Games by complex momentum, and best responses by a hypernetwork."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

GAME = refopt.problem("bilinear-game", n=1)


@pytest.mark.identity("bilinear-game")
def test_the_game_turns() -> None:
    """The players' gradients (y, -x) are at a right angle to the point, and the levels' values are opposite."""
    p = refopt.problem("bilinear-game", n=3, condition_number=4.0)
    x = p.start(2)
    g = np.concatenate([p.upper_grad(x)["upper"], p.lower_grad(x)["lower"]])
    assert abs(g @ np.concatenate([x["upper"], x["lower"]])) < 1e-14
    np.testing.assert_allclose(p.upper_grad(x)["upper"], np.array([1.0, 2.0, 4.0]) * x["lower"], rtol=1e-14)
    assert float(p.upper_value(x)) == -float(p.lower_value(x))
