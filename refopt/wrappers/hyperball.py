"""Hyperball: matrices move on the sphere that they start on (Wen et al. 2026)."""

from __future__ import annotations

from typing import Any

from refopt.core.arrays import Array, lengths, namespace
from refopt.core.errors import ArgumentError
from refopt.core.groups import choose
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start, leaves, map_leaves, rebuild
from refopt.core.registry import Source, register
from refopt.optimizers.common.lmo import divided
from refopt.wrappers.base import Wrapper

WEN = Source("wen-2026-fantastic", "K. Wen, X. Dang, K. Lyu, T. Ma, P. Liang",
    "Fantastic Pretraining Optimizers and Where to Find Them II: Hyperball Optimization", arxiv="2606.16899")  # fmt: skip


@register("hyperball", source=WEN, where="the wrapper")
class Hyperball(Wrapper):
    """Hyperball: the base gives the direction; the step and the weights of a matrix have fixed Frobenius norms.

    With u_t the base's step (``X_{t-1}`` minus where the base would go) at the base's rate η_t, and ``ρ = ‖X_0‖_F``,
    ``Y = X_{t-1} - η_t ρ u_t / ‖u_t‖_F``, ``X_t = ρ Y / ‖Y‖_F`` for every matrix; all other leaves go where the base goes.

    Raises
    ------
    ArgumentError
        A base without a rate.

    Notes
    -----
    Round Adam and Muon it is called AdamH and MuonH. The base should not decay: its decay is part of u. A matrix that starts at zero
    stays there. A step of zero leaves a matrix as it is.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("hyperball", base="sgd", lr=1.0)
    >>> x = np.array([[3.0, 0.0], [0.0, 0.0]])
    >>> x, s = o.update(x, np.array([[0.0, -0.1], [0.0, 0.0]]), o.init(x))
    >>> print(x.round(4))  # turned by arctan(1)
    [[2.1213 2.1213]
     [0.     0.    ]]
    """

    group: Any = hyper("matrices-and-kernels", words="The leaves that stay on their spheres.",
        kind="str, sequence of str, or callable")  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.base.has_rate or getattr(self.base, "lr", None) is None:
            raise ArgumentError(
                f"base: hyperball takes the angle of its steps from the base's rate, and {self.base!r} has none"
            )

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the base's, and the norms."""
        x = check_start(x, "x")
        return {**super().init(x), "radius": map_leaves(lambda a: lengths(a, keepdims=True), x)}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask the base for its step, and turn."""
        return self._turned(x, s, self.base.step(x, s["base"], oracle))

    def update(self, x: Params, grad: Params, s: State, *, donate: bool = False) -> tuple[Params, State]:
        """Update the base, where it needs gradients alone, and turn."""
        if (done := self._unusual(x, grad, s, donate)) is not None:
            return done
        return self._turned(x, s, self.base.update(x, grad, s["base"]))

    def _turned(self, x: Params, s: State, stepped: tuple[Params, State]) -> tuple[Params, State]:
        t, (new, base) = s["t"] + 1, stepped
        eta = self.base.rate(t)

        def turned(a: Array, b: Array, radius: Array) -> Array:
            u = a - b
            size = lengths(u, keepdims=True)
            y = a - eta * radius * divided(u, size)
            y = radius * divided(y, lengths(y, keepdims=True))
            return namespace(a).where(size > 0.0, y, a)

        was, goes, radii = leaves(x), leaves(new), leaves(s["radius"])
        mine = choose(x, self.group)
        out = {k: turned(was[k], v, radii[k]) if k in mine else v for k, v in goes.items()}
        return rebuild(x, out), {"t": t, "base": base, "radius": s["radius"]}
