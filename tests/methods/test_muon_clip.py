"""MuonClip."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import RefoptError

from tests.parity.case import Arrays, Case
from tests.streams import run_method, schedule, stream

SHAPES = {"q": (6, 4), "k": (6, 4), "r": (3, 4), "w": (2, 5)}
ATTENTION = {"a": {"query": "q", "key": "k", "query-rotary": "r"}}


def logits(x: Any, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The largest logit of each of three heads on some inputs."""
    queries, keys = ((inputs @ np.asarray(x[k]).T).reshape(-1, 3, 2) for k in "qk")
    return {"a": np.einsum("ihd,jhd->hij", queries, keys).reshape(3, -1).max(axis=1)}


@pytest.mark.claim("muonclip")
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_no_logit_above_tau(alpha: float) -> None:
    """Weights that do not move otherwise: after one step no head has a logit above τ on the same inputs, those above have τ itself, to 1e-12, and
    heads at or below τ stay bit for bit; queries shrink by γ^α, keys by the rest, rotary queries by γ.
    """
    x, _ = stream(0, "random", steps=1, shapes=SHAPES)
    inputs = np.random.default_rng(1).standard_normal((5, 4))
    before = logits(x, inputs)["a"]
    tau = float(np.sort(before)[1])
    o = refopt.optimizer(
        "muonclip", lr=0.0, tau=tau, alpha=alpha, attention=ATTENTION, max_logits=lambda x: logits(x, inputs)
    )
    y, _ = o.update(x, x, o.init(x))
    np.testing.assert_allclose(logits(y, inputs)["a"], np.minimum(before, tau), rtol=1e-12)
    top, gamma = int(np.argmax(before)), tau / before.max()
    for leaf, power, rows in (("q", alpha, 2), ("k", 1 - alpha, 2), ("r", 1.0, 1)):
        mine = slice(rows * top, rows * top + rows)
        np.testing.assert_allclose(y[leaf][mine], x[leaf][mine] * gamma**power, rtol=1e-14)
        np.testing.assert_array_equal(np.delete(y[leaf], mine, axis=0), np.delete(x[leaf], mine, axis=0))
    np.testing.assert_array_equal(y["w"], x["w"])


@pytest.mark.identity("muonclip")
def test_muon_below_tau() -> None:
    """Where no logit is above τ, and without attention, it is Muon without Nesterov at the RMS of Adam, bit for bit, over 30 steps."""
    x, gradients = stream(0, "random", steps=30, shapes=SHAPES)
    inputs = np.ones((2, 4))
    a = refopt.optimizer(
        "muonclip", lr=0.02, tau=1e9, attention=ATTENTION, max_logits=lambda x: logits(x, inputs)
    )
    b = refopt.optimizer("muon", lr=0.02, nesterov=False, scale="match-rms", weight_decay=0.1)
    c = refopt.optimizer("muonclip", lr=0.02)
    y, z, s, r, q = x, x, a.init(x), b.init(x), c.init(x)
    for g in gradients:
        x, s = a.update(x, g, s)
        y, r = b.update(y, g, r)
        z, q = c.update(z, g, q)
        for k in x:
            np.testing.assert_array_equal(x[k], y[k])
            np.testing.assert_array_equal(z[k], y[k])


def test_logits_are_of_the_point_of_the_gradient() -> None:
    """The function sees the weights before the step, whole."""
    seen = []

    def ask(x: Any) -> dict[str, list[float]]:
        seen.append(x["q"].copy())
        return {"a": [1.0, 2.0, 3.0]}

    x, gradients = stream(0, "random", steps=3, shapes=SHAPES)
    o, points = refopt.optimizer("muonclip", tau=2.5, attention=ATTENTION, max_logits=ask), []
    s = o.init(x)
    for g in gradients:
        points.append(x["q"])
        x, s = o.update(x, g, s)
    np.testing.assert_array_equal(seen, points)


def test_bad_arguments() -> None:
    """What cannot be clipped is told by name."""
    x, _ = stream(0, "random", steps=1, shapes=SHAPES)

    def three(x: Any) -> dict[str, list[float]]:
        return {"a": [1.0, 1.0, 1.0]}

    for attention, asked, match in (
        (ATTENTION, None, "both"), ([("q", "k")], three, "dict of dicts"), ({"a": {"value": "q"}}, three, "roles"), (ATTENTION, 3.0, "function"),
    ):  # fmt: skip
        with pytest.raises(RefoptError, match=match):
            refopt.optimizer("muonclip", attention=attention, max_logits=asked)
    for attention, asked, match in (
        ({"a": {"query": "no"}}, three, "leaves"), ({"a": {"query": "w"}}, three, "3 heads"), (ATTENTION, lambda x: [1.0], "dict with"),
        (ATTENTION, lambda x: {"a": [np.nan]}, "finite"), (ATTENTION, lambda x: {"a": 1.0}, "one finite"),
        (ATTENTION, lambda x: {"a": "x"}, "finite"),
    ):  # fmt: skip
        o = refopt.optimizer("muonclip", attention=attention, max_logits=asked)
        with pytest.raises(RefoptError, match=match):
            o.update(x, x, o.init(x))


INPUTS = np.random.default_rng(2).standard_normal((3, 4))


def _ours(seed: int) -> Arrays:
    given: dict[str, Any] = {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.1, "tau": 5.0, "alpha": 0.3}
    return run_method(
        lambda: refopt.optimizer(
            "muonclip", dialect="kozistr", attention=ATTENTION, max_logits=lambda x: logits(x, INPUTS), schedule=schedule, **given
        ),
        seed, ("random",), SHAPES,
    )  # fmt: skip


def _kozistr(seed: int) -> Arrays:
    """pytorch_optimizer's MuonClip without its casts to bfloat16 and float32, told the logits before every step."""
    import torch
    from pytorch_optimizer.optimizer.muon import base, muon_clip

    from tests.parity.libraries import run_torch

    def make(parameters: list[Any]) -> Any:
        q, k, r, w = parameters
        own = [
            {"params": [p], "use_muon": True, "qk_clip": role, "attention_name": "a"}
            for p, role in ((q, "query"), (k, "key"), (r, "query_rotary"))
        ]

        class Told(muon_clip.MuonClip):
            def step(self, closure: Any = None) -> Any:
                found = logits({"q": q.detach().numpy(), "k": k.detach().numpy()}, INPUTS)["a"]
                return super().step(closure, {"a": torch.tensor(found)})

        return Told(
            [*own, {"params": [w], "use_muon": True}], lr=0.05, momentum=0.8, weight_decay=0.1, qk_clip_threshold=5.0, qk_clip_alpha=0.3,
            foreach=False,
        )  # fmt: skip

    cast, single = base.zero_power_via_newton_schulz_5, torch.Tensor.float
    torch.Tensor.float = lambda self: self  # type: ignore[method-assign,assignment]
    base.zero_power_via_newton_schulz_5 = functools.partial(cast, dtype=torch.float64)
    try:
        return run_torch(make, seed, schedule, ("random",), SHAPES)
    finally:
        base.zero_power_via_newton_schulz_5 = cast
        torch.Tensor.float = single  # type: ignore[method-assign]


CASES = [
    Case("muonclip", "kozistr", "pytorch-optimizer", _ours, _kozistr,
        says="pytorch_optimizer.MuonClip without its casts, queries, keys and rotary queries of three heads that are clipped at 5, with decay"
        " and a schedule, 200 steps, to 1e-12."),
]  # fmt: skip
