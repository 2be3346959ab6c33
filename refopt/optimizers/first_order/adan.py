"""Adan (Xie et al. 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from refopt.core import params
from refopt.core.arrays import Namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Elementwise, Rule, State
from refopt.core.params import Params, check_like
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero

XIE = Source(
    key="xie-2022-adan",
    authors="X. Xie, P. Zhou, H. Li, Z. Lin, S. Yan",
    year=2022,
    title="Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep Models",
    arxiv="2208.06677",
)


@register(
    "adan",
    kind="optimizer",
    source=XIE,
    where="Algorithm 1",
    dialects={
        "official": Dialect(
            {"bias_correction": True, "eps_inside": False},
            "sail-sg/Adan adan.py",
            "no_prox=True is decay='decoupled'; timm and pytorch_optimizer 4.1.0 (prox: its default) alike",
        ),
        "no-prox": Dialect(
            {"bias_correction": True, "eps_inside": False, "decay": "decoupled"},
            "sail-sg/Adan adan.py, no_prox=True",
            "optax 0.2.8 adan has this form, but 1 - b2 where the gradient's change is weighed: see docs/museum.md",
        ),
    },
    evidence=(
        Evidence(
            "identity",
            "eps_root stands beside the corrected square: the first step in closed form, to 1e-14",
            "tests/identities/test_mixed.py::test_adans_eps_root_stands_beside_the_corrected_square",
        ),
        Evidence(
            "parity",
            "the authors' Adan with low betas, large eps, proximal decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adan-official]",
        ),
        Evidence(
            "parity",
            "the authors' Adan(max_grad_norm, no_prox), which clips 6 % of the steps of one stream and all of the other, 200 steps each, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adan-official-clipped]",
        ),
        Evidence(
            "parity",
            "pytorch_optimizer.Adan with decoupled decay under a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adan-kozistr]",
        ),
        Evidence(
            "identity",
            "equals Algorithm 1 with its restarts, in the paper's convention of the betas, to 1e-13",
            "tests/identities/test_mixed.py::test_adan_line_by_line",
        ),
        Evidence(
            "identity",
            "with b2 = 0 the authors' form is Adam with proximal decay, to 1e-13",
            "tests/identities/test_mixed.py::test_adan_without_differences_is_adam",
        ),
        Evidence(
            "claim",
            "Lemma 1: Nesterov's look-ahead points follow the gradient-difference form if g_{-1} = 0, to 1e-12",
            "tests/claims/test_mixed.py::test_adan_lemma_1",
        ),
    ),
    state_copies=4,
)
@dataclass(frozen=True, kw_only=True)
class Adan(Elementwise):
    """Adan: averages of the gradient, of its change, and of the square of both together.

    ``d_t = g_t - g_{t-1}``, ``m_t = b1 m_{t-1} + (1 - b1) g_t``, ``v_t = b2 v_{t-1} + (1 - b2) d_t``,
    ``n_t = b3 n_{t-1} + (1 - b3) (g_t + b2 d_t)²``,
    ``x_t = (x_{t-1} - η (m_t + b2 v_t) / sqrt(n_t + ε)) / (1 + λ η)``, from d_1 = v_1 = 0, m_1 = g_1,
    n_1 = g_1². The paper's β_i is 1 - b_i.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η.
    beta1, beta2, beta3 : float, range [0, 1)
        b1, b2, b3, in the code's convention.
    eps : float, range [0, inf)
        ε.
    eps_inside : bool
        True as above; False: ``sqrt(n) + ε`` (the authors' code).
    eps_root : float, range [0, inf)
        Added to the corrected n inside the root (optax); the paper has none.
    bias_correction : bool
        False as above. True: all averages start at zero and are divided by 1 - b_i^t (the code).
    weight_decay : float, range [0, inf)
        λ.
    decay : {"proximal", "decoupled"}
        Divide by 1 + λ η after the step as above, or multiply x by 1 - λ η before it.
    restart_every : int, range [1, inf), optional
        Steps after which all averages begin anew; the paper leaves the condition open.
    max_grad_norm : float, range (0, inf), optional
        M: all gradients are multiplied by ``min(1, M / (‖g‖ + ε))`` first, with the norm over all leaves
        (the authors' code). None: not.
    schedule : callable, optional
    engine : {"array", "numba", "cupy"}

    Notes
    -----
    optax 0.2.8 puts 1 - b2 in place of b2 in n and in the step: a fault, not a dialect. Clipping is not
    part of the algorithm; the gradient that is kept for the next difference is the clipped one. A
    coordinate whose gradient has always been zero stays but for its decay.

    ε inside the root is from two transcriptions of the paper's algorithm (one in brainpy's reference),
    not from the paper itself.

    References
    ----------
    X. Xie, P. Zhou, H. Li, Z. Lin, S. Yan 2022, Adan: Adaptive Nesterov Momentum Algorithm for Faster
    Optimizing Deep Models, arXiv:2208.06677, Algorithm 1.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adan", lr=1.0, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([50.0]), o.init(np.array([0.0])))
    >>> print(x)
    [-1.]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "n", "previous")
    lr: Rate = hyper(1e-3, "[0, inf)", rate=True)
    beta1: float = hyper(0.98, "[0, 1)")
    beta2: float = hyper(0.92, "[0, 1)")
    beta3: float = hyper(0.99, "[0, 1)")
    eps: float = hyper(1e-8, "[0, inf)")
    eps_inside: bool = hyper(True, (True, False))
    eps_root: float = hyper(0.0, "[0, inf)")
    bias_correction: bool = hyper(False, (True, False))
    weight_decay: float = hyper(0.0, "[0, inf)")
    decay: str = hyper("proximal", ("proximal", "decoupled"))
    restart_every: int | None = hyper(None, "int [1, inf)")
    max_grad_norm: float | None = hyper(None, "(0, inf)")

    def update(self, x: Params, grad: Params, s: State, *, donate: bool = False) -> tuple[Params, State]:
        """Clip the gradients' norm, if so wished, and make one step."""
        if self.max_grad_norm is not None:
            check_like(grad, x, "grad")
            size = params.norm(grad) + self.eps
            grad = params.scale(min(1.0, self.max_grad_norm / size) if size > 0.0 else 1.0, grad)
        return super().update(x, grad, s, donate=donate)

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        age = t if self.restart_every is None else (t - 1) % self.restart_every + 1
        begins = age == 1
        b1, b2, b3 = self.beta1, self.beta2, self.beta3
        # m_1 = g_1 and n_1 = g_1²: the first weights of the past are zero.
        memory = 0.0 if begins and not self.bias_correction else 1.0
        # With correction the averages start from zero again at a restart.
        past = 0.0 if begins else 1.0
        c = [correction(b, age) if self.bias_correction else 1.0 for b in (b1, b2, b3)]
        eta = self.rate(t)
        before, after = 1.0, 1.0
        if self.decay == "proximal":
            after = 1.0 / (1.0 + eta * self.weight_decay)
        else:
            before = 1.0 - eta * self.weight_decay
        return {
            "b1": b1 * past,
            "k1": 1.0 - b1 * memory,
            "b2": b2 * past,
            "k2": 1.0 - b2,
            "b3": b3 * past,
            "k3": 1.0 - b3 * memory,
            "moving": past,
            "weight": b2,
            "step_m": eta / c[0],
            "step_v": eta * b2 / c[1],
            "root": 1.0 / math.sqrt(c[2]),
            # Beside the corrected n, as in Adam.
            "inside": (self.eps if self.eps_inside else 0.0) + self.eps_root * c[2],
            "outside": 0.0 if self.eps_inside else self.eps,
            "before": before,
            "after": after,
            "zero": 0.0,
            "one": 1.0,
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return Algorithm 1's step."""
        divisor = nonzero(xp)

        def adan(  # type: ignore[no-untyped-def]
            x,
            g,
            m,
            v,
            n,
            previous,
            b1,
            k1,
            b2,
            k2,
            b3,
            k3,
            moving,
            weight,
            step_m,
            step_v,
            root,
            inside,
            outside,
            before,
            after,
            zero,
            one,
        ):
            d = moving * (g - previous)
            ahead = g + weight * d
            m, v, n = ema(m, g, b1, k1), ema(v, d, b2, k2), ema(n, ahead * ahead, b3, k3)
            denominator = divisor(xp.sqrt(n + inside) * root + outside, zero, one)
            return after * (before * x - (step_m * m + step_v * v) / denominator), m, v, n, g

        return adan
