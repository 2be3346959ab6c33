"""What the methods on manifolds share: which manifold a leaf is on, and how a step moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentTypeError
from refopt.core.hyper import hyper
from refopt.core.method import GradientMethod, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start, leaves, rebuild, zeros_like
from refopt.manifolds.base import Manifold, manifold
from refopt.manifolds.euclidean import Euclidean
from refopt.manifolds.product import Product

# A leaf without a manifold: every entry is a line.
LINES = Euclidean(axes=0)


class OnManifold(GradientMethod):
    """A method that moves each leaf on its manifold: a subclass gives `move` for one leaf, and names its `slots`."""

    slots: ClassVar[tuple[str, ...]] = ()
    manifold: Any = hyper(
        None,
        words="Of all leaves, or a dict of them by name; leaves without one are Euclidean, entry by entry. None: the"
        " problem's own in `minimize` (its attribute ``manifold``), else Euclidean.",
        kind="Manifold, str or dict",
    )
    by: str = hyper(
        "exp",
        ("exp", "retract"),
        "What moves a point: the exponential map, as in the paper, or a retraction.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.manifold, str):
            object.__setattr__(self, "manifold", manifold(self.manifold))
        elif isinstance(self.manifold, Mapping):
            object.__setattr__(self, "manifold", Product(self.manifold))
        elif self.manifold is not None and not isinstance(self.manifold, Manifold):
            raise ArgumentTypeError(
                f"manifold: wanted a Manifold, a name, a dict of manifolds or None, got {self.manifold!r}"
            )

    def active_slots(self) -> tuple[str, ...]:
        """Return the state arrays' names."""
        return self.slots

    def init(self, x: Params) -> State:
        """Return the state at the start `x`, which must be on the manifold."""
        x = check_start(x, "x")
        for name, leaf in leaves(x).items():
            _of(self.manifold, name).check(leaf, f"x[{name!r}]" if name else "x")
        return {"t": 0, **{slot: zeros_like(x) for slot in self.slots}}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Make one step on the method's manifold, or on the problem's where the method has none."""
        spec = self.manifold
        if spec is None:
            spec = getattr(oracle.problem, "manifold", None)
        return self._advance(spec, x, oracle.grad(x), s)

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        return self._advance(self.manifold, x, g, s)

    def _advance(self, spec: Any, x: Params, g: Params, s: State) -> tuple[Params, State]:
        t, new = s["t"] + 1, {}
        for name, leaf in leaves(x).items():
            kept = [leaves(s[slot])[name] for slot in self.slots]
            new[name] = self.move(_of(spec, name), leaf, leaves(g)[name], t, *kept)
        columns = [rebuild(x, {k: v[i] for k, v in new.items()}) for i in range(1 + len(self.slots))]
        return columns[0], {"t": t, **dict(zip(self.slots, columns[1:]))}

    def move(self, m: Manifold, x: Array, g: Array, t: int, *kept: Array) -> tuple[Array, ...]:
        """Return a leaf's new point and slots at step `t`, from its point, Euclidean gradient and slots."""
        raise NotImplementedError

    def moved(self, m: Manifold, x: Array, u: Array) -> Array:
        """Return where the tangent vector `u` leads."""
        return m.exp(x, u) if self.by == "exp" else m.retract(x, u)


def square(m: Manifold, x: Array, u: Array) -> Array:
    """Return ``||u||_x^2`` of every point, in every entry of it."""
    return m.spread(m.inner(x, u, u)) + namespace(x).zeros_like(x)


def _of(spec: Any, name: str) -> Manifold:
    """Return the manifold of a leaf."""
    if isinstance(spec, Product):
        return spec.factors.get(name, LINES)
    return LINES if spec is None else spec
