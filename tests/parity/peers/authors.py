"""Methods beside their authors' own code: recorded tapes, and pytorch_optimizer where it is the sound reading.

The authors' code was run in float64 on the same streams; its casts to bfloat16 and float32 were taken out,
and it was handed the random masks and signs that refopt draws.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import refopt
from refopt.core.oracle import Oracle

from tests.parity.case import Arrays, Case
from tests.parity.makers import TWO, Side, ours, torch_side
from tests.streams import run_refopt, schedule

# A transformer in small: SCALE treats each of the four in another way.
MODEL = {"embed_tokens": (4, 3), "hidden": (3, 5), "norm": (5,), "head": (2, 6)}
MATRICES = {"tall": (5, 3), "wide": (2, 6), "square": (3, 3)}
LAYERS = {"tall": (5, 3), "kernel": (3, 2, 2, 2), "bias": (4,)}
# The code takes κ from the sides of a kernel.
KERNELS = {"tall": (9, 2, 1, 2), "upright": (4, 2, 3, 1), "square": (9, 2, 2, 2), "bias": (4,)}
PAIR = (0.8, 0.6)
BETAS = {"beta1": 0.8, "beta2": 0.6}
POINT = {"bias": (3,), "kernel": (2, 2, 2, 3), "matrix": (2, 3)}
PROBLEM_STEPS = 40
PROBLEM_KEPT = (1, 2, 3, 5, 10, 20, 30, 40)
SVD = "singular vectors of the momentum amplify rounding by the inverse of the gaps of its singular values"


class Quartic:
    """f(x) = xᵀ A x / 2 + sum x⁴ / 4 over all leaves at once: indefinite, every pair coupled."""

    def __init__(self, seed: int, raised: float = 0.0) -> None:
        rng, self.raised = np.random.default_rng([seed, 7]), raised
        n = sum(int(np.prod(s)) for s in POINT.values())
        a = rng.standard_normal((n, n)) / n**0.5
        self.a = (a + a.T) / 2
        self.start = self.split(rng.standard_normal(n))

    @staticmethod
    def split(v: np.ndarray) -> dict[str, np.ndarray]:
        ends = np.cumsum([int(np.prod(s)) for s in POINT.values()])
        return {k: part.reshape(s) for (k, s), part in zip(POINT.items(), np.split(v, ends[:-1]))}

    @staticmethod
    def join(x: Any) -> np.ndarray:
        return np.concatenate([x[k].ravel() for k in POINT])

    def value(self, x: Any) -> float:
        v = self.join(x)
        return float(0.5 * v @ self.a @ v + np.sum(v**4) / 4) + self.raised

    def grad(self, x: Any) -> dict[str, np.ndarray]:
        v = self.join(x)
        return self.split(self.a @ v + v**3)

    def hvp(self, x: Any, z: Any) -> dict[str, np.ndarray]:
        v, w = self.join(x), self.join(z)
        return self.split(self.a @ w + 3 * v**2 * w)

    def closure(self, p: Any) -> Callable[[], float]:
        """Return what a torch optimizer of the parameters `p` is given: gradients are written, the value returned."""
        import torch

        def closure() -> float:
            x = {k: v.detach().numpy().copy() for k, v in p.items()}
            for k, g in self.grad(x).items():
                p[k].grad = torch.tensor(g)
            return self.value(x)

        return closure


def _on_quartic(name: str, raised: float = 0.0, **kwargs: Any) -> Side:
    """A method that needs more than one gradient a step, under the tests' schedule."""
    return on_quartic(lambda: refopt.optimizer(name, **kwargs), raised)


def on_quartic(make: Callable[[], Any], raised: float = 0.0) -> Side:
    """What ``make()`` returns, asking at points of its own."""

    def side(seed: int) -> Arrays:
        problem = Quartic(seed, raised)
        x, oracle = problem.start, Oracle(problem, seed)
        method = make()
        s, rows = method.init(x), []
        for t in range(1, PROBLEM_STEPS + 1):
            oracle.begin(t)
            x, s = method.step(x, s, oracle)
            if t in PROBLEM_KEPT:
                rows.append(problem.join(x))
        return {"x": np.stack(rows)}

    return side


def _base(name: str, **kwargs: Any) -> Any:
    return refopt.optimizer(name, schedule=schedule, **kwargs)


def _adahessian(dialect: str) -> Side:
    return _on_quartic(
        "adahessian", dialect=dialect, lr=0.05, eps=1e-2, weight_decay=0.1, hessian_power=0.7,
        schedule=schedule, **BETAS,
    )  # fmt: skip


def _xgrad(base: Any) -> Side:
    return lambda seed: _on_quartic("xgrad", base=base(), steps_ahead=2.0)(seed)


def _sam(adaptive: bool) -> Side:
    def side(seed: int) -> Arrays:
        base = _base("momentum", dialect="torch", lr=0.02, momentum=0.8, weight_decay=0.1)
        return _on_quartic("sam", dialect="davda54", base=base, rho=0.1, adaptive=adaptive)(seed)

    return side


def _scale(seed: int) -> Arrays:
    others = _base(
        "adamw", decay="decoupled", lr=0.02, eps=1e-2, eps_corrected=False, weight_decay=0.1, **BETAS
    )
    return ours(
        "scale", shapes=MODEL, dialect="official", lr=0.05, momentum=0.8, weight_decay=0.1, others=others
    )(seed)


def _muon(seed: int, shapes: dict[str, Any] = LAYERS) -> Arrays:
    others = _base("adamw", decay="decoupled", lr=0.02, eps=1e-2, weight_decay=0.1, **BETAS)
    return ours(
        "muon", shapes=shapes, dialect="official", lr=0.03, momentum=0.9, weight_decay=0.1, others=others
    )(seed)


CONDA = {"lr": 0.03, "eps": 1e-2, "weight_decay": 0.1, "update_every": 7, "scale": 0.7, **BETAS}
SPAM = {"lr": 0.03, "eps": 1e-2, "threshold": 1.5, "reset_every": 50, "warmup": 15, "clip_after": 10, **BETAS}
STABLE = {"lr": 0.03, "eps": 1e-2, "weight_decay": 0.1}
STABLE_OURS = {**STABLE, **BETAS, "gamma1": 0.6, "gamma2": 0.7, "gamma3": 0.9}


def _kozistr_conda(seed: int, shapes: dict[str, Any] = MATRICES, weight_decay: float = 0.1) -> Arrays:
    import torch

    # GaLoreProjector casts to float32 before its SVD; without the cast the rest is exact.
    cast = torch.Tensor.float
    torch.Tensor.float = lambda self: self  # type: ignore[method-assign,assignment]
    try:
        return torch_side(
            "Conda",
            shapes=shapes,
            lr=0.03,
            betas=PAIR,
            eps=1e-2,
            weight_decay=weight_decay,
            update_proj_gap=7,
            scale=0.7,
        )(seed)
    finally:
        torch.Tensor.float = cast  # type: ignore[method-assign]


def _conda_with_rest(seed: int) -> Arrays:
    """The kozistr dialect's own method for the rest, with the same numbers as for matrices."""
    rest = refopt.optimizer("conda", dialect="kozistr").others
    hyper = {**CONDA, "weight_decay": 0.0}
    others = dataclasses.replace(rest, lr=0.03, eps=1e-2, schedule=schedule, **BETAS)
    return ours("conda", shapes=LAYERS, dialect="kozistr", others=others, **hyper)(seed)


CASES = [
    Case(
        "scale",
        "official",
        "OptimAI-Lab/Minimalist_LLM_Pretraining@f5bd4e7",
        _scale,
        None,
        says="The authors' SCALE on hidden, embedding, last-layer and vector leaves, 200 steps on two streams with decay and a schedule, to 1e-12 (measured 5e-16).",
    ),
    Case(
        "conda",
        "authors",
        "jie040109/Conda@449af71",
        ours("conda", shapes=MATRICES, **CONDA),
        None,
        rtol=1e-11,
        why=SVD,
        says="The authors' Conda with its float32 cast taken out, tall, wide and square matrices, 200 steps on two streams with decay and a schedule, to 1e-11 (measured 3e-14).",
    ),
    Case(
        "conda",
        "kozistr",
        "pytorch-optimizer",
        ours("conda", shapes=MATRICES, dialect="kozistr", **CONDA),
        _kozistr_conda,
        rtol=1e-11,
        why=SVD,
        says="pytorch_optimizer.Conda with its float32 cast taken out, 200 steps on two streams with decay and a schedule, to 1e-11 (measured 5e-14).",
    ),
    Case(
        "conda",
        "kozistr-rest",
        "pytorch-optimizer",
        _conda_with_rest,
        lambda seed: _kozistr_conda(seed, LAYERS, 0.0),
        rtol=1e-11,
        why=SVD,
        says="pytorch_optimizer.Conda with its float32 cast taken out, matrix, kernel and bias without decay, 200 steps on two streams with a schedule, to 1e-11.",
    ),
    Case(
        "spam",
        "authors",
        "TianjinYellow/SPAM-Optimizer@e8185fb",
        ours("spam", weight_decay=0.1, **SPAM),
        None,
        says="The authors' SPAM with clipping and four resets, 200 steps on two streams with decay and a schedule, to 1e-12 (measured 2e-15).",
    ),
    Case(
        "spam",
        "authors-sparse",
        "TianjinYellow/SPAM-Optimizer@e8185fb",
        lambda seed: run_refopt("spam", seed, TWO, MATRICES, density=0.6, schedule=schedule, **SPAM),
        None,
        says="The authors' SPAM at density 0.6, handed the same masks, 200 steps on two streams with a schedule, to 1e-12 (measured 2e-16).",
    ),
    Case(
        "stable-spam",
        "authors",
        "TianjinYellow/StableSPAM@6a66da1",
        ours("stable-spam", reset_every=10**9, total_steps=300, anneal_to=0.3, **STABLE_OURS),
        None,
        says="The authors' StableSPAM with annealing, before its first reset, 200 steps on two streams with decay and a schedule, to 1e-12 (measured 2e-16).",
    ),
    Case(
        "stable-spam",
        "kozistr",
        "pytorch-optimizer",
        ours("stable-spam", reset_every=50, **STABLE_OURS),
        torch_side("StableSPAM", betas=PAIR, gamma1=0.6, gamma2=0.7, theta=0.9, update_proj_gap=50, **STABLE),
        says="pytorch_optimizer.StableSPAM with four resets, 200 steps on two streams with decay and a schedule, to 1e-12 (measured 2e-16).",
    ),
    Case(
        "sgd-sai",
        "official",
        "AnonymousAlethiometer/SGD_SaI@e213080",
        ours("sgd-sai", dialect="official", lr=0.01, momentum=0.8, eps=1e-2, weight_decay=0.1),
        None,
        says="The authors' SGD_sai 1.0.3, 200 steps on two streams with decay and a schedule, to 1e-12 (measured 2e-16).",
    ),
    Case(
        "xgrad",
        "authors-sgdm",
        "guanleics/XGrad@7597c57",
        _xgrad(
            lambda: _base(
                "momentum",
                dialect="torch",
                full_first=False,
                lr=0.02,
                momentum=0.8,
                dampening=0.3,
                weight_decay=0.1,
            )
        ),
        None,
        says="The authors' SGD with dampening and decay, two steps ahead, 40 steps on a nonlinear function under a schedule, to 1e-12 (measured 2e-16).",
    ),
    Case(
        "xgrad",
        "authors-adam",
        "guanleics/XGrad@7597c57",
        _xgrad(lambda: _base("adam", lr=0.03, eps=1e-2, **BETAS)),
        None,
        says="The authors' Adam, two steps ahead, 40 steps on a nonlinear function under a schedule, to 1e-12 (measured 3e-16).",
    ),
    Case(
        "xgrad",
        "authors-adamw",
        "guanleics/XGrad@7597c57",
        _xgrad(lambda: _base("adamw", decay="decoupled", lr=0.03, eps=1e-2, weight_decay=0.1, **BETAS)),
        None,
        says="The authors' AdamW with decay, two steps ahead, 40 steps on a nonlinear function under a schedule, to 1e-12 (measured 1e-15).",
    ),
    Case(
        "adahessian",
        "official",
        "amirgholami/adahessian@85ebc00",
        _adahessian("official"),
        None,
        says="The authors' image-classification code handed the same signs, vector, matrix and kernel, 40 steps on a nonlinear function under a schedule with decay, to 1e-12 (measured 4e-16).",
    ),
    Case(
        "adahessian",
        "instruction",
        "amirgholami/adahessian@85ebc00",
        _adahessian("instruction"),
        None,
        says="The authors' instruction code handed the same signs, vector, matrix and kernel, 40 steps on a nonlinear function under a schedule with decay, to 1e-12 (measured 6e-16).",
    ),
    Case(
        "muon",
        "official",
        "KellerJordan/Muon@857d1ad",
        _muon,
        None,
        says="The authors' SingleDeviceMuonWithAuxAdam with its bfloat16 cast taken out, matrix, kernel and vector, 200 steps on two streams with decay and a schedule, to 1e-12 (measured 4e-16).",
    ),
    Case(
        "muon",
        "official-kernels",
        "KellerJordan/Muon@857d1ad",
        lambda seed: _muon(seed, KERNELS),
        None,
        says="The same code on kernels that are tall when flattened and not square, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "sam",
        "davda54",
        "davda54/sam@3c3afdb",
        _sam(False),
        None,
        says="davda54's SAM around torch's SGD with momentum and decay, vector, matrix and kernel, 40 steps on a nonlinear function under a schedule, to 1e-12 (measured 2e-16).",
    ),
    Case(
        "sam",
        "davda54-adaptive",
        "davda54/sam@3c3afdb",
        _sam(True),
        None,
        says="davda54's SAM(adaptive=True), likewise, to 1e-12 (measured 2e-16).",
    ),
]
