"""refopt: the Numba engine for elementwise methods, NumPy for others; also the copy that bounds them.

FORM ``torch-bfloat16``: on torch tensors, Newton-Schulz in bfloat16, as torch and pytorch_optimizer ship it.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import refopt
from refopt.cli.bench import stepper
from refopt.core.method import Elementwise
from refopt.core.registry import entry

from asv_bench.sides import Key

FORM = "numba"
SOAP_PERIOD = 10
STREAMED = 4


def build(key: Key) -> tuple[Callable[[], Any], int]:
    if key.method in ("copy", "negate"):
        return stream(key)
    elementwise = issubclass(entry(key.method).obj, Elementwise)
    own = {"engine": FORM} if elementwise else {}
    engine = FORM
    if FORM == "torch-bfloat16":
        import torch

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
        engine, own = "torch", {"dialect": "torch", "ns_dtype": "bfloat16"}
    o = refopt.optimizer(key.method, **own)
    shapes = {f"p{k}": shape for k, shape in enumerate(key.shapes)}
    step = stepper(o, shapes if len(shapes) > 1 else {"": key.shapes[0]}, key.dtype, engine)
    if key.method != "soap":
        return step, 1

    def period() -> None:
        for _ in range(SOAP_PERIOD):
            step()

    return period, SOAP_PERIOD


def stream(key: Key) -> tuple[Callable[[], None], int]:
    """All threads copy an array to another, or negate it in place: what the memory does at best.

    The copy's destination is read into the cache before it is written, which is not counted; in place
    there is nothing to hide, so that is the stricter bound for steps that are made in place. Four arrays
    take turns, as many as Adam's step has, so that they find as little of themselves in the cache.
    """
    import numba

    arrays = [key.arrays(0)[0].copy() for _ in range(STREAMED)]
    sign = arrays[0].dtype.type(1.0 if key.method == "copy" else -1.0)
    pairs = list(zip(arrays[::2], arrays[1::2])) if key.method == "copy" else [(a, a) for a in arrays]

    @numba.njit(parallel=True)
    def run(a: np.ndarray, b: np.ndarray, sign: float) -> None:
        for i in numba.prange(a.size):
            b[i] = sign * a[i]

    def turn() -> None:
        for a, b in pairs:
            run(a, b, sign)

    return turn, len(pairs)


class _Point:
    """f(x) = |x|^2 / 2 at ten parameters."""

    x0 = np.ones(10)

    def value(self, x: np.ndarray) -> float:
        return 0.5 * float(x @ x)

    def grad(self, x: np.ndarray) -> np.ndarray:
        return x


def minimize_overhead(key: Key, seconds: float) -> float:
    """Seconds a step that `minimize` takes beyond the calls of oracle and rule."""
    problem, o, steps = _Point(), refopt.optimizer(key.method.removeprefix("minimize-"), lr=1e-3), 3000
    beyond = []
    until = time.perf_counter() + seconds
    while len(beyond) < 7 or time.perf_counter() < until:
        begin = time.perf_counter()
        refopt.minimize(problem, o, np.ones(10), steps=steps, record_every=steps)
        driven = time.perf_counter() - begin
        x = np.ones(10)
        s = o.init(x)
        begin = time.perf_counter()
        for _ in range(steps):
            x, s = o.update(x, problem.grad(x), s)
        beyond.append((driven - (time.perf_counter() - begin)) / steps)
    return statistics.median(beyond)


FIGURES = {"minimize-sgd": minimize_overhead, "minimize-adam": minimize_overhead}
