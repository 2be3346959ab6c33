"""DASH."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentError
from refopt.optimizers.second_order.dash import newton_db

from tests.parity.case import Arrays, Case
from tests.parity.libraries import run_torch
from tests.streams import run_method, schedule, stream

SHAPES = {"w": (5, 3), "k": (2, 3, 1, 2), "b": (5,)}
AT: dict[str, Any] = {
    "lr": 0.05, "beta1": 0.8, "beta2": 0.7, "grafting_beta": 0.6, "grafting_eps": 1e-2, "eps": 1e-3, "weight_decay": 0.1, "update_every": 3,
}  # fmt: skip


@pytest.mark.claim("dash")
def test_newton_db() -> None:
    """On eigenvalues in [1e-3, 1] of the scale twelve steps give root and inverse root to 1e-9; after k steps an eigenvalue a has gone through
    ``a ← a (3 - a)² / 4`` as long, and Y and Z are what that says, to 1e-12.
    """
    rng = np.random.default_rng(0)
    Q, values = np.linalg.qr(rng.standard_normal((6, 6)))[0], np.geomspace(2e-3, 1.0, 6)
    A = Q * values @ Q.T
    root, inverse = newton_db(A, 2.0, 16)
    np.testing.assert_allclose(root, Q * np.sqrt(values) @ Q.T, atol=1e-9)
    np.testing.assert_allclose(inverse, Q / np.sqrt(values) @ Q.T, atol=1e-9)
    for steps in (1, 3, 7):
        y, z = values / 2.0, np.ones(6)
        for _ in range(steps):
            y, z = y * (1.5 - 0.5 * z * y), z * (1.5 - 0.5 * z * y)
        root, inverse = newton_db(A, 2.0, steps)
        np.testing.assert_allclose(root, Q * (y * np.sqrt(2.0)) @ Q.T, atol=1e-12)
        np.testing.assert_allclose(inverse, Q * (z / np.sqrt(2.0)) @ Q.T, atol=1e-12)


@pytest.mark.identity("dash")
@pytest.mark.parametrize("method", ["eigh", "newton"])
def test_distributed_shampoo(method: str) -> None:
    """With eigendecompositions, or forty steps of Newton, it is distributed Shampoo of averages without their correction, grafted to Adam: matrices
    of one block and of several, and vectors, 25 steps with decay and a schedule, to 1e-8.
    """
    x, gradients = stream(0, "random", steps=25, shapes={"w": (5, 3), "b": (5,)})
    for size in (3, 1024):
        # Roots from the first step on, so that every step has them in both.
        given = {**AT, "update_every": 1, "schedule": schedule, "max_size": size}
        a = refopt.optimizer("dash", root_method=method, root_steps=40, **given)
        b = refopt.optimizer("distributed-shampoo", grafting="adam", merge=False, **given)
        y, z, s, r = x, x, a.init(x), b.init(x)
        for t, g in enumerate(gradients, 1):
            # The other's factors are corrected, and so is its δ.
            r = {**r, "t": t - 1}
            y, s = a.update(y, g, s)
            c = refopt.optimizer(
                "distributed-shampoo", grafting="adam", merge=False, **{**given, "eps": 1e-3 / (1 - 0.7**t)}
            )
            z, r = c.update(z, g, r)
            for k in x:
                np.testing.assert_allclose(y[k], z[k], rtol=1e-8, atol=1e-8)


@pytest.mark.claim("dash")
def test_as_long_as_adam() -> None:
    """Every step of a block has the length of Adam's on it, whatever the gradients' scale by coordinate, to 1e-10; before the first roots it is
    Adam's.
    """
    x, gradients = stream(1, "ill", steps=20, shapes={"w": (4, 4)})
    a = refopt.optimizer("dash", beta2=0.999, grafting_beta=0.999, update_every=4, start=6, lr=0.1)
    b = refopt.optimizer("adam", lr=0.1)
    s, r, y = a.init(x), b.init(x), x
    for t, g in enumerate(gradients, 1):
        z, r = b.update(y, g, r)
        moved, s = a.update(y, g, s)
        mine, other = moved["w"] - y["w"], z["w"] - y["w"]
        assert np.linalg.norm(mine) == pytest.approx(np.linalg.norm(other), rel=1e-10)
        assert np.allclose(mine, other, rtol=1e-12) == (t < 6)
        y = moved


def test_newton_knows_two_exponents() -> None:
    """Another exponent is told, but with eigendecompositions it is taken."""
    with pytest.raises(ArgumentError, match="exponent"):
        refopt.optimizer("dash", exponent=0.3)
    refopt.optimizer("dash", exponent=0.3, root_method="eigh")


RUNS: dict[str, dict[str, Any]] = {
    "eigh": {"root_method": "eigh", "eps": 2e-3, "max_size": 3},
    "frobenius": {"scaling": "frobenius", "momentum": 0.6},
    "spectral": {"start": 5, "root_steps": 6},
}


def _ours(seed: int) -> Arrays:
    out = {}
    for label, settings in RUNS.items():
        given = {"dialect": "kozistr", "schedule": schedule, **AT, **settings}
        runs = run_method(lambda given=given: refopt.optimizer("dash", **given), seed, ("random",), SHAPES)
        out |= {f"{label}-{kind}": v for kind, v in runs.items()}
    return out


def _kozistr(seed: int) -> Arrays:
    """pytorch_optimizer's DASH, its scale in float64, and exactly the largest eigenvalue."""
    import torch
    from pytorch_optimizer.optimizer import dash

    def scale(matrix: Any, group: Any) -> Any:
        if group["matrix_scaling"] == "frobenius":
            return torch.linalg.vector_norm(matrix, dim=(-2, -1), keepdim=True)
        return 2.0 * torch.linalg.matrix_norm(matrix, ord=2, keepdim=True)

    class Exact(dash.DASH):
        scale_matrix = staticmethod(scale)

    more: dict[str, dict[str, Any]] = {
        "eigh": {"inverse_root_method": "eigh", "block_size": 3},
        "frobenius": {"matrix_scaling": "frobenius", "momentum": 0.6},
        "spectral": {"start_preconditioning_step": 5, "newton_steps": 6},
    }
    out = {}
    for label, settings in more.items():

        def make(p: list[Any], settings: dict[str, Any] = settings) -> Any:
            return Exact(
                p,
                lr=0.05,
                betas=(0.8, 0.7),
                grafting_beta=0.6,
                weight_decay=0.1,
                precondition_frequency=3,
                eps=1e-2,
                matrix_eps=1e-3,
                **settings,
            )

        out |= {
            f"{label}-{kind}": v for kind, v in run_torch(make, seed, schedule, ("random",), SHAPES).items()
        }
    return out


CASES = [
    Case("dash", "kozistr", "pytorch-optimizer", _ours, _kozistr,
        says="pytorch_optimizer.DASH told the largest eigenvalue, by eigendecompositions in blocks, by Newton with both scales, a late start and momentum,"
        " a matrix, a kernel and a vector, with decay and a schedule, 200 steps, to 1e-12."),
]  # fmt: skip
