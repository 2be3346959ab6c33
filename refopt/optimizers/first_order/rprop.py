"""Rprop (Riedmiller and Braun 1993) and the variants of Igel and Hüsken (2000)."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import hyper
from refopt.core.method import Elementwise
from refopt.core.registry import Source, dialect, register

RIEDMILLER = Source("riedmiller-1993-direct", "M. Riedmiller, H. Braun",
    "A Direct Adaptive Method for Faster Backpropagation Learning: The RPROP Algorithm",
    venue="IEEE International Conference on Neural Networks, 586-591", doi="10.1109/ICNN.1993.298623")  # fmt: skip
IGEL = Source("igel-2000-improving", "C. Igel, M. Hüsken", "Improving the Rprop Learning Algorithm",
    venue="Second International Symposium on Neural Computation (NC 2000), 115-121")  # fmt: skip


@register(
    "rprop",
    source=RIEDMILLER,
    where="the adaptation rule and the learning rule of RPROP",
    also=(IGEL,),
)
class Rprop(Elementwise):
    """Rprop: each coordinate has a step of its own, longer while its gradient keeps the sign, shorter when it turns.

    ``Δ_t = min(η+ Δ_{t-1}, Δ_max)`` where ``g_{t-1} g_t > 0``, ``max(η- Δ_{t-1}, Δ_min)`` where it is negative, else Δ_{t-1};
    ``x_t = x_{t-1} - sign(g_t) Δ_t``. Where the sign has turned the last step is taken back instead, and g_t counts as zero at the
    next comparison.

    Notes
    -----
    Signs alone are looked at, of gradients of all examples: a batch's would turn the signs at random. Δ is in the units of x.
    In a first step of which there is nothing to take back no sign has turned.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("rprop", initial=0.5)
    >>> x, s = o.update(np.array([1.0]), np.array([1e-9]), o.init(np.array([1.0])))
    >>> x, s = o.update(x, np.array([3.0]), s)
    >>> print(x.round(6))  # 1 - 0.5 - 0.6
    [-0.1]
    """

    has_rate = False
    slots = ("delta", "previous", "step")
    initial: float = hyper(0.1, "(0, inf)", "Δ_0, the size of the first step.")
    grow: float = hyper(1.2, "[1, inf)", "η+.")
    shrink: float = hyper(0.5, "(0, 1]", "η-.")
    least: float = hyper(1e-6, "[0, inf)", "Δ_min.")
    most: float = hyper(50.0, "(0, inf]", "Δ_max.")
    turned: str = hyper("back", ("back", "none", "step"),
        "Where the sign has turned: the last step is taken back (Rprop+); none is made (iRprop-); or a step with the new sign,"
        " and g_t is kept as it is (Rprop-).")  # fmt: skip
    bounds_always: bool = hyper(
        False, words="True: Δ is brought between its bounds where no sign was kept or turned too."
    )

    def active_slots(self) -> tuple[str, ...]:
        """Return the slots in use: a step is kept where it may be taken back."""
        return self.slots if self.turned == "back" else self.slots[:2]

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return Δ_0, or zeros."""
        return namespace(leaf).full_like(leaf, self.initial if slot == "delta" else 0.0)

    def rule(self, xp):
        bounds_always, keeps_turned = self.bounds_always, self.turned == "step"

        def adapted(g, delta, previous, grow, shrink, least, most):
            same = xp.sign(g) * xp.sign(previous)
            longer, shorter = xp.minimum(delta * grow, most), xp.maximum(delta * shrink, least)
            delta = xp.where(same > 0.0, longer, xp.where(same < 0.0, shorter, delta))
            if bounds_always:
                delta = xp.minimum(xp.maximum(delta, least), most)
            return same, delta

        def rprop(x, g, delta, previous, step, grow, shrink, least, most):
            same, delta = adapted(g, delta, previous, grow, shrink, least, most)
            step = xp.where(same < 0.0, -step, -xp.sign(g) * delta)
            return x + step, delta, xp.where(same < 0.0, 0.0, g), step

        def without_return(x, g, delta, previous, grow, shrink, least, most):
            same, delta = adapted(g, delta, previous, grow, shrink, least, most)
            if not keeps_turned:
                g = xp.where(same < 0.0, 0.0, g)
            return x - xp.sign(g) * delta, delta, 1.0 * g

        return rprop if self.turned == "back" else without_return


dialect(Rprop, "torch", "torch 2.13 optim.Rprop", initial=1e-2, turned="none", bounds_always=True)
