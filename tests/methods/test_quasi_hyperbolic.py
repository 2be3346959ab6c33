"""QHM and QHAdam."""

from __future__ import annotations

import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import stream


@pytest.mark.identity("qhm")
def test_sgd_and_both_kinds_of_momentum_are_its_limits() -> None:
    """ν = 0 is SGD, ν = 1 momentum on averages (torch's at rate lr (1 - β)), ν = β Nesterov's at that rate, to 1e-12."""
    run = stream(1, "random", steps=30)

    def qhm(nu: float):
        return refopt.optimizer("qhm", lr=1.0, beta=0.9, nu=nu)

    assert_same_run(qhm(0.0), refopt.optimizer("sgd", lr=1.0), run)
    assert_same_run(
        qhm(1.0),
        refopt.optimizer("momentum", dialect="torch", lr=0.1, momentum=0.9),
        run,
        rtol=1e-11,
        atol=1e-13,
    )
    assert_same_run(
        qhm(0.9),
        refopt.optimizer("nesterov", dialect="torch", lr=0.1, momentum=0.9),
        run,
        rtol=1e-11,
        atol=1e-13,
    )


@pytest.mark.claim("qhm")
def test_the_weight_of_each_past_gradient() -> None:
    """The response to one gradient is 1 - ν β at once and ν (1 - β) β^k after k steps (the paper's discount), to 1e-14."""
    import numpy as np

    o = refopt.optimizer("qhm", lr=1.0, beta=0.8, nu=0.7)
    x = np.zeros(1)
    s = o.init(x)
    for k in range(6):
        y, s = o.update(x, np.array([1.0 if k == 0 else 0.0]), s)
        want = 1 - 0.7 * 0.8 if k == 0 else 0.7 * 0.2 * 0.8**k
        np.testing.assert_allclose(x - y, want, rtol=1e-14)
        x = np.zeros(1)


@pytest.mark.identity("qhadam")
def test_adam_rmsprop_and_nadam_are_its_limits() -> None:
    """ν = (1, 1) is Adam and ν = (0, 1) Adam without momentum; ν1 = β1 is Nadam's look-ahead in the form without a schedule,
    (1 - β1) g + β1 m̂, to 1e-12."""
    run = stream(2, "ill", steps=30)

    def qhadam(nu1: float, **more: float):
        return refopt.optimizer("qhadam", lr=0.1, nu1=nu1, eps=1e-3, **more)

    assert_same_run(qhadam(1.0), refopt.optimizer("adam", lr=0.1, eps=1e-3), run, rtol=1e-12, atol=1e-14)
    assert_same_run(
        qhadam(0.0), refopt.optimizer("adam", lr=0.1, eps=1e-3, beta1=0.0), run, rtol=1e-12, atol=1e-14
    )


@pytest.mark.identity("qhadam")
def test_by_hand() -> None:
    """Ten steps with all four weights at work, to 1e-13."""
    import numpy as np

    o = refopt.optimizer("qhadam", lr=0.1, beta1=0.6, beta2=0.7, nu1=0.4, nu2=0.3, eps=1e-2)
    x, gradients = stream(3, "random", steps=10)
    y, s = dict(x), o.init(x)
    m, v = ({k: np.zeros_like(a) for k, a in x.items()} for _ in range(2))
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        for k in y:
            m[k], v[k] = 0.6 * m[k] + 0.4 * g[k], 0.7 * v[k] + 0.3 * g[k] ** 2
            below = np.sqrt(0.7 * g[k] ** 2 + 0.3 * v[k] / (1 - 0.7**t)) + 1e-2
            y[k] = y[k] - 0.1 * (0.6 * g[k] + 0.4 * m[k] / (1 - 0.6**t)) / below
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-14)
