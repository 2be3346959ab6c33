"""Turbo-Muon, and distributed Muon."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.optimizers.first_order.turbo_muon import almost_orthogonal

from tests.parity.case import Arrays, Case
from tests.parity.libraries import run_torch
from tests.parity.makers import ours
from tests.streams import schedule, stream

TABLES = {
    "paper": ((3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037), (2.8769, -3.1427, 1.2046), (2.8366, -3.0525, 1.2012)),
    "flash-newton-schulz": (
        (4.6051, -9.6552, 5.6769), (4.7505, -6.0861, 2.1790), (2.7763, -2.3190, 0.5523), (2.4231, -2.2861, 0.8193),
    ),
}  # fmt: skip


@pytest.mark.identity("turbo-muon")
@pytest.mark.parametrize("dialect", list(TABLES))
@pytest.mark.parametrize("shape", [(4, 3), (3, 5), (2, 2, 3)])
def test_line_by_line(dialect: str, shape: tuple[int, ...]) -> None:
    """Nine steps of a tall and a wide matrix and of a kernel line by line with NumPy alone, with both tables, decay, an ε that is met and a
    schedule, to 1e-12.
    """
    x, gradients = stream(0, "ill", steps=9, shapes={"w": shape})
    o = refopt.optimizer(
        "turbo-muon", dialect=dialect, lr=0.3, momentum=0.6, weight_decay=0.2, eps=1e3, schedule=schedule
    )
    s, B, met = o.init(x), np.zeros((shape[0], int(np.prod(shape[1:])))), []
    W = x["w"].reshape(B.shape)
    tall = B.shape[0] > B.shape[1]
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        G, lr = g["w"].reshape(B.shape), 0.3 * schedule(t)
        B = 0.6 * B + G
        X = (G + 0.6 * B).T if tall else G + 0.6 * B
        sums = np.abs(X @ X.T).sum(axis=1)
        met += list(sums < 1e3)
        X = np.diag(np.maximum(sums, 1e3) ** -0.5) @ X
        for a, b, c in TABLES[dialect]:
            A = X @ X.T
            X = a * X + (b * A + c * A @ A) @ X
        kappa = np.sqrt(max(1.0, B.shape[0] / B.shape[1]))
        W = (1 - 0.2 * lr) * W - lr * kappa * (X.T if tall else X)
        np.testing.assert_allclose(x["w"].reshape(W.shape), W, rtol=1e-12, atol=1e-12)
    assert any(met) and not all(met)


@pytest.mark.claim("turbo-muon")
def test_almost_orthogonal() -> None:
    """The scaled matrix has no singular value above 1, whatever the matrix, and is orthogonal where rows were, whatever their lengths, to 1e-14;
    over Gaussian matrices of 40 rows its smallest singular value is on average five times that of the matrix over its norm.
    """
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(50):
        M = rng.standard_normal((40, 60)) * 10.0 ** rng.uniform(-3, 3, (40, 1))
        assert np.linalg.norm(almost_orthogonal(M), 2) <= 1 + 1e-14
        M = rng.standard_normal((40, 60))
        scaled, plain = (
            np.linalg.svd(A, compute_uv=False)[-1] for A in (almost_orthogonal(M), M / np.linalg.norm(M))
        )
        gains.append(scaled / plain)
    assert 2.0 < np.mean(gains) < 3.0
    Q = np.diag([1e3, 1.0, 1e-3]) @ np.linalg.qr(rng.standard_normal((5, 3)))[0].T
    scaled = almost_orthogonal(Q)
    np.testing.assert_allclose(scaled @ scaled.T, np.eye(3), atol=1e-14)
    np.testing.assert_array_equal(almost_orthogonal(Q.T), scaled.T)
    assert not np.any(almost_orthogonal(np.zeros((2, 3))))


def test_the_circulating_table_goes_uphill() -> None:
    """With the table known as "aol" two rows that nearly coincide have a step along the gradient's largest direction, uphill; with the default's
    none has.
    """
    G = np.array([[1.0, 0.2], [1.0, -0.2]])
    bad = (
        (4.0098, -7.0585, 2.4635),
        (3.4585, -5.5479, 2.5959),
        (2.7573, -3.2939, 1.4254),
        (2.7215, -3.0494, 1.3169),
    )
    for table, sign in ((bad, 1.0), (TABLES["paper"], -1.0)):
        o = refopt.optimizer("turbo-muon", lr=1.0, coefficients=table)
        x, _ = o.update(np.zeros((2, 2)), G, o.init(np.zeros((2, 2))))
        along = np.array([1.0, 1.0]) @ x @ np.array([1.0, 0.0])
        assert sign * along > 0.0


@pytest.mark.identity("distributed-muon")
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_who_owns_what_is_not_seen(workers: int) -> None:
    """Matrices dealt out to one, two or three workers, each with a state of its own matrices alone and the mean of all workers' gradients: Muon
    on one machine, bit for bit, over twelve steps with decay and a schedule.
    """
    shapes = {"a": (3, 4), "b": (4, 2), "c": (2, 2), "d": (5, 3)}
    x, gradients = stream(0, "random", steps=12, shapes=shapes)
    given: dict[str, Any] = {"lr": 0.1, "weight_decay": 0.1, "schedule": schedule}
    whole, part = refopt.optimizer("muon", **given), refopt.optimizer("distributed-muon", **given)
    names = sorted(shapes)
    owned = [names[w::workers] for w in range(workers)]
    y, r = dict(x), whole.init(x)
    states = [part.init({k: x[k] for k in mine}) for mine in owned]
    for g in gradients:
        y, r = whole.update(y, g, r)
        sent = {}
        for w, mine in enumerate(owned):
            moved, states[w] = part.update({k: x[k] for k in mine}, {k: g[k] for k in mine}, states[w])
            sent |= moved
        x = {k: sent[k] for k in names}
        for k in names:
            np.testing.assert_array_equal(x[k], y[k])


@pytest.mark.claim("distributed-muon")
def test_mean_of_the_workers() -> None:
    """It is Muon on the mean of the workers' gradients and not the mean of their Muons: on two gradients that cancel nothing moves, where each
    alone makes a step of 0.2 in the spectral norm, within Newton-Schulz's [0.68, 1.14].
    """
    G = np.diag([3.0, -0.5])
    o = refopt.optimizer("distributed-muon", lr=0.2)
    zero = np.zeros((2, 2))
    both, _ = o.update(zero, (G + -G) / 2.0, o.init(zero))
    assert not np.any(both)
    alone, _ = o.update(zero, G, o.init(zero))
    assert 0.68 * 0.2 < np.linalg.norm(alone, 2) < 1.14 * 0.2


def _kozistr(seed: int) -> Arrays:
    """pytorch_optimizer's DistributedMuon with one worker, its Newton-Schulz in float64."""
    import functools
    import tempfile

    import torch
    import torch.distributed as dist
    from pytorch_optimizer.optimizer.muon import base, distributed_muon

    cast = base.zero_power_via_newton_schulz_5
    base.zero_power_via_newton_schulz_5 = functools.partial(cast, dtype=torch.float64)
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
        try:
            return run_torch(
                lambda p: distributed_muon.DistributedMuon(
                    [{"params": p, "use_muon": True}], lr=0.05, momentum=0.8, weight_decay=0.1, foreach=False
                ),
                seed, schedule, ("random",), MATRICES,
            )  # fmt: skip
        finally:
            dist.destroy_process_group()
            base.zero_power_via_newton_schulz_5 = cast


MATRICES = {"tall": (5, 3), "wide": (2, 6)}
CASES = [
    Case("distributed-muon", "kozistr", "pytorch-optimizer",
        ours("distributed-muon", kinds=("random",), shapes=MATRICES, dialect="kozistr", lr=0.05, momentum=0.8, weight_decay=0.1), _kozistr,
        says="pytorch_optimizer.DistributedMuon with one worker and without its bfloat16 cast, with decay and a schedule, 200 steps, to 1e-12."),
]  # fmt: skip
