"""Matrix functions under torch's transformations: with ``check=False`` they are mapped and compiled."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import refopt

torch = pytest.importorskip("torch")
# These take no single matrix, or several of another shape.
OTHERS = ("bures-wasserstein-mean", "conv-spectral-norm-gram", "inverse-eim", "logdet-eim")
NAMES = [m.name for m in refopt.methods(kind="matfun") if m.name not in OTHERS]


def _matrices() -> Any:
    F = torch.randn(3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return F @ F.mT / 6 + 0.5 * torch.eye(4, dtype=torch.float64)


def _function(name: str) -> Any:
    f = refopt.get(name)
    parameters = inspect.signature(f).parameters
    steps = {"steps": 5} if "steps" in parameters else {}
    wanted = [p for p in parameters.values() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    return lambda A, **more: f(*[A] * len(wanted), **steps, **more)


@pytest.mark.parametrize("name", NAMES)
def test_vmap(name: str) -> None:
    """Mapped over a batch, the answers are those of the members, to 1e-13."""
    f, A = _function(name), _matrices()
    mapped = torch.func.vmap(lambda a: f(a, check=False))(A)
    torch.testing.assert_close(mapped, torch.stack([f(a) for a in A]), rtol=1e-13, atol=1e-13)


# array-api-compat caches what it knows of a class; Dynamo looks through the cache and says so.
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a")
@pytest.mark.parametrize(
    "name", ["sqrtm-eigh", "sqrtm-newton-schulz", "spd-log", "polar-newton-schulz", "sqrtm-pade"]
)
def test_compile(name: str) -> None:
    """Traced as one graph without a break; the graph's answer is the function's."""
    f, A = _function(name), _matrices()
    compiled = torch.compile(lambda a: f(a, check=False), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(A), f(A), rtol=0, atol=0)
