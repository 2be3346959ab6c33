"""ASAM: sharpness that does not see how weights are scaled (Kwon et al. 2021)."""

from __future__ import annotations

from typing import Any

from refopt.core.arrays import Array, namespace
from refopt.core.groups import choose
from refopt.core.hyper import hyper
from refopt.core.params import Params, leaves, rebuild
from refopt.core.registry import dialect, register
from refopt.wrappers.sam import KWON, Perturbed, ascent


@register("asam", source=KWON, where="Algorithm 1, with the elementwise operator of section 3")
class ASAM(Perturbed):
    """ASAM: SAM whose ball is stretched by the size of every weight.

    ``ε̂ = ρ T² ∇L / ||T ∇L||``, ``T = diag(|w| + η)`` for weights and 1 for other parameters; the base method steps from w with
    the gradient at w + ε̂. The norm is over all parameters.

    Notes
    -----
    Which leaves are weights the authors' code tells by their names.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("mlp", widths=(8,))
    >>> r = refopt.minimize(p, "asam", base="momentum", rho=0.5, lr=0.05, batch_size=64, steps=50, record="full")
    >>> bool(r.fun < r.history["value"][0])
    True
    """

    rho: float = hyper(0.5, "[0, inf)", "ρ, without a unit.")
    eta: float = hyper(0.01, "[0, inf)", "η, in the units of w.")
    weights: Any = hyper("matrices-and-kernels", words="The leaves with T; see `refopt.core.groups.choose`.",
        kind="str, sequence of str, or callable")  # fmt: skip
    eps: float = hyper(0.0, "[0, inf)", "Added to the norm; the paper has none.")
    words = {"schedule": "Of the base's rate: handed on to a base that is given by name."}

    def perturbation(self, w: Params, g: Params) -> Params:
        """Return ε̂ at `w`, where the gradient is `g`."""
        chosen = set(choose(w, self.weights))

        def size(name: str, a: Array) -> Array:
            xp = namespace(a)
            return xp.abs(a) + self.eta if name in chosen else xp.ones_like(a)

        stretch = rebuild(w, {k: size(k, a) for k, a in leaves(w).items()})
        return ascent(g, self.rho, self.eps, stretch)


dialect(ASAM, "official", "SamsungLabs/ASAM asam.py", weights=("*weight*",), eps=1e-16)
