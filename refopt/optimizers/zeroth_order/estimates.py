"""Estimates of a gradient from values: how directions are drawn, and differences along them."""

from __future__ import annotations

import math

import numpy as np

from refopt.core import params
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.rng import normal, rademacher

# All three have E[z zᵀ] = I, so that E[(gᵀz) z] = g.
LAWS = ("gaussian", "sphere", "rademacher")
FORMS = ("two-point", "one-sided")


def unit(rng: np.random.Generator, x: Params) -> Params:
    """Return a point of the unit sphere of all parameters, uniformly drawn."""
    z = normal(rng, x)
    return params.scale(1.0 / params.norm(z), z)


def draw(law: str, rng: np.random.Generator, x: Params) -> Params:
    """Return a direction z like x: normal numbers, a point of the sphere of radius √d, or signs."""
    if law == "sphere":
        return params.scale(math.sqrt(params.size(x)), unit(rng, x))
    return normal(rng, x) if law == "gaussian" else rademacher(rng, x)


def slope(
    oracle: Oracle, x: Params, z: Params, radius: float, form: str = "two-point", here: float = 0.0
) -> float:
    """Return a difference quotient of f at x along z.

    Parameters
    ----------
    oracle : Oracle
    x, z : array or dict of arrays
    radius : float
        μ.
    form : {"two-point", "one-sided"}
        ``(f(x + μ z) - f(x - μ z)) / (2 μ)``, or ``(f(x + μ z) - f(x)) / μ``.
    here : float
        f(x), for the second.
    """
    plus = oracle.value(params.axpy(radius, z, x))
    if form == "one-sided":
        return (plus - here) / radius
    return (plus - oracle.value(params.axpy(-radius, z, x))) / (2.0 * radius)


def slopes(
    oracle: Oracle, x: Params, law: str, radius: float, form: str, samples: int
) -> list[tuple[float, Params]]:
    """Return so many directions, each with the difference quotient along it."""
    here = oracle.value(x) if form == "one-sided" else 0.0
    found = []
    for _ in range(samples):
        z = draw(law, oracle.rng, x)
        found.append((slope(oracle, x, z, radius, form, here), z))
    return found


def mean(found: list[tuple[float, Params]]) -> Params:
    """Return the mean of ``c z`` over pairs (c, z)."""
    n = len(found)
    total = params.scale(found[0][0] / n, found[0][1])
    for c, z in found[1:]:
        total = params.axpy(c / n, z, total)
    return total


def coordinate_slopes(
    oracle: Oracle, x: Params, radius: float, form: str, mask: np.ndarray | None = None
) -> Params:
    """Return the difference quotient along every axis, or along those of a flat `mask`, zero elsewhere."""
    here = oracle.value(x) if form == "one-sided" else 0.0
    out = np.zeros(params.size(x))
    for i in np.arange(out.size) if mask is None else np.flatnonzero(mask):
        axis = np.zeros(out.size)
        axis[i] = 1.0
        out[i] = slope(oracle, x, params.unflatten(axis, x), radius, form, here)
    return params.unflatten(out, x)
