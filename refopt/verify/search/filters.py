"""What may be done with finished steps: averaged, or carried on, by as much as was measured of the other side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from refopt.core import params
from refopt.core.params import Params
from refopt.verify.inputs.problems import Course
from refopt.verify.measure.experiments import impulse
from refopt.verify.measure.responses import Subject
from refopt.verify.measure.sides import taken
from refopt.verify.runs.other import Observations
from refopt.verify.variants.candidate import Candidate
from refopt.verify.variants.deviation import Around, Deviation, fields, innermost


class _Carried(Around):
    """Steps ``D_t = carry D_{t-1} + weight d_t + again d_{t-1}``, where d_t are the method's own.

    With `by_rate` all of them are over their own rates, and D_t is times the last one.
    """

    parts: Callable[[float], tuple[float, float, float]]
    mu: float
    by_rate: bool
    named: str

    def init(self, x: Params) -> Any:
        """Return the method's state beside the last steps."""
        return {**self.method.init(x), "carried": params.zeros_like(x), "own": params.zeros_like(x)}

    def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
        """Make the method's step and carry the last one on."""
        kept = {k: v for k, v in s.items() if k not in ("carried", "own")}
        new, after = self.method.update(x, grad, kept)
        inner = innermost(self.method)
        rate = inner.rate(after["t"]) if self.by_rate else 1.0
        own = params.scale(1.0 / rate, params.axpy(-1.0, x, new)) if rate else params.zeros_like(x)
        # A number that is one of the method's is that of every profile.
        carry, weight, again = type(self).parts(getattr(inner, self.named) if self.named else self.mu)
        step = params.axpy(carry, s["carried"], params.scale(weight, own))
        step = params.axpy(again, s["own"], step)
        return params.axpy(rate, step, x), {**after, "carried": step, "own": own}


KINDS: tuple[tuple[str, str, Callable[[float], tuple[float, float, float]]], ...] = (
    ("averaged", "with an average of the steps in place of each", lambda mu: (mu, 1.0 - mu, 0.0)),
    ("carried", "with momentum of the finished steps", lambda mu: (mu, 1.0, 0.0)),
    ("repeated", "with a part of the step before added again", lambda mu: (0.0, 1.0, mu)),
)


def filters(seen: Observations, name: str) -> Iterator[Candidate]:
    """Yield the filters of steps that fit what the other side does after a single gradient."""
    first = seen.runs[0]
    if isinstance(first.tape, Course) or first.probes is not None or first.profile.groups or seen.side.costly:
        return
    try:
        mu = float(f"{impulse(taken(Subject(seen.side, first.profile.given)))['tail']:.6g}")
    except Exception:
        # Foreign code; it has been run on every tape, but not on a start at zero.
        return
    if not 1e-3 < abs(mu) < 1.0:
        return
    method = innermost(first.profile.method(name, "paper"))
    own = fields(method)
    named = next((k for k in ("momentum", "beta1", "beta2") if own.get(k) == mu), "")
    value = named or f"{mu:g}"
    for label, words, parts in KINDS:
        for tail, told, by_rate in (("", "", False), ("-before-the-rate", ", before the rate", True)):
            if by_rate and not hasattr(method, "rate"):
                continue
            members = {"parts": staticmethod(parts), "mu": mu, "named": named, "by_rate": by_rate}
            change = type(f"Steps{label}", (_Carried,), members)
            d = Deviation(f"steps-{label}-{value}{tail}", f"{words} ({value}{told})", "step", change)
            yield Candidate((d.name,), (d.what,), name, changes=(d,))
