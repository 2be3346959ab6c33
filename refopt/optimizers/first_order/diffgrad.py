"""diffGrad (Dubey et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from refopt.core.arrays import Namespace
from refopt.core.hyper import hyper
from refopt.core.method import Rule
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.first_order.adam import AdamFamily

DUBEY = Source(
    key="dubey-2019-diffgrad",
    authors="S. R. Dubey et al.",
    year=2019,
    title="diffGrad: An Optimization Method for Convolutional Neural Networks",
    arxiv="1909.11015",
)


@register(
    "diffgrad",
    kind="optimizer",
    source=DUBEY,
    where="the update rule with the friction coefficient ξ",
    dialects={
        "official": Dialect(
            {"eps_corrected": False, "decay": "coupled"},
            "shivram1987/diffGrad diffGrad_v2.py",
            "its first version kept no copy of the gradient, and could be Adam at half the rate",
        ),
        "kozistr": Dialect(
            {"eps_corrected": False, "eps_root": 1e-15, "decay": "decoupled"},
            "pytorch_optimizer 4.1.0 DiffGrad",
        ),
    },
    evidence=(
        Evidence(
            "parity",
            "the authors' diffGrad_v2 with low beta2, large eps, decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[diffgrad-official]",
        ),
        Evidence(
            "parity",
            "pytorch_optimizer.DiffGrad with decoupled decay under a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[diffgrad-kozistr]",
        ),
        Evidence(
            "identity",
            "equals the paper's equations transcribed line by line, to 1e-13",
            "tests/identities/test_scaled.py::test_diffgrad_line_by_line",
        ),
        Evidence(
            "claim",
            "under a constant gradient every step after the first is half of Adam's, to 1e-13",
            "tests/claims/test_scaled.py::test_diffgrad_halves_adam",
        ),
        Evidence(
            "claim",
            "where the gradient changes by 30 or more the step is Adam's, to 1e-12",
            "tests/claims/test_scaled.py::test_diffgrad_with_large_changes_is_adam",
        ),
    ),
    state_copies=3,
)
@dataclass(frozen=True, kw_only=True)
class DiffGrad(AdamFamily):
    """diffGrad: Adam whose step is damped where the gradient changes little.

    ``ξ_t = 1 / (1 + exp(-abs(g_{t-1} - g_t)))``, ``x_t = x_{t-1} - α ξ_t m̂_t / (sqrt(v̂_t) + ε)``
    with Adam's averages, and g_0 = 0.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        α.
    beta1, beta2 : float, range [0, 1)
    eps : float, range [0, inf)
        ε.
    eps_corrected : bool
        True: ε stands beside ``sqrt(v̂)``. False: beside ``sqrt(v)`` (the authors' code).
    eps_root : float, range [0, inf)
        Added to v inside the root (pytorch_optimizer).
    weight_decay : float, range [0, inf)
        The paper has none.
    decay : {"decoupled", "coupled", "independent"}
        Coupled decay enters the difference of gradients too.
    schedule : callable, optional
    engine : {"array", "numba", "cupy"}

    Notes
    -----
    ξ depends on the gradient's units. A coordinate whose gradient has always been zero stays.

    References
    ----------
    S. R. Dubey et al. 2019, diffGrad: An Optimization Method for Convolutional Neural Networks,
    arXiv:1909.11015.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("diffgrad", lr=1.0)
    >>> x, s = o.update(np.array([0.0]), np.array([50.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([50.0]), s)
    >>> print(x.round(6))
    [-1.5]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "previous")
    eps_root: float = hyper(0.0, "[0, inf)")

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        return {
            **self.moment_scalars(t),
            "inside": self.eps_root,
            "l2": self.coupled(),
            "keep": self.keep(t),
            "zero": 0.0,
            "one": 1.0,
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return the step."""
        divisor = nonzero(xp)

        def diffgrad(  # type: ignore[no-untyped-def]
            x, g, m, v, previous, beta1, k1, beta2, k2, step, root, eps, inside, l2, keep, zero, one
        ):
            g = g + l2 * x
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            friction = one / (one + xp.exp(-xp.abs(previous - g)))
            return (
                keep * x - step * friction * m / divisor(xp.sqrt(v + inside) * root + eps, zero, one),
                m,
                v,
                g,
            )

        return diffgrad
