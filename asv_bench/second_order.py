"""Curvature products and second-order steps beside torch codes: ``python -m asv_bench.second_order --official FOLDER [--record]``.

Each side has its own process with one thread, the two take turns, and what is compared is processor time, since wall time
on shared cores is others' time too: the median over the rounds of the ratio of medians. ``FOLDER`` holds checkouts of the authors' codes (facebookresearch/optimizers,
lixilinx/psgd_torch, IST-DASLab/M-FAC) under their names; curvlinops is installed. What is not there is left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from asv_bench import record

WIDTHS = (64, 128, 256, 512)
EXAMPLES, FEATURES, CLASSES = 256, 64, 10
SIDE, EVERY = 1024, 10  # of a matrix; steps between refreshes of Shampoo's roots
PARAMETERS, WINDOW = 10**6, 64
Step = Callable[[], Any]


def network(width: int) -> tuple[Any, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return a tanh network of two hidden layers on random data, a point and a direction."""
    import refopt

    rng = np.random.default_rng(0)
    data = rng.standard_normal((EXAMPLES, FEATURES)), np.arange(EXAMPLES) % CLASSES
    p = refopt.problem("mlp", data=data, widths=(width, width), l2=0.0)
    x = p.start(0)
    return p, x, {k: rng.standard_normal(a.shape) for k, a in x.items()}


def our_product(kind: str, width: int) -> Step:
    """Return one product of a curvature with a vector."""
    import refopt

    p, x, v = network(width)
    C = refopt.curvature(kind, p, x)
    return lambda: C @ v


def torch_network(width: int) -> tuple[Any, Any, Any, Any, list[Any]]:
    """Return the same network in torch: model, loss, inputs, labels, direction."""
    import torch

    torch.set_default_dtype(torch.float64)
    p, x, v = network(width)
    names = [n for pair in p.names for n in pair]
    sizes = [FEATURES, width, width, CLASSES]
    layers = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    model = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1], torch.nn.Tanh(), layers[2])
    with torch.no_grad():
        for leaf, n in zip(model.parameters(), names):
            leaf.copy_(torch.tensor(x[n]))
    labels = torch.tensor(np.asarray(p.targets)).argmax(1)
    return (
        model,
        torch.nn.CrossEntropyLoss(),
        torch.tensor(p.inputs),
        labels,
        [torch.tensor(v[n]) for n in names],
    )


def curvlinops_product(kind: str, width: int, folder: pathlib.Path) -> Step:
    """Return the product of curvlinops's operator, which is made for repeated products at one point."""
    import curvlinops

    model, loss, inputs, labels, v = torch_network(width)
    cls = {"hessian": "HessianLinearOperator", "ggn": "GGNLinearOperator"}[kind]
    C = getattr(curvlinops, cls)(
        model, loss, list(model.parameters()), [(inputs, labels)], check_deterministic=False
    )
    return lambda: C @ v


def double_backward(width: int, folder: pathlib.Path) -> Step:
    """Return the Hessian's product by two reverse passes, the graph built for each."""
    import torch

    model, loss, inputs, labels, v = torch_network(width)
    leaves = list(model.parameters())

    def product() -> Any:
        g = torch.autograd.grad(loss(model(inputs), labels), leaves, create_graph=True)
        return torch.autograd.grad(g, leaves, grad_outputs=v)

    return product


def drawn(n: int, *shape: int) -> list[np.ndarray]:
    """Return n random gradients in float32."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for _ in range(n)]


def our_step(name: str, gradients: list[np.ndarray], **given: Any) -> Step:
    """Return a step of a method from donated states, round the gradients."""
    import refopt

    o = refopt.optimizer(name, **given)
    at: list[Any] = [np.zeros_like(gradients[0]), 0]
    at.append(o.init(at[0]))

    def step() -> None:
        at[0], at[2] = o.update(at[0], gradients[at[1] % len(gradients)], at[2], donate=True)
        at[1] += 1

    return step


def our_kron(geometry: str) -> Step:
    """Return a step of PSGD's whitening form, which asks an oracle."""
    import refopt
    from refopt.core.oracle import Oracle

    (g,) = drawn(1, SIDE, SIDE)
    o = refopt.optimizer("psgd-kron", dialect="official", geometry=geometry, init_scale=1.0)
    oracle = Oracle(refopt.from_functions(lambda x: 0.0, lambda x: g, x0=np.zeros_like(g)))
    at: list[Any] = [np.zeros_like(g), o.init(np.zeros_like(g))]

    def step() -> None:
        oracle.begin(at[1]["t"] + 1)
        at[0], at[1] = o.step(at[0], at[1], oracle)

    return step


def their_step(optimizer: Any, p: Any, gradients: list[np.ndarray]) -> Step:
    """Return a step of a torch optimizer, round the gradients."""
    import torch

    turn, given = [0], [torch.tensor(g) for g in gradients]

    def step() -> None:
        p.grad = given[turn[0] % len(given)]
        turn[0] += 1
        optimizer.step()

    return step


def their_shampoo(folder: pathlib.Path) -> Step:
    """Return a step of Meta's Distributed Shampoo."""
    import torch

    sys.path.insert(0, str(folder / "optimizers"))
    import distributed_shampoo as meta

    p = torch.nn.Parameter(torch.zeros(SIDE, SIDE))
    grafting = meta.AdamPreconditionerConfig(beta2=0.999, epsilon=1e-10)
    o = meta.DistributedShampoo(
        [p], lr=0.01, betas=(0.9, 0.999), epsilon=1e-8, precondition_frequency=EVERY, grafting_config=grafting
    )
    return their_step(o, p, drawn(4, SIDE, SIDE))


def their_kron(geometry: str, folder: pathlib.Path) -> Step:
    """Return a step of psgd_torch's KronWhiten."""
    import torch

    sys.path.insert(0, str(folder / "psgd_torch"))
    import psgd

    p, g = torch.nn.Parameter(torch.zeros(SIDE, SIDE)), torch.tensor(drawn(1, SIDE, SIDE)[0])
    form = {"half": "Q0.5EQ1.5", "eq": "EQ"}[geometry]
    o = psgd.KronWhiten([p], preconditioner_init_scale=1.0, dQ=form)
    return lambda: o.step(lambda: (p * g).sum())


def their_mfac(folder: pathlib.Path) -> Step:
    """Return a step of M-FAC's optimizer, with what it asks of a GPU replaced by the same on the CPU."""
    import torch

    sys.path.insert(0, str(folder / "M-FAC"))
    import optim

    def lu(A: Any, pivot: bool) -> Any:
        # torch has no LU without pivots on the CPU; of a positive definite matrix, U is that of Cholesky's factor.
        C = torch.linalg.cholesky(A)
        return (torch.diagonal(C)[:, None] * C.T,)

    torch.lu = lu  # type: ignore[attr-defined]
    torch.nn.parallel.parallel_apply = lambda fs, xs: [f(x) for f, x in zip(fs, xs)]  # type: ignore[attr-defined]
    cpu, p = torch.device("cpu"), torch.nn.Parameter(torch.zeros(PARAMETERS))
    o = optim.MFAC([p], lr=1e-3, ngrads=WINDOW, damp=1e-5, moddev=cpu, optdev=cpu, gpus=[cpu])
    return their_step(o, p, drawn(WINDOW + 26, PARAMETERS))


# Ours, theirs given the folder, how many steps first, how many are timed together.
Row = tuple[Callable[[], Step], Callable[[pathlib.Path], Step], int, int]


def rows() -> dict[str, Row]:
    """Return what is compared."""
    found: dict[str, Row] = {}
    for width in WIDTHS:
        for kind in ("hessian", "ggn"):
            ours, theirs = partial(our_product, kind, width), partial(curvlinops_product, kind, width)
            found[f"{kind} product, MLP of width {width}, over curvlinops"] = ours, theirs, 2, 1
        ours, theirs = partial(our_product, "hessian", width), partial(double_backward, width)
        found[f"hessian product, MLP of width {width}, over torch's double backward"] = ours, theirs, 2, 1

    def our_shampoo() -> Step:
        return our_step(
            "distributed-shampoo",
            drawn(4, SIDE, SIDE),
            lr=0.01,
            beta2=0.999,
            update_every=EVERY,
            grafting="adam",
            eps=1e-8,
        )

    def our_mfac() -> Step:
        return our_step("m-fac", drawn(WINDOW + 26, PARAMETERS), lr=1e-3, window=WINDOW, damping=1e-5)

    found[f"distributed-shampoo, {SIDE} x {SIDE}, a cycle of {EVERY} steps"] = (
        our_shampoo,
        their_shampoo,
        EVERY,
        EVERY,
    )
    for geometry in ("half", "eq"):
        ours, theirs = partial(our_kron, geometry), partial(their_kron, geometry)
        found[f"psgd-kron, geometry {geometry}, {SIDE} x {SIDE}"] = ours, theirs, 3, 1
    found[f"m-fac, {PARAMETERS} parameters, window of {WINDOW}, donated states"] = (
        our_mfac,
        their_mfac,
        WINDOW + 2,
        1,
    )
    return found


def measured(step: Step, first: int, together: int, seconds: float) -> float:
    """Return the median processor time of a step behind the `first`."""
    for _ in range(first):
        step()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - began < seconds and len(times) < 500):
        at = time.process_time()
        for _ in range(together):
            step()
        times.append((time.process_time() - at) / together)
    return statistics.median(times)


def turn(what: str, side: str, folder: str, seconds: float) -> float | None:
    """Measure a side of a row in a process of its own; None where its code is not there."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    done = subprocess.run(
        [sys.executable, "-m", "asv_bench.second_order", "--official", folder, "--side", side, "--row", what, "--seconds", str(seconds)],
        capture_output=True, text=True, check=False, env={**os.environ, **dict.fromkeys(names, "1")},
    )  # fmt: skip
    if done.returncode:
        print(f"left out: {what}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return float(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--official", default=".", help="the folder of the authors' codes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a side in a round")
    parser.add_argument("--row", default="", help="only rows with this in their name")
    parser.add_argument("--side", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    record.option(parser)
    options = parser.parse_args()
    if options.side:
        ours, theirs, first, together = rows()[options.row]
        if options.side == "theirs":
            import torch

            torch.set_num_threads(1)
        step = ours() if options.side == "ours" else theirs(pathlib.Path(options.official))
        print(json.dumps(measured(step, first, together, options.seconds)))
        return
    command = "python -m asv_bench.second_order --official FOLDER"
    recorder = record.Recorder(command, ("torch", "curvlinops-for-pytorch"))
    out: list[list[Any]] = []
    for what in (w for w in rows() if options.row in w):
        pairs = []
        for _ in range(options.rounds):
            pair = [turn(what, side, options.official, options.seconds) for side in ("ours", "theirs")]
            if None in pair:
                break
            pairs.append(pair)
        if pairs:
            ratio = statistics.median(a / b for a, b in pairs)
            ours_s, theirs_s = (statistics.median(p[i] for p in pairs) for i in (0, 1))
            out.append([what, ratio, 1.0, ours_s, theirs_s])
            print(f"{what}: {ratio:.2f} ({1e3 * ours_s:.2f} ms, {1e3 * theirs_s:.2f} ms)", flush=True)
    if options.record:
        note = f"Processor time of one thread, the sides in turns, {options.rounds} rounds."
        recorder.write("second_order", ("what", "value", "at_most", "seconds", "peer_seconds"), out, note)


if __name__ == "__main__":
    main()
