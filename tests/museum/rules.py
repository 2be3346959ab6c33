"""The rules by hand, in NumPy, right and with one fault: nothing of refopt is used here."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

Answer = tuple[Any, Any]


def lion(
    x: Any, g: Any, m: Any, lr: float = 1e-4, beta1: float = 0.9, beta2: float = 0.99,
    weight_decay: float = 0.0, *, fault: str = "",
) -> Answer:  # fmt: skip
    m = np.zeros_like(x) if m is None else m
    if fault == "coupled":
        g = g + weight_decay * x
        weight_decay = 0.0
    look = beta1 * m + (1 - beta1) * g
    if fault == "shared":
        look = m = beta2 * look + (1 - beta2) * g
    else:
        m = beta2 * m + (1 - beta2) * g
    return (1 - lr * weight_decay) * x - lr * np.sign(look), m


def sgdw(
    x: Any, g: Any, b: Any, lr: float = 1e-3, momentum: float = 0.9, weight_decay: float = 0.0,
    *, fault: str = "",
) -> Answer:  # fmt: skip
    b = g if b is None else momentum * b + g
    new = x - lr * b
    # The tensor's add with a Python number adds that number to every entry.
    return new - lr * weight_decay * (1.0 if fault else x), b


def free_of_radius(x: Any, g: Any, step: Any, delta: float, eps: float) -> tuple[Any, bool]:
    """Return the step without its part along x, row by row or as a whole, where g has none."""
    for shape in ((x.shape[0], -1), (1, -1)):
        rows, slopes, steps = x.reshape(shape), g.reshape(shape), step.reshape(shape)
        a = np.maximum(np.linalg.norm(rows, axis=1), eps)
        b = np.maximum(np.linalg.norm(slopes, axis=1), eps)
        cosine = np.abs((rows * slopes).sum(axis=1) / (a * b))
        if cosine.max() < delta / math.sqrt(rows.shape[1]):
            unit = rows / (np.linalg.norm(rows, axis=1, keepdims=True) + eps)
            return (steps - unit * (unit * steps).sum(axis=1, keepdims=True)).reshape(x.shape), True
    return step, False


def sgdp(
    x: Any, g: Any, b: Any, lr: float = 1e-3, momentum: float = 0.9, weight_decay: float = 0.0,
    *, fault: str = "",
) -> Answer:  # fmt: skip
    b = g if b is None else momentum * b + g
    step, free = g + momentum * b, False
    if x.ndim > 1:
        step, free = free_of_radius(x, g, step, 0.1, 1e-8)
    decay = lr * weight_decay / (1 - momentum) * (0.1 if free else 1.0)
    return (1 - decay) * x - lr * step, step if fault else b


def adamp(
    x: Any, g: Any, state: Any, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999,
    eps: float = 1e-8, weight_decay: float = 0.0, *, fault: str = "",
) -> Answer:  # fmt: skip
    m, v, t = state or (np.zeros_like(x), np.zeros_like(x), 0)
    t += 1
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    root = math.sqrt(1 - beta2**t)
    if fault:
        step = m * (1 / np.sqrt(v) + eps) * root
    else:
        step = m / (np.sqrt(v) + eps) * root
    free = False
    if x.ndim > 1:
        step, free = free_of_radius(x, g, step, 0.1, eps)
    keep = 1 - lr * weight_decay * (0.1 if free else 1.0)
    return keep * x - lr * step / (1 - beta1**t), (m, v, t)


def adan(
    x: Any, g: Any, state: Any, lr: float = 1e-3, beta1: float = 0.98, beta2: float = 0.92,
    beta3: float = 0.99, eps: float = 1e-8, weight_decay: float = 0.0, *, fault: str = "", proximal: bool = True,
) -> Answer:  # fmt: skip
    zero = np.zeros_like(x)
    m, v, n, before, t = state or (zero, zero, zero, g, 0)
    t += 1
    change = g - before
    weight = 1 - beta2 if fault == "complement" else beta2
    ahead = g + weight * change
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * change
    n = beta3 * n + (1 - beta3) * ahead**2
    below = np.sqrt(n / (1 - beta3**t)) + eps
    step = lr * (m / (1 - beta1**t) + weight * v / (1 - beta2**t)) / below
    new = (x - step) / (1 + lr * weight_decay) if proximal else (1 - lr * weight_decay) * x - step
    return new, (m, v, np.sqrt(n) if fault == "rooted" else n, g, t)


def lars(
    x: Any, g: Any, b: Any, lr: float = 1.0, trust: float = 1e-3, momentum: float = 0.9, eps: float = 1e-8,
    weight_decay: float = 0.0, *, fault: str = "",
) -> Answer:  # fmt: skip
    w, size = np.linalg.norm(x), np.linalg.norm(g)
    ratio = trust * w / (size + weight_decay * w + eps) if w > 0 and size > 0 else 1.0
    step = ratio * (g if fault == "decay" else g + weight_decay * x)
    if fault == "begun":
        b = step if b is None else b
    b = step if b is None else momentum * b + step
    return x - lr * b, b


def adam(
    x: Any, g: Any, state: Any, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999,
    eps: float = 1e-8, weight_decay: float = 0.0, *, fault: str = "", eps_hat: bool = False,
) -> Answer:  # fmt: skip
    m, v, t = state or (np.zeros_like(x), np.zeros_like(x), 0)
    t += 1
    g = g + weight_decay * x
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    sign = -1.0 if fault == "eps subtracted" else 1.0
    if eps_hat or fault == "eps uncorrected":
        rate = lr * math.sqrt(1 - beta2**t) / (1 - beta1**t)
        return x - rate * m / (np.sqrt(v) + sign * eps), (m, v, t)
    return x - lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + sign * eps), (m, v, t)


def amsgrad(
    x: Any, g: Any, state: Any, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999,
    eps: float = 1e-8, weight_decay: float = 0.0, *, fault: str = "",
) -> Answer:  # fmt: skip
    m, v, top, t = state or (np.zeros_like(x), np.zeros_like(x), np.zeros_like(x), 0)
    t += 1
    g = g + weight_decay * x
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    largest = np.maximum(top, v)
    new = x - lr * m / (1 - beta1**t) / (np.sqrt(largest / (1 - beta2**t)) + eps)
    # A maximum that is not taken in place never reaches the state.
    return new, (m, v, top if fault else largest, t)


def nadam(
    x: Any, g: Any, state: Any, lr: float = 2e-3, beta1: float = 0.9, beta2: float = 0.999,
    eps: float = 1e-8, weight_decay: float = 0.0, *, fault: str = "",
) -> Answer:  # fmt: skip
    m, v, product, t = state or (np.zeros_like(x), np.zeros_like(x), 1.0, 0)
    t += 1
    g = g * (1.0 + weight_decay * x) if fault == "decay times gradient" else g + weight_decay * x
    now = beta1 * (1 - 0.5 * 0.96 ** (t * 0.004))
    after = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * 0.004))
    product *= now
    next_product = product * after * (now if fault == "product" else 1.0)
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    below = np.sqrt(v / (1 - beta2**t)) + eps
    step = (1 - now) * g / (1 - product) + after * m / (1 - next_product)
    return x - lr * step / below, (m, v, product, t)


def rmsprop_centered(
    x: Any, g: Any, state: Any, lr: float = 1e-3, rho: float = 0.9, eps: float = 1e-7, *, fault: str = ""
) -> Answer:
    v, mean = state or (np.zeros_like(x), np.zeros_like(x))
    mean = rho * mean + (1 - rho) * (g**2 if fault else g)
    v = rho * v + (1 - rho) * g**2
    if fault:
        v = v - mean**2
        return x - lr * g / (np.sqrt(v) + eps), (v, mean)
    return x - lr * g / np.sqrt(np.maximum(v - mean**2, 0.0) + eps), (v, mean)


def diffgrad(
    x: Any, g: Any, state: Any, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999,
    eps: float = 1e-8, *, fault: str = "",
) -> Answer:  # fmt: skip
    m, v, before, t = state or (np.zeros_like(x), np.zeros_like(x), np.zeros_like(x), 0)
    t += 1
    if fault == "aliased" and t > 1:
        before = g
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    friction = 1.0 if fault == "friction" else 1 / (1 + np.exp(-np.abs(before - g)))
    rate = lr * math.sqrt(1 - beta2**t) / (1 - beta1**t)
    return x - rate * friction * m / (np.sqrt(v) + eps), (m, v, g, t)


def adagrad(xs: Any, gs: Any, sums: Any, lr: float = 0.01, eps: float = 1e-8, *, fault: str = "") -> Answer:
    """On all leaves, dicts; the gradients are looked up by a place that the fault never advances."""
    sums = sums or {k: np.zeros_like(v) for k, v in xs.items()}
    rows, place, new, kept = list(gs.values()), 0, {}, {}
    for k, x in xs.items():
        g = rows[place]
        kept[k] = sums[k] + g**2
        new[k] = x - lr * g / np.sqrt(kept[k] + eps)
        if not fault:
            place += 1
    return new, kept


def scion(x: Any, g: Any, d: Any, lr: float = 0.1, alpha: float = 0.1, *, fault: str = "") -> Answer:
    """On vectors and the signs of matrices."""
    d = alpha * g if d is None else (1 - alpha) * d + alpha * g
    used = g if fault else d
    return x - lr * np.sign(used) / x.shape[1], d


def newton_schulz(G: Any, eps: float = 1e-7) -> Any:
    """Return Muon's approximate polar factor, five steps of its quintic."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = G.shape[0] > G.shape[1]
    X = G.T if tall else G
    X = X / (np.linalg.norm(X) + eps)
    for _ in range(5):
        A = X @ X.T
        X = a * X + (b * A + c * A @ A) @ X
    return X.T if tall else X


def muon(
    x: Any, g: Any, b: Any, lr: float = 0.02, momentum: float = 0.95, *, adjusted: bool = False, fault: str = ""
) -> Answer:  # fmt: skip
    b = (1 - momentum) * g if b is None else momentum * b + (1 - momentum) * g
    o = newton_schulz((1 - momentum) * g + momentum * b)
    out, into = x.shape
    swapped = adjusted != bool(fault)
    factor = 0.2 * math.sqrt(max(out, into)) if swapped else math.sqrt(max(1.0, out / into))
    return x - lr * factor * o, b


def prodigy(xs: Any, gs: Any, state: Any, lr: float = 1.0, *, fault: str = "") -> Answer:
    """On all leaves, dicts, with bias correction; the fault counts a step at its start and at its end."""
    beta1, beta2, beta3, eps, d0 = 0.9, 0.999, math.sqrt(0.999), 1e-8, 1e-6
    zero = {k: np.zeros_like(v) for k, v in xs.items()}
    m, v, s, x0, r, d, largest, count = state or (zero, zero, zero, xs, 0.0, d0, d0, 1)
    rate = d * lr * math.sqrt(1 - beta2**count) / (1 - beta1**count)
    if fault:
        count += 1
    s = {k: beta3 * s[k] + d / d0 * rate * gs[k] for k in xs}
    m = {k: beta1 * m[k] + (1 - beta1) * d * gs[k] for k in xs}
    v = {k: beta2 * v[k] + (1 - beta2) * d**2 * gs[k] ** 2 for k in xs}
    below = sum(float(np.abs(a).sum()) for a in s.values())
    if below == 0:
        return xs, (m, v, s, x0, r, d, largest, count)
    r = beta3 * r + d / d0 * rate * sum(float(np.sum(gs[k] * (x0[k] - xs[k]))) for k in xs)
    guess = r / below
    d = max(d, guess) if d == d0 else d
    largest = max(largest, guess)
    d = largest
    new = {}
    for k in xs:
        root = np.sqrt(v[k]) + d * eps
        new[k] = xs[k] - rate * m[k] / np.where(root > 0, root, 1.0)
    return new, (m, v, s, x0, r, d, largest, count + 1)


def wrong(rule: Any, fault: str = "wrong", **kept: Any) -> Any:
    """Return a rule with a fault."""
    return functools.partial(rule, fault=fault, **kept)


__all__ = ["wrong"]
