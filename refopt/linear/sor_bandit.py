"""Bandits that choose SOR's relaxation over a stream of systems, by the passes alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refopt.core.arrays import check_array, to_numpy
from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.hyper import check_number
from refopt.core.registry import Dialect, Source, register
from refopt.core.rng import generator
from refopt.linear.sor import KHODAK, sor

ZIMMERT = Source(
    "zimmert-2021-tsallis",
    "J. Zimmert, Y. Seldin",
    "Tsallis-INF: An Optimal Algorithm for Stochastic and Adversarial Bandits",
    arxiv="1807.07623",
)


def tsallis_probabilities(losses: np.ndarray, eta: float, normaliser: str = "exact") -> np.ndarray:
    r"""Return :math:`\arg\min_{p \in \Delta} \langle p, K\rangle - \frac{4}{\eta}\sum_i \sqrt{p_i}`.

    Its entries are :math:`p_i = 4 / (\eta (K_i - z))^2` with the z below min K that makes them sum to 1.

    Parameters
    ----------
    losses : array of shape (d,)
        The estimated cumulated losses K.
    eta : float
        Learning rate, positive.
    normaliser : {"exact", "official"}
        "exact": Newton's method from ``min K - 2 / eta``, where the sum is at least 1, so that it
        falls monotonically to z. "official": 20 Newton steps from -1, as the authors' code; once
        min K passes about sqrt(d t) it ends at a point that does not sum to 1 (or at none: uniform).

    Examples
    --------
    >>> p = tsallis_probabilities(np.array([0.0, 1.0, 4.0]), 0.5)
    >>> round(float(p.sum()), 12), bool(p[0] > p[1] > p[2])
    (1.0, True)
    """
    z = float(losses.min()) - 2 / eta if normaliser == "exact" else -1.0
    p = losses
    for step in range(20 if normaliser == "official" else 100):
        p = 4 / (eta * (losses - z)) ** 2
        excess = p.sum() - 1
        if normaliser == "exact" and abs(excess) <= 4 * np.finfo(np.float64).eps * losses.size:
            break
        slope = eta * float(np.sum(np.abs(p) ** 1.5))
        if not 0 < slope < np.inf:  # only the official start gets here; its code then draws uniformly
            return np.full(losses.size, 1 / losses.size)
        change = excess / slope
        if normaliser == "exact" and step and change <= 0:
            break  # at the rounding of the sum
        z -= change
    return p


@dataclass
class TsallisINF:
    """The bandit of Zimmert and Seldin: `draw` an arm, `learn` its cost.

    Parameters
    ----------
    arms : int
    rng : numpy.random.Generator
    normaliser : {"exact", "official"}
        See `tsallis_probabilities`.

    Examples
    --------
    >>> bandit = TsallisINF(3, np.random.default_rng(0))
    >>> arm = bandit.draw(None)
    >>> bandit.learn(arm, 12.0, None)
    """

    arms: int
    rng: np.random.Generator
    normaliser: str = "exact"
    costs: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sums = np.zeros(self.arms)
        self.probabilities = np.full(self.arms, 1 / self.arms)

    def draw(self, context: float | None) -> int:
        """Draw an arm; the context is not read."""
        # The losses are in units of the mean cost so far, also those of the past, as in the code.
        scale = np.mean(self.costs) - 1 if self.costs else 1.0
        scale = scale if scale > 0 else 1.0
        eta = 2 / np.sqrt(len(self.costs) + 1)
        self.probabilities = tsallis_probabilities(self.sums / scale, float(eta), self.normaliser)
        p = self.probabilities / self.probabilities.sum()
        return int(self.rng.choice(self.arms, p=p))

    def learn(self, arm: int, cost: float, context: float | None) -> None:
        """Take in the cost of the arm drawn last."""
        self.sums[arm] += (cost - 1) / self.probabilities[arm]
        self.costs.append(cost)


@dataclass
class ChebyshevContextual:
    r"""ChebCB: a Chebyshev regression of the cost in a context for each arm, and inverse-gap draws.

    Parameters
    ----------
    arms : int
    rng : numpy.random.Generator
    low, high : float
        The interval of the contexts.
    degree : int
        Number m of Chebyshev polynomials.

    Notes
    -----
    The exploration rate is :math:`2 t \sqrt{d t / (R - r + 2 \alpha^2 t)}` with R the squared error of the
    predictions made and r that of the present fits; the authors' code subtracts the last constrained
    arm's alone.

    Examples
    --------
    >>> bandit = ChebyshevContextual(3, np.random.default_rng(0), low=0.0, high=1.0)
    >>> arm = bandit.draw(0.4)
    >>> bandit.learn(arm, 12.0, 0.4)
    """

    arms: int
    rng: np.random.Generator
    low: float
    high: float
    degree: int = 6

    def __post_init__(self) -> None:
        self.theta = np.zeros((self.arms, self.degree))
        self.eta, self.scale = 0.0, 0.0
        self.probabilities = np.full(self.arms, 1 / self.arms)
        self.features: list[np.ndarray] = []
        self.drawn: list[int] = []
        self.costs: list[float] = []
        self.predicted: list[float] = []
        self.residues = np.zeros(self.arms)

    def _feature(self, context: float | None) -> np.ndarray:
        if context is None or not self.low <= context <= self.high:
            raise ArgumentError(f"contexts: wanted a value in [{self.low}, {self.high}], got {context!r}")
        t = 2 * (context - self.low) / (self.high - self.low) - 1
        return np.cos(np.arange(self.degree) * np.arccos(t))

    def draw(self, context: float | None) -> int:
        """Draw an arm by the inverse gaps of the predicted costs."""
        feature = self._feature(context)
        predicted = self.theta @ feature
        best = int(np.argmin(predicted))
        p = 1 / (self.arms + self.eta * (predicted - predicted[best]))
        p[best] = 0
        p[best] = 1 - p.sum()
        self.probabilities = p
        arm = int(self.rng.choice(self.arms, p=p / p.sum()))
        self.predicted.append(float(predicted[arm]))
        return arm

    def learn(self, arm: int, cost: float, context: float | None) -> None:
        """Take in the cost of the arm drawn last, and fit anew what it changes."""
        self.features.append(self._feature(context))
        self.drawn.append(arm)
        self.costs.append(cost)
        features, costs, drawn = np.array(self.features), np.array(self.costs), np.array(self.drawn)
        rounds, m = len(costs), self.degree
        largest, span = costs.max(), costs.max() - costs.min()
        N = 2 + 4 * span / largest * (1 + np.log(m))
        rescaled, self.scale = self.scale != largest * N, largest * N
        bound = np.concatenate([[1 / N], 2 * span / self.scale / np.arange(1, m)])
        for i in set(drawn.tolist()) if rescaled else {arm}:
            mine = drawn == i
            X, y = features[mine], (costs[mine] - 1) / self.scale
            fit = np.linalg.lstsq(X, y, rcond=None)[0]
            if np.any(np.abs(fit) > bound):
                # Loaded here: scipy.optimize takes longer than all else that a first look-up imports.
                from scipy.optimize import lsq_linear

                # The box must have an inside for the solver.
                fit = lsq_linear(X, y, bounds=(-bound - 1e-12, bound + 1e-12)).x
            self.theta[i] = fit
            self.residues[i] = float(np.sum((X @ fit - y) ** 2))
        alpha = (np.pi + 2 / np.pi * np.log(2 * m + 1)) * span / (2 * self.scale * (m + 1))
        error = float(np.sum((np.array(self.predicted) - costs / self.scale) ** 2))
        regret = max(error - self.residues.sum(), 0.0) + 2 * alpha**2 * rounds
        self.eta = 2 * rounds * float(np.sqrt(self.arms * rounds / regret)) if regret > 0 else 0.0


@dataclass(frozen=True)
class BanditResult:
    """What `sor_bandit` returns.

    Attributes
    ----------
    solutions : list of array
        One solution a system.
    omegas, passes : array of shape (T,)
        What was chosen, and what it cost.
    probabilities : array of shape (T, d)
        From which distribution over the grid.
    grid : array of shape (d,)
    """

    solutions: list[Any]
    omegas: np.ndarray
    passes: np.ndarray
    probabilities: np.ndarray
    grid: np.ndarray


@register(
    "sor-bandit",
    kind="solver",
    source=KHODAK,
    where="the Tsallis-INF tuner and ChebCB",
    also=(ZIMMERT,),
    dialects={
        "official": Dialect(
            {"normaliser": "official"},
            "mkhodak/learning-to-relax at f553efa",
            "unverified by a run (MATLAB): 20 Newton steps from -1, which miss the normalisation later on",
        )
    },
)
def sor_bandit(
    systems: Iterable[tuple[Any, Any]],
    *,
    omegas: Any = None,
    contexts: Iterable[float] | None = None,
    interval: tuple[float, float] | None = None,
    normaliser: str = "exact",
    degree: int = 6,
    rtol: float = 1e-8,
    maxiter: int = 10_000,
    symmetric: bool = False,
    seed: int = 0,
    engine: str = "auto",
) -> BanditResult:
    r"""Solve a stream of systems by SOR, learning the relaxation from the numbers of passes.

    Round t draws :math:`\omega_t` from the grid, solves, and tells the bandit the passes. Without
    contexts it is Tsallis-INF with :math:`\eta_t = 2 / \sqrt t`; with contexts ChebCB.

    Parameters
    ----------
    systems : iterable of (A, b)
        As `refopt.linear.sor.sor` takes them.
    omegas : array of shape (d,), optional
        The grid in (0, 2); 20 points from 1 to 1.95 if left out.
    contexts : iterable of float, optional
        One number a system, within `interval`.
    interval : tuple of two floats, optional
        Needed with `contexts`.
    normaliser : {"exact", "official"}
        See `tsallis_probabilities`.
    degree : int
        Chebyshev polynomials of ChebCB, at least 2.
    rtol, maxiter, symmetric, engine
        As in `refopt.linear.sor.sor`, relative to the first residual.
    seed : int
        Of the draws.

    Returns
    -------
    BanditResult

    Raises
    ------
    ArgumentError, ArgumentTypeError
        A grid outside (0, 2), contexts without an interval or outside it; what `sor` raises.

    References
    ----------
    Khodak, Chow, Balcan, Talwalkar (2024), Learning to Relax, arXiv:2310.02246. Zimmert, Seldin
    (2021), Tsallis-INF, arXiv:1807.07623.

    Examples
    --------
    >>> from refopt.problems.linear_systems import poisson_2d
    >>> A, rng = poisson_2d(6), np.random.default_rng(0)
    >>> r = sor_bandit([(A, rng.standard_normal(36)) for _ in range(50)], omegas=np.array([1.0, 1.4]))
    >>> int(r.passes[r.omegas == 1.4].max()) < int(r.passes[r.omegas == 1.0].min())
    True
    """
    if not isinstance(systems, Iterable):
        raise ArgumentTypeError(f"systems: wanted an iterable of (A, b), got {type(systems).__qualname__}")
    if interval is not None and contexts is None:
        raise ArgumentError("interval: is that of contexts, which are not given")
    grid = np.linspace(1.0, 1.95, 20) if omegas is None else to_numpy(check_array(omegas, "omegas"))
    if grid.ndim != 1 or grid.size == 0 or not np.all((grid > 0) & (grid < 2)):
        raise ArgumentError(f"omegas: wanted a non-empty grid in (0, 2), got {omegas!r}")
    if normaliser not in ("exact", "official"):
        raise ArgumentError(f"normaliser: wanted 'exact' or 'official', got {normaliser!r}")
    check_number(degree, "int [2, inf)", "degree")
    rng = generator(seed, "method")
    bandit: TsallisINF | ChebyshevContextual = TsallisINF(grid.size, rng, normaliser)
    sides: Iterable[float | None] = iter(lambda: None, 0)
    if contexts is not None:
        if interval is None or not interval[0] < interval[1]:
            raise ArgumentTypeError(f"interval: contexts need (low, high) with low < high, got {interval!r}")
        bandit, sides = ChebyshevContextual(grid.size, rng, interval[0], interval[1], degree), contexts
    solutions, chosen, passes, probabilities = [], [], [], []
    for (A, b), side in zip(systems, sides):
        arm = bandit.draw(side)
        r = sor(A, b, omega=float(grid[arm]), symmetric=symmetric, rtol=rtol, maxiter=maxiter, engine=engine)
        bandit.learn(arm, float(max(r.iterations, 1)), side)
        solutions.append(r.x)
        chosen.append(grid[arm])
        passes.append(r.iterations)
        probabilities.append(bandit.probabilities)
    return BanditResult(
        solutions,
        np.array(chosen),
        np.array(passes, dtype=np.int64),
        np.array(probabilities).reshape(-1, grid.size),
        grid,
    )
