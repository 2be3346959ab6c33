"""Functions of the installed libraries held against what they are the counterpart of, by `compare` itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from refopt.verify import compare


def _of_optax(name: str, *args: Any, **options: Any) -> Any:
    import optax

    rate = getattr(optax, name)(*args, **options)
    # optax counts from 0, and in the precision of the count.
    return lambda t: float(rate(np.float64(t - 1)))


@pytest.mark.parametrize(
    ("make", "name", "options"),
    [
        (lambda: _of_optax("cosine_decay_schedule", 0.1, 50), "cosine-decay", {"steps": 50, "lr": 0.1}),
        (lambda: _of_optax("polynomial_schedule", 1.0, 0.1, 2, 30), "polynomial-decay",
         {"steps": 30, "power": 2.0, "floor": 0.1}),
        (lambda: _of_optax("exponential_decay", 1.0, 10, 0.5), "exponential-decay",
         {"rate": 0.5, "every": 10, "dialect": "torch"}),
    ],
)  # fmt: skip
def test_schedules_of_optax(make: Any, name: str, options: dict[str, Any]) -> None:
    pytest.importorskip("optax")
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        report = compare(make(), name, **options)
    finally:
        jax.config.update("jax_enable_x64", before)
    assert report.agrees, str(report)


def test_a_transformation_of_optax() -> None:
    optax = pytest.importorskip("optax")
    chain = optax.chain(optax.clip_by_global_norm(1.0), optax.scale(-1.0))
    assert compare(chain, "clip-norm", lr=1.0, threshold=1.0, steps=20).agrees
    plain = compare(optax.clip_by_global_norm(1.0), "clip-norm", lr=1.0, threshold=1.0, steps=5)
    assert not plain.agrees and any("goes up the gradient" in n for n in plain.notes)


@pytest.mark.parametrize(
    ("cls", "name"), [("UPGrad", "upgrad"), ("DualProj", "dualproj"), ("IMTLG", "imtl-g")]
)
def test_aggregators_of_torchjd(cls: str, name: str) -> None:
    """Without regularisation; the Gramian's condition is the square of the rows', which rounding of the rows does not explain."""
    aggregation = pytest.importorskip("torchjd.aggregation")
    import torch
    from torchjd.linalg import QuadprogProjector

    exact = {} if name == "imtl-g" else {"projector": QuadprogProjector(norm_eps=0.0, reg_eps=0.0)}
    theirs = getattr(aggregation, cls)(**exact)
    report = compare(lambda J: theirs(torch.from_numpy(np.array(J))).numpy(), name)
    assert report.error < 1e-9, str(report)
    wrong = compare(lambda J: len(J) * theirs(torch.from_numpy(np.array(J))).numpy(), name)
    assert wrong.error > 0.5


def test_exact_transport_of_pot() -> None:
    ot = pytest.importorskip("ot")
    assert compare(lambda a, b, C: ot.emd(a, b, C), "exact-ot").agrees


def test_ball_of_geoopt() -> None:
    geoopt = pytest.importorskip("geoopt")
    import torch

    def ball(operation: str) -> Any:
        def run(*args: np.ndarray, curvature: float = 1.0) -> np.ndarray:
            made = geoopt.PoincareBall(c=torch.tensor(curvature, dtype=torch.float64))
            return getattr(made, operation)(*(torch.from_numpy(np.array(a)) for a in args)).numpy()

        return run

    for theirs, ours in (("expmap", "exp"), ("logmap", "log"), ("dist", "dist"), ("retr", "retract")):
        report = compare(ball(theirs), f"poincare-ball.{ours}")
        assert report.agrees, str(report)
