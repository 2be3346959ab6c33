"""EShampoo."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import RefoptError

from tests.parity.case import Arrays, Case
from tests.streams import run_method, schedule, stream

AT: dict[str, Any] = {"lr": 0.05, "beta1": 0.8, "beta2": 0.7, "eps": 1e-2, "weight_decay": 0.1}


@pytest.mark.identity("eshampoo")
@pytest.mark.parametrize("method", ["eigh", "qr"])
@pytest.mark.parametrize("tolerance", [0.0, 0.4])
def test_line_by_line(method: str, tolerance: float) -> None:
    """Twenty steps of a square matrix line by line with NumPy alone, bases due in every third from the fifth on, by eigenvectors and by two steps of
    the QR algorithm, always and where they are off by 0.4, with decay, a large ε and a schedule, to 1e-11.
    """
    x, gradients = stream(0, "random", steps=20, shapes={"w": (4, 4)})
    o = refopt.optimizer(
        "eshampoo",
        update_every=3,
        start=5,
        method=method,
        tolerance=tolerance,
        qr_steps=2,
        schedule=schedule,
        **AT,
    )
    s, W = o.init(x), x["w"]
    M, D, Hs, Qs, kept = np.zeros((4, 4)), np.zeros((4, 4)), [np.zeros((4, 4))] * 2, [np.eye(4)] * 2, 0
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        G = g["w"]
        M = 0.8 * M + 0.2 * G
        Hs = [0.7 * Hs[0] + 0.3 * G @ G.T, 0.7 * Hs[1] + 0.3 * G.T @ G]
        if t == 5 or (t > 5 and t % 3 == 0):
            for i in range(2):
                B = Qs[i].T @ Hs[i] @ Qs[i]
                for k in range(2 if method == "qr" else 1):
                    off = np.sqrt(np.sum(B**2) - np.sum(np.diag(B) ** 2)) / np.sqrt(np.sum(B**2))
                    if tolerance > 0 and off <= tolerance:
                        kept += k == 0
                        break
                    if method == "eigh":
                        Qs[i] = np.linalg.eigh(Hs[i])[1]
                    else:
                        turn, R = np.linalg.qr(B)
                        B, Qs[i] = R @ turn, Qs[i] @ turn
                if method == "qr":
                    Qs[i] = Qs[i][:, np.argsort(np.diag(B))]
        P = Qs[0].T @ G @ Qs[1]
        D = 0.7 * D + 0.3 * P**2
        N = (Qs[0].T @ M @ Qs[1] / (1 - 0.8**t)) / (np.sqrt(D / (1 - 0.7**t)) + 1e-2)
        W = W - 0.05 * schedule(t) * (Qs[0] @ N @ Qs[1].T + 0.1 * W)
        np.testing.assert_allclose(x["w"], W, rtol=1e-11, atol=1e-11)
    assert (kept > 0) == (tolerance > 0)


@pytest.mark.identity("eshampoo")
def test_without_a_basis_it_is_adamw() -> None:
    """Before the first basis, with τ = 1, and with no axis rotated: AdamW, to 1e-13, over 30 steps."""
    x, gradients = stream(0, "ill", steps=30)
    b = refopt.optimizer("adamw", dialect="torch", schedule=schedule, **AT)
    for options in ({"update_every": 31}, {"tolerance": 1.0}, {"max_size": 0, "update_every": 1}):
        a = refopt.optimizer("eshampoo", schedule=schedule, **options, **AT)
        y, z, s, r = x, x, a.init(x), b.init(x)
        for g in gradients:
            y, s = a.update(y, g, s)
            z, r = b.update(z, g, r)
            for k in x:
                np.testing.assert_allclose(y[k], z[k], rtol=1e-13, atol=1e-13)


@pytest.mark.claim("eshampoo")
def test_turned_gradients() -> None:
    """From its first basis on f(P g Q) = P f(g) Q for orthogonal P and Q, over 25 steps from zero, to 1e-9; a basis that is within τ = 0.9 of
    diagonal is kept, one of τ = 0.1 is not.
    """
    rng = np.random.default_rng(0)
    P, Q = (np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in range(2))
    gradients = rng.standard_normal((25, 4, 4))
    o = refopt.optimizer("eshampoo", update_every=1, lr=0.1, eps=1e-3)
    x = y = np.zeros((4, 4))
    sx, sy = o.init(x), o.init(y)
    for g in gradients:
        x, sx = o.update(x, g, sx)
        y, sy = o.update(y, P @ g @ Q, sy)
    np.testing.assert_allclose(y, P @ x @ Q, atol=1e-9)
    for tolerance in (0.9, 0.1):
        o = refopt.optimizer("eshampoo", update_every=1, tolerance=tolerance)
        _, s = o.update(x, np.diag([1.0, 2.0, 3.0, 4.0]) + 0.5, o.init(x))
        assert np.array_equal(s["bases"][0], np.eye(4)) == (tolerance == 0.9)


def test_bad_start() -> None:
    """A first basis before the first renewal is told."""
    with pytest.raises(RefoptError, match="start"):
        refopt.optimizer("eshampoo", update_every=5, start=4)


# Square leaves: the Gram matrices of a few gradients are then regular and their eigenvectors unique.
SHAPES = {"w": (4, 4), "v": (3, 3)}
RUNS: dict[str, dict[str, Any]] = {
    "eigh": {"update_every": 3},
    "adaptive": {"update_every": 2, "tolerance": 0.5},
    "qr": {"update_every": 2, "start": 4, "method": "qr", "qr_steps": 2, "tolerance": 0.3},
}


def _official(seed: int) -> Arrays:
    out = {}
    for label, settings in RUNS.items():
        given = {"dialect": "official", "schedule": schedule, **AT, **settings}
        runs = run_method(
            lambda given=given: refopt.optimizer("eshampoo", **given), seed, ("random",), SHAPES
        )
        out |= {f"{label}-{kind}": v for kind, v in runs.items()}
    return out


CASES = [
    Case("eshampoo", "official", "facebookresearch/optimizers@f606606", _official, None,
        says="The authors' distributed_shampoo with corrected eigenvalues in float64, square matrices, by eigenvectors, adaptively and by the"
        " QR algorithm, with decay, a large ε and a schedule, 200 steps, to 1e-12."),
]  # fmt: skip
