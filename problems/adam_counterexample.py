"""The linear functions on [-1, 1] on which Adam does not converge."""

from __future__ import annotations

import numpy as np
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError, nearest
from refopt.core.hyper import check_number
from refopt.core.problem import Problem
from refopt.core.registry import Source, register
from refopt.problems.common import check_batch, check_point, frozen, rows

# setting: slope of the spike, slope of the rest, period
EXPERIMENTS = {"experiment": (1010.0, -10.0, 101), "stochastic-experiment": (1010.0, -10.0, 100)}
THEOREMS = {"theorem-1": 3.0, "theorem-2": 204.0}  # with the default C


REDDI = Source(
    key="reddi-2018-convergence",
    authors="Sashank J. Reddi, Satyen Kale, Sanjiv Kumar",
    title="On the Convergence of Adam and Beyond",
    arxiv="1904.09237",
    venue="International Conference on Learning Representations (ICLR)",
)


@register(
    "adam-counterexample",
    kind="problem",
    source=REDDI,
    where="Theorems 1, 2 and 3; the synthetic experiment of section 5",
)
class AdamCounterexample(Problem):
    """Linear functions ``f_i(x) = slope_i x`` on [-1, 1]: one steep upwards, the others gently downwards.

    One period of examples is the sum: example 0 has the slope `spike`, the others have the slope `rest`,
    and the mean over a period is increasing, so that x* = -1. The paper's sequences count t from 1:

    * online, ``f_t`` is the spike if ``t mod period = 1``: cyclic sampling with ``batch_size=1`` draws
      example ``(t - 1) mod period``;
    * stochastic, the spike comes with probability ``1 / period``: sampling with replacement.

    With a batch, value and gradient are means over it. The constraint set is `project`; unprojected
    runs show nothing.

    Parameters
    ----------
    setting : {"experiment", "stochastic-experiment", "theorem-1", "theorem-2"}
        ``"experiment"`` (online): 1010 x if t mod 101 = 1, else -10 x. ``"stochastic-experiment"``: 1010 x
        with probability 0.01, else -10 x. ``"theorem-1"``: C x if t mod 3 = 1, else -x. ``"theorem-2"``:
        C x if t mod C = 1, else -x.
    C : float, optional
        Of the theorems: above 2 and 3 if left out; even, and 204 if left out (whether C is large enough
        depends on beta1 and beta2; 204 is for beta1 <= 0.5 and beta2 = 0.9).
    start_at : float
        x_1 in [-1, 1]; the proof of Theorem 1 takes 1.

    Attributes
    ----------
    slopes : array of shape (period,)
    n_examples : int
        The period.
    solution, optimum
        -1, and minus the mean slope: the least value over [-1, 1].

    Raises
    ------
    ArgumentError, ArgumentTypeError
        An unknown setting, a C out of its range or where there is none.

    Notes
    -----
    The stochastic experiment is Theorem 3's distribution (the spike C x with probability
    (1 + delta) / (C + 1), else -x) for C = 101, delta = 0.02, with all slopes times 10.

    References
    ----------
    S. J. Reddi, S. Kale, S. Kumar (2018). On the Convergence of Adam and Beyond. ICLR 2018,
    arXiv:1904.09237, Theorems 1-3 and section 5.

    Examples
    --------
    >>> import numpy as np
    >>> from refopt.problems.adam_counterexample import AdamCounterexample
    >>> p = AdamCounterexample("theorem-1", C=3)
    >>> p.slopes
    array([ 3., -1., -1.])
    >>> p.grad(np.array([0.5]), batch=np.array([1])), float(p.value(p.solution))
    (array([-1.]), -0.3333333333333333)
    """

    def __init__(self, setting: str = "experiment", C: float | None = None, start_at: float = 1.0) -> None:
        known = (*EXPERIMENTS, *THEOREMS)
        if not isinstance(setting, str) or setting not in known:
            raise ArgumentError(
                f"setting: wanted one of {', '.join(known)}, got {setting!r}.{nearest(str(setting), known)}"
            )
        check_number(start_at, "[-1, 1]", "start_at")
        if setting in EXPERIMENTS:
            if C is not None:
                raise ArgumentError(f"C: the setting {setting!r} has none")
            spike, rest, period = EXPERIMENTS[setting]
        else:
            spike, rest = THEOREMS[setting] if C is None else C, -1.0
            check_number(spike, "(2, inf)", "C")
            period = 3
            if setting == "theorem-2":
                if spike % 2:
                    raise ArgumentError(f"C: wanted an even number, got {C!r}")
                period = int(spike)
        self.setting, self.n_examples, self._start = setting, period, float(start_at)
        self.slopes = frozen([spike] + [rest] * (period - 1))
        self.solution, self.optimum = frozen([-1.0]), -float(self.slopes.mean())

    def start(self, seed: int = 0) -> Array:
        """Return x_1, whatever the seed."""
        return np.array([self._start])

    def _slopes(self, x: Array, batch: np.ndarray | None) -> Array:
        check_point(x, {"": (1,)})
        check_batch(batch, self.n_examples)
        return rows(self, "slopes", x, batch)

    def value(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return the mean of ``slope_i x``, a 0-d array."""
        return namespace(x).mean(self._slopes(x, batch)) * x[0]

    def grad(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return the mean slope, shape (1,), wherever x is."""
        xp = namespace(x)
        return xp.zeros_like(x) + xp.mean(self._slopes(x, batch))

    def example_grads(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return the slopes, shape (B, 1)."""
        return self._slopes(x, batch)[:, None] + namespace(x).zeros_like(x)

    def project(self, x: Array) -> Array:
        """Return the nearest point of [-1, 1]."""
        check_point(x, {"": (1,)})
        return namespace(x).clip(x, -1.0, 1.0)
