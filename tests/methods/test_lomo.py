"""LOMO and AdaLomo."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.parity.case import Arrays, Case
from tests.parity.makers import ours
from tests.streams import schedule, stream, trajectory


@pytest.mark.identity("lomo")
def test_is_gradient_descent() -> None:
    """Without clipping it is SGD bit for bit; with a norm it is clipped SGD, to 1e-14 where the 1e-6 is left out; 30 steps with a schedule."""
    x, gradients = stream(0, "ill", steps=30)
    for mine, name, other, rtol in (
        ({}, "sgd", {}, 0.0),
        ({"clip_norm": 2.0, "norm_eps": 0.0}, "clipped-sgd", {"threshold": 2.0}, 1e-14),
        ({"clip_norm": 1e9}, "sgd", {}, 0.0),
    ):
        a = refopt.optimizer("lomo", lr=0.1, schedule=schedule, **mine)
        b = refopt.optimizer(name, lr=0.1, schedule=schedule, **other)
        y, z, s, r = x, x, a.init(x), b.init(x)
        for g in gradients:
            y, s = a.update(y, g, s)
            z, r = b.update(z, g, r)
            for k in x:
                np.testing.assert_allclose(y[k], z[k], rtol=rtol)


@pytest.mark.claim("lomo")
def test_leaf_by_leaf_in_any_order() -> None:
    """A step fused into the backward pass, each leaf as its gradient comes and its gradient dropped at once, the factor of the norm known from a
    first pass: the same numbers in both orders of the leaves, values clipped besides, to 1e-15.
    """
    x, (g,) = stream(1, "random", steps=1)
    o = refopt.optimizer("lomo", lr=0.3, clip_value=0.8, clip_norm=1.5)
    whole, _ = o.update(x, g, o.init(x))
    squares = sum(float(np.sum(v**2)) for v in g.values())
    c = min(1.0, 1.5 / (np.sqrt(squares) + 1e-6))
    assert c < 1.0
    for names in (list(x), list(x)[::-1]):
        for k in names:
            np.testing.assert_allclose(
                x[k] - 0.3 * c * np.clip(g[k], -0.8, 0.8), whole[k], rtol=1e-14, atol=1e-15
            )


@pytest.mark.identity("adalomo")
def test_is_adafactor() -> None:
    """It is Adafactor with the rate η in the place of min(η, 1/sqrt(t)), bit for bit, 30 steps with decay and a schedule; with the schedule 1/sqrt(t)
    from η = 1, Adafactor at its rate 1.
    """
    x, gradients = stream(0, "random", steps=30)
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"lr": 0.3, "schedule": schedule}, {"lr": 0.3, "schedule": schedule, "relative_step": False}),
        ({"lr": 1.0, "schedule": lambda t: t**-0.5}, {"lr": 1.0}),
    ]
    for mine, other in pairs:
        a = refopt.optimizer("adalomo", weight_decay=0.1, **mine)
        b = refopt.optimizer("adafactor", weight_decay=0.1, **other)
        y, z, s, r = x, x, a.init(x), b.init(x)
        for g in gradients:
            y, s = a.update(y, g, s)
            z, r = b.update(z, g, r)
            for k in x:
                np.testing.assert_array_equal(y[k], z[k])


@pytest.mark.claim("adalomo")
def test_steps_are_relative() -> None:
    """Without decay no step's RMS is above η times that of the weights, whatever the gradients' scales, and at the first it is that of a vector."""
    x, gradients = stream(0, "ill", steps=20)
    o = refopt.optimizer("adalomo", lr=0.1)
    s = o.init(x)
    for t, g in enumerate(gradients):
        y, s = o.update(x, {k: v + 1e-3 for k, v in g.items()}, s)
        for k in x:
            size, moved = np.sqrt(np.mean(x[k] ** 2)), np.sqrt(np.mean((y[k] - x[k]) ** 2))
            assert moved <= 0.1 * size * (1 + 1e-12)
            if t == 0 and x[k].ndim == 1:
                assert moved == pytest.approx(0.1 * size, rel=1e-12)
        x = y


SHAPES = {"w": (3, 4), "b": (5,)}


def _fused(cls: str, **options: Any) -> Any:
    """pytorch_optimizer's class in float64, its casts to float32 taken out, on losses that are linear: <g, x>."""

    def side(seed: int) -> Arrays:
        import pytorch_optimizer
        import torch

        out, cast = {}, torch.Tensor.to

        def to(self: Any, *a: Any, **k: Any) -> Any:
            return self.clone() if a == (torch.float32,) else cast(self, *a, **k)

        torch.Tensor.to = to  # type: ignore[method-assign]
        try:
            for kind in ("random",):
                x, gradients = stream(seed, kind, shapes=SHAPES)
                model = torch.nn.Module()
                for k, v in x.items():
                    model.register_parameter(k, torch.nn.Parameter(torch.tensor(v)))
                o: Any = getattr(pytorch_optimizer, cls)(model, **options)
                for name in ("exp_avg_sq", "exp_avg_sq_row", "exp_avg_sq_col"):
                    for k, v in getattr(o, name, {}).items():
                        getattr(o, name)[k] = v.double()

                def advance(x: Any, g: Any, t: int) -> Any:
                    def loss() -> Any:
                        return sum((torch.tensor(g[k]) * p).sum() for k, p in model.named_parameters())

                    if options.get("clip_grad_norm"):
                        o.grad_norm(loss())
                    o.fused_backward(loss(), 0.05 * schedule(t))
                    return {k: p.detach().numpy().copy() for k, p in model.named_parameters()}

                out[kind] = trajectory(advance, x, gradients)
        finally:
            torch.Tensor.to = cast  # type: ignore[method-assign]
        return out

    return side


CASES = [
    Case("lomo", "kozistr", "pytorch-optimizer",
        ours("lomo", kinds=("random",), shapes=SHAPES, lr=0.05, clip_value=0.9, clip_norm=2.0),
        _fused("LOMO", clip_grad_value=0.9, clip_grad_norm=2.0),
        says="pytorch_optimizer.LOMO without its casts to float32, fused into the backward pass of a linear loss, clipped by value and by norm, with a"
        " schedule, 200 steps, to 1e-12."),
    Case("adalomo", "kozistr", "pytorch-optimizer",
        ours("adalomo", kinds=("random",), shapes=SHAPES, lr=0.05, weight_decay=0.1), _fused("AdaLOMO", weight_decay=0.1),
        says="pytorch_optimizer.AdaLOMO without its casts to float32, fused into the backward pass of a linear loss, with decay and a schedule, 200"
        " steps, to 1e-12."),
]  # fmt: skip
