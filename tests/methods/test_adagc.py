"""AdaGC."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import schedule, stream

SHAPES = {"w": (3, 2), "b": (4,)}


@pytest.mark.identity("adagc")
@pytest.mark.parametrize("decay", ["decoupled", "coupled"])
@pytest.mark.parametrize("corrected", [True, False])
def test_by_hand(decay: str, corrected: bool) -> None:
    """Fourteen steps of two leaves with NumPy alone, five of them under the common bound, with both decays, both places of ε and a schedule, to
    1e-12; each bound both cuts and does not."""
    o = refopt.optimizer("adagc", lr=0.1, beta1=0.6, beta2=0.7, eps=0.1, beta=0.8, absolute=3.0, relative=1.1, warmup=6, weight_decay=0.2,
        decay=decay, schedule=schedule, eps_corrected=corrected)  # fmt: skip
    x, gradients = stream(0, "random", steps=14, shapes=SHAPES)
    gradients = [{k: v * (0.1 if t % 3 == 1 else 1.0) for k, v in g.items()} for t, g in enumerate(gradients)]
    s, y = o.init(x), dict(x)
    m, v, gamma = (
        {k: 0.0 * a for k, a in y.items()},
        {k: 0.0 * a for k, a in y.items()},
        dict.fromkeys(x, np.inf),
    )
    seen = set()
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        lr, c2 = 0.1 * schedule(t), 1 - 0.7**t
        g = {k: a + (0.2 * y[k] if decay == "coupled" else 0.0) for k, a in g.items()}
        whole = np.sqrt(sum(np.sum(a * a) for a in g.values()))
        for k, a in g.items():
            size = np.linalg.norm(a)
            if t < 6:
                cut = min(3.0 / whole, 1.0)
                gamma[k] = min(gamma[k], cut * size)
            else:
                cut = min(1.1 * gamma[k] / size, 1.0)
                gamma[k] = 0.8 * gamma[k] + 0.2 * cut * size
            seen.add((t < 6, cut < 1.0))
            m[k], v[k] = 0.6 * m[k] + 0.4 * cut * a, 0.7 * v[k] + 0.3 * (cut * a) ** 2
            keep = 1 - (0.2 * lr if decay == "decoupled" else 0.0)
            y[k] = keep * y[k] - lr * m[k] / (1 - 0.6**t) / (
                np.sqrt(v[k] / c2) + 0.1 / (1.0 if corrected else np.sqrt(c2))
            )
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-13)
            assert s["gamma"][k].item() == pytest.approx(gamma[k], rel=1e-12)
    assert len(seen) == 4


@pytest.mark.claim("adagc")
def test_spikes_move_nothing_much() -> None:
    """A gradient a million times as large, of one leaf, after the warm-up: that leaf's γ grows by 1 + (1 - β)(λ_rel - 1) = 1.001 at most, and
    the other leaf's run is the same, to the bit."""
    o = refopt.optimizer("adagc", warmup=3, lr=0.1)
    x, gradients = stream(1, "random", steps=12, shapes=SHAPES)
    s = o.init(x)
    y, r = x, s
    for t, g in enumerate(gradients, 1):
        spiked = {**g, "w": g["w"] * (1e6 if t == 8 else 1.0)}
        before = r["gamma"]["w"].item()
        (x, s), (y, r) = o.update(x, g, s), o.update(y, spiked, r)
        np.testing.assert_array_equal(x["b"], y["b"])
        if t >= 3:
            assert r["gamma"]["w"].item() <= 1.001 * before * (1 + 1e-14)
    assert r["gamma"]["w"].item() < 2 * s["gamma"]["w"].item()


@pytest.mark.identity("adagc")
def test_bounds_that_never_bind_are_adam() -> None:
    """λ_abs and λ_rel at 1e9: Adam, 20 steps, to the bit; a leaf without gradient in the warm-up never moves, unless γ has a least value."""
    run = stream(2, "ill", steps=20, shapes=SHAPES)
    o = refopt.optimizer("adagc", lr=0.1, absolute=1e9, relative=1e9, warmup=5, weight_decay=0.0)
    assert_same_run(o, refopt.optimizer("adam", lr=0.1), run)
    for least in (0.0, 1e-3):
        o = refopt.optimizer("adagc", warmup=2, least=least, weight_decay=0.0)
        x = np.ones(2)
        x, s = o.update(x, np.zeros(2), o.init(x))
        x, s = o.update(x, np.array([3.0, 4.0]), s)
        assert np.array_equal(x, np.ones(2)) == (least == 0.0)
    # Seen first when the warm-up is over: under the common bound.
    o = refopt.optimizer("adagc", warmup=0, absolute=0.5)
    _, s = o.update(np.zeros(2), np.array([3.0, 4.0]), o.init(np.zeros(2)))
    assert s["gamma"].item() == pytest.approx(0.5, rel=1e-14)
