"""Every registered optimizer, wrapper and estimator: step, memory, first step, growth. Nothing is named here."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import refopt
from refopt.cli.bench import build, engines_of, stepper, synchronize
from refopt.core.method import Elementwise
from refopt.core.registry import entry, methods

from asv_bench import growth
from asv_bench.figures import first_step_seconds

NAMES = [m.name for m in (*methods("optimizer"), *methods("wrapper"), *methods("estimator"))]
ELEMENTWISE = [n for n in NAMES if issubclass(entry(n).obj, Elementwise)]
MATRIX = [n for n in NAMES if n not in ELEMENTWISE]
GROWTHS = {f"{name}: {cost.measure} in {cost.variable}": (name, cost) for name, cost in growth.declared()}


class _Step:
    """asv runs each case in a process of its own, so that no library's threads spin beside another's."""

    timeout = 120
    shape: tuple[int, ...] = ()

    def prepare(self, name: str, shape: tuple[int, ...], engine: str) -> None:
        if engine not in engines_of(name):
            raise NotImplementedError(f"{name} does not run on {engine} here")
        self.engine = engine
        self.step = stepper(build(name, engine, {}), {"": shape}, "float32", engine)
        self.step()

    def once(self) -> None:
        self.step()
        synchronize(self.engine)


class ElementwiseStep(_Step):
    """One step on a vector."""

    params = (ELEMENTWISE, [10**3, 10**5, 10**7], ["numpy", "numba", "torch", "cupy"])
    param_names = ("method", "parameters", "engine")

    def setup(self, name: str, n: int, engine: str) -> None:
        self.prepare(name, (n,), engine)

    def time_step(self, name: str, n: int, engine: str) -> None:
        self.once()


class MatrixStep(_Step):
    """One step on a square matrix; 2048 takes seconds for the methods that decompose it."""

    params = (MATRIX, [128, 256, 512, 1024, 2048], ["numpy", "torch", "cupy"])
    param_names = ("method", "side", "engine")

    def setup(self, name: str, n: int, engine: str) -> None:
        self.prepare(name, (n, n), engine)

    def time_step(self, name: str, n: int, engine: str) -> None:
        self.once()


class Memory:
    """Memory of 512 x 512 parameters on NumPy, in arrays like them."""

    params = (NAMES,)
    param_names = ("method",)
    shape = (512, 512)
    unit = "arrays like x"

    def track_state(self, name: str) -> float:
        """The state after three steps."""
        size = int(np.prod(self.shape)) * 4
        return self.peak(name)[1] / size

    def track_peak(self, name: str) -> float:
        """The largest sum of all that lives beside x and the gradient, in three steps."""
        size = int(np.prod(self.shape)) * 4
        return self.peak(name)[0] / size

    def peak(self, name: str) -> tuple[float, float]:
        """Return the peak, and what is left, in bytes beyond the start."""
        step: Any = None
        o = refopt.optimizer(name)
        step = stepper(o, {"": self.shape}, "float32")  # imports and caches are filled
        step()
        del step
        tracemalloc.start()
        try:
            step = stepper(o, {"": self.shape}, "float32")
            base = 2 * int(np.prod(self.shape)) * 4
            tracemalloc.reset_peak()
            for _ in range(3):
                step()
            now, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        return peak - base, now - base


class FirstStep:
    """Seconds from nothing to the first step on the Numba engine, the loop being on disk."""

    params = (ELEMENTWISE,)
    param_names = ("method",)
    timeout = 120
    unit = "s"

    def setup(self, name: str) -> None:
        if "numba" not in engines_of(name) or entry(name).obj.given != ("g",):
            raise NotImplementedError("needs Numba, and gradients alone")

    def track_first_step(self, name: str) -> float:
        times = first_step_seconds(name)
        return times.value(times.disturbed)


class Growth:
    """Fitted exponents; one above what the paper states is an error."""

    params = (list(GROWTHS),)
    param_names = ("cost",)
    timeout = 300
    unit = "exponent"

    def track_exponent(self, title: str) -> float:
        found = growth.fit(*GROWTHS[title])
        growth.check([found])
        return found.exponent
