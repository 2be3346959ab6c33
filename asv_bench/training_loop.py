"""`minimize` beside a plain torch loop on one network: ``python -m asv_bench.training_loop [--record]``.

Digits, 64-128-128-10, AdamW, batches of 128, 200 steps, float32, one thread. The two run turn by turn in one process,
whose only pool of threads is torch's, and processor time is what is compared.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import refopt

from asv_bench import record

STEPS, BATCH, TURNS = 200, 128, 25
AT_MOST = 1.3


def sides() -> dict[str, Callable[[], Any]]:
    """Return the two loops by name."""
    import torch
    from sklearn.datasets import load_digits

    torch.set_num_threads(1)
    inputs, targets = load_digits(return_X_y=True)
    a, y = torch.tensor(inputs / 16.0, dtype=torch.float32), torch.tensor(targets)
    loss = torch.nn.CrossEntropyLoss()

    def network() -> Any:
        torch.manual_seed(0)
        layers = [torch.nn.Linear(*pair) for pair in ((64, 128), (128, 128), (128, 10))]
        return torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])

    def plain() -> None:
        module, rng = network(), np.random.default_rng(0)
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
        for _ in range(STEPS):
            rows = torch.as_tensor(rng.choice(len(a), BATCH, replace=False))
            optimizer.zero_grad()
            loss(module(a[rows]), y[rows]).backward()
            optimizer.step()

    def ours() -> None:
        problem = refopt.from_torch(network(), loss, (a, y))
        refopt.minimize(problem, "adamw", dialect="torch", lr=1e-3, steps=STEPS, batch_size=BATCH, seed=0)

    return {"torch": plain, "refopt": ours}


def measure(turns: int = TURNS) -> dict[str, list[float]]:
    """Return the processor seconds of every run, after one that is not counted."""
    loops = sides()
    for loop in loops.values():
        loop()
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(turns):
        for name, loop in loops.items():
            start = time.process_time()
            loop()
            seconds[name].append(time.process_time() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    record.option(parser)
    options = parser.parse_args()
    recorder = record.Recorder(record.command("training_loop"))
    seconds = measure()
    ratios = [a / b for a, b in zip(seconds["refopt"], seconds["torch"])]
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    print(
        f"minimize beside a torch loop, {STEPS} steps of AdamW on the digits: {middle['refopt']:.3f} s and"
        f" {middle['torch']:.3f} s, ratio {statistics.median(ratios):.2f} (median of {len(ratios)} turns;"
        f" wanted at most {AT_MOST})"
    )
    if options.record:
        row = [middle["refopt"], middle["torch"], statistics.median(ratios), AT_MOST, len(ratios)]
        recorder.write(
            "training_loop",
            ("refopt", "torch", "ratio", "at_most", "turns"),
            [row],
            "Processor time, one thread.",
        )


if __name__ == "__main__":
    main()
