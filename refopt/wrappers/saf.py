"""Sharpness-aware training for free (Du et al. 2022): SAF, and MESA with averaged weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from refopt.core.arrays import Array, like, namespace, to_numpy
from refopt.core.errors import CapabilityError
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params, axpy, copied, leaves, map_leaves
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.wrappers.base import Wrapper

DU = Source("du-2022-sharpnessaware", "J. Du, D. Zhou, J. Feng, V. Y. F. Tan, J. T. Zhou",
    "Sharpness-Aware Training for Free", arxiv="2205.14083")  # fmt: skip


@register(
    "saf", source=DU, where="equations (6) and (7), Algorithms 1 and 2", needs=("grad", "residual", "vjp")
)
class SAF(Wrapper):
    """SAF: the loss also holds a model's outputs near those of some epochs ago, so that no sharp descent pays.

    ``L + λ T² mean_i KL(softmax(z_i^past/T) ‖ softmax(z_i/T))``, z_i the logits of example i and z_i^past those that
    it had E epochs ago, when the step's batch held it; an example that was not asked for then has no such term. MESA:
    z^past of the same batch from the weights' average ``θ̄ ← μ θ̄ + (1 - μ) θ``.

    Raises
    ------
    CapabilityError
        The problem is no sum over examples, or its residual is not logits of shape (B, C).

    Notes
    -----
    Epochs are counted from 0, of as many steps as whole batches fit into the data. The factor T² is in the authors'
    code.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("softmax", n_examples=120)
    >>> r = refopt.minimize(p, "saf", base="momentum", lr=0.1, batch_size=40, start=1, lag=1, steps=12)
    >>> r.calls["grad"], r.calls["vjp"]  # none in the first two epochs
    (12, 6)
    """

    weight: float = hyper(0.3, "[0, inf)", "λ.")
    temperature: float = hyper(5.0, "(0, inf)", "T.")
    start: int = hyper(5, "int [0, inf)", "The term is there in epochs after this one.")
    end: int | None = hyper(None, "int [0, inf)", "And before this one. None: to the end.")
    lag: int = hyper(3, "int [1, inf)", "E, in epochs; not of MESA.")
    teacher: str = hyper("past", ("past", "average"), "Where z^past comes from: SAF, or MESA.")
    decay: float = hyper(0.9995, "[0, 1]", "μ of MESA.")
    words = {
        "base": "The method that steps; a name takes further hyperparameters (``lr=...``).",
        "schedule": "Of the base's rate: handed on to a base that is given by name.",
    }

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the base's; MESA's average is x."""
        s = super().init(x)
        return {**s, "average": copied(x)} if self.teacher == "average" else s

    def epoch(self, s: State, oracle: Oracle) -> int:
        """Return the epoch of the coming step, from 0."""
        size = oracle.n_examples if oracle.batch is None else oracle.batch.size
        return s["t"] // max(1, oracle.n_examples // size)

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with the gradients of both terms, then remember the logits or average the weights."""
        if getattr(oracle.problem, "n_examples", None) is None:
            raise CapabilityError("saf: the problem is not a sum over examples (it has no n_examples)")
        epoch = self.epoch(s, oracle)
        new: dict[str, Any] = {"t": s["t"] + 1}
        if self.teacher == "past":
            new.update(self.remembered(x, s, oracle, epoch))
        active = self.start < epoch and (self.end is None or epoch < self.end)

        def gradient(oracle: Oracle, w: Params) -> Params:
            g = copied(oracle.grad(w))
            return axpy(1.0, oracle.vjp(w, self.pull(w, {**s, **new}, oracle, epoch)), g) if active else g

        x, new["base"] = self.base.step(x, s["base"], GradientsAt(oracle, gradient))
        if self.teacher == "average":
            new["average"] = map_leaves(lambda a, b: ema(a, b, self.decay, 1.0 - self.decay), s["average"], x)
        return x, new

    def logits(self, w: Params, oracle: Oracle) -> Array:
        """Return z of the batch, of shape (B, C)."""
        z = oracle.residual(w)
        if z.ndim != 2:
            raise CapabilityError(
                f"saf: wanted a problem whose residual is the logits of a classifier, of shape (B, C), got {z.shape}"
            )
        return z

    def pull(self, w: Params, s: State, oracle: Oracle, epoch: int) -> Array:
        """Return the term's gradient by z: ``λ T (softmax(z/T) - softmax(z^past/T)) / B``, zero without z^past."""
        z = self.logits(w, oracle)
        if self.teacher == "average":
            past, known = self.logits(s["average"], oracle), np.ones(z.shape[0])
        else:
            slot, rows = (epoch - self.lag) % (self.lag + 1), examples(oracle)
            past = like(to_numpy(s["logits"])[slot, rows], z)
            known = 1.0 * (to_numpy(s["epochs"])[slot, rows] == epoch - self.lag)
        change = softened(z, self.temperature) - softened(past, self.temperature)
        return self.weight * self.temperature / z.shape[0] * like(known[:, None], z) * change

    def remembered(self, x: Params, s: State, oracle: Oracle, epoch: int) -> dict[str, Array]:
        """Return the logits of the last E + 1 epochs with those of this batch, and when each was taken."""
        z, slots = self.logits(x, oracle), self.lag + 1
        shape = (slots, oracle.n_examples, z.shape[1])
        kept = np.array(to_numpy(s["logits"])) if "logits" in s else np.zeros(shape)
        when = np.array(to_numpy(s["epochs"])) if "epochs" in s else np.full(shape[:2], -1.0)
        rows = examples(oracle)
        kept[epoch % slots, rows], when[epoch % slots, rows] = to_numpy(z), epoch
        reference = next(iter(leaves(x).values()))
        return {"logits": like(kept, reference), "epochs": like(when, reference)}


def examples(oracle: Oracle) -> np.ndarray:
    """Return the indices of the batch."""
    return np.arange(oracle.n_examples) if oracle.batch is None else oracle.batch


def softened(z: Array, temperature: float) -> Array:
    """Return ``softmax(z / T)`` of every row."""
    xp = namespace(z)
    e = xp.exp((z - xp.max(z, axis=1, keepdims=True)) / temperature)
    return e / xp.sum(e, axis=1, keepdims=True)


dialect(
    SAF,
    "official",
    "AngusDujw/SAF SAF_train.py, run.sh",
    "examples that were not seen have logits of zero there",
)
dialect(SAF, "mesa", "AngusDujw/SAF MESA_train.py, run.sh", teacher="average", weight=0.8, decay=0.9998)
