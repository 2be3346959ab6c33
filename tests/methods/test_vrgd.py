"""What the signal-to-noise ratio does to rates.

VRGD's limit and the algorithms written out.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentError, CapabilityError
from refopt.core.sampling import Sampler
from refopt.wrappers.vrgd import signal_to_noise


@pytest.mark.claim("vrgd")
def test_rates_are_bounded() -> None:
    """Every coordinate's rate is in [gamma lr, lr]; scaling a tensor's gradients leaves r as it is
    (to the bit).
    """
    rng = np.random.default_rng(0)
    groups = list(rng.standard_normal((6, 5, 4)) + 0.3)
    r = signal_to_noise(groups, 0.1)
    assert r.min() == 0.1
    assert r.max() == 1.0
    np.testing.assert_array_equal(r, signal_to_noise([64.0 * g for g in groups], 0.1))
    for zero in (np.zeros(3), np.array([1.0, 0.0, -2.0])):
        np.testing.assert_array_equal(signal_to_noise([zero, zero], 0.1), np.where(zero == 0, 0.1, 1.0))


@pytest.mark.claim("vrgd")
def test_noise_is_damped() -> None:
    """Coordinates of high signal-to-noise ratio get 1, those of pure noise about gamma."""
    rng = np.random.default_rng(1)
    groups = [np.concatenate([10.0 + rng.standard_normal(500), rng.standard_normal(500)]) for _ in range(16)]
    r = signal_to_noise(groups, 0.1)
    assert r[:500].mean() > 0.9
    assert np.mean(r[500:] == 0.1) > 0.99


@pytest.mark.identity("vrgd")
@pytest.mark.parametrize("base", ["sgd", "adam"])
def test_gamma_one_is_the_base(base: str) -> None:
    """gamma = 1: the base on the mean gradient, with and without smoothing, to 1e-11.

    r = 1 everywhere.
    """
    p = refopt.problem("logistic")
    common = {"lr": 0.05, "steps": 20, "batch_size": 64, "seed": 3}
    a = refopt.minimize(p, "vrgd", base=base, gamma=1.0, groups=4, **common)
    b = refopt.minimize(p, base, **common)
    np.testing.assert_allclose(a.x, b.x, rtol=1e-11, atol=1e-13)


@pytest.mark.identity("vrgd")
@pytest.mark.parametrize("base", ["momentum", "adam"])
def test_written_out(base: str) -> None:
    """30 steps around Adam and momentum equal the algorithms written out, to 1e-8 (their variance is
    a difference of squares).
    """
    p, k, gamma, lr, seed = refopt.problem("softmax"), 4, 0.1, 0.05, 2
    r = refopt.minimize(p, "vrgd", base=base, groups=k, lr=lr, steps=30, batch_size=32, seed=seed)
    x, sampler = p.start(seed), Sampler(p.n_examples, 32, "shuffle", seed)
    zero = {n: np.zeros_like(v) for n, v in x.items()}
    m, v, q = dict(zero), dict(zero), dict(zero)
    for t in range(1, 31):
        parts = [p.grad(x, batch=b) for b in np.split(sampler.draw(t), k)]
        for n in x:
            g = np.stack([part[n] for part in parts])
            mean, var = g.mean(0), (g**2).mean(0) - g.mean(0) ** 2
            noisy = ((g - mean) ** 2).mean(0) > 0
            ratio = np.zeros_like(mean)
            ratio[noisy] = mean[noisy] ** 2 / var[noisy]
            ratio /= ratio[noisy].mean()
            ratio[~noisy & (mean != 0)] = 1.0
            ratio = np.clip(ratio, gamma, 1.0)
            if base == "adam":
                q[n] = 0.9 * q[n] + 0.1 * ratio
                g_hat = q[n] / (1 - 0.9**t) * mean
                m[n] = 0.9 * m[n] + 0.1 * g_hat
                v[n] = 0.999 * v[n] + 0.001 * g_hat**2
                x[n] = x[n] - lr * m[n] / (1 - 0.9**t) / (np.sqrt(v[n] / (1 - 0.999**t)) + 1e-8)
            else:
                m[n] = 0.9 * m[n] + lr * ratio * mean
                x[n] = x[n] - m[n]
    for n in x:
        # The variance written as a difference of squares loses digits where the ratio is large.
        np.testing.assert_allclose(r.x[n], x[n], rtol=1e-8, atol=1e-9)


def test_what_cannot_be_cut() -> None:
    p = refopt.problem("logistic")
    with pytest.raises(ArgumentError, match="divisor of the batch size 10"):
        refopt.minimize(p, "vrgd", lr=0.1, groups=4, batch_size=10, steps=1)
    with pytest.raises(CapabilityError, match="n_examples"):
        refopt.minimize(refopt.problem("quadratic"), "vrgd", lr=0.1, steps=1)
    with pytest.raises(CapabilityError, match="one gradient"):
        refopt.optimizer("vrgd", base="svrg", lr=0.1)
