"""VRGD at floor = 1, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle, Sampler


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("base", ["sgd", "adam", "lamb"])
def test_floor_one_is_the_base(base: str, average: float) -> None:
    """All ratios are 1, averaged or not."""
    p = refopt.problem("logistic", l2=0.1)
    common = {"steps": 15, "batch_size": 32, "seed": 1}
    a = refopt.minimize(p, base, lr=0.1, **common)
    b = refopt.minimize(p, "vrgd", base=base, lr=0.1, floor=1.0, groups=4, average=average, **common)
    # The mean of the groups' means is summed in another order.
    np.testing.assert_allclose(a.x, b.x, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("average", [0.0, 0.7])
def test_algorithm(average: float) -> None:
    """One float at a time from the groups' gradients, around plain gradient descent."""
    p, lr, floor, k = refopt.problem("logistic", l2=0.1), 0.5, 0.2, 4
    o = refopt.optimizer("vrgd", base="sgd", lr=lr, floor=floor, groups=k, average=average)
    oracle = Oracle(p, 0, Sampler(p.n_examples, 16, "shuffle", 0))
    x = p.start(0)
    s, theta, n = o.init(x), np.array(x), x.size
    average_r = [0.0] * n
    for t in range(1, 13):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        groups = [p.grad(theta, batch=oracle.batch[4 * d : 4 * d + 4]) for d in range(k)]
        ratios = []
        for i in range(n):
            values = [float(g[i]) for g in groups]
            mean = sum(values) / k
            variance = sum(e * e for e in values) / k - mean**2
            ratios.append(mean**2 / variance)
        level = sum(ratios) / n
        new = []
        for i in range(n):
            r = min(max(ratios[i] / level, floor), 1.0)
            if average:
                average_r[i] = average * average_r[i] + (1 - average) * r
                r = average_r[i] / (1 - average**t)
            new.append(float(theta[i]) - lr * r * sum(float(g[i]) for g in groups) / k)
        theta = np.array(new)
        np.testing.assert_allclose(x, theta, rtol=1e-11, atol=1e-12)
