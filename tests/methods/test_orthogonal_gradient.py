"""The orthogonal-gradient update: beside the authors' code, and what it leaves of the forward loss."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import refopt

from tests.parity.case import Arrays, Case

GAMMA, ETA, BETA, RATE = 0.875, 0.6, 0.3, 0.2


def transitions(seed: int) -> tuple[np.ndarray, ...]:
    """Twelve transitions: features with a one, those of the successor, rewards, and what ends."""
    rng = np.random.default_rng(seed)
    now, after = (np.hstack([rng.standard_normal((12, 3)), np.ones((12, 1))]) for _ in range(2))
    return now, after, rng.standard_normal(12), np.arange(12) % 4 == 0


def gradients(w: np.ndarray, target: np.ndarray, seed: int) -> np.ndarray:
    """Of the mean of f*(residual), Pearson's, by the value and by its successor's, V linear and the other one the target's."""
    now, after, reward, end = transitions(seed)
    go = GAMMA * (1.0 - end)
    forward = np.maximum((reward + go * (after @ target) - now @ w) / 2.0 + 1.0, 0.0)
    backward = np.maximum((reward + go * (after @ w) - now @ target) / 2.0 + 1.0, 0.0)
    return np.stack([-forward @ now, (backward * go) @ after]) / 12.0


def ours(seed: int) -> Arrays:
    d = refopt.get("orthogonal-gradient")
    w = np.random.default_rng(seed + 1).standard_normal(4)
    target, seen = w.copy(), []
    for _ in range(8):
        w = w - RATE * d(gradients(w, target, seed), eta=ETA, floor=1e-10)
        target = (1.0 - BETA) * target + BETA * w
        seen.append(w)
    return {"x": np.stack(seen)}


CASES = [
    Case("orthogonal-gradient", "official", "maoliyuan/ODICE-Pytorch@1692507", ours, None,
         says="The authors' update of V (8 steps, twelve transitions, V linear in features, η 0.6, a target that follows), to 1e-12")
]  # fmt: skip


def pair(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2, 6))


@pytest.mark.identity("orthogonal-gradient")
@pytest.mark.parametrize("seed", range(4))
def test_written_out(seed: int) -> None:
    """``⟨f, d⟩ = ||f||^2`` and ``d - f`` is η times the least-squares residual of b on f, to 1e-14; Bloop without memory gives it, too;
    a floor that holds takes less away; rows without length, and what is refused.
    """
    A, J = refopt.get("orthogonal-gradient"), pair(seed)
    f, b = J
    d = A(J, eta=0.7)
    assert f @ d == pytest.approx(f @ f, rel=1e-13)
    (c,), *_ = np.linalg.lstsq(f[:, None], b, rcond=None)
    np.testing.assert_allclose(d - f, 0.7 * (b - c * f), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(refopt.get("bloop")(J, rho=1.0, penalty=0.7)[0], d, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(A(J, eta=0.7, floor=0.5 * (f @ f)), d, rtol=1e-14)
    np.testing.assert_allclose(
        A(J, eta=0.7, floor=4.0 * (f @ f)),
        f + 0.7 * (b - 0.25 * (f @ b) / (f @ f) * f),
        rtol=1e-13,
        atol=1e-14,
    )
    np.testing.assert_array_equal(A(np.stack([0.0 * f, b]), eta=0.5), 0.5 * b)
    np.testing.assert_array_equal(A(np.stack([f, 0.0 * b])), f)
    np.testing.assert_allclose(A(1e-170 * J), 1e-170 * A(J), rtol=1e-13)
    with pytest.raises(refopt.errors.ShapeError, match="J: wanted two rows"):
        A(np.ones((3, 2)))
    for name in ("eta", "floor"):
        with pytest.raises(refopt.errors.ArgumentError, match=name):
            A(J, **{name: -1.0})


@pytest.mark.claim("orthogonal-gradient")
@pytest.mark.parametrize("seed", range(4))
def test_forward_loss_is_left(seed: int) -> None:
    """A step against d instead of f changes the forward loss by the square of the step: halving it divides the change by 4 to a part in
    50; against f + b it divides it by 2. Gradients of the forward loss are those of a quadratic.
    """
    rng = np.random.default_rng(seed)
    H = np.diag(rng.uniform(0.5, 2.0, 6))
    x, b = rng.standard_normal((2, 6))
    if (H @ x) @ b > 0.0:
        b = -b
    J = np.stack([H @ x, b])

    def change(d: np.ndarray, step: float) -> float:
        y, z = x - step * d, x - step * J[0]
        return 0.5 * float(y @ H @ y - z @ H @ z)

    across, plain = refopt.get("orthogonal-gradient")(J), J[0] + J[1]
    assert change(across, 1e-3) / change(across, 5e-4) == pytest.approx(4.0, rel=0.02)
    assert change(plain, 1e-3) / change(plain, 5e-4) == pytest.approx(2.0, rel=0.02)
    assert change(plain, 1e-3) > 0.0


@pytest.mark.claim("orthogonal-gradient")
def test_through_jacobian_descent() -> None:
    """Over two quadratics, η = 0 is gradient descent on the forward one, to 1e-12; with η = 1 the run comes to a forward objective a
    hundred times lower than a run with the sum of the two does.
    """
    p = refopt.problem("two-quadratics", n=3, condition_number=7.0)
    x, A = p.start(0), refopt.get("orthogonal-gradient")
    a = refopt.minimize(p, "jacobian-descent", x, aggregator=functools.partial(A, eta=0.0), lr=0.1, steps=30)
    b = refopt.minimize(p, "jacobian-descent", x, aggregator=lambda J: J[0], lr=0.1, steps=30)
    np.testing.assert_allclose(a.x, b.x, rtol=1e-12)
    c = refopt.minimize(p, "jacobian-descent", x, aggregator="orthogonal-gradient", lr=0.01, steps=3000)
    both = refopt.minimize(p, "jacobian-descent", x, aggregator=lambda J: J[0] + J[1], lr=0.01, steps=3000)
    assert p.objectives(c.x)[0] < 0.01 * p.objectives(both.x)[0]
