"""NorMuon, AdaMuon and AdaGO: Muon's relatives."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np
import pytest
import refopt

from tests.parity.case import Arrays, Case
from tests.parity.libraries import run_torch
from tests.parity.makers import Side, ours
from tests.streams import schedule, stream

MATRICES = {"tall": (4, 2), "wide": (2, 3)}
KERNEL = {**MATRICES, "kernel": (3, 2, 2)}
# So many steps of the classical quintic are the exact polar factor.
EXACT: dict[str, Any] = {"ns_steps": 40, "coefficients": "quintic"}
WHY = "five quintic steps amplify rounding in small singular directions by up to 3.4445^5 = 485"


def polar(m: np.ndarray) -> np.ndarray:
    u, _, vt = np.linalg.svd(m, full_matrices=False)
    return u @ vt


@pytest.mark.identity("normuon")
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("scale", ["match-rms", "keep-norm"])
def test_normuon_by_hand(nesterov: bool, scale: str) -> None:
    """Eight steps of a tall and a wide matrix with exact polar factors, decay, a large ε and a schedule, to 1e-9."""
    o = refopt.optimizer("normuon", lr=0.1, momentum=0.6, beta2=0.7, eps=0.1, nesterov=nesterov, scale=scale, weight_decay=0.2,
        schedule=schedule, **EXACT)  # fmt: skip
    for shape in MATRICES.values():
        x, gradients = stream(0, "random", steps=8, shapes={"w": shape})
        x, s = x["w"], o.init(x["w"])
        y, m, v = x, np.zeros(shape), np.zeros((shape[0], 1))
        assert s["v"][""].shape == v.shape
        for t, g in enumerate((g["w"] for g in gradients), 1):
            x, s = o.update(x, g, s)
            m = 0.6 * m + 0.4 * g
            u = polar(0.4 * g + 0.6 * m if nesterov else m)
            size = 0.2 * np.sqrt(u.size)
            if scale == "keep-norm":
                size = np.sqrt(max(1, shape[0] / shape[1])) * np.linalg.norm(u)
            v = 0.7 * v + 0.3 * np.mean(u**2, axis=1, keepdims=True)
            u = u / (np.sqrt(v) + 0.1)
            lr = 0.1 * schedule(t)
            y = (1 - 0.2 * lr) * y - lr * size * u / (np.linalg.norm(u) + 0.1)
            np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9)


@pytest.mark.claim("normuon", "adamuon")
def test_the_size_of_a_step() -> None:
    """ε = 0: ten steps have a root mean square of 0.2 η to 1e-12; NorMuon's other scale keeps Muon's norm, and without memory its rows are
    as long."""
    x, gradients = stream(1, "ill", steps=10, shapes={"w": (3, 5)})
    at: dict[str, Any] = {"lr": 0.5, "eps": 0.0, "weight_decay": 0.0}
    for name in ("normuon", "adamuon"):
        o = refopt.optimizer(name, **at)
        y, s = x["w"], o.init(x["w"])
        for g in gradients:
            z, s = o.update(y, g["w"], s)
            assert np.sqrt(np.mean((z - y) ** 2)) == pytest.approx(0.1, rel=1e-12)
            y = z
    muon = refopt.optimizer("muon", lr=0.5, momentum_form="average", nesterov=False)
    o = refopt.optimizer("normuon", scale="keep-norm", beta2=0.0, **at)
    g = gradients[0]["w"]
    a, b = (m.update(x["w"], g, m.init(x["w"]))[0] - x["w"] for m in (o, muon))
    assert np.linalg.norm(a) == pytest.approx(np.linalg.norm(b), rel=1e-12)
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), np.linalg.norm(a) / np.sqrt(3), rtol=1e-12)


@pytest.mark.identity("adamuon")
@pytest.mark.parametrize(
    "options", [{}, {"nesterov": True, "beta2": 0.7}, {"sign": False, "bias_correction": True}], ids=str
)
def test_adamuon_by_hand(options: dict[str, Any]) -> None:
    """Eight steps of a tall and a wide matrix with exact polar factors, decay, a large ε and a schedule, the paper's form and both
    others', to 1e-9."""
    o = refopt.optimizer(
        "adamuon", lr=0.1, momentum=0.6, eps=0.1, weight_decay=0.2, schedule=schedule, **EXACT, **options
    )
    beta2 = options.get("beta2", 0.6)
    for shape in MATRICES.values():
        x, gradients = stream(0, "random", steps=8, shapes={"w": shape})
        x, s = x["w"], o.init(x["w"])
        y, m, v = x, np.zeros(shape), np.zeros(shape)
        for t, g in enumerate((g["w"] for g in gradients), 1):
            # Signs of a 2 x n matrix are often of rank one: its smaller singular value is zero, and so stays.
            g = g + 0.1
            x, s = o.update(x, g, s)
            m = 0.6 * m + 0.4 * g
            u = 0.4 * g + 0.6 * m if options.get("nesterov") else m
            u = np.sign(u) if options.get("sign", True) else u
            left, values, right = np.linalg.svd(u, full_matrices=False)
            u = (left * (values > 1e-9)) @ right
            v = beta2 * v + (1 - beta2) * u**2
            u = u / (np.sqrt(v / (1 - beta2**t) if options.get("bias_correction") else v) + 0.1)
            lr = 0.1 * schedule(t)
            y = (1 - 0.2 * lr) * y - lr * 0.2 * np.sqrt(u.size) * u / (np.linalg.norm(u) + 0.1)
            np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9)


@pytest.mark.claim("adamuon")
def test_the_scales_of_the_coordinates_do_not_matter() -> None:
    """Gradients multiplied by any positive matrix, entry by entry, give the same run, to the bit; without the signs they do not."""
    x, gradients = stream(2, "random", steps=6, shapes={"w": (3, 4)})
    d = 2.0 ** np.random.default_rng(0).integers(-5, 6, (3, 4))
    for sign in (True, False):
        o = refopt.optimizer("adamuon", sign=sign)
        y = z = x["w"]
        s, r = o.init(y), o.init(z)
        for g in gradients:
            (y, s), (z, r) = o.update(y, g["w"], s), o.update(z, d * g["w"], r)
        assert np.array_equal(y, z) == sign


@pytest.mark.identity("adago")
@pytest.mark.parametrize("nesterov", [False, True])
def test_adago_by_hand(nesterov: bool) -> None:
    """Ten steps of a tall and a wide matrix with exact polar factors, decay and a schedule, of which some norms are above γ and some rates
    below ε, to 1e-9."""
    o = refopt.optimizer("adago", lr=0.3, momentum=0.6, nesterov=nesterov, gamma=2.0, least=0.09, initial=0.5, scale="max", weight_decay=0.2,
        schedule=schedule, **EXACT)  # fmt: skip
    for shape in MATRICES.values():
        x, gradients = stream(0, "random", steps=10, shapes={"w": shape})
        x, s = x["w"], o.init(x["w"])
        y, m, square, cut, floored = x, np.zeros(shape), 0.25, 0, 0
        for t, g in enumerate((g["w"] for g in gradients), 1):
            x, s = o.update(x, g, s)
            m = 0.6 * m + 0.4 * g
            size = min(np.linalg.norm(g), 2.0)
            square += size**2
            lr = 0.3 * schedule(t)
            rate = max(0.09, lr * size / np.sqrt(square))
            cut, floored = cut + (size == 2.0), floored + (rate == 0.09)
            u = polar(0.4 * g + 0.6 * m if nesterov else m)
            y = (1 - 0.2 * lr) * y - np.sqrt(max(1, shape[0] / shape[1])) * rate * u
            np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9)
        assert 0 < cut < 10 and 0 < floored < 10


@pytest.mark.claim("adago")
def test_the_rate_of_adagrad_norm() -> None:
    """Without ε and v_0, gradients of one norm below γ: the t-th step has the spectral norm η / sqrt(t), whatever the unit of the loss
    (1e-30 and 1e30 times), to 1e-9; and norms above γ count as γ."""
    g = np.array([[3.0, 0.0, 1.0], [0.0, -2.0, 0.0]])
    for unit, gamma in ((1.0, 1e9), (1e-30, 1e9), (1e30, np.inf), (1e3, 1.0)):
        o = refopt.optimizer("adago", lr=0.7, gamma=gamma, least=0.0, initial=0.0, ns_eps=0.0, **EXACT)
        x, s = o.update(np.zeros((2, 3)), 0.0 * g, o.init(np.zeros((2, 3))))
        for t in range(1, 7):
            y, s = o.update(x, unit * g, s)
            assert np.linalg.norm(y - x, 2) == pytest.approx(0.7 / np.sqrt(t), rel=1e-9)
            x = y


def _kozistr(cls: str, shapes: dict[str, Any], **options: Any) -> Side:
    """pytorch_optimizer's class with its Newton-Schulz in float64 in place of bfloat16."""

    def side(seed: int) -> Arrays:
        import torch

        module = importlib.import_module(f"pytorch_optimizer.optimizer.muon.{cls.lower()}")
        cast = module.zero_power_via_newton_schulz_5
        module.zero_power_via_newton_schulz_5 = functools.partial(cast, dtype=torch.float64)  # type: ignore[attr-defined]
        try:
            return run_torch(
                lambda p: getattr(module, cls)([{"params": p, "use_muon": True, **options}], foreach=False),
                seed, schedule, ("random",), shapes,
            )  # fmt: skip
        finally:
            module.zero_power_via_newton_schulz_5 = cast  # type: ignore[attr-defined]

    return side


SAID = "with decay, a large ε and a schedule, 200 steps on a random stream, to 1e-11."
CASES = [
    Case("normuon", "kozistr", "pytorch-optimizer",
        ours("normuon", kinds=("random",), shapes=KERNEL, dialect="kozistr", lr=0.05, momentum=0.8, beta2=0.7, eps=1e-2, weight_decay=0.1),
        _kozistr("NorMuon", KERNEL, lr=0.05, momentum=0.8, beta2=0.7, eps=1e-2, weight_decay=0.1), rtol=1e-11, why=WHY,
        says=f"pytorch_optimizer.NorMuon without its bfloat16 cast, matrices and a kernel, {SAID}"),
    Case("normuon", "official", "zichongli5/NorMuon@d45c9a4",
        ours("normuon", kinds=("random",), shapes=MATRICES, dialect="official", lr=0.05, momentum=0.8, beta2=0.7, weight_decay=0.1), None,
        rtol=1e-11, why=WHY, says="The authors' SingleDeviceNorMuon without its bfloat16 cast, with decay and a schedule, 200 steps on a random"
        " stream, to 1e-11."),
    Case("adamuon", "kozistr", "pytorch-optimizer",
        ours("adamuon", kinds=("random",), shapes=KERNEL, dialect="kozistr", lr=0.05, momentum=0.8, beta2=0.7, eps=1e-2, weight_decay=0.1),
        _kozistr("AdaMuon", KERNEL, lr=0.05, betas=(0.8, 0.7), eps=1e-2, weight_decay=0.1), rtol=1e-11, why=WHY,
        says=f"pytorch_optimizer.AdaMuon without its bfloat16 cast, matrices and a kernel, {SAID}"),
    Case("adamuon", "official", "Chongjie-Si/AdaMuon@369f0b3",
        ours("adamuon", kinds=("random",), shapes=MATRICES, dialect="official", lr=0.05, momentum=0.8, eps=1e-2, weight_decay=0.1), None,
        rtol=1e-11, why=WHY, says=f"The authors' AdaMuon on one worker without its bfloat16 casts, {SAID}"),
]  # fmt: skip
