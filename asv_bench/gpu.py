"""The same on a GPU: ``python -m asv_bench.gpu``. Never run yet: no GPU was at hand.

Needs NumPy, SciPy, CuPy and torch, and this source tree; nothing is installed (array-api-compat is taken from
SciPy where it is missing). ``--dry`` runs the same code on the CPU with NumPy in CuPy's place, small.

Prints, for float32 and float64, the step of every elementwise method as one fused CuPy kernel a leaf, as
array code on CuPy and on torch, and torch.optim's fused and foreach steps; the bytes that a step must move over
a copy's rate; and the methods on matrices on CuPy and torch.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).parent.parent
PEERS = {"adam": "Adam", "adamw": "AdamW"}


def use_source_tree() -> None:
    """Make the tree importable as it is: problems/ as refopt.problems, array-api-compat from SciPy."""
    if importlib.util.find_spec("array_api_compat") is None:
        for name in ("", ".common", ".numpy", ".cupy", ".torch"):
            try:
                sys.modules[f"array_api_compat{name}"] = importlib.import_module(
                    f"scipy._lib.array_api_compat{name}"
                )
            except ImportError:  # CuPy's or torch's part, where the library is missing
                continue
    sys.path.insert(0, str(ROOT))
    if importlib.util.find_spec("refopt.problems") is None:
        place = ROOT / "problems"
        spec = importlib.util.spec_from_file_location(
            "refopt.problems", place / "__init__.py", submodule_search_locations=[str(place)]
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["refopt.problems"] = module
        spec.loader.exec_module(module)


class Device:
    """Arrays and clocks of the GPU; of the CPU in a dry run."""

    def __init__(self, dry: bool) -> None:
        self.dry = dry
        self.torch = importlib.import_module("torch")
        self.xp: Any = np if dry else importlib.import_module("cupy")
        self.place = "cpu" if dry else "cuda"

    def wait(self) -> None:
        if not self.dry:
            self.xp.cuda.get_current_stream().synchronize()
            self.torch.cuda.synchronize()

    def array(self, a: np.ndarray, library: str) -> Any:
        return self.torch.asarray(a, device=self.place) if library == "torch" else self.xp.asarray(a)

    def median(self, step: Callable[[], Any], seconds: float) -> float:
        """Return the median seconds of a step, the device's work included."""
        for _ in range(3):
            step()
        self.wait()
        out: list[float] = []
        until = time.perf_counter() + seconds
        while len(out) < 5 or time.perf_counter() < until:
            begin = time.perf_counter()
            step()
            self.wait()
            out.append(time.perf_counter() - begin)
        return statistics.median(out)


def draw(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=dtype)


def ours(device: Device, o: Any, shape: tuple[int, ...], dtype: str, library: str) -> Callable[[], None]:
    """Return refopt's step."""
    x, g = (device.array(draw(shape, dtype, seed), library) for seed in (0, 1))
    s = o.init(x)

    def step() -> None:
        nonlocal x, s
        x, s = o.update(x, g, s, donate=True)

    return step


def theirs(device: Device, name: str, shape: tuple[int, ...], dtype: str, form: str) -> Callable[[], Any]:
    """Return torch.optim's step."""
    p = device.torch.nn.Parameter(device.array(draw(shape, dtype, 0), "torch"))
    p.grad = device.array(draw(shape, dtype, 1), "torch")
    return getattr(device.torch.optim, PEERS[name])([p], **{form: True}).step


def copy_seconds(device: Device, n: int, dtype: str, seconds: float) -> float:
    """Return the seconds of a copy of n numbers to another array."""
    a = device.array(draw((n,), dtype, 0), "cupy")
    b = device.xp.empty_like(a)

    def copy() -> None:
        b[...] = a

    return device.median(copy, seconds)


def elementwise(device: Device, names: list[str], sizes: list[int], seconds: float) -> None:
    import refopt

    from asv_bench.rows import moved

    header = ("cupy fused", "cupy", "torch", "torch fused", "torch foreach", "copy bound")
    print(f"{'microseconds':18} {'parameters':>10} {'dtype':8}" + "".join(f"{h:>14}" for h in header))
    for name in names:
        for n in sizes:
            for dtype in ("float32", "float64"):
                fused = refopt.optimizer(name, engine="array" if device.dry else "cupy")
                plain = refopt.optimizer(name)
                steps = [
                    ours(device, fused, (n,), dtype, "cupy"),
                    ours(device, plain, (n,), dtype, "cupy"),
                    ours(device, plain, (n,), dtype, "torch"),
                    *(theirs(device, name, (n,), dtype, f) for f in ("fused", "foreach") if name in PEERS),
                ]
                times = [device.median(step, seconds) for step in steps]
                times += [float("nan")] * (5 - len(times))
                times.append(copy_seconds(device, n, dtype, seconds) * moved(name) / 2)
                print(f"{name:18} {n:10d} {dtype:8}" + "".join(f"{1e6 * t:14.1f}" for t in times), flush=True)


def matrix(device: Device, names: list[str], sides: list[int], seconds: float) -> None:
    import refopt

    print(f"{'microseconds':18} {'side':>10} {'dtype':8}{'cupy':>14}{'torch':>14}")
    for name in names:
        for n in sides:
            times = []
            for library in ("cupy", "torch"):
                try:
                    step = ours(device, refopt.optimizer(name), (n, n), "float32", library)
                    times.append(f"{1e6 * device.median(step, seconds):14.1f}")
                except Exception as error:  # one method's failure must not end the set
                    times.append(f"  {type(error).__name__}")
            print(f"{name:18} {n:10d} float32 {''.join(times)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry", action="store_true", help="on the CPU, small: a test of this file")
    parser.add_argument("--seconds", type=float, default=0.2)
    options = parser.parse_args()
    use_source_tree()
    from refopt.core.method import Elementwise, LeafRule
    from refopt.core.registry import methods

    device = Device(options.dry)
    rules = [m for m in methods("optimizer") if issubclass(m.obj, LeafRule) and m.obj.given == ("g",)]
    flat = [m.name for m in rules if issubclass(m.obj, Elementwise)]
    whole = [m.name for m in rules if m.name not in flat]
    elementwise(device, flat, [100] if options.dry else [10**3, 10**5, 10**7, 10**8], options.seconds)
    matrix(device, whole, [8] if options.dry else [128, 256, 512, 1024, 2048], options.seconds)


if __name__ == "__main__":
    main()
