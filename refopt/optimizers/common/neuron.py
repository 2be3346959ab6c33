"""One linear neuron on examples of two classes, seen through what a classification problem offers."""

from __future__ import annotations

from dataclasses import dataclass

from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError, ShapeError
from refopt.core.oracle import Oracle
from refopt.core.params import Params

NEEDS = ("residual", "loss_gradient", "vjp")


@dataclass(frozen=True)
class Neuron:
    """The examples' nets ``a_i^T w``, their labels ±1, and ``p_i = 1 / (1 + exp(y_i net_i))``."""

    nets: Array
    labels: Array
    wrong: Array

    @property
    def margins(self) -> Array:
        """``y_i net_i``, positive where an example is on its side."""
        return self.labels * self.nets


def neuron(oracle: Oracle, w: Params, owner: str) -> Neuron:
    """Ask for the nets and, through the logistic loss's derivative ``-y_i p_i / n``, for labels and p.

    Raises
    ------
    ArgumentError, ShapeError
        The problem has not one net an example, or another loss.
    """
    nets, slopes = oracle.residual(w), oracle.loss_gradient(w)
    if nets.ndim != 1:
        raise ShapeError(
            f"{owner}: wanted a problem with one net an example, got residuals {tuple(nets.shape)}"
        )
    xp = namespace(nets)
    wrong = xp.abs(slopes) * float(nets.shape[0])
    # Far on its side an example has a slope that rounds to zero, and its net has the label's sign.
    labels = xp.where(slopes == 0.0, xp.sign(nets), -xp.sign(slopes))
    expected = 1.0 / (1.0 + xp.exp(xp.clip(labels * nets, -80.0, 80.0)))
    if bool(xp.any(xp.abs(wrong - expected) > 1e-5)):
        raise ArgumentError(
            f"{owner}: wanted a problem with the logistic loss of two classes (logistic), got another"
        )
    return Neuron(nets, labels, wrong)
