"""M-FAC, EFCP and GGT against dense matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.parity.case import Arrays, Case
from tests.streams import run_refopt, schedule, stream

SHAPES = {"w": (3, 4), "b": (5,)}


KINDS = ("random", "flip")
FORMS: dict[str, dict[str, Any]] = {
    "plain": {"window": 7, "damping": 0.1},
    "momentum": {"window": 5, "damping": 0.5, "momentum": 0.6, "weight_decay": 0.2},
}


def official(seed: int) -> Arrays:
    """Runs in the authors' settings."""
    out = {}
    for label, given in FORMS.items():
        runs = run_refopt(
            "m-fac", seed, KINDS, SHAPES, dialect="official", lr=0.01, schedule=schedule, **given
        )
        out |= {f"{label}-{kind}": v for kind, v in runs.items()}
    return out


CASES = [
    Case("m-fac", "official", "IST-DASLab/M-FAC@8116367", official, None,
        says="The authors' optimizer in float64 on the CPU, whose LU without pivots was taken from Cholesky's factor: windows of 5 and 7,"
        " momentum and decay, 200 steps on two streams with a schedule, to 1e-12."),
]  # fmt: skip


def flat(x: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([v.ravel() for v in x.values()])


@pytest.mark.identity("m-fac")
def test_dense_inverse() -> None:
    """30 steps with a window of 7 gradients equal those by the dense inverse of λ I + (1/m) Σ g gᵀ, with momentum,
    decay and a schedule, to 1e-11.
    """
    lr, mu, m, damp, wd = 0.01, 0.6, 7, 0.1, 0.2
    x, gradients = stream(0, "random", steps=30, shapes=SHAPES)
    o = refopt.optimizer(
        "m-fac",
        dialect="official",
        lr=lr,
        momentum=mu,
        window=m,
        damping=damp,
        weight_decay=wd,
        schedule=schedule,
    )
    s, y, v, kept = o.init(x), flat(x), 0.0, []
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        kept = [*kept, flat(g) + wd * y][-m:]
        F = damp * np.eye(y.size) + np.stack(kept).T @ np.stack(kept) / m
        v = mu * v + (1 - mu) * np.linalg.solve(F, kept[-1])
        y = y - lr * schedule(t) * v
        np.testing.assert_allclose(flat(x), y, rtol=1e-11, atol=1e-12)


@pytest.mark.claim("m-fac")
def test_first_step() -> None:
    """g / (λ + |g|²/m) at first, and so lr/λ times the gradient for a small one, also at λ = 1e-12, to 1e-12."""
    g = np.random.default_rng(0).standard_normal(50)
    for size, damp in ((1.0, 1e-5), (1e3, 1e-12), (1e-9, 1e-5)):
        o = refopt.optimizer("m-fac", lr=1.0, window=32, damping=damp)
        x, _ = o.update(np.zeros(50), size * g, o.init(np.zeros(50)))
        np.testing.assert_allclose(x, -size * g / (damp + size**2 * (g @ g) / 32), rtol=1e-12)


@pytest.mark.identity("m-fac")
def test_the_curvature_of_the_same_gradients() -> None:
    """A full window's step is that of the curvature m-fac-static of the same gradients, to 1e-11."""
    p = refopt.problem("logistic")
    x, batch = p.start(1), np.arange(6)
    C = refopt.curvature("m-fac-static", p, x, batch=batch, damp=0.1)
    o = refopt.optimizer("m-fac", lr=1.0, window=6, damping=0.1)
    y, s = np.zeros(C.n), o.init(np.zeros(C.n))
    for g in np.asarray(C.gradients):
        before, (y, s) = y, o.update(y, g, s)
    want = C.solve(np.reshape(g, np.shape(x)), damping=0.0)
    np.testing.assert_allclose(before - y, np.ravel(want), rtol=1e-11, atol=1e-13)


@pytest.mark.identity("efcp", "m-fac")
def test_all_entries_kept() -> None:
    """With k = d nothing is left out: EFCP is M-FAC, bit for bit."""
    settings = {"lr": 0.1, "window": 5, "damping": 0.1, "weight_decay": 0.1}
    assert_same_run(refopt.optimizer("efcp", density=1.0, **settings), refopt.optimizer("m-fac", **settings),
        stream(0, "random", steps=15, shapes=SHAPES))  # fmt: skip


@pytest.mark.identity("m-fac", "efcp")
@pytest.mark.parametrize("name", ["m-fac", "efcp"])
def test_a_donated_window_is_written_over(name: str) -> None:
    """Donated states give the same bits over three windows, and once the window is full its memory stays; a state that is not
    donated, or is read-only, is as it was.
    """
    more = {"density": 0.3} if name == "efcp" else {}
    o = refopt.optimizer(name, lr=0.1, window=5, damping=0.1, **more)
    x, gradients = stream(0, "random", steps=15, shapes=SHAPES)
    y, s, u = x, o.init(x), o.init(x)
    for t, g in enumerate(gradients):
        before, window = s["window"], s["window"].copy()
        x, s = o.update(x, g, s)
        np.testing.assert_array_equal(before, window)
        memory = u["window"]
        y, u = o.update(y, g, u, donate=True)
        assert np.shares_memory(memory, u["window"]) == (t >= 5)
        for key in ("window", "dots", "oldest"):
            np.testing.assert_array_equal(s[key], u[key])
        for k in x:
            np.testing.assert_array_equal(x[k], y[k])
    u["window"].flags.writeable = False
    kept = u["window"].copy()
    o.update(y, gradients[0], u, donate=True)
    np.testing.assert_array_equal(u["window"], kept)
    assert s["oldest"] == 0


@pytest.mark.claim("efcp")
def test_error_feedback() -> None:
    """Nothing is lost: what was sent and ξ add up to the gradients' sum, to 1e-13, k entries a step; and
    |ξ|² ≤ 4 (1 - k/d) / (k/d)² max |g|².
    """
    x, gradients = stream(0, "random", steps=40, shapes=SHAPES)
    o = refopt.optimizer("efcp", density=0.25, window=100)
    s, total = o.init(x), np.zeros(17)
    largest = max(np.sum(flat(g) ** 2) for g in gradients)
    one = refopt.optimizer("efcp", density=1e-3)
    assert np.count_nonzero(one.update(x, gradients[0], one.init(x))[1]["window"]) == 1
    for g in gradients:
        x, s = o.update(x, g, s)
        total += flat(g)
        assert np.count_nonzero(s["window"][-1]) == 4
        np.testing.assert_allclose(np.sum(s["window"], axis=0) + s["error"], total, atol=1e-13)
        assert np.sum(s["error"] ** 2) <= 4 * (1 - 4 / 17) / (4 / 17) ** 2 * largest


@pytest.mark.identity("efcp")
@pytest.mark.parametrize(
    ("dense", "decay"), [(False, "decoupled"), (True, "coupled"), (False, "independent")]
)
def test_efcp_written_out(dense: bool, decay: str) -> None:
    """30 steps with momentum, decay and a schedule equal the algorithm written out with a dense inverse, to 1e-10."""
    lr, mu, m, damp, wd, k = 0.01, 0.6, 7, 0.1, 0.2, 5
    x, gradients = stream(1, "random", steps=30, shapes=SHAPES)
    o = refopt.optimizer("efcp", lr=lr, momentum=mu, window=m, damping=damp, weight_decay=wd, schedule=schedule,
        density=0.3, precondition_dense=dense, decay=decay)  # fmt: skip
    s, y, v, kept, error = o.init(x), flat(x), 0.0, [], np.zeros(17)
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        whole = flat(g) + (wd * y if decay == "coupled" else 0.0)
        a = error + whole
        c = np.where(np.abs(a) >= np.sort(np.abs(a))[-k], a, 0.0)
        error, kept = a - c, [*kept, c][-m:]
        F = damp * np.eye(17) + np.stack(kept).T @ np.stack(kept) / m
        v = mu * v + np.linalg.solve(F, whole if dense else c)
        left = {"coupled": 0.0, "decoupled": lr * schedule(t) * wd, "independent": schedule(t) * wd}[decay]
        y = (1 - left) * y - lr * schedule(t) * v
        np.testing.assert_allclose(flat(x), y, rtol=1e-10, atol=1e-11)


@pytest.mark.identity("ggt")
@pytest.mark.parametrize("r", [3, 6])
def test_ggt_dense_root(r: int) -> None:
    """30 steps equal those by the dense inverse of (G Gᵀ)^{1/2} + ε I, past the window's length, with decay and a
    schedule, to 1e-10.
    """
    lr, b1, b2, eps, wd = 0.01, 0.6, 0.8, 0.05, 0.1
    x, gradients = stream(0, "random", steps=30, shapes=SHAPES)
    o = refopt.optimizer(
        "ggt", lr=lr, momentum=b1, beta2=b2, eps=eps, window=r, weight_decay=wd, schedule=schedule
    )
    s, y, v, kept = o.init(x), flat(x), np.zeros(17), []
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        kept = [*(b2 * k for k in kept), flat(g)][-r:]
        v = b1 * v + (1 - b1) * flat(g)
        V, sigma, _ = np.linalg.svd(np.stack(kept).T)
        u = V @ ((V.T @ v) / (np.pad(sigma, (0, 17 - sigma.size)) + eps))
        y = (1 - lr * schedule(t) * wd) * y - lr * schedule(t) * u
        np.testing.assert_allclose(flat(x), y, rtol=1e-10, atol=1e-11)


@pytest.mark.claim("ggt")
def test_ggt_scale_and_rotation() -> None:
    """ε = 0: gradients times 1e3 make the same steps, and turned ones turned steps, to 1e-9; a window of one
    gradient makes steps of length η, to 1e-13.
    """
    rng = np.random.default_rng(0)
    R = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    o = refopt.optimizer("ggt", lr=0.1, eps=0.0)
    one = refopt.optimizer("ggt", lr=0.1, eps=0.0, window=1, momentum=0.0)
    x = y = z = np.zeros(6)
    sx, sy, sz = o.init(x), o.init(y), one.init(z)
    for _ in range(5):
        g = rng.standard_normal(6)
        x, sx = o.update(x, g, sx)
        y, sy = o.update(y, 1e3 * R @ g, sy)
        new, sz = one.update(z, g, sz)
        np.testing.assert_allclose(new - z, -0.1 * g / np.linalg.norm(g), rtol=1e-13)
        z = new
    np.testing.assert_allclose(y, R @ x, atol=1e-9)


@pytest.mark.identity("ggt")
@pytest.mark.parametrize("eps", [0.0, 0.05])
def test_ggt_of_dependent_gradients(eps: float) -> None:
    """Windows of gradients from two directions alone, so that Gᵀ G is singular, past the window's length: the steps by
    the singular values of G, to 1e-7 (rounding in Gᵀ G is of the order of 1e-8 in its roots).
    """
    rng = np.random.default_rng(0)
    two = rng.standard_normal((2, 6))
    o = refopt.optimizer("ggt", lr=0.1, momentum=0.5, beta2=0.9, eps=eps, window=4)
    x, v, kept = np.zeros(6), np.zeros(6), []
    s = o.init(x)
    for _ in range(10):
        g = rng.standard_normal(2) @ two
        kept, v = [*(0.9 * k for k in kept), g][-4:], 0.5 * v + 0.5 * g
        U, sigma, _ = np.linalg.svd(np.stack(kept).T, full_matrices=False)
        U, sigma = U[:, :2][:, sigma[:2] > 1e-9], sigma[:2][sigma[:2] > 1e-9]
        want = U @ ((U.T @ v) / (sigma + eps))
        new, s = o.update(x, g, s)
        np.testing.assert_allclose(new - x, -0.1 * want, atol=1e-7)
        x = new
