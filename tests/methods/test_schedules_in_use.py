"""What schedules promise of a run: guarantees of the refined one, symmetries of the restarts."""

from __future__ import annotations

import numpy as np
import pytest
import refopt


@pytest.mark.claim("refined")
def test_the_guarantee_of_the_refined_rates() -> None:
    """With w_t = D/(G_t² (Σ G^{-2})^{1/2}), which gives D (Σ G^{-2})^{-1/2} times the refined schedule, the last iterate of
    the subgradient method has f - f* ≤ (D² + Σ w_t² ‖g_t‖²)/(2 Σ w_t), on 20 piecewise linear f; and on max_i G_i x_i,
    with norms from 1 to 10, the guarantee D (Σ G^{-2})^{-1/2} itself is what is left, to 1e-12.
    """
    steps = 60

    def rates(norms: np.ndarray, distance: float) -> np.ndarray:
        schedule = refopt.schedule("refined", norms=norms, smoothing=0.0)
        w = norms**-2.0
        top = np.max(w * (np.sum(w) - np.cumsum(w))) / np.sum(w)
        return distance / np.sqrt(np.sum(w)) * top * np.array([schedule(t) for t in range(1, steps + 1)])

    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = rng.standard_normal((6, 3)) * np.array([5.0, 2.0, 1.0, 0.5, 0.3, 0.1])[:, None]
        rows = np.vstack([rows, -rows])  # so that 0 is a minimiser, with f = 0
        norms = np.full(steps, 3.0)
        start = rng.standard_normal(3)
        distance = float(np.linalg.norm(start))
        for _ in range(2):  # The second run has the schedule of the first one's norms.
            w = distance / (norms**2 * np.sqrt(np.sum(norms**-2.0)))
            x, seen = start, []
            for eta in rates(norms, distance):
                g = rows[np.argmax(rows @ x)]
                last, x = x, x - eta * g
                seen.append(float(np.linalg.norm(g)))
            assert np.array_equal(x, last)  # The last rate is zero.
            assert np.max(rows @ x) <= (distance**2 + np.sum((w * seen) ** 2)) / (2 * np.sum(w))
            norms = np.array(seen)
    norms = np.geomspace(10.0, 1.0, steps)
    x, distance = np.zeros(steps), 2.0
    for eta in rates(norms, distance):
        i = int(np.argmax(norms * x))
        x[i] -= eta * norms[i]
    least = -distance / np.sqrt(np.sum(norms**-2.0))
    assert np.max(norms * x) - least == pytest.approx(-least, rel=1e-12)


@pytest.mark.claim("refined")
@pytest.mark.parametrize("power", [1, 2])
def test_warm_up_and_annealing_in_closed_form(power: int) -> None:
    """Norms that fall like t^{-1/p} give a warm-up and a decay, t (1 - t (t + 1)/(T (T + 1))), whose top is at T/√3 = 0.577 T;
    norms that rise like (T + 1 - t)^{-1/p} an annealing, (T + 1 - t)² (T - t), cubic at the end; to 1e-12.
    """
    T = 300
    t = np.arange(1, T + 1)
    for norms, want in (
        (t ** (-1 / power), t * (1 - t * (t + 1) / (T * (T + 1)))),
        ((T + 1.0 - t) ** (-1 / power), (T + 1.0 - t) ** 2 * (T - t)),
    ):
        eta = refopt.schedule("refined", norms=norms, power=power, smoothing=0.0)
        got = np.array([eta(int(k)) for k in t])
        np.testing.assert_allclose(got, want / np.max(want), rtol=1e-11, atol=1e-13)
    warm = refopt.schedule("refined", norms=t ** (-1 / power), power=power, smoothing=0.0)
    assert abs(max(range(1, T + 1), key=warm) - T / 3**0.5) < 1


@pytest.mark.claim("cosine-warm-restarts")
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_cycles_are_alike(factor: int) -> None:
    """The m-fold cycle, at every m-th step, is the one before it, to 1e-15; within a cycle the rates k steps after the
    start and k before the end sum to 1 + η_min, half-way it is their mean; every restart goes to 1, from within
    (π/(2 T_i))² of η_min, and at no step is η_min reached.
    """
    low, period = 0.1, 10
    eta = refopt.schedule("cosine-warm-restarts", period=period, factor=factor, floor=low)
    start, length = 1, period
    for _ in range(3):
        cycle = np.array([eta(start + k) for k in range(length)])
        after = np.array([eta(start + length + factor * k) for k in range(length)])
        np.testing.assert_allclose(after, cycle, rtol=0, atol=1e-15)
        np.testing.assert_allclose(cycle[1:] + cycle[:0:-1], 1 + low, rtol=0, atol=1e-15)
        assert cycle[0] == 1.0 and cycle[length // 2] == pytest.approx((1 + low) / 2, rel=1e-15)
        assert 0 < cycle[-1] - low < (1 - low) * (np.pi / (2 * length)) ** 2
        start, length = start + length, factor * length
