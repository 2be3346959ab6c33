"""How Prodigy finds the distance.

Prodigy with its distance held, and its switches.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import schedule, stream


@pytest.mark.claim("prodigy")
def test_distance_is_found_from_below() -> None:
    """On a convex function d never decreases and never exceeds the largest entry of x0 - x*, and
    reaches an eighth of it.

    f convex: d_k <= ||x0 - x*||_inf (r <= <s, x0 - x*>), nondecreasing, and of its order in the end.
    """
    rng = np.random.default_rng(0)
    a = rng.standard_normal((8, 5))
    solution = rng.standard_normal(5) * 30.0
    x = x0 = np.zeros(5)
    o = refopt.optimizer("prodigy", d0=1e-4)
    s, last = o.init(x), 0.0
    bound = np.max(np.abs(x0 - solution))
    for _ in range(300):
        r = a @ (x - solution)
        x, s = o.update(x, a.T @ (r / np.sqrt(1.0 + r * r)), s)
        assert last <= s["d"] <= bound
        last = s["d"]
    assert last > bound / 8


@pytest.mark.claim("prodigy")
def test_fibonacci_escape() -> None:
    """Without averages and far from the optimum d runs through Fibonacci numbers.

    beta1 = beta2 = 0, beta3 = 0, f = |x| from afar: d = 1, 1, 2, 3, 5, 8, … times d0.
    """
    o = refopt.optimizer("prodigy", beta1=0.0, beta2=0.0, eps=0.0, d0=0.5)
    x = np.array([1e6])
    s, seen = o.init(x), []
    for _ in range(12):
        x, s = o.update(x, np.sign(x), s)
        seen.append(s["d"] / 0.5)
    assert seen == pytest.approx([1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144], rel=1e-12)


def test_zero_gradients_at_the_start() -> None:
    """Nothing moves and nothing is NaN (optax 0.2.8 gives NaN), and the run goes on as if not counted."""
    o = refopt.optimizer("prodigy", bias_correction=True, d0=0.1)
    x = np.array([1.0, -2.0])
    s = o.init(x)
    for _ in range(3):
        x, s = o.update(x, np.zeros(2), s)
    np.testing.assert_array_equal(x, [1.0, -2.0])
    late, _ = o.update(x, np.array([1.0, 0.0]), s)
    fresh, _ = o.update(x, np.array([1.0, 0.0]), o.init(x))
    np.testing.assert_array_equal(late, fresh)


@pytest.mark.identity("prodigy")
def test_fixed_distance_is_adam() -> None:
    """With bias correction, while d stays at d0, it is Adam with rate lr d0, eps beside the
    uncorrected root and decay at the corrected rate, to 1e-12.

    growth_rate = 1 after d0 is left once; here no estimate exceeds d0, so d stays and Adam is left.
    """
    d0, b1, b2, eps, lam = 50.0, 0.8, 0.7, 1e-2, 0.01
    x, gradients = stream(0, "random", steps=30)
    o = refopt.optimizer(
        "prodigy", lr=1e-3, d0=d0, beta1=b1, beta2=b2, eps=eps, weight_decay=lam, schedule=schedule,
        bias_correction=True,
    )  # fmt: skip
    # eps stands beside the uncorrected root, and decay is multiplied by the corrected rate.
    a = refopt.optimizer(
        "adam", lr=1e-3 * d0, beta1=b1, beta2=b2, eps=eps, eps_corrected=False, schedule=schedule
    )
    y, s, sa = x, o.init(x), a.init(x)
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        assert s["d"] == d0
        corrected = 1e-3 * d0 * schedule(t) * (1 - b2**t) ** 0.5 / (1 - b1**t)
        shrunk = {k: (1 - corrected * lam) * y[k] for k in y}
        step, sa = a.update(y, g, sa)
        y = {k: shrunk[k] + (step[k] - y[k]) for k in y}
        for k in x:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-12)
