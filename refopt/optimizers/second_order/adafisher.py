"""AdaFisher: momentum over the diagonal of a Kronecker-factored Fisher matrix (Martins Gomes et al. 2024)."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, leaves, rebuild
from refopt.core.problem import Layer
from refopt.core.registry import Source, dialect, register
from refopt.curvature.kronecker import Factors, homogeneous
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero

GOMES = Source("gomes-2024-adafisher", "D. Martins Gomes, Y. Zhang, E. Belilovsky, G. Wolf, M. S. Hosseini",
    "AdaFisher: Adaptive Second Order Optimization via Fisher Information", arxiv="2405.16397")  # fmt: skip


def spread(v: Array, least: float) -> Array:
    """Return v mapped onto [0, 1) by its smallest and largest entry."""
    xp = namespace(v)
    low = xp.min(v)
    width = xp.max(v) - low + least
    return (v - low) / xp.where(width > 0.0, width, xp.ones_like(width))


@register("adafisher", source=GOMES, where="Algorithm 1, for linear layers", needs=("grad", "layers"))
class AdaFisher(ElementwiseDecay):
    """AdaFisher: Adam with the diagonal of a Kronecker-factored Fisher matrix in the place of the root of V.

    For a layer with inputs a (and a one for the bias) and gradients s by its outputs, every T steps:
    ``H ← γ H + (1 - γ) n(mean a²)``, ``S ← γ S + (1 - γ) n(mean s²)``, from ones, with
    ``n(v) = (v - min v) / (max v - min v + κ)``. ``F = S Hᵀ + λ``; ``m_t = β m_{t-1} + (1 - β) g_t``,
    ``W ← W - η m̂_t / F``. No root is taken.

    Notes
    -----
    Leaves that belong to no linear layer have F = 1. The authors' rules for normalisation layers and
    convolutions are not here. That H and S are averages of this form could not be
    checked against the paper's text; the authors' code has other weights (`tenths`).

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("mlp", widths=(8,), seed=0)
    >>> r = refopt.minimize(p, "adafisher", lr=1e-3, damping=0.1, steps=15, record="full")
    >>> bool(r.history["value"][-1] < r.history["value"][0])
    True
    """

    slots = ("m",)
    given = ("g", "fisher")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta: float = hyper(0.9, "[0, 1)", "β.")
    gamma: float = hyper(0.8, "[0, 1]", "γ.")
    damping: float = hyper(1e-3, "(0, inf)", "λ.")
    update_every: int = hyper(100, "int [1, inf)", "T: at t = 1, T + 1, ….")
    least: float = hyper(1e-6, "[0, inf)", "κ, in the units of a² and s².")
    tenths: bool = hyper(
        False, words="True: the weights are γ/10 and γ/100 (the authors' code), not γ and 1 - γ."
    )
    mean_loss: bool = hyper(
        False, words="True: s is of the mean loss, so smaller by the batch's size (the code)."
    )
    words = {"decay": "decoupled is AdaFisherW."}

    def init(self, x: Params) -> State:
        """Return the state at the start `x`; the factors come with the first step."""
        return {**super().init(x), "factors": {}}

    def rule(self, xp):
        divisor = nonzero(xp)

        def adafisher(x, g, fisher, m, beta, k1, step, l2, keep):
            m = ema(m, g + l2 * x, beta, k1)
            return keep * x - step * m / divisor(fisher), m

        return adafisher

    def scalars(self, t, carried):
        return {"k1": 1.0 - self.beta, "step": self.rate(t) / correction(self.beta, t)}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient, and for the layers; then step."""
        g, layers, factors = oracle.grad(x), oracle.layers(x, sample=False), s["factors"]
        if s["t"] % self.update_every == 0:
            factors = {layer.weight: self._updated(layer, factors) for layer in layers}
        new_x, new_s = self.advance(x, (g, self.diagonal(x, layers, factors)), s)
        return new_x, {**new_s, "factors": factors}

    def _updated(self, layer: Layer, old: Factors) -> tuple[Array, Array]:
        """Return H and S after this batch."""
        keep, new = (self.gamma / 10, self.gamma / 100) if self.tenths else (self.gamma, 1.0 - self.gamma)
        out = []
        for i, rows in enumerate((homogeneous(layer), layer.output_grads)):
            xp = namespace(rows)
            rows = rows / rows.shape[0] if i and self.mean_loss else rows
            v = spread(xp.mean(rows * rows, axis=0), self.least)
            out.append(keep * (old[layer.weight][i] if old else xp.ones_like(v)) + new * v)
        return out[0], out[1]

    def diagonal(self, x: Params, layers: list[Layer], factors: Factors) -> Params:
        """Return F like x."""
        out = {k: namespace(leaf).ones_like(leaf) for k, leaf in leaves(x).items()}
        for layer in layers:
            h, s = factors[layer.weight]
            F = s[:, None] * h[None, :] + self.damping
            out[layer.weight] = F if layer.bias is None else F[:, :-1]
            if layer.bias is not None:
                out[layer.bias] = F[:, -1]
        return rebuild(x, out)


dialect(AdaFisher, "official", "AtlasAnalyticsLab/AdaFisher AdaFisher.py", "decay is coupled, in AdaFisherW decoupled",
    tenths=True, mean_loss=True, decay="coupled")  # fmt: skip
