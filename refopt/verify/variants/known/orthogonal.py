"""Slips of methods that orthogonalise: what stands before the iteration, and what it writes into."""

from __future__ import annotations

from typing import Any

from refopt.core.arrays import namespace
from refopt.core.params import Params, map_leaves
from refopt.optimizers.common.trust import leaf_norm
from refopt.optimizers.first_order.muon import shape_factor
from refopt.verify.variants.deviation import Around, deviation, fields, innermost, rewritten


@deviation(
    "momentum-after-orthogonalising",
    "with the momentum of orthogonalised gradients, not the other way round",
    stage="text",
    only=("muon",),
)
def _(method: Any) -> Any:
    def rule(self: Any, xp: Any) -> Any:
        def muon(x, g, b, lr, mu, fresh, direct, through, l2, keep):  # type: ignore[no-untyped-def]
            u = xp.reshape(g + l2 * x, (x.shape[0], -1))
            o = xp.reshape(self.orthogonal(u, self.eps, self.eps_rule), x.shape)
            b = mu * b + fresh * o
            sides = x.shape[-2:] if self.kernel_sides else u.shape
            out, into = sides if self.out_axis == 0 else sides[::-1]
            return keep * x - lr * shape_factor(self.scale, out, into) * (direct * o + through * b), b

        return muon

    return rewritten(method, rule=rule)


@deviation(
    "buffer-normalised-in-place",
    "with its momentum divided by its norm, since the iteration writes into it",
    stage="step",
    only=("muon",),
    seen=("torch 2.13 optim.Muon(nesterov=False) on bfloat16 parameters",),
)
def _(method: Any) -> Any:
    inner = innermost(method)
    if fields(inner)["nesterov"]:
        return None
    least = inner.eps

    def normalised(a: Any) -> Any:
        # Of what is handed to another method the buffer is not this one's.
        xp = namespace(a)
        return a / xp.maximum(leaf_norm(a), xp.full_like(leaf_norm(a), least)) if a.ndim >= 2 else a

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            new, after = self.method.update(x, grad, s)
            return new, {**after, "buffer": map_leaves(normalised, after["buffer"])}

    return Changed(method)
