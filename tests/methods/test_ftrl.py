"""FTRL-Proximal."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentError

from tests.alike import assert_same_run
from tests.parity.case import Arrays, Case
from tests.parity.makers import Side, ours, torch_side
from tests.streams import stream


@pytest.mark.identity("ftrl")
@pytest.mark.parametrize("power", [0.5, 0.7])
def test_every_point_is_the_minimiser(power: float) -> None:
    """Fifteen points minimise ``Σ g x + Σ σ_s (x - x_s)² / 2 + β x² / 2α + λ1 |x| + λ2 x² / 2``, found by bisection of its slope, to 1e-9;
    half of them and more are exactly 0 somewhere."""
    o = refopt.optimizer(
        "ftrl", lr=0.3, beta=0.5, lambda1=1.5, lambda2=0.2, power=power, initial=0.3, shrinkage=0.1
    )
    _, gradients = stream(0, "random", steps=15, shapes={"w": (6,)})
    x = np.zeros(6)
    s, seen, zeros = o.init(x), [], 0
    for g in (g["w"] for g in gradients):
        before = x
        x, s = o.update(x, g, s)
        seen.append((g, before))
        for i in range(6):
            n, slopes = 0.3, []
            linear = sum(h[i] + 0.1 * y[i] for h, y in seen)
            for h, y in seen:
                slopes.append((((n + h[i] ** 2) ** power - n**power) / 0.3, y[i]))
                n += h[i] ** 2

            # The bowl at n_0 is centred on zero, as β's is.
            def slope(at: float) -> float:
                bowls = sum(sigma * (at - y) for sigma, y in slopes) + (0.5 + 0.3**power) / 0.3 * at
                return linear + bowls + 1.5 * np.sign(at) + 0.2 * at

            low, high = -10.0, 10.0
            for _ in range(60):
                middle = 0.5 * (low + high)
                low, high = (low, middle) if slope(middle) > 0 else (middle, high)
            assert x[i] == pytest.approx(0.5 * (low + high), abs=1e-9)
        zeros += bool(np.any(x == 0.0))
    assert zeros >= 8


@pytest.mark.identity("ftrl")
def test_without_regularisers_it_is_adagrad() -> None:
    """λ1 = λ2 = β = 0: AdaGrad without ε from any start, 30 steps, to 1e-12; a coordinate without gradient stays."""
    ours, theirs = refopt.optimizer("ftrl", lr=0.3, beta=0.0), refopt.optimizer("adagrad", lr=0.3, eps=0.0)
    assert_same_run(ours, theirs, stream(1, "ill", steps=30), rtol=1e-11, atol=1e-12)
    with pytest.raises(ArgumentError, match="lr: ftrl divides by its rate"):
        refopt.optimizer("ftrl", schedule=lambda t: 0.0).update(np.ones(1), np.ones(1), ours.init(np.ones(1)))


def _felt(side: Side) -> Side:
    """Without the leaves' first entries, which never have a gradient: the library sets them to zero."""

    def felt(seed: int) -> Arrays:
        return {k: np.delete(v, [0, 5, 29], axis=1) for k, v in side(seed).items()}

    return felt


CASES = [
    Case("ftrl", "kozistr", "pytorch-optimizer",
        _felt(ours("ftrl", kinds=("random",), dialect="kozistr", lr=0.1, beta=0.5, lambda1=2.0, lambda2=0.3)),
        _felt(torch_side("FTRL", kinds=("random",), lr=0.1, beta=0.5, lambda_1=2.0, lambda_2=0.3)),
        says="pytorch_optimizer.FTRL with λ1, λ2 and β under a schedule, 200 steps on a random stream, the coordinates that have gradients, to 1e-12."),
]  # fmt: skip
