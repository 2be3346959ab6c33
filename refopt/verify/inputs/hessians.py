"""Methods that ask for Hessian products: the same gradients, Hessians and probes for both sides.

A tape here has a symmetric matrix a leaf and step beside the gradient, which is the Hessian wherever the
point is. The other side draws its probes; they are recorded, given to the reference, and looked at: a
probe that is constant leaves no trace in the trajectory.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from refopt.core.errors import CapabilityError
from refopt.core.oracle import Oracle
from refopt.core.rng import generator
from refopt.verify.inputs.tapes import Tape
from refopt.verify.sides.queries import product
from refopt.verify.sides.side import Leaves

# Standard errors beyond which a probe's mean or variance is not a draw's: false once in 5e8 normal draws.
SIGMAS = 6.0


def curvatures(tape: Tape) -> list[Leaves]:
    """Return one symmetric indefinite matrix (size, size) a leaf and step, of the gradients' scale."""
    rng = generator(len(tape), "tape", 4000)
    scale = {
        k: max((float(np.max(np.abs(g[k]))) for g in tape.gradients), default=1.0) or 1.0 for k in tape.x0
    }
    out = []
    for _ in tape.gradients:
        now = {}
        for k, v in tape.x0.items():
            a = rng.standard_normal((v.size, v.size)) * scale[k]
            now[k] = ((a + a.T) / 2).astype(np.float32).astype(np.float64)
        out.append(now)
    return out


class Probes:
    """The probes of a run: at every step, of every leaf, the arrays that were multiplied with the Hessian."""

    def __init__(self, steps: int) -> None:
        self.drawn: list[dict[str, list[np.ndarray]]] = [{} for _ in range(steps)]

    def add(self, t: int, drawn: Mapping[str, Sequence[np.ndarray]]) -> None:
        """Keep what was drawn at step `t`."""
        for k, v in drawn.items():
            self.drawn[t - 1].setdefault(k, []).extend(np.asarray(u, dtype=np.float64) for u in v)

    def values(self) -> np.ndarray:
        """Return every entry ever drawn."""
        flat = [u.ravel() for now in self.drawn for v in now.values() for u in v]
        return np.concatenate(flat) if flat else np.zeros(0)


class _Replay:
    """Stands for the reference's generator and gives out the recorded probes, leaf after leaf."""

    def __init__(self, probes: list[np.ndarray]) -> None:
        self.left = list(probes)
        self.spare = generator(0, "tape", 5000)

    def _next(self, size: Any) -> np.ndarray:
        shape = tuple(size) if size is not None else ()
        for place, probe in enumerate(self.left):
            if probe.shape == shape:
                return self.left.pop(place)
        # The other side has drawn none here: it estimates at other steps, which the trajectories then show.
        return self.spare.integers(0, 2, size=shape) * 2.0 - 1.0

    def integers(self, low: int, high: int, size: Any = None) -> np.ndarray:
        """Return the next probe of this shape, -1 and +1 as 0 and 1."""
        return (self._next(size) + 1.0) / 2.0

    def standard_normal(self, size: Any = None) -> np.ndarray:
        """Return the next probe of this shape."""
        return self._next(size)


class _Tape:
    """A problem whose gradient and Hessian are the step's, wherever the point is."""

    def __init__(self, grad: Any, hessian: Leaves, leaf: str | None) -> None:
        self._grad, self._hessian, self._leaf = grad, hessian, leaf

    def value(self, x: Any) -> float:
        """Return NaN: a tape has no value."""
        return math.nan

    def grad(self, x: Any) -> Any:
        """Return the step's gradient."""
        return self._grad

    def layers(self, x: Any, **options: Any) -> Any:
        """Refuse: a tape has none."""
        raise CapabilityError("a tape has no layers; compare takes methods that ask for Hessian products")

    def hvp(self, x: Any, v: Any) -> Any:
        """Return the step's Hessian times v."""
        if self._leaf is not None:
            return product(self._hessian[self._leaf], v)
        return {k: product(self._hessian[k], u) for k, u in v.items()}


class _Oracle(Oracle):
    """An oracle whose random numbers are the recorded probes."""

    def __init__(self, problem: Any, probes: list[np.ndarray]) -> None:
        super().__init__(problem)
        self._rng = _Replay(probes)  # type: ignore[assignment]


class Driven:
    """A method that asks for Hessian products, as one that is driven by gradients: along one tape."""

    def __init__(
        self, method: Any, hessians: Sequence[Leaves], probes: Probes, leaf: str | None = None
    ) -> None:
        self.method, self.hessians, self.probes, self.leaf = method, hessians, probes, leaf
        # The place on the tape, set by who follows it.
        self.now = 0

    def at_leaf(self, leaf: str | None) -> Driven:
        """Return a copy, for one leaf that is handed over as an array, or for all in a dict."""
        other = copy.copy(self)
        other.leaf = leaf
        return other

    def init(self, x: Any) -> Any:
        """Return the method's state."""
        return self.method.init(x)

    def update(self, x: Any, grad: Any, s: Any) -> Any:
        """Make the method's step with the tape's Hessian and the recorded probes."""
        now = self.probes.drawn[self.now]
        names = [self.leaf] if self.leaf is not None else list(x)
        # The reference draws one probe a leaf, then the next round.
        rounds = max((len(now.get(k, [])) for k in names), default=0)
        queue = [now[k][i] for i in range(rounds) for k in names if i < len(now.get(k, []))]
        oracle = _Oracle(_Tape(grad, self.hessians[self.now], self.leaf), queue)
        oracle.step = self.now + 1
        return self.method.step(x, s, oracle)


def _distinct(runs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the runs but for those that another one begins with: a generator of a fixed seed starts anew."""
    kept: list[np.ndarray] = []
    for run in sorted(runs, key=len, reverse=True):
        if not any(np.array_equal(run, other[: len(run)]) for other in kept):
            kept.append(run)
    return kept


def verdict(probes: Sequence[Probes], method: Any) -> tuple[tuple[str, ...], list[str]]:
    """Look at the probes that the other side drew.

    Parameters
    ----------
    probes : sequence of Probes
    method : Method
        The reference; Rademacher probes are wanted unless its ``probe`` is ``"normal"``.

    Returns
    -------
    faults : tuple of str
        ``"probe-constant"``, ``"probe-biased"``, ``"probe-variance"`` or ``"probe-values"``.
    notes : list of str
    """
    values = np.concatenate(_distinct([p.values() for p in probes])) if probes else np.zeros(0)
    n = values.size
    if n < 2:
        return (), ["It multiplied the Hessian with nothing."]
    if np.all(values == values[0]):
        return ("probe-constant",), [
            f"Its probe is constant, {values[0]:g} in all of {n} entries: no random draw. z * Hz is then a row"
            " sum of the Hessian and no estimate of its diagonal."
        ]
    normal = getattr(method, "probe", "rademacher") == "normal"
    if not normal and not np.all(np.abs(values) == 1):
        return ("probe-values",), [f"Its probes are not +1 and -1: {values.min():g} to {values.max():g}."]
    mean, variance = float(values.mean()), float(values.var())
    rate = f"{SIGMAS:g} standard errors; a right draw is called wrong once in 5e8"
    if abs(mean) > SIGMAS / math.sqrt(n):
        return ("probe-biased",), [f"Its probes have mean {mean:.3g} over {n} entries ({rate})."]
    if normal and abs(variance - 1) > SIGMAS * math.sqrt(2 / n):
        return ("probe-variance",), [f"Its probes have variance {variance:.3g} over {n} entries ({rate})."]
    return (), []
