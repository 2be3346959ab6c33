"""Scion: momentum and a linear minimisation oracle, on a norm ball or off it (Pethick et al. 2025)."""

from __future__ import annotations

import math
from typing import Any

from refopt.core.arrays import Array, lengths, namespace
from refopt.core.errors import ShapeError
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.groups import Grouped
from refopt.optimizers.common.lmo import polar_and_nuclear
from refopt.optimizers.common.orthogonal import NS_DTYPES, orthogonalised

PETHICK = Source("pethick-2025-training",
    "T. Pethick, W. Xie, K. Antonakopoulos, Z. Zhu, A. Silveti-Falls, V. Cevher",
    "Training Deep Learning Models with Norm-Constrained LMOs", arxiv="2502.07529")  # fmt: skip
NORMS = ("auto", "spectral", "spectral-conv", "sign", "column", "row", "bias")


def _over(a: Array, size: Array, eps: float) -> Array:
    below = size + eps
    return a / namespace(a).where(below > 0.0, below, namespace(a).ones_like(below))


@register("scion", source=PETHICK, where="the unconstrained and the constrained algorithm", state_copies=1)
class Scion(Grouped):
    """Scion: a step to where averaged momentum is steepest on a norm ball.

    ``d_t = (1 - α) d_{t-1} + α g_t`` from d_0 = 0; constrained
    ``x_{t+1} = (1 - γ) x_t - γ ρ D(d_t)``, unconstrained ``x_{t+1} = x_t - γ ρ D(d_t)``, with D(d) the
    maximiser of <d, ·> over the unit ball of the layer's norm.

    Raises
    ------
    ShapeError
        A norm that does not fit the number of axes of a leaf.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("scion", lr=0.1, constrained=False)
    >>> x = np.zeros((2, 2))
    >>> x, s = o.update(x, np.diag([3.0, -0.1]), o.init(x))
    >>> print(np.diag(x))
    [-0.1  0.1]
    """

    slots = ("d",)
    lr: Rate = hyper(1e-3, "[0, inf)", "γ; constrained, at most 1.")
    alpha: float = hyper(1.0, "(0, 1]", "α, one minus the usual momentum; 1: no average.")
    radius: float = hyper(1.0, "(0, inf)", "ρ.")
    constrained: bool = hyper(True, words="True: x stays in the ball of radius ρ once it is there.")
    norm: str = hyper("auto", NORMS,
        "D of a weight of shape (d_out, d_in): ``sqrt(d_out / d_in) U V^T``; the same of a kernel"
        " flattened to (d_out, rest), by its number of taps; ``sign(d) / d_in``; columns over their RMS"
        " and d_in; rows over ``sqrt(d_in)`` times their length; a vector over its RMS. ``auto``: by the"
        " number of axes, spectral-conv for 3 and more, spectral for 2, bias for 1.")  # fmt: skip
    normalized: bool = hyper(
        True, words="False: without the factors of d_in, and ``sqrt(d_out) U V^T`` (for input layers)."
    )
    taps: str = hyper("product", ("product", "power"),
        "A kernel's number of taps: the product of its sides, or a power of the first side (the authors'"
        " code; the same for square kernels).")  # fmt: skip
    at_least_one: bool = hyper(False, words="The spectral norm's factor is at least 1.")
    factor: str = hyper("svd", ("svd", "newton-schulz"),
        "How U V^T is computed; Newton-Schulz with Muon's coefficients does not converge to it.")  # fmt: skip
    ns_steps: int = hyper(5, "int [1, inf)")
    ns_dtype: str | None = hyper(None, NS_DTYPES, words="As in `Muon`.")
    ns_eps_rule: str = hyper("add", ("add", "clamp"), "For `refopt.matrix.polar.polar_newton_schulz`.")
    eps: float = hyper(0.0, "[0, inf)", "Added to the lengths that column, row and bias divide by.")
    group: Any = hyper(
        "all", words="The leaves that are treated so.", kind="str, sequence of str, or callable"
    )
    words = {"others": "For all other leaves: another Scion with its own norm and radius."}

    def rule(self, xp):
        def scion(x, g, d, lr, keep):
            d = ema(d, g, 1.0 - self.alpha, self.alpha)
            return keep * x - lr * self.radius * self.direction(d), d

        return scion

    def scalars(self, t, carried):
        lr = self.rate(t)
        return {"lr": lr, "keep": 1.0 - lr if self.constrained else 1.0}

    def _factor(self, d: Array) -> Array:
        xp = namespace(d)
        M = xp.reshape(d, (d.shape[0], -1))
        if self.factor == "svd":
            return xp.reshape(polar_and_nuclear(M)[0], d.shape)
        factor = orthogonalised(M, self.ns_dtype, steps=self.ns_steps, eps_rule=self.ns_eps_rule)
        return xp.reshape(factor, d.shape)

    def direction(self, d: Array) -> Array:
        """Return D(d)."""
        norm = self.norm
        if norm == "auto":
            norm = "bias" if d.ndim <= 1 else "spectral" if d.ndim == 2 else "spectral-conv"
        fits = d.ndim <= 1 if norm == "bias" else d.ndim >= 3 if norm == "spectral-conv" else d.ndim == 2
        if not fits:
            raise ShapeError(f"norm: {norm!r} does not fit a leaf of shape {tuple(d.shape)}")
        xp = namespace(d)
        if norm == "bias":
            return _over(d, lengths(d) / math.sqrt(math.prod(d.shape)), self.eps)
        out, into = d.shape[:2]
        if norm == "spectral-conv":
            taps = math.prod(d.shape[2:]) if self.taps == "product" else d.shape[2] ** (d.ndim - 2)
            return self._factor(d) * (math.sqrt(out / into) / taps)
        if norm == "spectral":
            scale = math.sqrt(out / into) if self.normalized else math.sqrt(out)
            return self._factor(d) * (max(1.0, scale) if self.at_least_one else scale)
        if norm == "sign":
            return xp.sign(d) * (1.0 / into if self.normalized else 1.0)
        axis, gain = (0, into / math.sqrt(out)) if norm == "column" else (1, math.sqrt(into))
        if not self.normalized:
            gain = 1.0 / math.sqrt(out) if norm == "column" else 1.0
        return _over(d, gain * lengths(d, axis, keepdims=True), self.eps)


dialect(Scion, "official", "LIONS-EPFL/scion scion.py", "Newton-Schulz in bfloat16 (ns_dtype)",
    factor="newton-schulz", eps=1e-8, taps="power")  # fmt: skip
dialect(Scion, "kozistr", "pytorch_optimizer 4.1 SCION", "Newton-Schulz in bfloat16 (ns_dtype)",
    factor="newton-schulz", ns_eps_rule="clamp", eps=1e-8, alpha=0.1, constrained=False)  # fmt: skip


@register("scion-light", source=PETHICK, where="Scion with the gradient's buffer as momentum", state_copies=1)
class ScionLight(Scion):
    """Scion-light: Scion whose momentum is the buffer that gradients are added to.

    ``G_t = B_{t-1} + g_t``, ``x_{t+1} = (1 - γ) x_t - γ ρ D(G_t)``, ``B_t = (1 - α) G_t``, from B_0 = 0; unconstrained without the
    factor of x_t.

    Notes
    -----
    ``α G_t`` is Scion's average, and D does not see a positive factor: where eps is zero it is `scion`, step by step. In a
    trainer nothing may set gradients to zero between steps; here B is the state, and gradients come as they are.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("scion-light", lr=0.1, alpha=0.5, norm="sign", constrained=False)
    >>> x = np.zeros((1, 2))
    >>> x, s = o.update(x, np.array([[4.0, 1.0]]), o.init(x))
    >>> x, s = o.update(x, np.array([[-1.0, -1.0]]), s)
    >>> print(x)  # half of 4 outweighs 1
    [[-0.1  0. ]]
    """

    slots = ("buffer",)
    alpha: float = hyper(1.0, "(0, 1]", "α, the share of the buffer that a step takes away; 1: no memory.")

    def rule(self, xp):
        def scion_light(x, g, buffer, lr, keep):
            buffer = buffer + g
            return keep * x - lr * self.radius * self.direction(buffer), (1.0 - self.alpha) * buffer

        return scion_light


dialect(ScionLight, "official", "LIONS-EPFL/scion examples/modded-nanogpt/train_gpt_scionlight.py",
    "Newton-Schulz in bfloat16 (ns_dtype)", factor="newton-schulz", eps=1e-8, taps="power")  # fmt: skip
dialect(ScionLight, "kozistr", "pytorch_optimizer 4.1 SCIONLight", "Newton-Schulz in bfloat16 (ns_dtype)",
    factor="newton-schulz", ns_eps_rule="clamp", eps=1e-8, alpha=0.1, constrained=False)  # fmt: skip
