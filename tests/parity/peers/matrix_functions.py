"""Matrix functions beside optax, POT, pytorch_optimizer, torch and the authors' repositories."""

from __future__ import annotations

import numpy as np
import refopt

from tests.parity.case import Arrays, Case


def _polar_inputs(seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        "wide": rng.standard_normal((4, 7)),
        "tall": rng.standard_normal((9, 3)),
        "square": np.diag([3.0, 0.1]),
    }


def _polar_ours(seed: int) -> Arrays:
    polar = refopt.get("polar-newton-schulz")
    return {k: polar(v, steps=5, eps=1e-8) for k, v in _polar_inputs(seed).items()}


def _polar_optax(seed: int) -> Arrays:
    import jax
    from optax.contrib._muon import orthogonalize_via_newton_schulz

    with jax.enable_x64(True):
        coefficients = jax.numpy.asarray((3.4445, -4.7750, 2.0315), dtype="float64")
        return {
            k: np.asarray(orthogonalize_via_newton_schulz(jax.numpy.asarray(v), coefficients, 5, eps=1e-8))
            for k, v in _polar_inputs(seed).items()
        }


CASES = [
    Case("polar-newton-schulz", "optax", "optax", _polar_ours, _polar_optax),
]
