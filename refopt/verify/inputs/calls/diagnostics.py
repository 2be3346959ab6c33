"""Diagnostics: what they are asked of, and how their answers are read."""

from __future__ import annotations

from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.build import problem
from refopt.core.rng import generator
from refopt.verify.inputs.calls.case import Case, Fault, Kind, as_array, negated, rooted


class Wrong:
    """A problem with one member off by a factor."""

    def __init__(self, right: Any, member: str, factor: float) -> None:
        self.right, self.member, self.factor = right, member, factor

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("right", "member", "factor"):
            raise AttributeError(name)
        found = getattr(self.right, name)
        if name != self.member:
            return found
        return lambda *args, **options: params.scale(self.factor, found(*args, **options))


def asked(name: str, seed: int) -> list[Case]:
    """Return problems with points, some of them with a wrong derivative."""
    rng = generator(seed, "tape", 3700)
    if name == "incremental-rank":
        made = {"rank 2 of 5": (5, 2), "rank 3 of 6": (6, 3)}
        return [
            Case(k, (problem("matrix-sensing", n=n, rank=r),), {"steps": 300}, slack=1e-9) for k, (n, r) in made.items()
        ]  # fmt: skip
    quadratic, valley = problem("quadratic", n=5, condition_number=20.0), problem("rosenbrock")
    out = []
    for label, p in {"a quadratic": quadratic, "Rosenbrock's valley": valley}.items():
        x = p.start(0) + 0.1 * rng.standard_normal(p.start(0).shape)
        if name == "directional-sharpness":
            out.append(Case(label, (p, x, rng.standard_normal(x.shape))))
            continue
        out.append(Case(label, (p, x)))
        for member, factor in (("grad", -1.0), ("grad", 1.001), ("hvp", 2.0)):
            out.append(Case(f"{label}, {member} times {factor:g}", (Wrong(p, member, factor), x)))
    return out


def read(value: Any) -> np.ndarray:
    """Return the verdict, the distances, or sharpness and gain."""
    if hasattr(value, "passed"):
        value = value.passed
    elif hasattr(value, "distances"):
        value = value.distances
    elif hasattr(value, "sharpness"):
        value = (value.sharpness, value.gain)
    return as_array(value)


DIAGNOSTICS = Kind(
    asked,
    (
        *negated(read), *rooted(read),
        Fault("always-passed", "passing everything", lambda f: lambda *args, **options: True),
        Fault("direction-normalised", "of the direction over its norm",
              lambda f: lambda p, x, v, **o: f(p, x, v / np.linalg.norm(v), **o)),
        Fault("direction-not-normalised", "without the division by the direction's square",
              lambda f: lambda p, x, v, **o: read(f(p, x, v, **o)) * np.array([v @ v, np.sqrt(v @ v)])),
    ),
    read,
    effort=400,
)  # fmt: skip
