"""Newton-Schulz in bfloat16, as torch and pytorch_optimizer ship it: live, on torch tensors."""

from __future__ import annotations

from typing import Any

import pytest
import refopt
from refopt.core.errors import DtypeError
from refopt.matrix.polar import polar_newton_schulz
from refopt.matrix.products import gram, squared
from refopt.optimizers.common.orthogonal import orthogonalised

from tests.streams import schedule, stream

torch: Any = pytest.importorskip("torch", reason="torch is not installed; make parity runs this")
pytestmark = pytest.mark.live
JORDAN = (3.4445, -4.7750, 2.0315)


def _spread(shape: tuple[int, int], decades: float) -> Any:
    """A matrix in float32 whose singular values fall over so many decades."""
    u, s, v = torch.linalg.svd(
        torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
        full_matrices=False,
    )
    return ((u * torch.logspace(0, -decades, len(s), dtype=torch.float64)) @ v).float()


@pytest.mark.parametrize("decades", [0, 2])
@pytest.mark.parametrize("shape", [(40, 70), (70, 40), (64, 64)])
def test_function_to_the_bit(shape: tuple[int, int], decades: float) -> None:
    """torch's function as shipped, cast and all, gives the same bits; the cast is seen at 1e-3 and more."""
    G = _spread(shape, decades)
    theirs = torch.optim._muon._zeropower_via_newtonschulz(G.clone(), JORDAN, 5, 1e-7)
    ours = orthogonalised(G, "bfloat16", eps_rule="clamp")
    assert theirs.dtype == torch.bfloat16
    assert ours.dtype == torch.float32
    assert torch.equal(ours, theirs.float())
    assert (ours - polar_newton_schulz(G, eps_rule="clamp")).norm() > 1e-3 * ours.norm()


def test_function_of_pytorch_optimizer() -> None:
    """pytorch_optimizer's function as shipped gives the same bits."""
    matrix = pytest.importorskip("pytorch_optimizer.optimizer.utils.matrix")
    G = _spread((50, 40), 1)
    theirs = matrix.zero_power_via_newton_schulz_5(G.clone())
    assert torch.equal(orthogonalised(G, "bfloat16", eps_rule="clamp"), theirs.float())


@pytest.mark.parametrize("shape", [(300, 280), (256, 512)])
def test_products_by_strips(shape: tuple[int, int]) -> None:
    """A product that is formed by strips is the exact one, rounded as a sum of float32 and once to bfloat16.

    That holds whatever the processor's kernel: how torch itself adds a whole product up (on processors with
    bfloat16 instructions otherwise than on those without) does not enter.
    """
    A = _spread(shape, 1).bfloat16()
    exact = A.double() @ A.double().T
    size = A.double().abs() @ A.double().abs().T
    bound = 2.0**-8 * exact.abs() + 2.0**-24 * shape[1] * size
    G = gram(A)
    assert G.dtype == torch.bfloat16
    assert torch.equal(G, G.T)
    assert ((G.double() - exact).abs() <= bound).all()
    S = squared(G, -4.775, 2.0315)
    square = -4.775 * G.double() + 2.0315 * (G.double() @ G.double())
    product = 2.0315 * (G.double() @ G.double()).abs()
    size = 4.775 * G.double().abs() + 2.0315 * (G.double().abs() @ G.double().abs())
    # Once, or twice where a kernel rounds the product before the sum.
    bound = 2.0**-8 * (square.abs() + product) + 2.0**-24 * shape[0] * size
    assert ((S.double() - square).abs() <= bound).all()


@pytest.mark.parity("muon")
@pytest.mark.parametrize("kind", ["random", "ill", "flip", "small"])
def test_torch_muon_as_shipped(kind: str) -> None:
    """torch.optim.Muon as shipped, in float32 with its bfloat16 cast, live, 60 steps on four streams
    with decay and a schedule, to half of the cast's own rounding; its Newton-Schulz to the bit.

    60 steps of torch.optim.Muon in float32 with decay and a schedule, its cast left in.

    The two average gradients in another order, so that an entry falls now and then on the other side of a
    rounding to bfloat16: the gap is held below half of what the cast does to the run (measured: 0.2).
    """
    x0, gradients = stream(3, kind, steps=60, shapes={"tall": (70, 40), "wide": (2, 6)})

    def ours(dtype: Any, **kwargs: Any) -> Any:
        o = refopt.optimizer("muon", dialect="torch", lr=0.03, momentum=0.9, schedule=schedule, **kwargs)
        x = {k: torch.asarray(v, dtype=dtype) for k, v in x0.items()}
        s = o.init(x)
        for g in gradients:
            x, s = o.update(x, {k: torch.asarray(v, dtype=dtype) for k, v in g.items()}, s)
        assert all(v.dtype == dtype for v in x.values())
        return torch.cat([v.double().flatten() for v in x.values()])

    p = [torch.nn.Parameter(torch.tensor(v, dtype=torch.float32)) for v in x0.values()]
    o = torch.optim.Muon(p, lr=0.03, momentum=0.9, weight_decay=0.1)
    for t, g in enumerate(gradients, 1):
        for q, v in zip(p, g.values()):
            q.grad = torch.tensor(v, dtype=torch.float32)
        o.param_groups[0]["lr"] = 0.03 * schedule(t)
        o.step()
    theirs = torch.cat([q.detach().double().flatten() for q in p])
    cast = (theirs - ours(torch.float64)).norm()
    assert (ours(torch.float32, ns_dtype="bfloat16") - theirs).norm() <= 0.5 * cast


@pytest.mark.parametrize("name", ["scion", "mars-shampoo"])
def test_others_have_the_cast(name: str) -> None:
    """Scion and MARS-Shampoo hand it on: their step moves by bfloat16's rounding, no more."""
    x0, (g,) = stream(3, "random", steps=1, shapes={"w": (20, 30)})
    x, g = torch.asarray(x0["w"]), torch.asarray(g["w"])
    steps = []
    for kwargs in ({}, {"ns_dtype": "bfloat16"}):
        o = refopt.optimizer(name, factor="newton-schulz", lr=0.1, **kwargs)
        steps.append(o.update(x, g, o.init(x))[0] - x)
    gap = float((steps[0] - steps[1]).norm() / steps[0].norm())
    assert 1e-3 < gap < 0.1


@pytest.mark.parametrize("wrong", ["bfloat17", "add", "int64", 16])
def test_bad_dtype(wrong: Any) -> None:
    """What is no floating dtype of torch is named in the error."""
    with pytest.raises(DtypeError, match=rf"ns_dtype: wanted .* of torch, got {wrong!r}"):
        orthogonalised(torch.eye(3), wrong)
