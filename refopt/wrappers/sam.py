"""Sharpness-aware minimization (Foret et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass

from refopt.core import params
from refopt.core.arrays import namespace
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.wrappers.base import Wrapper

FORET = Source(
    key="foret-2020-sharpness",
    authors="P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur",
    year=2020,
    title="Sharpness-Aware Minimization for Efficiently Improving Generalization",
    arxiv="2010.01412",
)
KWON = Source(
    key="kwon-2021-asam",
    authors="J. Kwon, J. Kim, H. Park, I. K. Choi",
    year=2021,
    title="ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant Learning of Deep Neural Networks",
    arxiv="2102.11600",
)


@register(
    "sam",
    kind="wrapper",
    source=FORET,
    where="Algorithm 1, equation (3) with p = 2",
    also=(KWON,),
    dialects={
        "official": Dialect(
            {"eps": 0.0}, "google-research/sam", "no guard of the norm; a zero gradient stays"
        ),
        "davda54": Dialect({"eps": 1e-12}, "davda54/sam"),
    },
    evidence=(
        Evidence(
            "parity",
            "davda54's SAM around torch's SGD with momentum and decay, vector, matrix and kernel, 40 steps on a nonlinear function under a schedule, to 1e-12 (measured 2e-16)",
            "tests/parity/test_tapes.py::test_tape[sam-davda54]",
        ),
        Evidence(
            "parity",
            "davda54's SAM(adaptive=True), likewise, to 1e-12 (measured 2e-16)",
            "tests/parity/test_tapes.py::test_tape[sam-davda54-adaptive]",
        ),
        Evidence(
            "parity",
            "the authors' train_step around a gradient step, with decay in the loss and a schedule, 200 steps on a nonlinear function and on an ill-conditioned one, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[sam-official]",
        ),
        Evidence(
            "claim",
            "on H = h I with gradient descent it ends in a 2-cycle of amplitude lr h rho / (2 - lr h), to 1e-12",
            "tests/claims/test_sam.py::test_two_cycle",
        ),
        Evidence(
            "identity",
            "rho = 0 is the base method, bit for bit",
            "tests/identities/test_sam.py::test_rho_zero_is_the_base",
        ),
        Evidence(
            "identity",
            "on a quadratic the gradient is H (x + rho H x / |H x|), to 1e-13",
            "tests/identities/test_sam.py::test_quadratic_closed_form",
        ),
        Evidence(
            "parity",
            "optax.contrib.sam around momentum, 60 steps on a nonlinear function, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[sam-optax]",
        ),
        Evidence(
            "parity",
            "pytorch_optimizer.SAM(adaptive=True) around torch's SGD, its norm in float64, 40 steps, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[sam-kozistr-adaptive]",
        ),
    ),
)
@dataclass(frozen=True, kw_only=True)
class SAM(Wrapper):
    """SAM: the base method steps with the gradient at the worst point of a small ball, to first order.

    ``ε̂ = ρ ∇L(w) / ||∇L(w)||_2``, ``g = ∇L(w + ε̂)``, and the base method steps from w with g. The
    norm is over all parameters; both gradients are of the same batch.

    Parameters
    ----------
    base : Method or str
        The method that steps; a name takes further hyperparameters (``lr=...``).
    rho : float, range [0, inf)
        ρ, in the units of x.
    eps : float, range [0, inf)
        Added to the norm; the paper has none (0), and a gradient of zero is then not moved from.
    adaptive : bool
        ASAM: ``ε̂ = ρ w² ⊙ ∇L / || |w| ⊙ ∇L ||``.
    schedule : callable, optional
        Of the base's rate: handed on to a base that is given by name.

    References
    ----------
    P. Foret et al. 2020, arXiv:2010.01412, Algorithm 1.

    Examples
    --------
    >>> import refopt
    >>> o = refopt.optimizer("sam", base="momentum", rho=0.05, lr=0.1)
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), o, steps=100)
    >>> dict(r.calls)
    {'grad': 200}
    """

    rho: float = hyper(0.05, "[0, inf)")
    eps: float = hyper(0.0, "[0, inf)")
    adaptive: bool = hyper(False, (True, False))

    def perturbation(self, w: Params, g: Params) -> Params:
        """Return ε̂ at `w`, where the gradient is `g`."""
        if self.adaptive:
            length = params.norm(params.map_leaves(lambda a, b: namespace(a).abs(a) * b, w, g))
            direction = params.map_leaves(lambda a, b: a * a * b, w, g)
        else:
            length, direction = params.norm(g), g
        length += self.eps
        return params.scale(self.rho / length if length > 0.0 else 0.0, direction)

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with gradients from the perturbed points."""

        def sharp(oracle: Oracle, w: Params) -> Params:
            return oracle.grad(params.axpy(1.0, self.perturbation(w, oracle.grad(w)), w))

        x, base = self.base.step(x, s["base"], GradientsAt(oracle, sharp))
        return x, {"t": s["t"] + 1, "base": base}
