"""Lookahead."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import stream


@pytest.mark.claim("lookahead")
def test_the_factor_of_a_cycle_on_a_parabola() -> None:
    """SGD on h x²/2: a cycle multiplies φ by 1 - α + α (1 - η h)^k, to 1e-14, for η h from 0.1 to 1.9."""
    for eta in (0.1, 1.0, 1.9):
        p = refopt.from_functions(lambda x: float(x @ x) / 2, lambda x: x, x0=np.array([1.0]))
        r = refopt.minimize(p, "lookahead", base="sgd", lr=eta, period=3, alpha=0.4, steps=9)
        np.testing.assert_allclose(r.x, (1 - 0.4 + 0.4 * (1 - eta) ** 3) ** 3, rtol=1e-13)
        np.testing.assert_array_equal(r.x, r.state["slow"])


@pytest.mark.identity("lookahead")
def test_its_limits() -> None:
    """α = 1 is the base to rounding of φ + (x - φ); k = 1 is SGD at α η; α = 0 comes back to x_0 after every cycle, to the bit."""
    run = stream(1, "random", steps=12)

    def look(**more):
        return refopt.optimizer("lookahead", base="sgd", lr=0.5, **more)

    assert_same_run(look(alpha=1.0), refopt.optimizer("sgd", lr=0.5), run, rtol=1e-12, atol=1e-14)
    assert_same_run(
        look(period=1, alpha=0.25), refopt.optimizer("sgd", lr=0.125), run, rtol=1e-12, atol=1e-14
    )
    still, (x, gradients) = look(period=3, alpha=0.0), run
    y, s = x, still.init(x)
    for t, g in enumerate(gradients, 1):
        y, s = still.update(y, g, s)
        assert all(np.array_equal(y[k], x[k]) for k in x) == (t % 3 == 0)


@pytest.mark.identity("lookahead")
def test_where_phi_begins_and_what_becomes_of_the_base() -> None:
    """By hand over Adam, 12 steps, k = 3: φ from x_0 or from x_3; the base's state kept or begun anew; to 1e-13."""
    x, gradients = stream(2, "random", steps=12)
    for slow_from in ("start", "first-sync"):
        for inner in ("keep", "reset"):
            o = refopt.optimizer(
                "lookahead", base="adam", lr=0.1, period=3, alpha=0.4, slow_from=slow_from, inner=inner
            )
            adam = refopt.optimizer("adam", lr=0.1)
            y, s, z, r, slow = x, o.init(x), x, adam.init(x), x
            for t, g in enumerate(gradients, 1):
                y, s = o.update(y, g, s)
                z, r = adam.update(z, g, r)
                if t % 3 == 0:
                    first = t == 3 and slow_from == "first-sync"
                    slow = {k: z[k] if first else 0.6 * slow[k] + 0.4 * z[k] for k in z}
                    z, r = slow, adam.init(slow) if inner == "reset" else r
                for k in y:
                    np.testing.assert_allclose(y[k], z[k], rtol=1e-12, atol=1e-14)
