"""MoMo and MoMo-Adam, and Polyak's step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.streams import stream


class Given:
    """A problem that answers with values and gradients laid out beforehand, one after another."""

    def __init__(self, values: Any, gradients: Any) -> None:
        self.answers = iter(zip(values, gradients))

    def value_and_grad(self, x: Any) -> Any:
        return next(self.answers)

    def value(self, x: Any) -> float:
        raise AssertionError("asked for a value apart")

    grad = value


def _run(o: Any, x: Any, values: Any, gradients: Any) -> list[tuple[Any, Any]]:
    oracle, s, out = Oracle(Given(values, gradients)), o.init(x), []
    for t in range(1, len(gradients) + 1):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        out.append((x, s))
    return out


@pytest.mark.identity("momo", "momo-adam")
@pytest.mark.parametrize("options", [{}, {"bias_correction": True}, {"adam": True}, {"adam": True, "divides": False}],
    ids=["first", "corrected", "adam", "adamw"])  # fmt: skip
@pytest.mark.parametrize("adaptive", [True, False])
def test_by_hand(options: dict[str, Any], adaptive: bool) -> None:
    """Thirty steps from values and gradients at random, with decay, a schedule and an f* that is given or estimated: the cap, the model
    and zero all decide some τ, to 1e-11."""
    given = dict(options)
    adam = given.pop("adam", False)
    low = -1.5 if adaptive else 0.3
    own = {"beta1": 0.7, "beta2": 0.8, "eps": 0.1} if adam else {"beta": 0.7}
    o = refopt.optimizer("momo-adam" if adam else "momo", lr=0.5, weight_decay=0.2, lower_bound=low, adaptive_bound=adaptive,
        schedule=lambda t: 1 / t**0.25, **own, **given)  # fmt: skip
    rng = np.random.default_rng(3)
    x, gradients, values = rng.standard_normal(4), rng.standard_normal((30, 4)), rng.uniform(-0.5, 3.0, 30)
    points = _run(o, x, values, list(gradients))
    zero = adam or given.get("bias_correction", False)
    f, gamma, d, v, bound, seen = 0.0, 0.0, np.zeros(4), np.zeros(4), low, set()
    for t, (g, value) in enumerate(zip(gradients, values), 1):
        eta = 0.5 / t**0.25
        k = 1 + 0.2 * eta
        b = 0.7 if zero or t > 1 else 0.0
        rho = 1 - 0.7**t if zero else 1.0
        f, d, gamma = b * f + (1 - b) * value, b * d + (1 - b) * g, b * gamma + (1 - b) * (g @ x)
        v = 0.8 * v + 0.2 * g * g
        along = d / (np.sqrt(v / (1 - 0.8**t)) + 0.1) if adam else d
        if adaptive and k * f + d @ x - k * gamma < k * rho * bound:
            bound = max((k * f + d @ x - k * gamma) / (2 * k * rho), low)
        model = max(k * (f - rho * bound) + d @ x - k * gamma, 0.0) / (d @ along)
        tau = min(eta / rho, model)
        seen.add("zero" if tau == 0.0 else "cap" if tau < model else "model")
        if adaptive:
            bound = max((f + d @ x - gamma - 0.5 * tau * (d @ along)) / rho, low)
        x = (
            (1 - 0.2 * eta) * x - tau * along
            if adam and not given.get("divides", True)
            else (x - tau * along) / k
        )
        np.testing.assert_allclose(points[t - 1][0], x, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(points[t - 1][1]["bound"], bound, rtol=1e-11)
    assert {"cap", "model"} <= seen
    assert adaptive or "zero" in seen


@pytest.mark.identity("momo", "polyak-sgd")
def test_without_memory_it_is_polyaks_step() -> None:
    """β = 0: MoMo is Polyak's step with its bound, and that is `sps` with c = 1: the same values and gradients, to 1e-13."""
    rng = np.random.default_rng(4)
    x, gradients, values = (
        rng.standard_normal(4),
        list(rng.standard_normal((12, 4))),
        rng.uniform(0.0, 3.0, 12),
    )
    a = _run(refopt.optimizer("momo", lr=0.3, beta=0.0, lower_bound=0.7), x, values, gradients)
    b = _run(refopt.optimizer("polyak-sgd", bound=0.3, f_star=0.7), x, values, gradients)
    c = _run(refopt.optimizer("sps", c=1.0, bound=0.3, f_star=0.7), x, values, gradients)
    for (p, _), (q, _), (r, _) in zip(a, b, c):
        np.testing.assert_allclose(p, q, rtol=1e-12, atol=1e-13)
        np.testing.assert_array_equal(q, r)
    halves = _run(refopt.optimizer("polyak-sgd", c=2.0), x, values, gradients)
    np.testing.assert_allclose(
        halves[0][0], x - values[0] / (2.0 * gradients[0] @ gradients[0]) * gradients[0], rtol=1e-13
    )


@pytest.mark.claim("momo", "polyak-sgd")
def test_units_that_no_square_has() -> None:
    """Loss and gradients of 2^-560, whose squares no float64 holds, and x as it is: the step of the same in units of 1, to 1e-12."""
    g, tiny = np.array([3.0, -4.0]), 2.0**-560
    for name in ("momo", "polyak-sgd"):
        o = refopt.optimizer(name, **({"lr": 1e300} if name == "momo" else {}))
        ((y, _),) = _run(o, np.zeros(2), [5.0 * tiny], [g * tiny])
        np.testing.assert_allclose(y, -5.0 / 25.0 * g, rtol=1e-12)


@pytest.mark.claim("momo-adam")
def test_at_the_cap_it_is_adam() -> None:
    """With an f* of -1e9 every τ is the cap: Adam, and AdamW with its decay, on the same gradients to 1e-12."""
    x, gradients = stream(2, "ill", steps=20, shapes={"w": (5,)})
    for divides, other in ((True, None), (False, "decoupled")):
        decay = {} if other is None else {"weight_decay": 0.3}
        o = refopt.optimizer("momo-adam", lr=0.1, eps=1e-3, lower_bound=-1e9, divides=divides, **decay)
        points = _run(o, x["w"], [1.0] * 20, [g["w"] for g in gradients])
        adam = refopt.optimizer(
            "adamw", lr=0.1, eps=1e-3, decay="decoupled", **(decay or {"weight_decay": 0.0})
        )
        y, s = x["w"], adam.init(x["w"])
        for (p, _), g in zip(points, gradients):
            y, s = adam.update(y, g["w"], s)
            np.testing.assert_allclose(p, y, rtol=1e-11, atol=1e-13)


@pytest.mark.claim("polyak-sgd")
def test_the_distance_to_the_minimum_never_grows() -> None:
    """f = max_i |a_iᵀ (x - x*)|, convex and not smooth: ‖x - x*‖ falls in every step, and by (f / ‖g‖)² in its square at least, which
    is the paper's inequality; ½ h x² is halved in x; and a loss below f* stands still, or climbs in optax's form."""
    rng = np.random.default_rng(5)
    A, z = rng.standard_normal((8, 4)), rng.standard_normal(4)

    def piece(x: np.ndarray) -> tuple[float, np.ndarray]:
        r = A @ (x - z)
        i = int(np.argmax(np.abs(r)))
        return float(np.abs(r[i])), np.sign(r[i]) * A[i]

    x = z + rng.standard_normal(4)
    o = refopt.optimizer("polyak-sgd")
    for _ in range(40):
        f, g = piece(x)
        ((y, _),) = _run(o, x, [f], [g])
        assert np.sum((y - z) ** 2) <= np.sum((x - z) ** 2) - (1 - 1e-9) * f * f / (g @ g) + 1e-15
        x = y
    ((y, _),) = _run(o, np.array([3.0]), [4.5], [np.array([3.0])])
    np.testing.assert_allclose(y, [1.5], rtol=1e-15)
    for below, want in (("still", 3.0), ("uphill", 3.0 + 1.0 / 3.0)):
        low = refopt.optimizer("polyak-sgd", f_star=5.5, below=below)
        ((y, _),) = _run(low, np.array([3.0]), [4.5], [np.array([3.0])])
        np.testing.assert_allclose(y, [want], rtol=1e-15)


@pytest.mark.identity("momo", "momo-adam", "polyak-sgd")
def test_nothing_moves_without_a_gradient() -> None:
    """Zero over zero stands still in all three."""
    for name in ("momo", "momo-adam", "polyak-sgd"):
        start = np.ones(2)
        for t, (x, s) in enumerate(_run(refopt.optimizer(name), start, [1.0] * 3, [np.zeros(2)] * 3), 1):
            np.testing.assert_array_equal(x, start)
            assert not np.shares_memory(x, start)
            assert s["t"] == t
    stays = refopt.optimizer("polyak-sgd", f_star=1.0)
    assert _run(stays, np.ones(2), [1.0, 1.0], [np.ones(2)] * 2)[-1][1] == {"t": 2, "rate": 1.0}


@pytest.mark.claim("momo")
def test_a_rate_too_large_by_far_does_no_harm() -> None:
    """On a bowl with L = 10 a largest rate of 100 gives 1e-6 of the first loss after 200 steps, where momentum with that rate ends at
    infinity (what the paper is about)."""
    h = np.array([10.0, 1.0, 3.0])
    p = refopt.from_functions(lambda x: 0.5 * float(x @ (h * x)), lambda x: h * x, x0=np.ones(3))
    assert refopt.minimize(p, "momo", lr=100.0, steps=200).fun < 1e-6 * 7.0
    assert refopt.minimize(p, "momentum", lr=100.0, steps=200).status == "diverged"
