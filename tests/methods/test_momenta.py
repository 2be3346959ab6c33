"""AggMo, PNM and AdaPNM."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import stream


@pytest.mark.identity("aggmo")
def test_one_momentum_is_the_heavy_ball_and_several_are_their_mean() -> None:
    """K = 1: torch's momentum, to 1e-13; K = 3 under a schedule: the mean of the moves of three heavy balls on the same gradients, to 1e-12."""
    run = stream(1, "random", steps=15)
    one = refopt.optimizer("momentum", dialect="torch", lr=0.1, momentum=0.9)
    assert_same_run(refopt.optimizer("aggmo", lr=0.1, betas=(0.9,)), one, run, rtol=1e-12, atol=1e-13)

    def falling(t: int) -> float:
        return 1.0 / t

    betas = (0.0, 0.5, 0.97)
    o = refopt.optimizer("aggmo", lr=0.1, betas=list(betas), schedule=falling)
    balls = [
        refopt.optimizer("momentum", dialect="torch", lr=0.1, momentum=b, schedule=falling) for b in betas
    ]
    x, y, s, states = run[0]["w"], run[0]["w"], o.init(run[0]["w"]), [b.init(run[0]["w"]) for b in balls]
    for g in run[1]:
        x, s = o.update(x, g["w"], s)
        moves = []
        for i, ball in enumerate(balls):
            z, states[i] = ball.update(y, g["w"], states[i])
            moves.append(z - y)
        y = y + np.mean(moves, axis=0)
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13)


@pytest.mark.claim("aggmo")
def test_the_small_momenta_damp() -> None:
    """A quadratic of condition 100: at one rate and momentum 0.999, the heavy ball is still far from the minimum after 600 steps where AggMo with
    (0, 0.9, 0.99, 0.999) is at a thirtieth of that."""
    h, ends = np.array([1.0, 0.01]), {}
    for name, o in (("aggmo", refopt.optimizer("aggmo", lr=0.3, betas=(0.0, 0.9, 0.99, 0.999))),
                    ("ball", refopt.optimizer("momentum", dialect="torch", lr=0.3, momentum=0.999))):  # fmt: skip
        x = np.ones(2)
        s, late = o.init(x), 0.0
        for t in range(600):
            x, s = o.update(x, h * x, s)
            late = max(late, float(np.linalg.norm(x))) if t > 500 else late
        ends[name] = late
    assert ends["aggmo"] < ends["ball"] / 30


def test_betas_are_checked() -> None:
    """What is no sequence of momenta is told by name."""
    for betas, words in (
        (0.9, "wanted a sequence"),
        ((), "at least one"),
        ((0.5, 1.0), r"betas\[1\]"),
        (("a",), r"betas\[0\]"),
    ):
        with pytest.raises(refopt.errors.RefoptError, match=words):
            refopt.optimizer("aggmo", betas=betas)


@pytest.mark.identity("pnm", "adapnm")
@pytest.mark.parametrize(
    "adaptive",
    [None, {}, {"amsgrad": False, "eps_corrected": False, "eps_root": 0.03}, {"eps_root": 0.03}],
    ids=["pnm", "adapnm", "plain", "root"],
)
def test_two_buffers_in_turn(adaptive: dict[str, Any] | None) -> None:
    """The authors' two buffers, of which a step updates the one that is its parity's, twelve steps with decay and a schedule, to 1e-12."""
    own = {} if adaptive is None else {"beta2": 0.7, "eps": 0.05, **adaptive}
    o = refopt.optimizer("pnm" if adaptive is None else "adapnm", lr=0.1, beta0=0.6, beta1=0.8, weight_decay=0.2,
        schedule=lambda t: 1 / t**0.5, **own)  # fmt: skip
    x, gradients = stream(2, "random", steps=12, shapes={"w": (5,)})
    y, s, buffers, v, most = x["w"], o.init(x), [np.zeros(5), np.zeros(5)], np.zeros(5), np.zeros(5)
    for t, g in enumerate((g["w"] for g in gradients), 1):
        x, s = o.update(x, {"w": g * (3.0 if t == 4 else 1.0)}, s)
        g = g * (3.0 if t == 4 else 1.0)
        buffers[t % 2] = 0.64 * buffers[t % 2] + 0.36 * g
        d = (1.6 * buffers[t % 2] - 0.6 * buffers[1 - t % 2]) / np.sqrt(1.6**2 + 0.6**2)
        v = 0.7 * v + 0.3 * g * g
        most = np.maximum(most, v)
        if adaptive is not None:
            root = np.sqrt((most if own.get("amsgrad", True) else v) + own.get("eps_root", 0.0))
            c2 = np.sqrt(1 - 0.7**t)
            d = (
                d
                / (1 - 0.8**t)
                / (root / c2 + 0.05 if own.get("eps_corrected", True) else (root + 0.05) / c2)
            )
        y = y * (1 - 0.2 * 0.1 / t**0.5) - 0.1 / t**0.5 * d
        np.testing.assert_allclose(x["w"], y, rtol=1e-12, atol=1e-13)


@pytest.mark.claim("pnm", "adapnm")
def test_the_noise_is_as_large_whatever_the_negative_part() -> None:
    """Gradients of unit noise: the variance of PNM's moves is (1 - β1²) / (1 + β1²) η² for β0 = 0, 1 and 10, within five standard errors,
    while constant gradients move it by η / sqrt((1 + β0)² + β0²) ; AdaPNM at β1 = β2 = ε = 0 is PNM on signs."""
    n = 20_000
    for beta0 in (0.0, 1.0, 10.0):
        rng = np.random.default_rng(3)
        o = refopt.optimizer("pnm", lr=1.0, beta0=beta0, beta1=0.5)
        x = np.zeros(n)
        s = o.init(x)
        for _ in range(20):
            y, s = o.update(x, rng.standard_normal(n), s)
            moved, x = y - x, y
        assert abs(np.var(moved) / (0.75 / 1.25) - 1.0) < 5 * (2 / n) ** 0.5
        x, s = np.zeros(1), o.init(np.zeros(1))
        for _ in range(60):
            y, s = o.update(x, np.ones(1), s)
            moved, x = y - x, y
        np.testing.assert_allclose(moved, -1.0 / np.hypot(1.0 + beta0, beta0), rtol=1e-12)
    a = refopt.optimizer("adapnm", lr=0.1, beta1=0.0, beta2=0.0, eps=0.0, amsgrad=False)
    b = refopt.optimizer("pnm", lr=0.1, beta1=0.0)
    x, gradients = stream(4, "ill", steps=8, shapes={"w": (5,)})
    x["w"], gradients = x["w"][1:], [{"w": g["w"][1:]} for g in gradients]
    # All of size 1, so that the root, which is of this step, is the last gradient's too.
    size = [{"w": np.sign(g["w"])} for g in gradients]
    assert_same_run(a, b, (x, size), rtol=1e-13, atol=1e-14)
