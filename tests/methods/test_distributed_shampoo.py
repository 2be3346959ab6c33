"""Distributed Shampoo: the authors' code over refreshes, Shampoo as its limit, and lengths that grafting keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.optimizers.second_order.distributed_shampoo import blocks, inverse_root, merged

from tests.parity.case import Arrays, Case
from tests.streams import flat, schedule, stream

STEPS = 24
FORMS: dict[str, dict[str, Any]] = {
    "adam": {"beta2": 0.9, "max_size": 4, "update_every": 3, "start": 5, "grafting": "adam", "grafting_beta": 0.8,
             "weight_decay": 0.1, "momentum": 0.5, "nesterov": True, "dampening": 0.2},
    "none": {"beta1": 0.0, "update_every": 2, "merge": False, "weight_decay": 0.2, "decay": "coupled"},
    "sgd": {"beta1": 0.8, "beta3": 0.6, "beta2": 0.95, "max_size": float("inf"), "merge": False, "grafting": "sgd", "momentum": 0.7},
    "adagrad": {"beta2": 0.9, "max_size": 3, "grafting": "adagrad", "bias_correction": False, "weight_decay": 0.3,
                "decay": "independent", "update_every": 2, "start": 4},
    "fixed": {"max_size": 12, "exponent": 0.4, "grafting": "adam", "grafting_beta": 0.9},
}  # fmt: skip


def ours(seed: int) -> Arrays:
    out = {}
    for label, kwargs in FORMS.items():
        x, gradients = stream(seed, "random", steps=STEPS)
        o = refopt.optimizer("distributed-shampoo", lr=0.05, eps=1e-3, schedule=schedule, **kwargs)
        s, rows = o.init(x), []
        for g in gradients:
            x, s = o.update(x, g, s)
            rows.append(flat(x))
        out[label] = np.stack(rows[1::2])
    return out


CASES = [
    Case("distributed-shampoo", "official", "facebookresearch/optimizers@f606606", ours, None, rtol=1e-11,
        why="an eigendecomposition's rounding over the least eigenvalue, 1e-3",
        says="The authors' code (24 steps on leaves of 1, 2 and 4 axes: blocks, merged axes, refreshes every 1, 2, 3 steps from"
        " steps 1 to 5, each grafting, three kinds of decay, momentum with dampening and Nesterov's, beta3) to 1e-11"),
]  # fmt: skip


@pytest.mark.identity("distributed-shampoo")
def test_without_extras_it_is_shampoo() -> None:
    """beta1 = 0, sums, no grafting, one block: Shampoo for leaves of 1, 2 and 4 axes over 12 steps, to 1e-9."""
    x, gradients = stream(0, "random", steps=12)
    plain = refopt.optimizer(
        "distributed-shampoo", lr=0.1, beta1=0.0, eps=1e-4, merge=False, bias_correction=False
    )
    shampoo = refopt.optimizer("shampoo", lr=0.1, eps=1e-4)
    y, s, u = x, plain.init(x), shampoo.init(x)
    for g in gradients:
        x, s = plain.update(x, g, s)
        y, u = shampoo.update(y, g, u)
        for k in x:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-9, atol=1e-10)


@pytest.mark.identity("distributed-shampoo")
def test_a_matrix_against_the_dense_preconditioner() -> None:
    """Two blocks of a 2 x 4 matrix with averages: each step is kron(R1, R2) vec(M̂) of the block, by dense roots, to 1e-11."""
    rng = np.random.default_rng(1)
    b1, b2, eps, lr = 0.8, 0.9, 1e-3, 0.1
    o = refopt.optimizer("distributed-shampoo", lr=lr, beta1=b1, beta2=b2, eps=eps, max_size=2, merge=False)
    W = rng.standard_normal((2, 4))
    x, s = W, o.init(W)
    M, L, R = np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    for t in range(1, 7):
        G = rng.standard_normal((2, 4))
        x, s = o.update(x, G, s)
        step = np.zeros((2, 4))
        for j in range(2):
            B = G[:, 2 * j : 2 * j + 2]
            M[j] = b1 * M[j] + (1 - b1) * B
            L[j] = b2 * L[j] + (1 - b2) * B @ B.T
            R[j] = b2 * R[j] + (1 - b2) * B.T @ B
            roots = []
            for H in (L[j], R[j]):
                w, V = np.linalg.eigh(H / (1 - b2**t) + eps * np.eye(2))
                roots.append(V @ np.diag(w**-0.25) @ V.T)
            step[:, 2 * j : 2 * j + 2] = (np.kron(*roots) @ M[j].ravel()).reshape(2, 2) / (1 - b1**t)
        W = W - lr * step
        np.testing.assert_allclose(x, W, rtol=1e-11, atol=1e-12)


@pytest.mark.claim("distributed-shampoo")
@pytest.mark.parametrize("grafting", ["sgd", "adagrad", "adam"])
def test_grafting_keeps_lengths(grafting: str) -> None:
    """Every block's step is as long as the grafting method's, to 1e-12, and before the start it is that step."""
    rng = np.random.default_rng(2)
    o = refopt.optimizer("distributed-shampoo", lr=1.0, beta1=0.0, grafting=grafting, grafting_beta=0.9, max_size=2,
        merge=False, start=3, eps=1e-3)  # fmt: skip
    x = np.zeros((2, 4))
    s, S = o.init(x), np.zeros((2, 4))
    for t in range(1, 7):
        G = rng.standard_normal((2, 4))
        new, s = o.update(x, G, s)
        S = S + G**2 if grafting == "adagrad" else 0.9 * S + 0.1 * G**2
        A = {"sgd": G, "adagrad": G / np.sqrt(S), "adam": G / np.sqrt(S / (1 - 0.9**t))}[grafting]
        step, x = x - new, new
        for cut in (slice(0, 2), slice(2, 4)):
            lengths = np.linalg.norm(step[:, cut]), np.linalg.norm(A[:, cut])
            np.testing.assert_allclose(*lengths, rtol=1e-9)
        assert np.allclose(step, A, rtol=1e-8) == (t < 3)


def test_namespaces(xp: Any) -> None:
    """Blocks, grafting and momentum in every library, with an eps above rounding's reach: NumPy's numbers, to 1e-10."""
    kwargs: dict[str, Any] = {
        "beta2": 0.9,
        "max_size": 3,
        "grafting": "adam",
        "momentum": 0.5,
        "eps": 1e-2,
        "start": 2,
    }
    x, gradients = stream(4, "random", steps=6)
    o = refopt.optimizer("distributed-shampoo", lr=0.05, **kwargs)
    y = {k: xp.asarray(v) for k, v in x.items()}
    s, t = o.init(x), o.init(y)
    for g in gradients:
        x, s = o.update(x, g, s)
        y, t = o.update(y, {k: xp.asarray(v) for k, v in g.items()}, t)
    for k in x:
        np.testing.assert_allclose(np.asarray(y[k]), x[k], rtol=1e-10, atol=1e-11)


@pytest.mark.identity("distributed-shampoo")
def test_roots_wait_for_their_step() -> None:
    """Every 3 steps from step 6, without grafting: until then the step is the gradient's; roots change at 6, 9, 12 only."""
    rng = np.random.default_rng(3)
    o = refopt.optimizer("distributed-shampoo", lr=1.0, beta1=0.0, update_every=3, start=6)
    x = np.zeros((2, 3))
    s, changed = o.init(x), []
    for t in range(1, 13):
        G = rng.standard_normal((2, 3))
        before = s["roots"][0]
        new, s = o.update(x, G, s)
        if not all(np.array_equal(a, b) for a, b in zip(before, s["roots"][0])):
            changed.append(t)
        assert np.allclose(x - new, G) == (t < 6)
        x = new
    assert changed == [6, 9, 12]


@pytest.mark.identity("distributed-shampoo")
def test_shapes() -> None:
    """Axes that are merged, and blocks in their order."""
    assert merged((1, 2, 5, 1), 10) == (10,)
    assert merged((1, 2, 5, 1), 1) == (2, 5)
    assert merged((32, 3, 64, 64), 8192) == (96, 4096)
    assert merged((), 4) == merged((1, 1), 4) == (1,)
    rows = [(a.start, a.stop, b.start, b.stop) for a, b in blocks((5, 2), 3)]
    assert rows == [(0, 3, 0, 2), (3, 5, 0, 2)]
    assert list(blocks((5, 2), float("inf"))) == [(slice(0, 5), slice(0, 2))]


@pytest.mark.identity("distributed-shampoo")
def test_a_root_of_a_matrix_that_rounding_made_indefinite() -> None:
    """Its eigenvalues are raised until the least is eps."""
    H = np.diag([-1e-3, 1.0])
    np.testing.assert_allclose(
        inverse_root(H, 0.5, 1e-4), np.diag([1e2, (1.0 + 1e-3 + 1e-4) ** -0.5]), rtol=1e-12
    )
    np.testing.assert_allclose(
        inverse_root(np.diag([4.0, 1.0]), 0.5, 0.5), np.diag([4.5**-0.5, 1.5**-0.5]), rtol=1e-14
    )


def test_a_start_before_the_first_refresh_is_refused() -> None:
    """The start must not be below the period of refreshes."""
    with pytest.raises(refopt.errors.ArgumentError, match="start"):
        refopt.optimizer("distributed-shampoo", update_every=10, start=3)


@pytest.mark.identity("distributed-shampoo")
def test_a_rate_of_zero() -> None:
    """Where the schedule is zero nothing moves, decay and momentum included; a scalar has one axis, merged or not."""
    for merge in (True, False):
        o = refopt.optimizer("distributed-shampoo", lr=0.5, weight_decay=0.1, momentum=0.5, merge=merge, beta1=0.0, eps=1e-30,
            schedule=lambda t: float(t > 1))  # fmt: skip
        x = np.array(2.0)
        y, s = o.update(x, np.array(3.0), o.init(x))
        assert float(y) == 2.0
        # B = 1/2 B + P: P is 1 at t = 1 and 3 / sqrt(18) + 0.1 x at t = 2.
        y, s = o.update(y, np.array(3.0), s)
        np.testing.assert_allclose(float(y), 2.0 - 0.5 * (0.5 + 0.5**0.5 + 0.2), rtol=1e-12)
