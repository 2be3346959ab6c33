"""What every estimator shares: it is a wrapper whose base is given estimates for gradients."""

from __future__ import annotations

import numpy as np

from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params
from refopt.wrappers.base import Wrapper


class Estimator(Wrapper):
    """A method around a method: wherever the base asks for a gradient, it is given an estimate.

    A subclass gives `estimate`, and its `moments`, to which a test over all estimators holds it.
    """

    words = {
        "base": "The method that steps; a name takes further hyperparameters (``lr=...``).",
        "schedule": "Of the base's rate: handed on to a base that is given by name.",
    }

    @property
    def needs(self) -> tuple[str, ...]:
        """What the estimate is made of, and what the base needs beside gradients."""
        return tuple(dict.fromkeys((*self.own_needs, *(n for n in self.base.needs if n != "grad"))))

    def estimate(self, oracle: Oracle, x: Params) -> Params:
        """Return an estimate of the gradient at x, from the oracle and its random numbers.

        Parameters
        ----------
        oracle : Oracle
        x : array or dict of arrays

        Returns
        -------
        like x
        """
        raise NotImplementedError

    def moments(self, f: float, g: np.ndarray) -> tuple[np.ndarray, float]:
        """Return E[ĝ] and E‖ĝ‖² at a point where a linear function has the value f and the gradient g.

        Parameters
        ----------
        f : float
        g : array

        Returns
        -------
        mean : array
        square : float
        """
        raise NotImplementedError

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with estimates."""
        # The base's random numbers go on where the estimate's end: both draw from one generator.
        _ = oracle.rng
        x, base = self.base.step(x, s["base"], GradientsAt(oracle, self.estimate))
        return x, {"t": s["t"] + 1, "base": base}


def isotropic(law: str, samples: int, g: np.ndarray) -> float:
    """Return E‖ĝ‖² of the mean of so many ``(gᵀz) z``: (d + n + 1)/n ‖g‖² for Gaussian z, else (d + n - 1)/n ‖g‖²."""
    extra = 1 if law == "gaussian" else -1
    return (g.size + samples + extra) / samples * float(g @ g)
