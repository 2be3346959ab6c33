"""The PSGD methods beside their author's code, fed with the same drawn vectors."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import refopt

from tests.parity.case import Arrays, Case
from tests.streams import Leaves

SHAPES: dict[str, tuple[int, ...]] = {"w": (3, 2), "b": (3,), "k": (2, 3, 2), "s": ()}
STEPS = 30


def data(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A and b of Σ log cosh(a_iᵀ x - b_i), on columns of unequal size."""
    rng = np.random.default_rng(seed)
    n = sum(int(np.prod(s)) for s in SHAPES.values())
    return rng.standard_normal((30, n)) * 10.0 ** rng.uniform(-1.0, 0.3, n), rng.standard_normal(30)


def joined(x: Leaves) -> np.ndarray:
    return np.concatenate([np.ravel(x[k]) for k in SHAPES])


def parted(v: np.ndarray) -> Leaves:
    out, start = {}, 0
    for k, s in SHAPES.items():
        stop = start + int(np.prod(s))
        out[k] = v[start:stop].reshape(s)
        start = stop
    return out


def cosh(seed: int = 0) -> Any:
    """The problem: its Hessian changes, and has no structure."""
    A, b = data(seed)

    def hvp(x: Leaves, v: Leaves) -> Leaves:
        return parted(A.T @ ((1.0 - np.tanh(A @ joined(x) - b) ** 2) * (A @ joined(v))) / 30)

    return refopt.from_functions(
        lambda x: float(np.mean(np.log(np.cosh(A @ joined(x) - b)))),
        lambda x: parted(A.T @ np.tanh(A @ joined(x) - b) / 30),
        hvp=hvp,
        x0=parted(np.random.default_rng(seed + 1).standard_normal(A.shape[1])),
    )


# What both sides are run with, by label.
FORMS: dict[str, dict[str, Any]] = {
    "newton": {},
    "momentum": {"momentum": 0.7, "max_norm": 0.3, "update_probability": 0.6},
    "first": {"normalizer": "first", "fit_rate": 0.05, "init_scale": 0.7},
    "whitening": {"form": "whitening", "momentum": 0.5},
    "whitening-first": {
        "form": "whitening",
        "normalizer": "first",
        "update_probability": 0.7,
        "init_scale": 2.0,
    },
}
OWN: dict[str, dict[str, dict[str, Any]]] = {
    "psgd-diagonal": {"": {}},
    "psgd-xmat": {"": {}},
    "psgd-lra": {"": {"rank": 3, "balance_probability": 0.3}},
    "psgd-affine": {"": {"balance_probability": 0.3}, "-diagonal": {"max_size": 3, "max_skew": 1.2}},
    "psgd-kron": {"": {"balance_probability": 0.3}, "-dense": {"max_skew": float("inf")}},
}


def ours(seed: int, name: str, own: dict[str, Any]) -> Arrays:
    out = {}
    for label, kwargs in FORMS.items():
        rows: list[np.ndarray] = []
        refopt.minimize(cosh(seed), name, steps=STEPS, seed=seed, lr=0.05, callback=lambda x, rows=rows: rows.append(joined(x)),
            **kwargs, **own)  # fmt: skip
        out[label] = np.stack(rows[2::3])
    return out


GEOMETRIES = ("qeq", "half", "qep", "quad")


def inverse_free(seed: int) -> Arrays:
    """The geometries of October 2025, in both forms, without balancing by chance."""
    out = {}
    for geometry in GEOMETRIES:
        for form, kwargs in (
            (
                "whitening",
                {
                    "dialect": "official",
                    "momentum": 0.8,
                    "update_probability": 0.7,
                    "max_rms": 0.9,
                    "max_entry": 1.5,
                },
            ),
            (
                "newton",
                {
                    "form": "newton",
                    "init_scale": 0.8,
                    "momentum": 0.6,
                    "warmup": True,
                    "max_skew": float("inf"),
                },
            ),
        ):
            rows: list[np.ndarray] = []
            own: dict[str, Any] = {**kwargs, "geometry": geometry, "balance_probability": 0.0}
            refopt.minimize(cosh(seed), "psgd-kron", steps=20, seed=seed, lr=0.05, callback=lambda x, rows=rows: rows.append(joined(x)),
                **own)  # fmt: skip
            out[f"{form}-{geometry}"] = np.stack(rows[3::4])
    return out


def recent_lra(seed: int) -> Arrays:
    """Low-rank forms of October 2025."""
    out = {}
    for label, kwargs in (
        ("whitening", {"momentum": 0.8, "update_probability": 0.7, "max_rms": 0.9, "max_entry": 1.5}),
        (
            "newton",
            {
                "form": "newton",
                "init_scale": 0.8,
                "momentum": 0.6,
                "max_rms": None,
                "max_entry": None,
                "max_norm": 2.0,
            },
        ),
    ):
        rows: list[np.ndarray] = []
        own: dict[str, Any] = {"dialect": "official", "rank": 3, "lr": 0.05, **kwargs}
        refopt.minimize(
            cosh(seed),
            "psgd-lra",
            steps=30,
            seed=seed,
            callback=lambda x, rows=rows: rows.append(joined(x)),
            **own,
        )
        out[label] = np.stack(rows[2::3])
    return out


CASES = [
    Case("psgd-lra", "official-2025", "lixilinx/psgd_torch@a8616f1", recent_lra, None,
        says="The author's classes of October 2025 (30 steps, rank 3; whitening with momentum, updates by chance and clipping,"
        " and Newton with a clipped norm) to 1e-12"),
    Case("psgd-kron", "official-2025", "lixilinx/psgd_torch@a8616f1", inverse_free, None,
        says="The author's classes of October 2025 (20 steps on leaves of 0 to 3 axes, whitening and Newton forms, four"
        " inverse-free geometries, momentum, updates by chance, clipping; with exact norms in place of drawn bounds) to 1e-12"),
    *[
    Case(name, f"official{label}", "lixilinx/psgd_torch@a8616f1", functools.partial(ours, name=name, own=own), None,
        says="The author's class, for the diagonal LRA of rank 0 (30 steps on leaves of 0 to 3 axes; Newton and whitening"
        " forms, both normalisers, momentum, clipping, updates by chance, factors balanced) to 1e-12")
    for name, every in OWN.items() for label, own in every.items()
    ],
]  # fmt: skip
