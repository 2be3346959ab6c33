"""AdaGrad (Duchi, Hazan and Singer 2011), as in Ruder's overview."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from refopt.core.arrays import Array, Namespace, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Rule
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.first_order.overview import RUDER

DUCHI = Source(
    key="duchi-2011-adaptive",
    authors="J. Duchi, E. Hazan, Y. Singer",
    year=2011,
    title="Adaptive Subgradient Methods for Online Learning and Stochastic Optimization",
    venue="Journal of Machine Learning Research 12:2121-2159",
)


@register(
    "adagrad",
    kind="optimizer",
    source=RUDER,
    where="section 4.3",
    also=(DUCHI,),
    dialects={
        "torch": Dialect(
            {"eps": 1e-10, "eps_inside": False, "decay": "coupled"},
            "torch 2.13 optim.Adagrad",
            "eps beside the root, as Duchi's delta; rate_decay is its lr_decay",
        ),
        "optax": Dialect({"eps": 1e-7, "initial": 0.1}, "optax 0.2.8 adagrad"),
        "keras": Dialect({"lr": 1e-3, "eps": 1e-7, "initial": 0.1, "decay": "decoupled"}, "Keras 3 Adagrad"),
    },
    evidence=(
        Evidence(
            "parity",
            "Keras 3's optimizer with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adagrad-keras]",
        ),
        Evidence(
            "parity",
            "torch.optim.Adagrad with lr_decay, start 0.2, decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adagrad-torch]",
        ),
        Evidence(
            "parity",
            "optax.adagrad with a large eps under a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adagrad-optax]",
        ),
        Evidence(
            "claim",
            "under a constant gradient the way made in t steps is lr sum k^(-1/2), to 1e-13",
            "tests/claims/test_adaptive.py::test_adagrad_constant_gradient",
        ),
        Evidence(
            "claim",
            "with eps = 0 rescaling the gradients coordinate by coordinate changes no bit",
            "tests/claims/test_adaptive.py::test_adagrad_invariant_to_diagonal_rescaling",
        ),
        Evidence(
            "identity",
            "is AdamNC with beta1 = 0, to 1e-13",
            "tests/identities/test_online.py::test_adamnc_without_momentum_is_adagrad",
        ),
    ),
    state_copies=1,
)
@dataclass(frozen=True, kw_only=True)
class AdaGrad(ElementwiseDecay):
    """AdaGrad: gradients divided by the root of the sum of all their squares.

    ``G_t = G_{t-1} + g_t²``, ``x_t = x_{t-1} - η g_t / sqrt(G_t + ε)``, from G_0 = 0.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η, in the units of x: the size of the first step.
    eps : float, range [0, inf)
        ε, in the units of the squared gradient (inside the root) or of the gradient.
    eps_inside : bool
        True as above; False: ``sqrt(G_t) + ε`` (torch; Duchi's δ).
    initial : float, range [0, inf)
        G_0; the paper has 0.
    rate_decay : float, range [0, inf)
        The rate of step t is divided by 1 + (t - 1) rate_decay (torch's ``lr_decay``).
    weight_decay : float, range [0, inf)
        The paper has none.
    decay : {"coupled", "decoupled", "independent"}
    schedule : callable, optional
    engine : {"array", "numba", "cupy"}

    Notes
    -----
    With ε = 0 a coordinate whose gradient has always been zero stays.

    References
    ----------
    S. Ruder 2016, arXiv:1609.04747, section 4.3. J. Duchi, E. Hazan, Y. Singer 2011, Adaptive
    Subgradient Methods for Online Learning and Stochastic Optimization, JMLR 12.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adagrad", lr=1.0, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([3.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([4.0]), s)
    >>> print(x)
    [-1.8]
    """

    slots: ClassVar[tuple[str, ...]] = ("G",)
    lr: Rate = hyper(0.01, "[0, inf)", rate=True)
    eps: float = hyper(1e-8, "[0, inf)")
    eps_inside: bool = hyper(True, (True, False))
    initial: float = hyper(0.0, "[0, inf)")
    rate_decay: float = hyper(0.0, "[0, inf)")

    def rate(self, t: int) -> float:
        """Return the learning rate of step `t`."""
        return super().rate(t) / (1.0 + (t - 1) * self.rate_decay)

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return G_0."""
        return namespace(leaf).full_like(leaf, self.initial)

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        return {
            "lr": self.rate(t),
            "inside": self.eps if self.eps_inside else 0.0,
            "outside": 0.0 if self.eps_inside else self.eps,
            "l2": self.coupled(),
            "keep": self.keep(t),
            "zero": 0.0,
            "one": 1.0,
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return the step."""
        divisor = nonzero(xp)

        def adagrad(x, g, G, lr, inside, outside, l2, keep, zero, one):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            G = G + g * g
            return keep * x - lr * g / divisor(xp.sqrt(G + inside) + outside, zero, one), G

        return adagrad
