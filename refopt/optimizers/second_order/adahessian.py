"""AdaHessian (Yao et al. 2020): Adam with Hutchinson's Hessian diagonal in place of the gradient's square."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, map_leaves, zeros_like
from refopt.core.registry import Source, dialect, register
from refopt.core.rng import rademacher
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay

YAO = Source("yao-2020-adahessian", "Z. Yao, A. Gholami, S. Shen, M. Mustafa, K. Keutzer, M. W. Mahoney",
    "ADAHESSIAN: An Adaptive Second Order Optimizer for Machine Learning", arxiv="2006.00719")  # fmt: skip

# The axes over which a leaf of 1, 2, 3, 4 dimensions is averaged.
AVERAGES: dict[str, dict[int, tuple[int, ...]]] = {
    "none": {},
    "kernel": {4: (2, 3)},
    "rows": {2: (1,), 3: (2,), 4: (2, 3)},
}


@register(
    "adahessian",
    source=YAO,
    where="Algorithm 1, equations (7) to (11)",
    needs=("grad", "hvp"),
    state_copies=2,
)
class AdaHessian(ElementwiseDecay):
    """AdaHessian: a step divided by the averaged root mean square of the Hessian's diagonal.

    ``h = z ⊙ (H z)`` with signs z (one draw over all parameters), D the spatial average of h,
    ``m_t = β1 m_{t-1} + (1 - β1) g_t``, ``v_t = β2 v_{t-1} + (1 - β2) D_t²``,
    ``θ_t = θ_{t-1} - η [ (m_t / (1 - β1^t)) / ( sqrt(v_t / (1 - β2^t))^k + ε ) + λ θ_{t-1} ]``.

    Raises
    ------
    CapabilityError
        `minimize` meets a problem without ``hvp``.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=4, condition_number=100.0, diagonal=True)
    >>> r = refopt.minimize(p, "adahessian", lr=0.5, steps=200)
    >>> dict(r.calls)
    {'grad': 200, 'hvp': 200}
    """

    slots = ("m", "v")
    given = ("g", "d")
    lr: Rate = hyper(
        0.15, "[0, inf)", "η; 0.15 in the authors' code. Without a unit at k = 1: the step is a Newton step."
    )
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.999, "[0, 1)")
    eps: float = hyper(1e-4, "[0, inf)", "ε, outside the power.")
    hessian_power: float = hyper(1.0, "[0, 1]", "k.")
    average: str = hyper("kernel", tuple(AVERAGES),
        "Over which axes D averages: the last two of 4-D leaves; besides, a row of a matrix and the last"
        " axis of 3-D leaves; nothing.")  # fmt: skip
    absolute: bool = hyper(False,
        words="False: the average of h itself (the paper). True: of its absolute value, so that signs"
        " never cancel (the authors' code).")  # fmt: skip
    probes: int = hyper(1, "int [1, inf)", "Draws of z whose h are averaged.")
    update_every: int = hyper(
        1, "int [1, inf)", "The Hessian is asked for every so many steps, and kept between."
    )
    average_stale: bool = hyper(
        True, words="v takes the kept D on the steps between (timm); otherwise v waits."
    )

    def rule(self, xp):
        plain = self.hessian_power == 1.0

        def adahessian(x, g, d, m, v, beta1, k1, beta2, k2, step, root, power, eps, l2, keep):
            m = ema(m, g + l2 * x, beta1, k1)
            v = ema(v, d * d, beta2, k2)
            size = xp.sqrt(v) * root
            if not plain:
                size = size**power
            return keep * x - step * m / (size + eps), m, v

        return adahessian

    def init(self, x: Params) -> State:
        """Return the state at the start `x`; a kept D where it is not asked for every step."""
        s = super().init(x)
        return {**s, "d": zeros_like(x)} if self.update_every > 1 else s

    def diagonal(self, x: Params, oracle: Oracle) -> Params:
        """Return D: Hutchinson's estimate ``z ⊙ (H z)``, averaged over probes and space."""
        total = None
        for _ in range(self.probes):
            z = rademacher(oracle.rng, x)
            h = map_leaves(lambda a, b: a * b, z, oracle.hvp(x, z))
            total = h if total is None else map_leaves(lambda a, b: a + b, total, h)
        assert total is not None
        return map_leaves(lambda h: self._spatial(h / self.probes), total)

    def _spatial(self, h: Array) -> Array:
        xp = namespace(h)
        if self.absolute:
            h = xp.abs(h)
        axes = AVERAGES[self.average].get(h.ndim)
        return h if axes is None else xp.zeros_like(h) + xp.mean(h, axis=axes, keepdims=True)

    def _fresh(self, t: int) -> bool:
        return (t - 1) % self.update_every == 0

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient and, when it is due, the Hessian times signs; then step."""
        g = oracle.grad(x)
        d = self.diagonal(x, oracle) if self._fresh(s["t"] + 1) else s["d"]
        new_x, new_s = self.advance(x, (g, d), s)
        return new_x, {**new_s, "d": d} if self.update_every > 1 else new_s

    def scalars(self, t, carried):
        beta2 = self.beta2 if self.average_stale or self._fresh(t) else 1.0
        return {
            "k1": 1.0 - self.beta1,
            "beta2": beta2,
            "k2": 1.0 - beta2,
            "step": self.rate(t) / correction(self.beta1, t),
            "root": correction(self.beta2, t) ** -0.5,
            "power": self.hessian_power,
        }


dialect(AdaHessian, "official", "amirgholami/adahessian image_classification",
    "the average of |Hz|, not of z*Hz", absolute=True)  # fmt: skip
dialect(AdaHessian, "instruction", "amirgholami/adahessian instruction", "averages rows of matrices too",
    absolute=True, average="rows")  # fmt: skip
dialect(AdaHessian, "timm", "timm 1.0 adahessian",
    "avg_conv_kernel=True is average='kernel' with absolute=True", lr=0.1, eps=1e-8, average="none")  # fmt: skip
dialect(AdaHessian, "kozistr", "pytorch_optimizer 4.1 AdaHessian",
    "v moves only when the Hessian is refreshed", lr=0.1, eps=1e-16, average="none", average_stale=False)  # fmt: skip
