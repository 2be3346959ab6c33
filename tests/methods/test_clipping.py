"""Clipping by norm and by coordinate, its bias, and directional sharpness."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.parity.case import Arrays, Case
from tests.parity.libraries import run_optax, run_torch
from tests.streams import Leaves, flat, run_refopt, stream


def _logistic() -> Any:
    rng = np.random.default_rng(0)
    return refopt.problem("logistic", data=(rng.standard_normal((20, 4)), np.array([0, 1] * 10)), l2=0.1)


def _torch(seed: int) -> Arrays:
    import torch

    class Clipped(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            torch.nn.utils.clip_grad_norm_([p for g in self.param_groups for p in g["params"]], 5.0)
            return super().step(closure)

    return run_torch(lambda p: Clipped(p, lr=0.1, momentum=0.9), seed, kinds=("random", "small"))


def _optax(seed: int) -> Arrays:
    return run_optax(
        lambda optax: optax.chain(optax.clip_by_global_norm(5.0), optax.adam(0.1)), seed, ("random", "small")
    )


def _ours(base: str, **k: Any) -> Any:
    return lambda seed: run_refopt(
        "clip-norm", seed, kinds=("random", "small"), base=base, threshold=5.0, lr=0.1, **k
    )


CASES = [
    Case("clip-norm", "torch", "torch", _ours("momentum", dialect="torch"), _torch,
        says="200 steps of clip_grad_norm_ before torch's SGD with momentum, clipped and not, to 1e-12"),
    Case("clip-norm", "optax", "optax", _ours("adam", dialect="optax"), _optax,
        says="200 steps of clip_by_global_norm before optax's Adam, clipped and not, to 1e-12"),
]  # fmt: skip


@pytest.mark.claim("clip-norm")
def test_the_norm_is_at_most_the_threshold() -> None:
    """What the base is given has the norm min(||g||, c) over all leaves and the gradient's direction, to 1e-14."""
    x, gradients = stream(0, "ill", steps=20)
    for c in (1e-3, 2e3, 1e9):
        o = refopt.optimizer("clip-norm", threshold=c, lr=1.0)
        for g in gradients:
            zero = {k: np.zeros_like(v) for k, v in x.items()}
            step, _ = o.update(zero, g, o.init(zero))
            whole, got = flat(g), -flat(step)
            length = np.linalg.norm(whole)
            np.testing.assert_allclose(got, whole * (min(length, c) / length), rtol=1e-13)


@pytest.mark.identity("clip-norm", "clipped-sgd")
def test_clipping_is_a_smaller_rate() -> None:
    """Around gradient descent, and as clipped SGD, it is gradient descent with the rate min(1, c / ||g||) lr, to 1e-13."""
    p = _logistic()
    x = np.linspace(-6.0, 6.0, p.dimension)
    wrapped, plain = (
        refopt.optimizer("clip-norm", threshold=0.7, lr=0.4),
        refopt.optimizer("clipped-sgd", threshold=0.7, lr=0.4),
    )
    a, b, w = x, x, x
    sa, sb, oracle = wrapped.init(a), plain.init(b), Oracle(p)
    lengths = []
    for t in range(1, 31):
        oracle.begin(t)
        a, sa = wrapped.step(a, sa, oracle)
        b, sb = plain.step(b, sb, oracle)
        g = p.grad(w)
        lengths.append(float(np.linalg.norm(g)))
        w = w - 0.4 * min(1.0, 0.7 / lengths[-1]) * g
        np.testing.assert_allclose(a, w, rtol=1e-12)
        np.testing.assert_allclose(b, w, rtol=1e-12)
    assert min(lengths) < 0.7 < max(lengths)
    assert sa["t"] == sb["t"] == 30


@pytest.mark.claim("clipped-sgd")
@pytest.mark.parametrize("c", [0.6, 1.0, 2.0, 20.0])
def test_bias(c: float) -> None:
    """On x^2 / 2 with skewed noise of variance 1 the mean step vanishes at x = 1 / (4 c), and nowhere near it."""
    p = 1 / (1 + 4 * c * c)
    noise = ((2 * c, p), (-1 / (2 * c), 1 - p))
    assert sum(w * v for v, w in noise) == pytest.approx(0.0, abs=1e-15)
    assert sum(w * v * v for v, w in noise) == pytest.approx(1.0, rel=1e-14)
    o = refopt.optimizer("clipped-sgd", lr=0.3, threshold=c)

    def mean_step(x: float) -> float:
        at = np.array([x])
        return sum(w * float((o.update(at, at + v, o.init(at))[0] - at)[0]) for v, w in noise)

    assert mean_step(1 / (4 * c)) == pytest.approx(0.0, abs=1e-15)
    assert mean_step(1 / (4 * c) - 0.01) > 1e-4
    assert mean_step(1 / (4 * c) + 0.01) < -1e-4


@pytest.mark.identity("clipped-sgd")
def test_limits_of_the_threshold() -> None:
    """A huge c gives SGD bit for bit; a tiny c with lr c fixed normalised gradient descent, to 1e-13."""
    p = _logistic()
    common: dict[str, Any] = {"x0": np.full(p.dimension, 0.5), "steps": 20}
    np.testing.assert_array_equal(
        refopt.minimize(p, "clipped-sgd", lr=0.3, threshold=1e9, **common).x,
        refopt.minimize(p, "sgd", lr=0.3, **common).x,
    )
    np.testing.assert_allclose(
        refopt.minimize(p, "clipped-sgd", lr=0.3e9, threshold=1e-9, **common).x,
        refopt.minimize(p, "normalized-gd", lr=0.3, **common).x,
        rtol=1e-11, atol=1e-13,
    )  # fmt: skip


def _cut(u: np.ndarray, q: float) -> np.ndarray:
    """Sort, look up, cut."""
    order = sorted((abs(float(v)) for v in u.ravel()), reverse=True)
    tau = order[min(int(q * len(order)), len(order) - 1)]
    return np.array([np.sign(v) * min(abs(v), tau) for v in u.ravel()]).reshape(u.shape)


@pytest.mark.identity("coordinate-clip")
@pytest.mark.parametrize("q", [0.0, 0.3, 0.5, 1.0])
def test_coordinates_written_out(q: float) -> None:
    """Gradients, and steps of Adam, cut at the sorted sizes' place, by leaf and over all leaves: 20 steps to 1e-13."""
    start, gradients = stream(1, "ill", steps=20)

    def cut(u: Leaves, scope: str) -> Leaves:
        if scope == "leaf":
            return {k: _cut(v, q) for k, v in u.items()}
        parts = np.split(
            _cut(np.concatenate([v.ravel() for v in u.values()]), q),
            np.cumsum([v.size for v in u.values()])[:-1],
        )
        return {k: part.reshape(v.shape) for (k, v), part in zip(u.items(), parts)}

    for clips in ("gradient", "step"):
        for scope in ("leaf", "all"):
            o = refopt.optimizer("coordinate-clip", base="adam", lr=0.1, fraction=q, clips=clips, scope=scope)
            base = refopt.optimizer("adam", lr=0.1)
            x, w, s, b = start, start, o.init(start), base.init(start)
            for g in gradients:
                x, s = o.update(x, g, s)
                new, b = base.update(w, cut(g, scope) if clips == "gradient" else g, b)
                if clips == "step":
                    step = cut({k: new[k] - w[k] for k in w}, scope)
                    new = {k: w[k] + step[k] for k in w}
                w = new
                np.testing.assert_allclose(flat(x), flat(w), rtol=1e-11, atol=1e-13)


@pytest.mark.identity("coordinate-clip")
def test_extremes_of_the_fraction() -> None:
    """q = 0 is the base, bit for bit, in both places; q = 1 is the gradient's sign times its least size."""
    p = refopt.problem("quadratic", n=6)
    want = refopt.minimize(p, "adam", steps=20, lr=0.1).x
    for clips in ("gradient", "step"):
        got = refopt.minimize(
            p, "coordinate-clip", base="adam", fraction=0.0, clips=clips, steps=20, lr=0.1
        ).x
        np.testing.assert_array_equal(got, want)
    o = refopt.optimizer("coordinate-clip", fraction=1.0, lr=1.0)
    x, g = np.zeros(4), np.array([-3.0, 5.0, 0.5, -0.7])
    np.testing.assert_array_equal(o.update(x, g, o.init(x))[0], -0.5 * np.sign(g))


@pytest.mark.claim("coordinate-clip", "directional-sharpness")
def test_clipping_lowers_directional_sharpness() -> None:
    """On diag(100, 1, ..., 1) the gradient's directional sharpness is 99.91 and the clipped one's 10.9, in ten dimensions."""
    p = refopt.problem("quadratic", spectrum=[100.0] + [1.0] * 9, diagonal=True)
    x = p.solution + 1.0
    look = refopt.get("directional-sharpness")
    assert look(p, x, p.grad(x)).sharpness == pytest.approx((1e6 + 9) / (1e4 + 9), rel=1e-14)
    o = refopt.optimizer("coordinate-clip", fraction=0.1, lr=1.0)
    step = x - o.update(x, p.grad(x), o.init(x))[0]
    assert look(p, x, step).sharpness == pytest.approx(10.9, rel=1e-14)


@pytest.mark.identity("directional-sharpness")
def test_sharpness_is_a_rayleigh_quotient() -> None:
    """An eigenvalue along an eigenvector, whatever the length; the best step's decrease is the function's own."""
    p = refopt.problem("quadratic", spectrum=[1.0, 3.0, 10.0])
    values, vectors = np.linalg.eigh(p.hessian)
    x = p.solution + np.array([1.0, -2.0, 0.5])
    look = refopt.get("directional-sharpness")
    for scale in (1e-170, 3.0, -1e170):
        for value, v in zip(values, vectors.T):
            found = look(p, x, scale * v)
            assert found.sharpness == pytest.approx(value, rel=1e-12)
            assert found.gain == pytest.approx(np.sign(scale) * float(p.grad(x) @ v), rel=1e-10)
    found = look(p, x, p.grad(x))
    after = x - found.best_step * p.grad(x)
    assert float(p.value(x) - p.value(after)) == pytest.approx(found.best_decrease, rel=1e-12)
    least = min(float(p.value(x - c * found.best_step * p.grad(x))) for c in (0.99, 1.01))
    assert float(p.value(after)) < least


@pytest.mark.identity("clip-norm", "clipped-sgd")
def test_no_gradient() -> None:
    """A gradient of zero is handed on as it is, and moves nothing."""
    x = np.array([1.0, -2.0])
    for name in ("clip-norm", "clipped-sgd"):
        o = refopt.optimizer(name, lr=0.5)
        np.testing.assert_array_equal(o.update(x, 0.0 * x, o.init(x))[0], x)
    with pytest.raises(refopt.errors.NonFiniteError, match="x"):
        refopt.optimizer("clipped-sgd").init(np.array([np.nan]))


def test_sharpness_of_a_batch_and_bad_directions() -> None:
    """A batch is the whole problem on those examples; zero directions and saddles are told."""
    p = _logistic()
    x, v = np.full(p.dimension, 0.1), np.ones(p.dimension)
    look, batch = refopt.get("directional-sharpness"), np.arange(5)
    found = look(p, x, v, batch)
    assert found.sharpness == pytest.approx(float(v @ p.hvp(x, v, batch)) / v.size, rel=1e-13)
    assert found.gain == pytest.approx(float(v @ p.grad(x, batch)) / np.sqrt(v.size), rel=1e-13)
    with pytest.raises(refopt.errors.ArgumentError, match="v: wanted a direction"):
        look(p, x, 0.0 * v)
    with pytest.raises(refopt.errors.ShapeError, match="v"):
        look(p, x, v[:3])
    with pytest.raises(refopt.errors.CapabilityError, match="hvp"):
        look(refopt.from_functions(lambda x: float(x @ x), lambda x: 2 * x, x0=x), x, v)
    saddle = refopt.problem("quadratic", spectrum=[-1.0, 2.0], diagonal=True)
    down = look(saddle, saddle.center + 1.0, np.array([-1.0, 0.0]))
    assert (down.sharpness, down.gain, down.best_step, down.best_decrease) == (-1.0, 1.0, np.inf, np.inf)
    still = look(
        refopt.problem("quadratic", spectrum=[0.0, 2.0], diagonal=True),
        saddle.center * 0.0,
        np.array([1.0, 0.0]),
    )
    assert (still.sharpness, still.best_step, still.best_decrease) == (0.0, 0.0, 0.0)


@pytest.mark.identity("clip-norm", "coordinate-clip")
@pytest.mark.parametrize("name", ["clip-norm", "coordinate-clip"])
def test_a_wrappers_update_is_its_step(name: str) -> None:
    """Around Adam, update on the gradient and step on the problem give the same bits, and a wrong gradient is told."""
    p = refopt.problem("quadratic", n=5)
    o = refopt.optimizer(name, base="adam", lr=0.1)
    x = y = p.start()
    s, r, oracle = o.init(x), o.init(y), Oracle(p)
    for t in range(1, 6):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        y, r = o.update(y, p.grad(y), r)
        np.testing.assert_array_equal(x, y)
        assert s["t"] == r["t"] == t
    with pytest.raises(refopt.errors.ShapeError, match="grad"):
        o.update(y, y[:2], r)
    with pytest.raises(refopt.errors.CapabilityError):
        refopt.optimizer(name, base="svrg").update(y, y, {"t": 0, "base": {"t": 0}})
