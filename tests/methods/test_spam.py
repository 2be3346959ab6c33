"""What clipping and normalising promise.

SPAM and Stable-SPAM written out.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt
from refopt.core.rng import generator

from tests.alike import assert_same_run
from tests.streams import schedule, stream


@pytest.mark.claim("spam")
def test_a_spike_is_bounded() -> None:
    """A coordinate multiplied by 1e6 in one step moves m by at most (1 - beta1) sqrt(theta v).

    One coordinate times 1e6 at step 50: |m| grows by at most (1 - beta1) sqrt(theta v) there.
    """
    o = refopt.optimizer("spam", threshold=10.0)
    x, gradients = stream(0, "random", steps=50, shapes={"w": (6,)})
    s = o.init(x)
    for g in gradients[:-1]:
        x, s = o.update(x, g, s)
    spike = {"w": gradients[-1]["w"].copy()}
    spike["w"][2] *= 1e6
    _, after = o.update(x, spike, s)
    bound = 0.1 * np.sqrt(10.0 * s["v"]["w"][2])
    growth = abs(after["m"]["w"][2] - 0.9 * s["m"]["w"][2])
    np.testing.assert_allclose(growth, bound, rtol=1e-12)


@pytest.mark.claim("stable-spam")
def test_stable_spam_is_scale_free() -> None:
    """Multiplying all gradients by a constant does not change the trajectory (power of two, eps = 0:
    to the bit).

    Gradients times 2^12, eps = 0: the same bits.
    """
    o = refopt.optimizer("stable-spam", eps=0.0, reset_every=11)
    run = stream(0, "random", steps=30)
    assert_same_run(o, o, run, change=lambda g: {k: 4096.0 * v for k, v in g.items()})


@pytest.mark.claim("stable-spam")
def test_norm_after_adagn() -> None:
    """Gradients of constant norm and largest entry reach Adam with norm 1, to 1e-12.

    Constant norm: p_hat = sqrt(q_hat) = n, so beta1 = 0 leaves Adam's m with norm 1.
    """
    o = refopt.optimizer("stable-spam", eps=0.0, beta1=0.0)
    x, g = np.zeros(4), np.array([3.0, -1.0, 2.0, 0.5])
    s = o.init(x)
    for k in range(20):
        x, s = o.update(x, np.roll(g, k), s)
        np.testing.assert_allclose(np.linalg.norm(s["m"]), 1.0, rtol=1e-12)


def _spiky(steps: int, shapes: dict) -> tuple[dict, list[dict]]:
    x, gradients = stream(0, "random", steps=steps, shapes=shapes)
    rng = np.random.default_rng(8)
    for g in gradients[::3]:
        for v in g.values():
            v.flat[rng.integers(1, v.size)] *= 200.0
    return x, gradients


@pytest.mark.identity("spam")
@pytest.mark.parametrize("density", [1.0, 0.4])
def test_spam_written_out(density: float) -> None:
    """120 steps with spikes, resets, decay and a sparse mask equal the algorithm written out, to
    1e-12.
    """
    lr, b1, b2, eps, theta, period, w, after, wd = 0.05, 0.8, 0.7, 1e-3, 30.0, 25, 8, 4, 0.1
    x, gradients = _spiky(120, {"w": (4, 5), "b": (6,)})
    o = refopt.optimizer(
        "spam", lr=lr, beta1=b1, beta2=b2, eps=eps, threshold=theta, reset_every=period, warmup=w, clip_after=after,
        weight_decay=wd, density=density, seed=3, schedule=schedule,
    )  # fmt: skip
    s, y = o.init(x), dict(x)
    m, v = ({k: np.zeros_like(u) for k, u in x.items()} for _ in range(2))
    rng = generator(3, "method", 0)
    mask = {"w": (rng.permutation(20) < int(density * 20)).reshape(4, 5), "b": np.ones(6, dtype=bool)}
    counter, clipped = w + 1, 0
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        scale = 1 - 0.99 * (1 + math.cos(math.pi * counter / (w + 1))) / 2 if counter < w else 1.0
        if t % period == 0:
            m, v = ({k: np.zeros_like(u) for k, u in x.items()} for _ in range(2))
            mask["w"] = (
                (generator(3, "method", t).random(20) < density).reshape(4, 5) if density < 1 else mask["w"]
            )
        for k in y:
            gk = g[k].copy()
            if t >= after and t % period >= after:
                big = gk**2 > theta * v[k]
                clipped += int(np.sum(big & mask[k]))
                gk[big] = np.sign(gk[big]) * np.sqrt(theta * v[k][big])
            gk = np.where(mask[k], gk, 0.0)
            m[k] = np.where(mask[k], b1 * m[k] + (1 - b1) * gk, 0.0)
            v[k] = np.where(mask[k], b2 * v[k] + (1 - b2) * gk**2, 0.0)
            size = scale * lr * schedule(t) * math.sqrt(1 - b2**t) / (1 - b1**t)
            y[k] = np.where(mask[k], y[k] - size * m[k] / (np.sqrt(v[k]) + eps), y[k])
            y[k] = y[k] - lr * schedule(t) * wd * y[k]
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-13)
        counter += 1
        if (t + 1) % period == 0:
            counter = 0
    assert clipped > 10


@pytest.mark.identity("spam")
def test_spam_without_spikes_is_adamw() -> None:
    """Without spikes and resets it is AdamW with eps beside the uncorrected root and decay behind the
    step, to 1e-12.

    theta and Delta T out of reach: AdamW whose decay multiplies the new point.
    """
    x, gradients = stream(1, "random", steps=60)
    a = refopt.optimizer("spam", lr=0.05, threshold=1e30, clip_after=1000, weight_decay=0.1)
    b = refopt.optimizer("adam", lr=0.05, eps=1e-6, eps_corrected=False)
    y, sa, sb = x, a.init(x), b.init(x)
    for g in gradients:
        x, sa = a.update(x, g, sa)
        y, sb = b.update(y, g, sb)
        y = {k: (1 - 0.05 * 0.1) * v for k, v in y.items()}
    for k in x:
        np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-14)


@pytest.mark.identity("stable-spam")
@pytest.mark.parametrize("total", [None, 150])
def test_stable_spam_written_out(total: int | None) -> None:
    """120 steps with spikes, resets, decay and annealing equal the algorithm written out tensor by
    tensor, to 1e-12.
    """
    lr, b1, b2, eps, g1, g2, g3, period, wd = 0.05, 0.8, 0.7, 1e-3, 0.6, 0.9, 0.95, 25, 0.1
    x, gradients = _spiky(120, {"w": (4, 5), "b": (6,)})
    o = refopt.optimizer(
        "stable-spam", lr=lr, beta1=b1, beta2=b2, eps=eps, gamma1=g1, gamma2=g2, gamma3=g3, reset_every=period,
        weight_decay=wd, total_steps=total, schedule=schedule,
    )  # fmt: skip
    s, y = o.init(x), dict(x)
    m, v = ({k: np.zeros_like(u) for k, u in x.items()} for _ in range(2))
    top, p, q = (dict.fromkeys(x, 0.0) for _ in range(3))
    count = 0
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        count += 1
        if t % period == 0:
            m, v = ({k: np.zeros_like(u) for k, u in x.items()} for _ in range(2))
            count = 1
        c = 1.0 if total is None else 0.5 + 0.5 * (1 + math.cos(math.pi * t / (total + 1))) / 2
        for k in y:
            y[k] = (1 - lr * schedule(t) * wd) * y[k]
            gk = g[k].copy()
            a = np.max(np.abs(gk))
            top[k] = g3 * top[k] + (1 - g3) * a
            limit = top[k] / (1 - g3**t)
            big = np.abs(gk) > limit
            gk[big] = gk[big] / a * limit
            n = np.linalg.norm(gk)
            p[k] = c * g1 * p[k] + (1 - c * g1) * n
            q[k] = g2 * q[k] + (1 - g2) * n**2
            gk = gk / n * (p[k] / (1 - (c * g1) ** t)) / (np.sqrt(q[k] / (1 - g2**t)) + eps)
            m[k] = c * b1 * m[k] + (1 - c * b1) * gk
            v[k] = b2 * v[k] + (1 - b2) * gk**2
            y[k] = y[k] - lr * schedule(t) * m[k] / (1 - (c * b1) ** count) / (
                np.sqrt(v[k] / (1 - b2**count)) + eps
            )
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-13)


def test_stable_spam_with_zero_gradients() -> None:
    """A tensor whose gradient is zero stays, with eps = 0 too."""
    o = refopt.optimizer("stable-spam", eps=0.0)
    x = np.ones(3)
    s = o.init(x)
    for _ in range(3):
        x, s = o.update(x, np.zeros(3), s)
    np.testing.assert_array_equal(x, 1.0)
