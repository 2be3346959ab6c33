"""More of what is claimed of the second-order methods: invariance to coordinates, Lyapunov functions and regret."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.curvature.gradients import removal_scores

from tests.methods.test_oasis import cosh
from tests.methods.test_psgd_fit import dense


@pytest.mark.claim("oasis")
def test_the_lyapunov_function_never_grows() -> None:
    """No rate to tune: under a fixed diagonal D from η_0 = 1e-6, 1e-2 and 10, ‖w_{k+1} - w*‖_D² + ‖w_{k+1} - w_k‖_D²/2 +
    2 η_k (1 + θ_k)(f(w_k) - f*) never grows from k = 1 on (1e-12) in 150 steps and the gap ends below 1e-3 of the start's;
    gradient descent under D at the rate 10 does not come there.
    """
    p = cosh(2)
    D = np.array([0.5, 1.0, 3.0, 0.7])
    q = refopt.from_functions(p.value, p.grad, hvp=lambda x, v: D * v, x0=p.x0)
    best = refopt.minimize(p, "lbfgs", steps=200, tol=1e-13).x
    low = p.value(best)
    for first in (1e-6, 1e-2, 10.0):
        o, oracle = refopt.optimizer("oasis", lr=first, alpha=1e-3), Oracle(q)
        x, kept = q.x0, []
        s = o.init(x)
        for t in range(1, 151):
            oracle.begin(t, x)
            new, s = o.step(x, s, oracle)
            if t > 1:
                kept.append(np.sum(D * (new - best) ** 2) + np.sum(D * (new - x) ** 2) / 2
                    + 2 * s["eta"] * (1 + s["theta"]) * (p.value(x) - low))  # fmt: skip
            x = new
        assert np.all(np.diff(kept[1:]) <= 1e-12)
        assert p.value(x) - low < 1e-3 * (p.value(p.x0) - low)
    fixed = refopt.minimize(q, "oasis", lr=10.0, alpha=1e-3, adaptive=False, steps=150).fun
    assert not fixed - low < 0.1 * (p.value(p.x0) - low)


@pytest.mark.claim("sps")
def test_sps_max_to_a_neighbourhood() -> None:
    """Ridge examples without interpolation, c = 1/2, bounds of 0.01 to 10: at each of 40 points and each example a step's squared
    distance to x* is at most (1 - γμ) ‖x - x*‖² + 2 γ f_i(x*), γ its rate, which is between min(1/(2 c L_max), γ_b) and γ_b;
    so that (Theorem 3.1) E‖x_t - x*‖² <= (1 - αμ)^t ‖x_0 - x*‖² + 2 γ_b σ²/(α μ), 60 steps of 40 runs.
    """
    rng, mu = np.random.default_rng(0), 0.3
    A, b = rng.standard_normal((8, 3)), rng.standard_normal(8)
    top = float(np.max(np.sum(A * A, axis=1))) + mu
    best = np.linalg.solve(A.T @ A / 8 + mu * np.eye(3), A.T @ b / 8)

    def each(x: np.ndarray) -> np.ndarray:
        return (A @ x - b) ** 2 / 2 + mu / 2 * (x @ x)

    def some(batch: Any) -> Any:
        return slice(None) if batch is None else batch

    p = refopt.from_functions(
        lambda x, batch=None: float(np.mean(each(x)[some(batch)])),
        lambda x, batch=None: np.mean(((A @ x - b)[:, None] * A + mu * x)[some(batch)], axis=0), x0=np.full(3, 4.0), n_examples=8,
    )  # fmt: skip
    for bound in (0.01, 0.2, 10.0):
        o, alpha = refopt.optimizer("sps", c=0.5, bound=bound), min(1.0 / top, bound)
        for _, i in itertools.product(range(40), range(8)):
            x = best + 10.0 ** rng.uniform(-2, 1) * rng.standard_normal(3)
            new, s = o.step(x, o.init(x), Oracle(p).on(np.array([i])))
            rate = s["rate"]
            assert alpha * (1 - 1e-12) <= rate <= bound
            far = np.sum((x - best) ** 2)
            assert np.sum((new - best) ** 2) <= (1 - rate * mu) * far + 2 * rate * each(best)[i] + 1e-12
        if bound == 0.2:
            ends = [
                np.sum(
                    (refopt.minimize(p, o, steps=60, batch_size=1, sampling="replacement", seed=k).x - best)
                    ** 2
                )
                for k in range(40)
            ]
            left = (1 - alpha * mu) ** 60 * np.sum((p.x0 - best) ** 2)
            assert 0.0 < np.mean(ends) <= left + 2 * bound * np.mean(each(best)) / (alpha * mu)


@pytest.mark.claim("m-fac")
def test_natural_gradients_know_no_coordinates() -> None:
    """With λ = 1e-10 and a window that spans the space, steps in coordinates y = T x are T times those in x, T of condition 50, to 1e-5
    over 12 steps past the window's first filling; with λ = 1 they are off by a tenth and more. gᵀ F⁻¹ g stays below m.
    """
    rng, n, m = np.random.default_rng(0), 4, 8
    T = rng.standard_normal((n, n)) @ np.diag([0.2, 1.0, 3.0, 10.0])
    gradients = rng.standard_normal((12 + m, n)) + 0.5
    for damping, alike in ((1e-10, True), (1.0, False)):
        o = refopt.optimizer("m-fac", lr=1.0, window=m, damping=damping)
        x, y = np.zeros(n), np.zeros(n)
        s, r, worst = o.init(x), o.init(y), 0.0
        for t, g in enumerate(gradients):
            new, s = o.update(x, g, s)
            other, r = o.update(y, np.linalg.solve(T.T, g), r)
            if t >= m:
                step = new - x
                worst = max(worst, float(np.linalg.norm(other - y - T @ step) / np.linalg.norm(T @ step)))
                assert 0.0 < -(g @ step) < m
            x, y = new, other
        assert (worst < 1e-5) == alike and (alike or worst > 0.1)


@pytest.mark.claim("m-fac-static")
def test_the_cost_of_pruning_a_weight() -> None:
    """Optimal Brain Surgeon: the score of a weight is the least of δᵀ F δ/2 over all changes δ that bring it to zero, found by dense
    elimination, for each of 24 weights of a network (1e-8); 2000 other changes that do so cost more.
    """
    rng = np.random.default_rng(0)
    p = refopt.problem("mlp", data=(rng.standard_normal((15, 3)), np.arange(15) % 3), widths=(3,), l2=0.0)
    x = p.start(1)
    C = refopt.curvature("m-fac-static", p, x, damp=0.01)
    flat = refopt.core.params.flatten
    F, theta, scores = C.dense(), flat(x), flat(removal_scores(C))
    assert len(theta) == 24
    for a in range(24):
        rest = np.delete(np.arange(24), a)
        change = np.zeros(24)
        change[a] = -theta[a]
        change[rest] = -np.linalg.solve(F[np.ix_(rest, rest)], F[rest, a] * change[a])
        assert scores[a] == pytest.approx(change @ F @ change / 2, rel=1e-8, abs=1e-18)
        others = change + 10.0 ** -rng.uniform(0, 3, (80, 1)) * rng.standard_normal((80, 24))
        others[:, a] = -theta[a]
        assert np.all(np.einsum("ij,jk,ik->i", others, F, others) / 2 >= scores[a] - 1e-15)


@pytest.mark.claim("ggt")
def test_the_regret_of_the_full_matrix() -> None:
    """A window of all gradients, no momentum, ε = 0: over 100 rounds of linear losses and of squares in nine dimensions the regret against
    the best point and two others is at every T at most (D²/(2 η) + η) tr (Σ g gᵀ)^(1/2), D the largest distance to it, and
    Σ <g_t, step> over η is between that trace and twice it.
    """
    rng, n, T = np.random.default_rng(0), 9, 100
    basis = np.linalg.qr(rng.standard_normal((n, n)))[0] * np.geomspace(1.0, 0.05, n)
    for kind, eta in itertools.product(("linear", "square"), (0.1, 0.5)):
        o = refopt.optimizer("ggt", lr=eta, window=T, momentum=0.0, beta2=1.0, eps=0.0)
        a = rng.standard_normal((T, n)) @ basis.T + basis[:, 0]
        x, points, gradients = np.zeros(n), [], []
        s = o.init(x)
        for t in range(T):
            g = a[t] if kind == "linear" else (a[t] @ x - 1.0) * a[t]
            points.append(x)
            gradients.append(g)
            x, s = o.update(x, g, s)
        G, X = np.array(gradients), np.array(points)

        def loss(x: np.ndarray, kind: str = kind, a: np.ndarray = a) -> np.ndarray:
            z = np.sum(a * x, axis=-1)
            return z if kind == "linear" else (z - 1.0) ** 2 / 2

        roots = [float(np.sum(np.linalg.svd(G[: t + 1], compute_uv=False))) for t in range(T)]
        # What the bound rests on: Σ <g_t, (G Gᵀ)^(-1/2) g_t> is between the trace and twice it.
        spent = np.cumsum(np.sum(G * -np.diff(np.vstack([X, x]), axis=0) / eta, axis=1))
        assert np.all(spent >= np.array(roots) * (1 - 1e-7)) and np.all(spent <= 2 * np.array(roots))
        best = (
            np.linalg.lstsq(a, np.ones(T), rcond=None)[0]
            if kind == "square"
            else -a.sum(0) / np.linalg.norm(a.sum(0))
        )
        for rival in (best, 0.3 * best, rng.standard_normal(n)):
            regret = np.cumsum(loss(X) - loss(np.broadcast_to(rival, X.shape)))
            D = float(np.max(np.linalg.norm(X - rival, axis=1)))
            assert np.all(regret <= (D**2 / (2 * eta) + eta) * np.array(roots))
            assert kind == "linear" or rival is not best or regret[-1] > 0.0


@pytest.mark.claim("distributed-shampoo", "shampoo")
@pytest.mark.parametrize(
    ("name", "max_size"), [("distributed-shampoo", np.inf), ("distributed-shampoo", 2), ("shampoo", np.inf)]
)
def test_the_regret_of_blocks(name: str, max_size: float) -> None:
    """Sums, no grafting, β1 = 0: over 80 rounds of squares of a 4 × 6 matrix the regret is at every T at most
    Σ (D_b²/(2 η) + η r) tr L_b^(1/4) tr R_b^(1/4) over the blocks (whole, and 2 × 2), D_b a block's largest distance, r = 1 its
    gradients' rank, L_b = Σ G Gᵀ: Shampoo's bound for a matrix of which each block is one. For one gradient a step is η u vᵀ.
    """
    rng, eta = np.random.default_rng(0), 0.2
    more = {"beta1": 0.0, "beta2": 1.0, "max_size": max_size, "merge": False}
    o = refopt.optimizer(name, lr=eta, eps=1e-12, **(more if name != "shampoo" else {}))
    W, points, gradients = np.zeros((4, 6)), [], []
    truth = rng.standard_normal((4, 6))
    s, pairs = o.init(W), rng.standard_normal((80, 10))
    for p in pairs:
        u, v = p[:4], p[4:]
        G = (u @ (W - truth) @ v) * np.outer(u, v)
        points.append(W)
        gradients.append(G)
        W, s = o.update(W, G, s)
    k = 6 if max_size == np.inf else 2
    cuts = [(slice(i, i + k), slice(j, j + k)) for i in range(0, 4, k) for j in range(0, 6, k)]
    X, Gs = np.array(points), np.array(gradients)
    losses = np.array([(p[:4] @ (X[t] - truth) @ p[4:]) ** 2 / 2 for t, p in enumerate(pairs)])
    for t in range(1, 81):
        bound = 0.0
        for rows, columns in cuts:
            g = Gs[:t, rows, columns]
            D2 = float(np.max(np.sum((X[:t, rows, columns] - truth[rows, columns]) ** 2, axis=(1, 2))))
            left, right = np.einsum("tij,tkj->ik", g, g), np.einsum("tij,tik->jk", g, g)
            traces = [np.sum(np.maximum(np.linalg.eigvalsh(H), 0.0) ** 0.25) for H in (left, right)]
            bound += (D2 / (2 * eta) + eta) * traces[0] * traces[1]
        assert losses[:t].sum() <= bound
    assert losses[60:].mean() < 0.3 * losses[:5].mean()
    for rows, columns in cuts:
        size = np.linalg.norm(Gs[0, rows, columns])
        np.testing.assert_allclose(X[1, rows, columns], -eta * Gs[0, rows, columns] / size, atol=1e-6)


def group_element(name: str, n: int, rng: np.random.Generator) -> np.ndarray:
    T = np.diag(rng.uniform(0.3, 3.0, n))
    return T + np.diag(rng.uniform(-0.2, 0.2, n))[:, ::-1] if name == "psgd-xmat" else T


@pytest.mark.claim("psgd-xmat", "psgd-lra")
@pytest.mark.parametrize(("name", "n"), [("psgd-xmat", 6), ("psgd-xmat", 5), ("psgd-lra", 6)])
def test_the_fit_and_the_step_are_equivariant(name: str, n: int) -> None:
    """Coordinates y = T x with T of the group (X-shaped; for the low-rank fit diagonal): from Q Tᵀ the fit to the pairs (T v, T⁻ᵀ h) stays
    Q Tᵀ for 40 pairs and preconditioned gradients become T times theirs, to 1e-9; a T outside the group is not passed on.
    """
    more: dict[str, Any] = {"rank": 2, "turned": True} if name == "psgd-lra" else {}
    rng = np.random.default_rng(1)
    H = rng.standard_normal((n, n))
    H = H + H.T + np.eye(n)
    o = refopt.optimizer(name, fit_rate=0.3, **more)
    inside = group_element(name, n, rng)
    outside = np.eye(n) + 0.5 * np.eye(n)[:, [1, 0, *range(2, n)]] * (np.arange(n) < 2)
    for T, passed in ((inside, True), (outside, False)):
        back = np.linalg.inv(T)
        q = o.start(np.ones(n), rng.standard_normal(n), np.random.default_rng(5))
        moved = dict(q)
        if name == "psgd-lra":
            moved["d"] = q["d"] * np.diag(T)
        else:
            Q = (np.diag(q["a"]) + np.diag(q["b"])[:, ::-1]) @ T.T
            moved["a"], moved["b"] = np.diag(Q).copy(), np.diag(Q[:, ::-1]).copy()
            if n % 2:
                moved["b"][n // 2] = 0.0
        coins = np.random.default_rng(2), np.random.default_rng(2)
        for _ in range(40):
            v = rng.standard_normal(n)
            q = o.fit(q, v, H @ v, coins[0])
            moved = o.fit(moved, T @ v, back.T @ (H @ v), coins[1])
        g = rng.standard_normal(n)
        Q = dense(q)
        np.testing.assert_allclose(
            o.precondition(q, g), Q.T @ Q @ g, rtol=0, atol=1e-11 * np.max(np.abs(Q)) ** 2
        )
        want = T @ o.precondition(q, g)
        got = o.precondition(moved, back.T @ g)
        close = np.max(np.abs(got - want)) < 1e-9 * np.max(np.abs(want))
        assert close == passed


@pytest.mark.claim("closed-form-fit")
def test_the_criterion_s_gap_falls_as_one_over_the_pairs() -> None:
    """tr(P H²) + tr P⁻¹ is above its least value 2 tr |H| by a gap whose product with the pairs stays within a factor 2 from 100 to 1600
    (mean of 8 seeds), for an indefinite H; with independent noise of size σ in h the limit is (H² + σ² I)^(-1/2), to a tenth.
    """
    H = np.diag([1.0, -2.0, 3.0])
    least = 2 * np.abs(np.diag(H)).sum()

    def of(noise: float, seed: int) -> Any:
        rng = np.random.default_rng(seed)
        return refopt.from_functions(
            lambda x: 0.0, lambda x: H @ x, hvp=lambda x, v: H @ v + noise * rng.standard_normal(3)
        )

    scaled = []
    for k in (100, 400, 1600):
        gaps = []
        for seed in range(8):
            P = refopt.curvature("closed-form-fit", of(0.0, 0), np.zeros(3), pairs=k, seed=seed).dense()
            gaps.append(np.trace(P @ H @ H) + np.trace(np.linalg.inv(P)) - least)
        assert min(gaps) > 0.0
        scaled.append(k * np.mean(gaps))
    assert max(scaled) < 2 * min(scaled)
    P = refopt.curvature("closed-form-fit", of(2.0, 1), np.zeros(3), pairs=4000, seed=1).dense()
    np.testing.assert_allclose(P, np.diag((np.diag(H) ** 2 + 4.0) ** -0.5), atol=0.04)


@pytest.mark.claim("ingd")
def test_the_factors_scale_against_each_other() -> None:
    """Only the product U ⊗ Γ counts: with c U and Γ/c, c from 1e-3 to 1e3, K and C of 30 updates are the same to 1e-11, damping and momentum
    included, where IKFAC's, K-FAC's own factors in inverse form, are changed by a tenth and more.
    """
    rng = np.random.default_rng(3)
    U, G = (a @ a.T / n for n in (4, 3) for a in [rng.standard_normal((n, n))])
    same = {"damping": 0.1, "factor_lr": 0.05}
    for name, more, free in (("ingd", {"factor_momentum": 0.5}, True), ("singd", {"kfac_like": True}, False)):
        o = refopt.optimizer(name, **same, **more)
        ends = []
        for c in (1.0, 1e-3, 1e3) if free else (1.0, 0.2):
            f = o.start(c * U, G / c)
            for _ in range(30):
                f = o.moved(f, c * U, G / c, 1)
            ends.append(np.kron(f["K"] @ f["K"].T, f["C"] @ f["C"].T))
        for other in ends[1:]:
            off = np.max(np.abs(other - ends[0])) / np.max(np.abs(ends[0]))
            assert off < 1e-11 if free else off > 0.1
