"""Muon: momentum orthogonalised by Newton-Schulz (Jordan et al. 2024)."""

from __future__ import annotations

import math
from typing import Any

from refopt.core.arrays import Array
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.matrix.polar_schedules import choose
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.groups import Grouped
from refopt.optimizers.common.lmo import as_matrix
from refopt.optimizers.common.orthogonal import NS_DTYPES, orthogonalised
from refopt.optimizers.first_order.adam import Adam
from refopt.optimizers.first_order.adamw import AdamW
from refopt.optimizers.first_order.nadamw import NAdamW

JORDAN = Source("jordan-2024-muon",
    "K. Jordan, Y. Jin, V. Boza, J. You, F. Cesista, L. Newhouse, J. Bernstein",
    "Muon: An optimizer for hidden layers in neural networks",
    url="https://kellerjordan.github.io/posts/muon/")  # fmt: skip
LIU = Source("liu-2025-muon", "J. Liu et al.", "Muon is Scalable for LLM Training", arxiv="2502.16982")


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


class Orthogonalising(Grouped, Decay):
    """What Muon and its relatives share: which leaves are hidden matrices, and Newton-Schulz on them."""

    ns_steps: int = hyper(5, "int [1, inf)")
    ns_dtype: str | None = hyper(None, NS_DTYPES,
        words="The dtype of Newton-Schulz by its name in the array's library, ``\"bfloat16\"`` for the"
        " codes' own choice; NumPy has none of that name. None: the dtype of X.")  # fmt: skip
    coefficients: Any = hyper("jordan", kind="str or sequence of triples")
    group: Any = hyper("matrices-and-kernels",
        words="The leaves that are hidden matrices. Leaves of more than two dimensions are flattened to"
        " (first axis, rest).", kind="str, sequence of str, or callable")  # fmt: skip
    others: Any = hyper(Adam(lr=3e-4, beta2=0.95, eps=1e-10),
        words="For all other leaves; default Adam with lr 3e-4, betas (0.9, 0.95), eps 1e-10. Left out, it follows"
        " `lr` at its default's ratio, and `schedule`.", kind="Method")  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        choose(self.coefficients, self.ns_steps)

    def orthogonal(self, M: Array, eps: float, eps_rule: str) -> Array:
        """Return the polar factor of a matrix by so many steps of Newton-Schulz."""
        return orthogonalised(
            M, self.ns_dtype, steps=self.ns_steps, coefficients=self.coefficients, eps=eps, eps_rule=eps_rule
        )


class MuonKin(Orthogonalising):
    """What Muon's relatives share besides: an averaged momentum, with a step of Nesterov's or without."""

    lr: Rate = hyper(0.02, "[0, inf)", "η.")
    momentum: float = hyper(0.95, "[0, 1)", "μ.")
    nesterov: bool = hyper(False, words="True: ``(1 - μ) G_t + μ M_t`` is orthogonalised, not M_t.")
    ns_eps: float = hyper(1e-7, "[0, inf)", "For `refopt.matrix.polar.polar_newton_schulz`.")
    ns_eps_rule: str = hyper("add", ("add", "clamp"), "For the same.")

    def averaged(self, g: Array, m: Array) -> tuple[Array, Array]:
        """Return the new momentum, and what is orthogonalised as a matrix."""
        mu = self.momentum
        m = ema(m, g, mu, 1.0 - mu)
        return m, as_matrix(ema(m, g, mu, 1.0 - mu) if self.nesterov else m)

    def factor(self, M: Array) -> Array:
        """Return the polar factor of what `averaged` gave."""
        return self.orthogonal(M, self.ns_eps, self.ns_eps_rule)


@register(
    "muon",
    source=JORDAN,
    where="Algorithm 2 of the post, with Nesterov momentum",
    also=(LIU,),
    state_copies=1,
)
class Muon(Orthogonalising):
    """Muon: the momentum of a weight matrix, with its singular values brought to about one.

    ``B_t = μ B_{t-1} + G_t``, ``O_t = NewtonSchulz(G_t + μ B_t)``, ``X_t = X_{t-1} - η κ O_t``, for
    every hidden matrix; all other parameters belong to another method (Adam).

    Notes
    -----
    The authors, torch and Moonlight run Newton-Schulz in bfloat16, whatever the dtype of X; here only
    ``ns_dtype="bfloat16"`` does, in every dialect, since NumPy lacks it. For a kernel their
    code takes κ from the kernel's two sides, not from the flattened matrix that it orthogonalises: for
    square sides κ = 1 whatever the channels. That looks like a fault, but their runs on convolutions have
    it, so the dialect has it too.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("muon", lr=0.1)
    >>> x = {"w": np.zeros((2, 2)), "b": np.zeros(2)}
    >>> g = {"w": np.diag([3.0, 0.1]), "b": np.ones(2)}
    >>> x, s = o.update(x, g, o.init(x))
    >>> print((np.abs(np.diag(x["w"])) > 0.06).all(), x["b"].round(5))
    True [-0.0015 -0.0015]
    """

    slots = ("buffer",)
    lr: Rate = hyper(0.02, "[0, inf)", "η, in units of a spectral norm of X.")
    momentum: float = hyper(0.95, "[0, 1)", "μ.")
    nesterov: bool = hyper(True, words="Orthogonalise G + μ B, or B.")
    momentum_form: str = hyper("sum", ("sum", "average", "corrected"),
        "``sum`` as above; ``average``: B ← μ B + (1-μ) G, and (1-μ) G + μ B (the same direction but for"
        " eps); ``corrected``: each part of the average with its own bias correction (optax), another"
        " direction in the early steps.")  # fmt: skip
    eps: float = hyper(1e-7, "[0, inf)")
    eps_rule: str = hyper("add", ("add", "clamp"), "For `refopt.matrix.polar.polar_newton_schulz`.")
    scale: str = hyper("max", ("max", "match-rms", "spectral", "none"), "κ; see `shape_factor`.")
    out_axis: int = hyper(0, (0, 1), "Which axis of a matrix counts as its outputs, in κ.")
    kernel_sides: bool = hyper(False,
        words="False: κ of a kernel is that of the flattened matrix. True: of its last two sides (the"
        " authors' code).")  # fmt: skip

    def rule(self, xp):
        def muon(x, g, b, lr, mu, fresh, direct, through, l2, keep):
            g = g + l2 * x
            b = mu * b + fresh * g
            u = xp.reshape(direct * g + through * b, (x.shape[0], -1))
            o = self.orthogonal(u, self.eps, self.eps_rule)
            sides = x.shape[-2:] if self.kernel_sides else u.shape
            out, into = sides if self.out_axis == 0 else sides[::-1]
            kappa = shape_factor(self.scale, out, into)
            return keep * x - lr * kappa * xp.reshape(o, x.shape), b

        return muon

    def scalars(self, t, carried):
        mu = self.momentum
        fresh = 1.0 if self.momentum_form == "sum" else 1.0 - mu
        direct, through = (fresh, mu) if self.nesterov else (0.0, 1.0)
        if self.momentum_form == "corrected":
            direct /= correction(mu, t)
            through /= correction(mu, t + 1 if self.nesterov else t)
        return {"mu": mu, "fresh": fresh, "direct": direct, "through": through}


dialect(Muon, "official", "KellerJordan/Muon muon.py",
    "runs Newton-Schulz in bfloat16 (ns_dtype); κ of a kernel is taken from its two sides",
    momentum_form="average", kernel_sides=True)  # fmt: skip
dialect(Muon, "torch", "torch 2.13 optim.Muon",
    "runs Newton-Schulz in bfloat16 (ns_dtype); takes matrices alone", momentum_form="average", lr=1e-3,
    weight_decay=0.1, eps_rule="clamp", group="matrices")  # fmt: skip
dialect(Muon, "optax", "optax 0.2.8 contrib.muon", "NAdamW without decay at the same rate has the rest",
    momentum_form="corrected", eps=1e-8, out_axis=1, group="matrices",
    others=NAdamW(lr=0.02, weight_decay=0.0))  # fmt: skip
dialect(Muon, "moonlight", "MoonshotAI/Moonlight examples/toy_train.py",
    "runs Newton-Schulz in bfloat16 (ns_dtype); takes matrices alone, AdamW at the same rate has the rest",
    momentum_form="sum", lr=1e-3, scale="match-rms", weight_decay=0.1, group="matrices",
    others=AdamW(lr=1e-3, beta2=0.95, eps_corrected=False, weight_decay=0.1, decay="decoupled"))  # fmt: skip
dialect(Muon, "keras", "Keras 3.15 Muon",
    "takes matrices alone, but no embedding; AdamW at the same rate has the rest; on torch its norm and κ are in single "
    "precision, and its adam_weight_decay is not read",
    lr=1e-3, scale="match-rms", weight_decay=0.004, group="matrices",
    others=AdamW(lr=1e-3, eps=1e-7, eps_corrected=False, weight_decay=0.004, decay="decoupled"))  # fmt: skip


@register(
    "distributed-muon",
    source=JORDAN,
    where="the class Muon of muon.py, whose workers share the matrices",
    state_copies=1,
)
class DistributedMuon(Muon):
    """Distributed Muon: Muon's steps, every worker making those of its own matrices from the reduced gradient.

    With G_t the mean of the workers' gradients, ``B_t = μ B_{t-1} + G_t``, ``O_t = NewtonSchulz(G_t + μ B_t)``,
    ``X_t = X_{t-1} - η κ O_t``, for a matrix by the worker that owns it, which sends X_t to the others.

    Notes
    -----
    The rule is `muon`'s, and so is this class: a step looks at one matrix alone, so that it does not depend on who owns what, to the
    bit. What differs is where the state lies: a checkpoint of one worker has the momenta of its own matrices
    alone. In the codes a matrix without a gradient has a gradient of zero, and moves by its momentum; here it stands
    still.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> x = {"a": np.eye(2), "b": np.ones((2, 3))}
    >>> both = refopt.optimizer("distributed-muon")
    >>> new, _ = both.update(x, x, both.init(x))
    >>> mine = {"b": x["b"]}  # the second worker
    >>> sent, _ = both.update(mine, mine, both.init(mine))
    >>> bool(np.all(sent["b"] == new["b"]))
    True
    """


dialect(DistributedMuon, "official", "KellerJordan/Muon muon.py Muon", "runs Newton-Schulz in bfloat16 (ns_dtype)",
    momentum_form="average", kernel_sides=True)  # fmt: skip
dialect(DistributedMuon, "kozistr", "pytorch_optimizer 4.1 DistributedMuon", "runs Newton-Schulz in bfloat16 (ns_dtype)",
    momentum_form="average", eps_rule="clamp")  # fmt: skip
