"""Muon: momentum orthogonalised by Newton-Schulz (Jordan et al. 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from refopt.core.arrays import Namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Rule
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.averages import correction
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.groups import Grouped
from refopt.optimizers.common.orthogonal import orthogonalised
from refopt.optimizers.first_order.adam import Adam
from refopt.optimizers.first_order.adamw import AdamW

JORDAN = Source(
    key="jordan-2024-muon",
    authors="K. Jordan, Y. Jin, V. Boza, J. You, F. Cesista, L. Newhouse, J. Bernstein",
    year=2024,
    title="Muon: An optimizer for hidden layers in neural networks",
    url="https://kellerjordan.github.io/posts/muon/",
)
LIU = Source(
    key="liu-2025-muon",
    authors="J. Liu et al.",
    year=2025,
    title="Muon is Scalable for LLM Training",
    arxiv="2502.16982",
)


def shape_factor(scale: str, out: int, into: int) -> float:
    """Return κ, by which a matrix of `out` rows and `into` columns has its step multiplied.

    Parameters
    ----------
    scale : {"max", "match-rms", "spectral", "none"}
        ``sqrt(max(1, out/in))`` (Jordan), ``0.2 sqrt(max(out, in))`` (Liu), ``sqrt(out/in)``, 1.
    out, into : int

    Returns
    -------
    float
    """
    return {
        "max": math.sqrt(max(1.0, out / into)),
        "match-rms": 0.2 * math.sqrt(max(out, into)),
        "spectral": math.sqrt(out / into),
        "none": 1.0,
    }[scale]


@register(
    "muon",
    kind="optimizer",
    source=JORDAN,
    where="Algorithm 2 of the post, with Nesterov momentum",
    also=(LIU,),
    dialects={
        "official": Dialect(
            {"momentum_form": "average", "kernel_sides": True},
            "KellerJordan/Muon muon.py",
            "runs Newton-Schulz in bfloat16 (ns_dtype); κ of a kernel is taken from its two sides",
        ),
        "torch": Dialect(
            {
                "momentum_form": "average",
                "lr": 1e-3,
                "weight_decay": 0.1,
                "eps_rule": "clamp",
                "group": "matrices",
            },
            "torch 2.13 optim.Muon",
            "runs Newton-Schulz in bfloat16 (ns_dtype); takes matrices alone",
        ),
        "optax": Dialect(
            {"momentum_form": "corrected", "eps": 1e-8, "out_axis": 1, "group": "matrices"},
            "optax 0.2.8 contrib.muon",
        ),
        "moonlight": Dialect(
            {
                "momentum_form": "sum",
                "lr": 1e-3,
                "scale": "match-rms",
                "weight_decay": 0.1,
                "group": "matrices",
                "others": AdamW(
                    lr=1e-3, beta2=0.95, eps_corrected=False, weight_decay=0.1, decay="decoupled"
                ),
            },
            "MoonshotAI/Moonlight examples/toy_train.py",
            "runs Newton-Schulz in bfloat16 (ns_dtype); takes matrices alone, AdamW at the same rate has the rest",
        ),
    },
    evidence=(
        Evidence(
            "parity",
            "the authors' SingleDeviceMuonWithAuxAdam with its bfloat16 cast taken out, matrix, kernel and vector, 200 steps on two streams with decay and a schedule, to 1e-12 (measured 4e-16)",
            "tests/parity/test_tapes.py::test_tape[muon-official]",
        ),
        Evidence(
            "parity",
            "the same code on kernels that are tall when flattened and not square, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[muon-official-kernels]",
        ),
        Evidence(
            "parity",
            "torch.optim.Muon with its bfloat16 cast taken out, decay and a schedule, 200 steps on four streams, to 1e-11",
            "tests/parity/test_tapes.py::test_tape[muon-torch]",
        ),
        Evidence(
            "parity",
            "optax.contrib.muon on matrices with decay and a schedule, 200 steps on four streams, to 1e-11",
            "tests/parity/test_tapes.py::test_tape[muon-optax]",
        ),
        Evidence(
            "parity",
            "Moonlight's Muon with its bfloat16 cast taken out and its AdamW, two matrices and a vector, 200 steps on two streams with decay and a schedule, to 1e-11",
            "tests/parity/test_tapes.py::test_tape[muon-moonlight]",
        ),
        Evidence(
            "parity",
            "torch.optim.Muon as shipped, in float32 with its bfloat16 cast, live, 60 steps on four streams with decay and a schedule, to half of the cast's own rounding; its Newton-Schulz to the bit",
            "tests/parity/test_bfloat16.py::test_torch_muon_as_shipped",
        ),
        Evidence(
            "claim",
            "f(P g Q) = P f(g) Q for orthogonal P and Q over 20 steps, to 1e-12",
            "tests/claims/test_muon.py::test_orthogonal_equivariance",
        ),
        Evidence(
            "identity",
            "with Newton-Schulz run to convergence a first step is -lr kappa U V^T of the gradient's SVD, matrices and a kernel, to 1e-12",
            "tests/identities/test_muon.py::test_first_step_is_the_polar_factor",
        ),
    ),
    state_copies=1,
)
@dataclass(frozen=True, kw_only=True)
class Muon(Grouped, Decay):
    """Muon: the momentum of a weight matrix, with its singular values brought to about one.

    ``B_t = μ B_{t-1} + G_t``, ``O_t = NewtonSchulz(G_t + μ B_t)``, ``X_t = X_{t-1} - η κ O_t``, for
    every hidden matrix; all other parameters belong to another method (Adam).

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η, in units of a spectral norm of X.
    momentum : float, range [0, 1)
        μ.
    nesterov : bool
        Orthogonalise G + μ B, or B.
    momentum_form : {"sum", "average", "corrected"}
        ``sum`` as above; ``average``: B ← μ B + (1-μ) G, and (1-μ) G + μ B (the same direction but for
        eps); ``corrected``: each part of the average with its own bias correction (optax), another
        direction in the early steps.
    ns_steps : int, range [1, inf)
    ns_dtype : str, optional
        The dtype of Newton-Schulz by its name in the array's library, ``"bfloat16"`` for the codes' own
        choice; NumPy has none of that name. None: the dtype of X.
    coefficients : str or sequence of triples
    eps : float, range [0, inf)
    eps_rule : {"add", "clamp"}
        For `refopt.matrix.polar.polar_newton_schulz`.
    scale : {"max", "match-rms", "spectral", "none"}
        κ; see `shape_factor`.
    out_axis : {0, 1}
        Which axis of a matrix counts as its outputs, in κ.
    kernel_sides : bool
        False: κ of a kernel is that of the flattened matrix. True: of its last two sides (the authors' code).
    group : str, sequence of str, or callable
        The leaves that are hidden matrices. Leaves of more than two dimensions are flattened to
        (first axis, rest).
    others : Method
        For all other leaves; default Adam with lr 3e-4, betas (0.9, 0.95), eps 1e-10.
    weight_decay : float, range [0, inf)
    decay : {"decoupled", "independent", "coupled"}
    schedule : callable, optional
        Of Muon's rate; `others` has its own.

    Notes
    -----
    The authors, torch and Moonlight run Newton-Schulz in bfloat16, whatever the dtype of X; here only
    ``ns_dtype="bfloat16"`` does, in every dialect, since NumPy lacks it. For a kernel their
    code takes κ from the kernel's two sides, not from the flattened matrix that it orthogonalises: for
    square sides κ = 1 whatever the channels. That looks like a fault, but their runs on convolutions have
    it, so the dialect has it too.

    References
    ----------
    K. Jordan et al. 2024, Muon: An optimizer for hidden layers in neural networks; J. Liu et al. 2025,
    arXiv:2502.16982.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("muon", lr=0.1)
    >>> x = {"w": np.zeros((2, 2)), "b": np.zeros(2)}
    >>> g = {"w": np.diag([3.0, 0.1]), "b": np.ones(2)}
    >>> x, s = o.update(x, g, o.init(x))
    >>> print((np.abs(np.diag(x["w"])) > 0.06).all(), x["b"].round(5))
    True [-0.0003 -0.0003]
    """

    slots: ClassVar[tuple[str, ...]] = ("buffer",)
    lr: Rate = hyper(0.02, "[0, inf)", rate=True)
    momentum: float = hyper(0.95, "[0, 1)")
    nesterov: bool = hyper(True, (True, False))
    momentum_form: str = hyper("sum", ("sum", "average", "corrected"))
    ns_steps: int = hyper(5, "int [1, inf)")
    ns_dtype: str | None = hyper(None)
    coefficients: Any = hyper("jordan")
    eps: float = hyper(1e-7, "[0, inf)")
    eps_rule: str = hyper("add", ("add", "clamp"))
    scale: str = hyper("max", ("max", "match-rms", "spectral", "none"))
    out_axis: int = hyper(0, (0, 1))
    kernel_sides: bool = hyper(False, (True, False))
    group: Any = hyper("matrices-and-kernels")
    others: Any = hyper(Adam(lr=3e-4, beta2=0.95, eps=1e-10))

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the weights of gradient and buffer, in the buffer and in what is orthogonalised."""
        mu = self.momentum
        fresh = 1.0 if self.momentum_form == "sum" else 1.0 - mu
        direct, through = (fresh, mu) if self.nesterov else (0.0, 1.0)
        if self.momentum_form == "corrected":
            direct /= correction(mu, t)
            through /= correction(mu, t + 1 if self.nesterov else t)
        return {
            "lr": self.rate(t),
            "mu": mu,
            "fresh": fresh,
            "direct": direct,
            "through": through,
            "l2": self.coupled(),
            "keep": self.keep(t),
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return the step of one matrix."""

        def muon(x, g, b, lr, mu, fresh, direct, through, l2, keep):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            b = mu * b + fresh * g
            u = xp.reshape(direct * g + through * b, (x.shape[0], -1))
            o = orthogonalised(
                u, self.ns_dtype, steps=self.ns_steps, coefficients=self.coefficients,
                eps=self.eps, eps_rule=self.eps_rule,
            )  # fmt: skip
            sides = x.shape[-2:] if self.kernel_sides else u.shape
            out, into = sides if self.out_axis == 0 else sides[::-1]
            kappa = shape_factor(self.scale, out, into)
            return keep * x - lr * kappa * xp.reshape(o, x.shape), b

        return muon
