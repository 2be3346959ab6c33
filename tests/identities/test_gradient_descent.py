"""Identities between the forms of momentum."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import schedule


def grad(x: np.ndarray) -> np.ndarray:
    return np.array([1.0, 10.0, 0.1]) * x + 0.3 * np.sin(x)


@pytest.mark.identity("nesterov")
@pytest.mark.parametrize(("dialect", "multiplier"), [("torch", None), ("keras", None), ("keras", schedule)])
def test_shifted_form_is_look_ahead_point(dialect: str, multiplier: object) -> None:
    """torch's x is the overview's look-ahead point y (constant rate), Keras's under a schedule too,
    to 1e-12.

    The libraries' x is the overview's y = x - gamma v: torch's at a constant rate, Keras's at any.
    """
    common = {"lr": 0.03, "momentum": 0.8, "schedule": multiplier}
    paper = refopt.optimizer("nesterov", **common)
    library = refopt.optimizer("nesterov", dialect=dialect, **common)
    x = y = np.array([1.0, -2.0, 3.0])
    sx, sy = paper.init(x), library.init(y)
    for _ in range(60):
        ahead = paper.look_ahead_point(x, sx)
        np.testing.assert_allclose(y, ahead, rtol=1e-12, atol=1e-14)
        x, sx = paper.update(x, grad(ahead), sx)
        y, sy = library.update(y, grad(y), sy)


def test_torch_form_leaves_the_overview_under_a_schedule() -> None:
    """Outside form: with a changing rate the two part, so the test above can fail."""
    common = {"lr": 0.03, "momentum": 0.8, "schedule": schedule}
    paper, library = (
        refopt.optimizer("nesterov", **common),
        refopt.optimizer("nesterov", dialect="torch", **common),
    )
    x = y = np.array([1.0, -2.0, 3.0])
    sx, sy = paper.init(x), library.init(y)
    for _ in range(5):
        x, sx = paper.update(x, grad(paper.look_ahead_point(x, sx)), sx)
        y, sy = library.update(y, grad(y), sy)
    assert np.max(np.abs(y - paper.look_ahead_point(x, sx))) > 1e-3


def test_rate_inside_equals_outside_at_a_constant_rate() -> None:
    """v inside is lr times v outside."""
    inside = refopt.optimizer("momentum", lr=0.05)
    outside = refopt.optimizer("momentum", lr=0.05, rate_inside=False)
    x = y = np.array([1.0, -2.0, 3.0])
    sx, sy = inside.init(x), outside.init(y)
    for _ in range(50):
        x, sx = inside.update(x, grad(x), sx)
        y, sy = outside.update(y, grad(y), sy)
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(sx["v"], 0.05 * sy["v"], rtol=1e-12, atol=1e-14)
