"""What clipping promises: cliffs, how the threshold enters the rate, and steps along which curvature is low."""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle


def _recurrent(w: np.ndarray) -> tuple[float, np.ndarray]:
    """(x_50 - 0.7)² of x ← w σ(x) + b from x_0 = 0.5, and its gradient: the paper's cliff (its figure 6)."""
    x, d = 0.5, np.zeros(2)
    for _ in range(50):
        s = 1 / (1 + math.exp(-x))
        x, d = w[0] * s + w[1], np.array([s, 1.0]) + w[0] * s * (1 - s) * d
    return (x - 0.7) ** 2, 2 * (x - 0.7) * d


@pytest.mark.claim("clip-norm")
def test_on_a_cliff() -> None:
    """On the cliff of a neuron with itself over 50 steps the gradient is 864 long, and gradient descent with the rate 0.02
    leaps by 17.3; clipped at 5 no step is longer than 0.1, the first is just that, and in 700 steps the error falls from
    0.008 to 2e-6, 1.4 from the start.
    """
    p = refopt.from_functions(lambda w: _recurrent(w)[0], lambda w: _recurrent(w)[1])
    start = np.array([4.9, -2.55])
    g = p.grad(start)
    assert np.linalg.norm(g) == pytest.approx(863.7, abs=0.1)
    plain = refopt.minimize(p, "sgd", start, lr=0.02, steps=1).x
    assert np.linalg.norm(plain - start) == pytest.approx(17.27, abs=0.01)
    o, oracle, x = refopt.optimizer("clip-norm", threshold=5.0, lr=0.02), Oracle(p), start
    s, moved = o.init(x), []
    for t in range(1, 701):
        oracle.begin(t)
        new, s = o.step(x, s, oracle)
        moved.append(float(np.linalg.norm(new - x)))
        x = new
    assert max(moved) <= 0.1 * (1 + 1e-12) and moved[0] == pytest.approx(0.1, rel=1e-12)
    assert p.value(x) < 1e-5 and np.linalg.norm(x - start) < 1.5


@pytest.mark.claim("clipped-sgd")
def test_the_threshold_costs_steps_at_first_alone() -> None:
    """On L ‖x‖²/2 the way to c/L goes by η c a step, from there on by 1 - η L: with η = 1/(4 L), L = 2 and 50 away, to 1e-3
    in ⌈(50 - c/L)/(η c)⌉ steps and then as many as gradient descent. At η = 1/L the least gradient of T steps is at
    most max((2 F/(η T))^½, 2 F/(η c T)), F the first gap: c stands in the faster term alone.
    """
    L, far, near = 2.0, 50.0, 1e-3
    unit = np.array([0.6, -0.8])

    def lengths(eta: float, c: float, steps: int) -> np.ndarray:
        o, x, out = refopt.optimizer("clipped-sgd", lr=eta, threshold=c), far * unit, [far]
        s = o.init(x)
        for _ in range(steps):
            x, s = o.update(x, L * x, s)
            out.append(float(np.linalg.norm(x)))
        return np.array(out)

    for c in (0.5, 2.0, 8.0, 1e3):
        eta = 0.25 / L
        first = max(math.ceil((far - c / L) / (eta * c)), 0)
        left = far - first * eta * c
        want = first + math.ceil(math.log(near / left) / math.log(1 - eta * L))
        away = lengths(eta, c, want)
        assert away[want] <= near < away[want - 1]
        gap, steps = L / 2 * far**2, np.arange(1, 251)
        bound = np.maximum(np.sqrt(2 * gap * L / steps), 2 * gap * L / (c * steps))
        assert np.all(L * np.minimum.accumulate(lengths(1 / L, c, 249)) <= bound)


@pytest.mark.claim("coordinate-clip", "directional-sharpness")
def test_less_sharpness_is_a_greater_decrease() -> None:
    """On diag(100, 1, …, 1) in ten dimensions, from ones, the best step along the gradient lowers f from 54.5 by 50.1, the
    best one along the clipped gradient to 0. On twenty curvatures from 100 to 0.01 the sharpness is 81.0, with a
    tenth, a fifth, a half and all of the coordinates cut 58.5, 43.1, 22.3 and 13.0.
    """
    look = refopt.get("directional-sharpness")

    def cut(p: object, x: np.ndarray, q: float) -> np.ndarray:
        o = refopt.optimizer("coordinate-clip", fraction=q, lr=1.0)
        return x - o.update(x, p.grad(x), o.init(x))[0]

    p = refopt.problem("quadratic", spectrum=[100.0] + [1.0] * 9, diagonal=True)
    x = p.solution + 1.0
    gap = p.value(x) - p.value(p.solution)
    assert gap == pytest.approx(54.5, rel=1e-12)
    assert look(p, x, p.grad(x)).best_decrease == pytest.approx(10009**2 / (2 * 1000009), rel=1e-12)
    found = look(p, x, cut(p, x, 0.1))
    assert found.best_decrease == pytest.approx(gap, rel=1e-12)
    assert p.value(x - found.best_step * cut(p, x, 0.1)) - p.value(p.solution) == pytest.approx(
        0.0, abs=1e-12
    )
    p = refopt.problem("quadratic", spectrum=np.geomspace(100.0, 0.01, 20), diagonal=True)
    x = p.solution + 1.0
    sharp = [look(p, x, cut(p, x, q)).sharpness for q in (0.0, 0.1, 0.2, 0.5, 1.0)]
    np.testing.assert_allclose(sharp, [80.99, 58.45, 43.06, 22.33, 13.01], rtol=1e-3)
