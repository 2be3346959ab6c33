"""``refopt bench``: the time of a method's step by engine, here and now."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from refopt.cli.console import console, table
from refopt.core.build import optimizer, problems_with
from refopt.core.build import problem as build_problem
from refopt.core.errors import ArgumentError
from refopt.core.method import Elementwise, LeafRule, Method
from refopt.core.oracle import Oracle
from refopt.core.params import Params, map_leaves
from refopt.core.problem import offers
from refopt.core.registry import STEPPING, entry
from refopt.core.sampling import Sampler

ENGINES = ("numpy", "numba", "torch", "cupy")
Step = Callable[[], None]


class Plane:
    """f(x) = <c, x> with what methods ask besides, all for the price of handing arrays over.

    What is timed on it is the method. Gradients of different examples and points are one array. It has no
    residual and no layers: methods that solve systems of the size of x step on a problem of the zoo.
    """

    n_examples = 1000
    lipschitz, strong_convexity = 1.0, 0.01

    def __init__(self, c: Params) -> None:
        self.c = c

    def value(self, x: Params, batch: Any = None) -> float:
        """Return 0, whatever x."""
        return 0.0

    def grad(self, x: Params, batch: Any = None) -> Params:
        """Return c."""
        return self.c

    def directional(self, x: Params, v: Params, batch: Any = None) -> float:
        """Return 0, whatever x and v."""
        return 0.0

    def hvp(self, x: Params, v: Params, batch: Any = None) -> Params:
        """Return v."""
        return v

    def prox(self, x: Params, step: float) -> Params:
        """Return x."""
        return x


def synchronize(engine: str) -> None:
    """Wait for the GPU's work, where there is one."""
    if engine == "cupy":
        import cupy

        cupy.cuda.get_current_stream().synchronize()


def to_engine(a: np.ndarray, engine: str) -> Any:
    """Return `a` as an array of the engine's library."""
    if engine in ("torch", "cupy"):
        return importlib.import_module(engine).asarray(a)
    return a


def problem_of_the_zoo(method: Method) -> Any:
    """Return the problem that a method is registered with, or else the first that offers what it needs."""
    registered = entry(method.registered_name).extra if method.registered_name else {}
    if "calm_problem" in registered:
        name, arguments = registered["calm_problem"]
        return build_problem(name, **arguments)
    having = problems_with(method.needs)
    return build_problem("mlp" if "mlp" in having else having[0])


def stepper(method: Method, shapes: dict[str, tuple[int, ...]], dtype: str, engine: str = "numpy") -> Step:
    """Return a function that makes one step of `method` on arrays of random numbers.

    Parameters
    ----------
    method : Method
        With the hyperparameter ``engine`` that goes with `engine`.
    shapes : dict of str to tuple
        Of the parameters; one array if the only name is ``""``. Not used by methods that need what
        `Plane` does not offer: they step on a problem of the zoo.
    dtype : {"float32", "float64"}
    engine : {"numpy", "numba", "torch", "cupy"}
        Whose arrays they are.

    Returns
    -------
    callable
        State and parameters are carried on from call to call, and given up (``donate``) where that
        is offered.
    """
    rng = np.random.default_rng(0)

    def draw(shape: tuple[int, ...]) -> Any:
        return to_engine(rng.standard_normal(shape).astype(dtype), engine)

    x: Params = {k: draw(shape) for k, shape in shapes.items()}
    c: Params = {k: draw(shape) for k, shape in shapes.items()}
    if set(shapes) == {""}:
        x, c = x[""], c[""]
    problem: Any = Plane(c)
    if not all(offers(problem, need) for need in method.needs):
        problem = problem_of_the_zoo(method)
        x = map_leaves(lambda v: to_engine(v.astype(dtype), engine), problem.start(0))
    s = method.init(x)
    if isinstance(method, LeafRule) and method.given == ("g",) and isinstance(problem, Plane):

        def update() -> None:
            nonlocal x, s
            x, s = method.update(x, c, s, donate=True)

        return update
    n = problem.n_examples
    oracle, t = Oracle(problem, 0, None if n is None else Sampler(n, n, "cyclic", 0)), 0

    def step() -> None:
        nonlocal x, s, t
        t += 1
        oracle.begin(t)
        x, s = method.step(x, s, oracle)

    return step


def timings(
    step: Step, seconds: float, wait: Callable[[], None] = lambda: None, least: int = 3
) -> list[float]:
    """Return the seconds of single calls, for about `seconds` after a warm-up.

    Parameters
    ----------
    step : callable
    seconds : float
        At least `least` calls are timed however long they take.
    wait : callable
        Called before the clock is read: waits for work that a call may have left behind.
    least : int
    """
    clock = time.perf_counter
    begin = clock()
    step()
    wait()
    until = clock() + seconds / 4
    while clock() < until and clock() - begin < seconds:
        step()
    wait()
    out: list[float] = []
    until = clock() + seconds
    while len(out) < least or clock() < until:
        start = clock()
        step()
        wait()
        out.append(clock() - start)
    return out


def engines_of(name: str) -> list[str]:
    """Return the engines that a method runs on and that are installed."""
    elementwise = isinstance(entry(name).obj, type) and issubclass(entry(name).obj, Elementwise)

    def there(engine: str) -> bool:
        if engine == "cupy" and importlib.util.find_spec("cupy") is not None:
            import cupy

            try:
                return bool(cupy.cuda.runtime.getDeviceCount())
            except cupy.cuda.runtime.CUDARuntimeError:
                return False
        return engine == "numpy" or importlib.util.find_spec(engine) is not None

    return [e for e in ENGINES if there(e) and (elementwise or e != "numba")]


def build(name: str, engine: str, hyperparameters: dict[str, Any]) -> Method:
    """Return the method for an engine: the fused loop or kernel where it has one."""
    elementwise = issubclass(entry(name, STEPPING).obj, Elementwise)
    own = {"engine": engine} if elementwise and engine in ("numba", "cupy") else {}
    return optimizer(name, **own, **hyperparameters)


def leaves_of(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shapes to step a method on: one array, or two factors where it asks for them."""
    return {"F": shape, "G": shape} if entry(name, STEPPING).extra.get("factors") == 2 else {"": shape}


def shape_of(text: str) -> tuple[int, ...]:
    """Read ``1000`` or ``256x128``.

    Raises
    ------
    ArgumentError
        Something else.
    """
    try:
        shape = tuple(int(float(word)) for word in text.lower().split("x"))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise ArgumentError(f"--shapes: wanted shapes such as 1000,256x128, got {text!r}")
    return shape


def rows(
    name: str,
    engine: str,
    shapes: list[tuple[int, ...]],
    dtypes: list[str],
    seconds: float,
    hyperparameters: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Time a method's step on one engine for every shape and dtype."""
    for shape in shapes:
        for dtype in dtypes:
            step = stepper(build(name, engine, hyperparameters), leaves_of(name, shape), dtype, engine)
            times = timings(step, seconds, lambda: synchronize(engine))
            yield {
                "shape": "x".join(map(str, shape)),
                "dtype": dtype,
                "engine": engine,
                "steps": len(times),
                "seconds": statistics.median(times),
                "nanoseconds_per_parameter": 1e9 * statistics.median(times) / math.prod(shape),
            }


def _elsewhere(engine: str, arguments: list[str]) -> list[dict[str, Any]]:
    """Measure one engine in a process of its own: idle threads of another library spin on its cores."""
    code = "import sys; from refopt.cli import main; sys.exit(main(sys.argv[1:]))"
    run = subprocess.run(
        [sys.executable, "-c", code, "bench", *arguments, "--engine", engine, "--json"],
        capture_output=True, text=True, check=False, encoding="utf-8", env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    if run.returncode:
        raise ArgumentError(f"engine {engine}: {run.stderr.strip().splitlines()[-1]}")
    return json.loads(run.stdout)


def bench(options: Any, rest: list[str], hyperparameters: dict[str, Any]) -> int:
    """Print the median times of a method's step."""
    found = entry(options.name, STEPPING)
    text = options.shapes or (
        "1000,100000,1000000" if issubclass(found.obj, Elementwise) else "64x64,256x256"
    )
    shapes = [shape_of(word) for word in text.split(",")]
    dtypes = [options.dtype] if options.dtype else ["float32", "float64"]
    if not options.seconds > 0:
        raise ArgumentError(f"--seconds: wanted a positive number, got {options.seconds}")
    engines = engines_of(options.name)
    if options.engine:
        if options.engine not in engines:
            raise ArgumentError(f"--engine: wanted one of {', '.join(engines)}, got {options.engine!r}")
        measured = list(rows(options.name, options.engine, shapes, dtypes, options.seconds, hyperparameters))
    else:
        build(options.name, "numpy", hyperparameters)  # bad hyperparameters are told before any work
        given = [options.name, "--shapes", text, "--seconds", str(options.seconds), *rest]
        given += ["--dtype", options.dtype] if options.dtype else []
        measured = [row for engine in engines for row in _elsewhere(engine, given)]
        order = ["x".join(map(str, shape)) for shape in shapes]
        measured.sort(key=lambda r: (order.index(r["shape"]), r["dtype"]))
    if options.json:
        print(json.dumps(measured, indent=1))
        return 0
    header = ("shape", "dtype", "engine", "microseconds", "ns a parameter", "steps timed")
    lines = [
        (r["shape"], r["dtype"], r["engine"], f"{1e6 * r['seconds']:.1f}",
         f"{r['nanoseconds_per_parameter']:.2f}", r["steps"])
        for r in measured
    ]  # fmt: skip
    console().print(table(header, lines))
    return 0
