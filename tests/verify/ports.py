"""Ports of methods that ask, as a user would write them on NumPy, each with faults to choose from."""

from __future__ import annotations

from typing import Any

import numpy as np


def svrg(fault: str = "none") -> Any:
    """Return SVRG as a function that names its gradients."""

    def step(x: Any, state: Any, grad: Any, full_grad: Any, lr: float = 0.05, inner_steps: int = 10) -> Any:
        k, snapshot, mean = state or (0, None, None)
        if k % inner_steps == 0 and not (fault == "never renewed" and k):
            snapshot, mean = x.copy(), (grad if fault == "batch mean" else full_grad)(x)
        correction = grad(snapshot) - mean
        direction = grad(x) + correction if fault == "sign" else grad(x) - correction
        return x - lr * direction, (k + 1, snapshot, mean)

    return named(step, "svrg", fault)


def spider(fault: str = "none") -> Any:
    """Return SPIDER."""

    def step(x: Any, state: Any, grad: Any, full_grad: Any, lr: float = 0.01, period: int = 7) -> Any:
        t, v, last = state or (0, None, None)
        v = full_grad(x) if t % period == 0 else v + grad(x) - grad(last)
        length = 1.0 if fault == "length" else np.linalg.norm(v)
        return x - lr * v / length, (t + 1, v, x)

    return named(step, "spider", fault)


def sam(fault: str = "none") -> Any:
    """Return SAM around gradient descent with heavy-ball momentum."""

    def step(x: Any, state: Any, grad: Any, rho: float = 0.1, lr: float = 0.02, momentum: float = 0.9) -> Any:
        g = grad(x)
        up = rho * g / (1.0 if fault == "not normalised" else np.linalg.norm(g))
        sharp = grad(x - up if fault == "downhill" else x + up)
        v = momentum * (0.0 if state is None else state) + sharp
        start = x + up if fault == "not restored" else x
        return start - lr * v, v

    return named(step, "sam", fault)


def vrgd(fault: str = "none") -> Any:
    """Return VR-SGD: gradients of parts of the batch, weighted by their ratio of signal to noise."""

    def step(x: Any, state: Any, grad: Any, batch: Any, lr: float = 0.05, gamma: float = 0.1) -> Any:
        groups = np.stack([grad(x, part) for part in np.split(batch, 4)])
        mean = groups.mean(axis=0)
        ratio = mean**2 / groups.var(axis=0)
        ratio = np.clip(ratio / ratio.mean(), gamma, None if fault == "not clipped" else 1.0)
        return x - lr * ratio * mean, None

    return named(step, "vrgd", fault)


def proximal_gradient(fault: str = "none") -> Any:
    """Return the proximal gradient method."""

    def step(x: Any, state: Any, grad: Any, prox: Any, lr: float = 0.2) -> Any:
        if fault == "no prox":
            return x - lr * grad(x), None
        return prox(x - lr * grad(x), 1.0 if fault == "no rate" else lr), None

    return named(step, "proximal gradient", fault)


def levenberg_marquardt(fault: str = "none") -> Any:
    """Return Levenberg-Marquardt by least squares on the stacked system."""
    shrink, grow = (2, 3) if fault == "factors" else (10, 10)

    def step(x: Any, state: Any, residual: Any, jacobian: Any, damping: float = 0.01) -> Any:
        lam = damping if state is None else state
        r, jac = residual(x).ravel(), jacobian(x)
        scale = np.linalg.norm(jac, axis=0) if fault == "diagonal" else np.ones(x.size)
        stacked = np.vstack([jac, np.sqrt(lam) * np.diag(scale)])
        delta = np.linalg.lstsq(stacked, -np.concatenate([r, np.zeros(x.size)]), rcond=None)[0]
        after = residual(x + delta).ravel()
        if after @ after < r @ r or fault == "always":
            return x + delta, lam / shrink if after @ after < r @ r else lam * grow
        return x, lam * grow

    return named(step, "levenberg-marquardt", fault)


def kfac(fault: str = "none") -> Any:
    """Return K-FAC with a fixed damping and steps that are not rescaled."""

    def step(x: Any, state: Any, grad: Any, layers: Any, damping: float = 0.5) -> Any:
        k, kept = state or (0, {})
        k += 1
        weight = min(1 - 1 / k, 0.95)
        g, gamma, new, kept = grad(x), np.sqrt(damping + 0.01), {}, dict(kept)
        for layer in layers(x, sample=fault != "true labels"):
            n = len(layer.inputs)
            a = np.c_[layer.inputs, np.ones(n)]
            now = a.T @ a / n, layer.output_grads.T @ layer.output_grads / n
            if fault == "summed":
                now = now[0] * n, now[1] * n
            old = kept.get(layer.weight, now)
            if fault != "not kept":
                now = tuple(weight * u + (1 - weight) * v for u, v in zip(old, now))
            kept[layer.weight] = now
            pi = np.sqrt(np.trace(now[0]) / len(now[0]) / (np.trace(now[1]) / len(now[1])))
            if fault == "pi":
                pi = 1.0
            left = now[1] + gamma / pi * np.eye(len(now[1]))
            right = now[0] + gamma * pi * np.eye(len(now[0]))
            w = np.c_[g[layer.weight], g[layer.bias]]
            delta = np.linalg.solve(left, np.linalg.solve(right, w.T).T)
            new[layer.weight], new[layer.bias] = x[layer.weight] - delta[:, :-1], x[layer.bias] - delta[:, -1]
        return {name: new[name] for name in x}, (k, kept)

    return named(step, "kfac", fault)


def named(step: Any, method: str, fault: str) -> Any:
    """Return the function under a name for reports."""
    step.__qualname__ = f"{method}, {fault}"
    return step
