"""Low-memory methods beside their authors' code: recorded tapes.

The code was run in float64 with its float32 casts taken out. Signs of singular vectors were fixed on both
sides (the entry of largest magnitude positive): they belong to the linear algebra library.
"""

from __future__ import annotations

import types
from typing import Any

from tests.parity.case import Arrays, Case
from tests.parity.libraries import run_torch
from tests.parity.makers import TWO, Side, optax_side
from tests.streams import run_refopt, schedule

SHAPES = {"tall": (5, 3), "wide": (2, 6), "square": (3, 3), "bias": (4,)}
BETAS = {"beta1": 0.8, "beta2": 0.6}
COMMON = {"lr": 0.03, "eps": 1e-2, "weight_decay": 0.1, **BETAS}
# Rank, gap and scale.
RUNS = {"a": (1, 7, 0.25), "b": (2, 20, 1.3)}


def _sides(name: str, sides: tuple[str, ...]) -> Side:
    def side(seed: int) -> Arrays:
        out = {}
        for which in sides:
            for label, (rank, gap, scale) in RUNS.items():
                if which != "std" and label == "b":
                    continue
                runs = run_refopt(
                    name, seed, TWO if which == "std" else TWO[:1], SHAPES, dialect="official", side=which, rank=rank, update_every=gap,
                    scale=scale, fixed_signs=True, schedule=schedule, **COMMON,
                )  # fmt: skip
                out |= {f"{which}-{label}-{kind}": v for kind, v in runs.items()}
        return out

    return side


# More rows than the rank, or the first step normalises the rounding of a rest (or of a slope) that is zero.
OVER = {**SHAPES, "wide": (3, 6)}


def _cosmos(seed: int) -> Arrays:
    out = {}
    for rank in (1, 2):
        runs = run_refopt(
            "cosmos", seed, ("random", "flip"), OVER, dialect="official", rank=rank, gamma=0.3, ratio=0.2, schedule=schedule,
            **COMMON,
        )  # fmt: skip
        out |= {f"{rank}-{kind}": v for kind, v in runs.items()}
    return out


def _online(seed: int) -> Arrays:
    out = {}
    for which in ("adamw", "sgd"):
        runs = run_refopt(
            "online-subspace-descent", seed, ("random", "flip"), OVER, dialect="official", rank=2, scale=0.7, basis_ratio=0.05 / 0.03,
            basis_optimizer=which, fixed_signs=True, schedule=schedule, **COMMON,
        )  # fmt: skip
        out |= {f"{which}-{kind}": v for kind, v in runs.items()}
    return out


DCT: dict[str, dict[str, Any]] = {
    "plain": {"rank": 2, "update_every": 7},
    "feedback": {"rank": 1, "update_every": 3, "error_feedback": True},
    "turned": {"rank": 2, "update_every": 1, "error_feedback": True, "at_refresh": "project", "norm": "l2"},
}


def _dct(seed: int) -> Arrays:
    out = {}
    for label, settings in DCT.items():
        # Its one cosine matrix is for one length.
        runs = run_refopt(
            "dct-adamw", seed, ("random", "flip"), {"tall": (5, 3), "wide": (3, 6), "bias": (4,)}, dialect="official",
            schedule=schedule, **COMMON, **settings,
        )  # fmt: skip
        out |= {f"{label}-{kind}": v for kind, v in runs.items()}
    return out


# Blocks in each order, drawn coordinates (the authors' code was handed the same permutations), subspaces.
FRUGALS: dict[str, dict[str, Any]] = {
    "blocks": {"projection": "blocks", "order": "random", "density": 0.5},
    "ascending": {"projection": "blocks", "order": "ascending", "density": 0.4},
    "descending": {"projection": "blocks", "order": "descending", "density": 0.4, "inactive": "sgd"},
    "mirror": {"projection": "blocks", "order": "mirror", "density": 0.5},
    "columns": {"density": 0.4},
    "rows": {"projection": "rows", "density": 0.4, "at_refresh": "keep"},
    "entries": {"projection": "entries", "density": 0.3, "inactive": "none"},
    "svd": {"projection": "svd", "density": 0.4},
    "both": {"projection": "svd", "density": 0.4, "side": "both", "at_refresh": "keep", "inactive": "sgd"},
}
FOUR = {**SHAPES, "square": (5, 5), "upright": (4, 2)}


def _frugal(seed: int) -> Arrays:
    out = {}
    for label, settings in FRUGALS.items():
        runs = run_refopt(
            "frugal", seed, TWO[:1], FOUR, dialect="official", update_every=9, scale=0.7, inactive_ratio=0.3,
            fixed_signs=True, schedule=schedule, **COMMON, **settings,
        )  # fmt: skip
        out |= {f"{label}-{kind}": v for kind, v in runs.items()}
    return out


# Optax scales all leaves; matrices alone are compared.
ONLY = {k: v for k, v in SHAPES.items() if k != "bias"}


def _library_ours(dialect: str) -> Side:
    return lambda seed: run_refopt(
        "galore", seed, TWO, ONLY, dialect=dialect, rank=2, update_every=7, scale=0.7, fixed_signs=True,
        schedule=schedule, **COMMON,
    )  # fmt: skip


def _kozistr(seed: int) -> Arrays:
    import pytorch_optimizer
    import torch

    cast, library = torch.Tensor.float, torch.linalg.svd

    def svd(a: Any, full_matrices: bool) -> Any:
        u, s, vt = library(a, full_matrices=full_matrices)
        u = u * torch.where(u.max(0).values >= (-u).max(0).values, 1.0, -1.0).to(u.dtype)
        return u, s, vt * torch.where(vt.max(1).values >= (-vt).max(1).values, 1.0, -1.0).to(u.dtype)[:, None]

    def make(parameters: list[Any]) -> Any:
        group = {
            "params": parameters,
            "rank": 2,
            "update_proj_gap": 7,
            "scale": 0.7,
            "projection_type": "std",
        }
        return pytorch_optimizer.GaLore([group], lr=0.03, betas=(0.8, 0.6), eps=1e-2, weight_decay=0.1)

    torch.Tensor.float = lambda self: self  # type: ignore[method-assign,assignment]
    torch.linalg.svd = svd
    try:
        return run_torch(make, seed, schedule, TWO, ONLY)
    finally:
        torch.Tensor.float, torch.linalg.svd = cast, library  # type: ignore[method-assign]


def _optax(seed: int) -> Arrays:
    import jax.numpy as jnp
    from optax.contrib import _galore

    def svd(a: Any, full_matrices: bool) -> Any:
        u, s, vt = jnp.linalg.svd(a, full_matrices=full_matrices)
        u = u * jnp.where(u.max(0) >= (-u).max(0), 1.0, -1.0)
        return u, s, vt * jnp.where(vt.max(1) >= (-vt).max(1), 1.0, -1.0)[:, None]

    class Numpy:
        """jax.numpy with an SVD whose signs are fixed, and in which a cast to float32 changes nothing."""

        float32 = jnp.float64
        linalg = types.SimpleNamespace(svd=svd)

        def __getattr__(self, name: str) -> Any:
            return getattr(jnp, name)

    def make(optax: Any, rate: Any) -> Any:
        adam = optax.scale_by_adam(b1=0.8, b2=0.6, eps=1e-2)
        return optax.contrib.galore(
            rate, rank=2, update_proj_gap=7, scale=0.7, base_optimizer=adam, weight_decay=0.1
        )

    before, _galore.jnp = _galore.jnp, Numpy()
    try:
        return optax_side(make, 0.03, kinds=TWO, shapes=ONLY)(seed)
    finally:
        _galore.jnp = before


CASES: list[Any] = [
    Case(
        "galore", "official", "jiaweizzhao/GaLore@2cc66f8",
        _sides("galore", ("std", "reverse-std", "left", "right", "both")), None,
        says="The authors' AdamW with its projector, all five of its sides, two ranks, gaps and scales, tall, wide, square and vector, 200 steps (std on two streams) with decay and a schedule, to 1e-12 (measured 1e-15).",
    ),
    Case(
        "fira", "official", "xichen-fy/Fira@5c28b13", _sides("fira", ("std", "reverse-std", "left", "right", "both")), None,
        says="The authors' AdamW with its projector, all five of its sides, two ranks, gaps and scales, tall, wide, square and vector, 200 steps (std on two streams) with decay and a schedule, to 1e-12 (measured 6e-15).",
    ),
    Case(
        "gradnormlorp", "official", "Jhhuangkay/Gradient-Weight-normalized-Low-rank-Projection-for-Efficient-LLM-Training@66c8e76",
        _sides("gradnormlorp", ("std", "reverse-std", "left", "right", "both")), None,
        says="The authors' LowRankWeightNormAdamW with its projector, all five of its sides, two ranks, gaps and scales, tall, wide and square projected, a vector not, 200 steps (std on two streams) with decay and a schedule, to 1e-12.",
    ),
    Case(
        "cosmos", "official", "lliu606/COSMOS@61de180", _cosmos, None, rtol=1e-11,
        why="five quintic steps amplify rounding in small singular directions by up to 3.4445^5 = 485",
        says="The authors' COSMOS with its bfloat16 cast and the fallback's 0.1 taken out, two ranks, tall, wide, square and vector, 200 steps on two streams with decay and a schedule, to 1e-11 (measured 5e-14).",
    ),
    Case(
        "online-subspace-descent", "official", "kyleliang919/Online-Subspace-Descent@e694775", _online, None,
        says="The authors' AdamW with the projection moved by AdamW and by SGD, tall, wide, square and vector, 200 steps on two streams with decay and a schedule, to 1e-12 (measured 1e-15).",
    ),
    Case(
        "dct-adamw", "official", "IST-DASLab/ISTA-DASLab-Optimizers@4c98e6e", _dct, None,
        says="The authors' DCTAdamW, its topk sorted and its product with R not written over its operand: plain, with error feedback, and with rotation, tall, wide and vector, 200 steps on two streams with decay and a schedule, to 1e-12.",
    ),
    Case(
        "frugal", "official", "fzmushko/FRUGAL@c7ebe4c", _frugal, None,
        says="The authors' AdamW with blocks in four orders, random columns, rows and entries (handed the same permutations) and singular subspaces, three rules for the rest, moments reset and kept, five leaves, 200 steps with decay and a schedule, to 1e-12.",
    ),
    Case(
        "galore", "optax", "optax", _library_ours("optax"), _optax,
        says="optax.contrib.galore with its float32 cast taken out, tall, wide and square, 200 steps on two streams with decay and a schedule, to 1e-12.",
    ),
    Case(
        "galore", "kozistr", "pytorch-optimizer", _library_ours("kozistr"), _kozistr,
        says="pytorch_optimizer.GaLore with its float32 cast taken out, refreshed at t = T, 2T, …, 200 steps on two streams with decay and a schedule, to 1e-12.",
    ),
]  # fmt: skip
