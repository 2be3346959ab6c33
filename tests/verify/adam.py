"""Adam written by hand, with the faults that implementations of it have had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

# The fault's name here, and what `diagnose` must call it.
FAULTS = {
    "none": ("paper",),
    "keras": ("keras",),
    "coupled": ("torch",),
    "stale v": ("stale-second-average",),
    "stale m": ("stale-first-average",),
    "eps inside": ("eps-inside-root",),
    "eps inside, uncorrected": ("eps-inside-root-uncorrected",),
    "eps floor": ("eps-as-floor",),
    "eps subtracted": ("eps-subtracted",),
    "eps 1e-7": ("eps=1e-07",),
    "no correction": ("no-bias-correction",),
    "no correction of m": ("no-first-bias-correction",),
    "no correction of v": ("no-second-bias-correction",),
    "correction of step 1": ("bias-correction-of-step-1",),
    "counter from 2": ("counter-one-ahead",),
    "counter twice": ("counter-twice",),
    "sum": ("undamped-first",),
    "weights swapped": ("average-weights-swapped-second",),
    "ascent": ("gradient-negated",),
    "no root": ("no-root",),
    "betas swapped": ("betas-swapped",),
    "decay constant": ("weight-decay-constant",),
    "decay after": ("weight-decay-after-step",),
    "decay without rate": ("weight-decay-without-rate",),
    "decay negated": ("weight-decay-negated",),
    "decay ignored": ("weight-decay-ignored",),
    "gradient clipped": ("gradient-clipped-by-entry",),
    "gradients accumulate": ("gradients-accumulate",),
    "twice the step": ("step-doubled",),
    "single precision": ("single-precision",),
    "two faults": ("eps-inside-root", "no-first-bias-correction"),
    "decay constant, eps floor": ("eps-as-floor", "weight-decay-constant"),
}


def adam(fault: str) -> Callable[..., Any]:
    """Return Adam with decoupled decay as a function (x, g, state), with one fault."""

    def step(
        x: Any, g: Any, state: Any, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999,
        eps: float = 1e-8, weight_decay: float = 0.0,
    ) -> tuple[Any, Any]:  # fmt: skip
        m, v, t, total = state or (np.zeros_like(x), np.zeros_like(x), 0, np.zeros_like(x))
        t += 1
        if fault == "betas swapped":
            beta1, beta2 = beta2, beta1
        if fault == "ascent":
            g = -g
        if fault == "gradient clipped":
            g = np.clip(g, -1, 1)
        if fault == "gradients accumulate":
            g = total = total + g
        if fault == "coupled":
            g = g + weight_decay * x
        m_old, v_old = m, v
        m = beta1 * m + (g if fault == "sum" else (1 - beta1) * g)
        v = (1 - beta2) * v + beta2 * g**2 if fault == "weights swapped" else beta2 * v + (1 - beta2) * g**2
        n = {"counter from 2": t + 1, "counter twice": 2 * t, "correction of step 1": 1}.get(fault, t)
        c1, c2 = 1 - beta1**n, 1 - beta2**n
        if fault in ("no correction", "no correction of m", "two faults"):
            c1 = 1.0
        if fault in ("no correction", "no correction of v"):
            c2 = 1.0
        first = (m_old if fault == "stale m" else m) / c1
        second = (v_old if fault == "stale v" else v) / c2
        if fault in ("eps inside", "two faults"):
            divisor = np.sqrt(second + eps)
        elif fault == "eps inside, uncorrected":
            divisor = np.sqrt(v + eps) / np.sqrt(c2)
        elif fault in ("eps floor", "decay constant, eps floor"):
            divisor = np.maximum(np.sqrt(second), eps)
        elif fault == "eps subtracted":
            divisor = np.sqrt(second) - eps
        elif fault == "keras":
            divisor = (np.sqrt(v) + eps) / np.sqrt(c2)
        elif fault == "no root":
            divisor = second + eps
        else:
            divisor = np.sqrt(second) + (1e-7 if fault == "eps 1e-7" else eps)
        if fault == "single precision":
            divisor = divisor.astype(np.float32).astype(np.float64)
        rate = lr * (2 if fault == "twice the step" else 1)
        new = x - rate * first / divisor
        decay = rate * weight_decay
        if fault in ("decay constant", "decay constant, eps floor"):
            new = new - decay
        elif fault == "decay after":
            new = new * (1 - decay)
        elif fault == "decay without rate":
            new = new - weight_decay * x
        elif fault == "decay negated":
            new = new + decay * x
        elif fault not in ("coupled", "decay ignored"):
            new = new - decay * x
        return new, (m, v, t, total)

    step.__qualname__ = f"adam, {fault}"
    return step
