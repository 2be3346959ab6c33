"""Schedules beside torch's, optax's and Keras's, their formulas written out, and what they are said to do."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import refopt

from tests.parity.case import Arrays, Case

N = 60


def ours(*made: tuple[str, dict[str, Any]]) -> Callable[[int], Arrays]:
    """The first values of some schedules, an array each."""
    return lambda seed: {
        str(i): np.array([refopt.schedule(name, **k)(t) for t in range(1, N + 1)])
        for i, (name, k) in enumerate(made)
    }


def torch_rates(*make: Callable[[Any, Any], Any]) -> Callable[[int], Arrays]:
    """The rates of an SGD with lr=1 under torch's schedulers, one step a batch."""

    def side(seed: int) -> Arrays:
        import warnings

        import torch

        out = {}
        for i, one in enumerate(make):
            o = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # SequentialLR calls what torch has deprecated
                scheduler, rates = one(torch.optim.lr_scheduler, o), []
                for _ in range(N):
                    rates.append(o.param_groups[0]["lr"])
                    o.step()
                    scheduler.step()
            out[str(i)] = np.array(rates)
        return out

    return side


def optax_values(*make: Callable[[Any], Any]) -> Callable[[int], Arrays]:
    """The values of optax's schedules at the counts 0, 1, ..., in float64."""

    def side(seed: int) -> Arrays:
        import jax

        jax.config.update("jax_enable_x64", True)
        import optax

        return {str(i): np.array([float(one(optax)(k)) for k in range(N)]) for i, one in enumerate(make)}

    return side


RESTARTS = [
    ("cosine-warm-restarts", {"period": 10}),
    ("cosine-warm-restarts", {"period": 4, "factor": 2, "floor": 0.1}),
]
COSINES = [("cosine-decay", {"steps": 25, "floor": 0.1, "exponent": 1.5}), ("cosine-decay", {"steps": 70})]
CASES = [
    Case("cosine-warm-restarts", "torch", "torch", ours(*RESTARTS),
        torch_rates(lambda m, o: m.CosineAnnealingWarmRestarts(o, 10),
            lambda m, o: m.CosineAnnealingWarmRestarts(o, 4, T_mult=2, eta_min=0.1)),
        rtol=1e-15, says="60 steps of torch's scheduler, over restarts of equal and of doubled length, bit for bit where"
        " the tape was made (an ulp is left to another cosine)"),
    Case("cosine-warm-restarts", "optax", "optax", ours(RESTARTS[0]),
        optax_values(lambda m: m.sgdr_schedule(
            [{"init_value": 1.0, "peak_value": 1.0, "warmup_steps": 0, "decay_steps": 10} for _ in range(6)])),
        rtol=1e-15, says="60 values of optax's sgdr_schedule, to an ulp of 1 (its cosine is another library's)"),
    Case("cosine-decay", "optax", "optax", ours(*COSINES),
        optax_values(lambda m: m.cosine_decay_schedule(1.0, 25, alpha=0.1, exponent=1.5),
            lambda m: m.cosine_decay_schedule(1.0, 70)),
        rtol=1e-15, says="60 values with floor and exponent, to an ulp of 1 (its cosine is another library's)"),
    Case("cosine-decay", "torch", "torch", ours(("cosine-decay", {"steps": 25, "floor": 0.1, "dialect": "torch"})),
        torch_rates(lambda m, o: m.CosineAnnealingLR(o, 25, eta_min=0.1)),
        says="60 steps, down, up and down again; torch makes each rate from the last, and differs by rounding (1e-12)"),
    Case("linear-decay", "torch", "torch", ours(("linear-decay", {"steps": 40, "dialect": "torch"})),
        torch_rates(lambda m, o: m.LinearLR(o, 1.0, 0.0, total_iters=40)),
        says="60 steps; torch makes each rate from the last, and differs by rounding (1e-12)"),
    Case("linear-decay", "optax", "optax", ours(("linear-decay", {"steps": 40, "dialect": "optax"})),
        optax_values(lambda m: m.linear_schedule(1.0, 0.0, 40)), rtol=0.0,
        says="60 values, 20 of them after the end, bit for bit"),
    Case("exponential-decay", "torch", "torch", ours(("exponential-decay", {"rate": 0.9, "dialect": "torch"})),
        torch_rates(lambda m, o: m.ExponentialLR(o, 0.9)),
        says="60 steps; torch multiplies the last rate, and differs from a power by rounding (1e-12)"),
    Case("exponential-decay", "optax", "optax",
        ours(("exponential-decay", {"rate": 0.8, "every": 7, "floor": 0.3, "dialect": "optax"}),
            ("exponential-decay", {"rate": 0.8, "every": 7, "staircase": True, "dialect": "optax"})),
        optax_values(lambda m: m.exponential_decay(1.0, 7, 0.8, end_value=0.3),
            lambda m: m.exponential_decay(1.0, 7, 0.8, staircase=True)),
        rtol=1e-15, says="60 values, with an end value and as a staircase, to an ulp of 1 (another library's power)"),
    Case("step-decay", "torch", "torch",
        ours(("step-decay", {"every": 7, "dialect": "torch"}),
            ("step-decay", {"milestones": (3, 20, 21), "factor": 0.4})),
        torch_rates(lambda m, o: m.StepLR(o, 7), lambda m, o: m.MultiStepLR(o, [3, 20, 21], gamma=0.4)),
        rtol=1e-15, says="60 steps of StepLR and MultiStepLR, to an ulp of 1 (torch multiplies the last rate)"),
    Case("polynomial-decay", "torch", "torch",
        ours(("polynomial-decay", {"steps": 40, "power": 2.0}), ("polynomial-decay", {"steps": 40, "dialect": "torch"})),
        torch_rates(lambda m, o: m.PolynomialLR(o, 40, power=2.0), lambda m, o: m.PolynomialLR(o, 40)),
        says="60 steps; torch makes each rate from the last, and differs by rounding (1e-12)"),
    Case("polynomial-decay", "optax", "optax", ours(("polynomial-decay", {"steps": 40, "floor": 0.2})),
        optax_values(lambda m: m.polynomial_schedule(1.0, 0.2, 0.9, 40)), rtol=1e-15,
        says="60 values with power 0.9 and an end value, to an ulp of 1 (another library's power)"),
    Case("warmup", "torch", "torch",
        lambda seed: {"0": np.array([_warm(0.25, "cosine-decay", steps=30, rises=True)(t) for t in range(1, N + 1)])},
        torch_rates(lambda m, o: m.SequentialLR(
            o, [m.LinearLR(o, 0.25, total_iters=12), m.CosineAnnealingLR(o, 30)], [12])),
        says="60 steps of LinearLR, then CosineAnnealingLR, in SequentialLR; torch makes each rate from the last"
        " (1e-12)"),
    Case("warmup", "optax", "optax",
        lambda seed: {"0": np.array([_warm(0.0, "cosine-decay", steps=30, floor=0.1)(t) for t in range(1, N + 1)])},
        optax_values(lambda m: m.warmup_cosine_decay_schedule(0.0, 1.0, 12, 42, end_value=0.1)), rtol=1e-15,
        says="60 values of warmup_cosine_decay_schedule, to an ulp of 1 (its cosine is another library's)"),
    Case("one-cycle", "torch", "torch",
        ours(("one-cycle", {"steps": 60, "dialect": "torch"}),
            ("one-cycle", {"steps": 60, "phases": 3, "shape": "linear", "divisor": 10.0, "final_divisor": 50.0,
                "dialect": "torch"})),
        torch_rates(lambda m, o: m.OneCycleLR(o, 1.0, total_steps=60, cycle_momentum=False),
            lambda m, o: m.OneCycleLR(o, 1.0, total_steps=60, three_phase=True, anneal_strategy="linear",
                div_factor=10.0, final_div_factor=50.0, cycle_momentum=False)),
        rtol=1e-15, says="60 steps, two cosine phases and three straight ones, to an ulp of 1"),
    Case("one-cycle", "optax", "optax",
        ours(("one-cycle", {"steps": 50, "dialect": "optax"}),
            ("one-cycle", {"steps": 50, "phases": 2, "shape": "cosine", "dialect": "optax"})),
        optax_values(lambda m: m.linear_onecycle_schedule(50, 1.0), lambda m: m.cosine_onecycle_schedule(50, 1.0)),
        rtol=1e-15, says="60 values of both its cycles, 10 of them after the end, to an ulp of 1"),
]  # fmt: skip


def _warm(start: float, name: str, **k: Any) -> Any:
    return refopt.schedule("warmup", steps=12, start=start, after=refopt.schedule(name, **k))


# name, settings, the formula of the step t.
FORMULAS: list[tuple[str, dict[str, Any], Callable[[int], float]]] = [
    ("cosine-warm-restarts", {"period": 6, "factor": 3.0, "floor": 0.2, "top_factor": 0.5},
        lambda t: 0.2 + 0.4 * (1 + math.cos(math.pi * (t - 1) / 6)) if t <= 6
        else 0.5 * (0.2 + 0.4 * (1 + math.cos(math.pi * (t - 7) / 18))) if t <= 24
        else 0.25 * (0.2 + 0.4 * (1 + math.cos(math.pi * (t - 25) / 54)))),
    ("cosine-warm-restarts", {"period": 7, "floor": 0.2, "top_factor": 0.5},
        lambda t: 0.5 ** ((t - 1) // 7) * (0.2 + 0.4 * (1 + math.cos(math.pi * ((t - 1) % 7) / 7)))),
    ("cosine-decay", {"steps": 20, "floor": 0.1},
        lambda t: 0.1 + 0.45 * (1 + math.cos(math.pi * min(t - 1, 20) / 20))),
    ("linear-decay", {"steps": 33}, lambda t: max(1 - t / 33, 0.0)),
    ("exponential-decay", {"rate": 0.93}, lambda t: 0.93**t),
    ("step-decay", {"every": 9}, lambda t: 2.0 ** -math.floor((t - 1) / 9)),
    ("inverse-time-decay", {"rate": 0.3}, lambda t: 1 / (1 + 0.3 * (t - 1))),
    ("inverse-time-decay", {"rate": 0.3, "every": 4, "staircase": True}, lambda t: 1 / (1 + 0.3 * math.floor((t - 1) / 4))),
    ("step-decay", {"milestones": (5, 9), "multipliers": (0.25, 3.0)}, lambda t: 1.0 if t <= 5 else 0.25 if t <= 9 else 3.0),
    ("polynomial-decay", {"steps": 11, "power": 2.0, "cycles": True},
        lambda t: (1 - (t - 1) / (11 * max(1, math.ceil((t - 1) / 11)))) ** 2),
    ("cosine-warm-restarts", {"period": 7, "floor": 0.2, "top_factor": 0.5, "floor_falls": False},
        lambda t: 0.2 + 0.5 ** ((t - 1) // 7) * 0.4 * (1 + math.cos(math.pi * ((t - 1) % 7) / 7))),
    ("polynomial-decay", {"steps": 33}, lambda t: max(1 - (t - 1) / 33, 0.0) ** 0.9),
    ("warmup", {"steps": 8, "start": 0.25}, lambda t: min(0.25 + 0.75 * (t - 1) / 8, 1.0)),
    ("inverse-square-root", {"warmup": 9}, lambda t: min(t / 9, 3 / math.sqrt(t))),
    ("inverse-square-root", {"warmup": 9, "width": 64}, lambda t: 64**-0.5 * min(t**-0.5, t * 9**-1.5)),
    ("wsd", {"warmup": 5, "stable": 20, "decay": 10, "halvings": 3.0},
        lambda t: t / 5 if t <= 5 else 1.0 if t <= 20 else 2.0 ** (-3 * min(t - 20, 10) / 10)),
    ("wsd", {"stable": 20, "decay": 10, "dialect": "cooldown"},
        lambda t: 1.0 if t <= 20 else 1 - math.sqrt(min(t - 20, 10) / 10)),
    ("wsd", {"stable": 20, "decay": 10, "shape": "linear"}, lambda t: 1 - min(max(t - 20, 0), 10) / 10),
    ("wsd", {"stable": 20, "decay": 10, "shape": "cosine"},
        lambda t: 0.5 + 0.5 * math.cos(math.pi * min(max(t - 20, 0), 10) / 10)),
    ("one-cycle", {"steps": 40},
        lambda t: float(np.interp(t - 1, [0, 18, 36, 40], [0.04, 1.0, 0.04, 4e-6]))),
]  # fmt: skip


@pytest.mark.identity(
    "cosine-warm-restarts", "cosine-decay", "linear-decay", "exponential-decay", "step-decay", "polynomial-decay",
    "warmup", "inverse-square-root", "inverse-time-decay", "wsd", "one-cycle",
)  # fmt: skip
@pytest.mark.parametrize(
    ("name", "settings", "formula"), FORMULAS, ids=[f"{i}-{f[0]}" for i, f in enumerate(FORMULAS)]
)
def test_formula(name: str, settings: dict[str, Any], formula: Callable[[int], float]) -> None:
    """70 steps, past the end, equal the formula written out in the step t, to 1e-14."""
    eta = refopt.schedule(name, **settings)
    want = [formula(t) for t in range(1, 71)]
    np.testing.assert_allclose([eta(t) for t in range(1, 71)], want, rtol=1e-14, atol=1e-15)
    # A function of t alone, whatever was asked before, and the same after a copy by pickle.
    again = pickle.loads(pickle.dumps(eta))
    assert again == eta
    assert [again(t) for t in range(70, 0, -1)] == [eta(t) for t in range(70, 0, -1)]
    assert repr(again) == repr(eta)
    assert " at 0x" not in repr(eta)


@pytest.mark.claim("cosine-warm-restarts")
def test_restarts_and_mean() -> None:
    """Cycles end at T_0, T_0 (1 + m), T_0 (1 + m + m^2); a cycle's mean is (1 + eta_min) / 2 + (1 - eta_min) / (2 N)."""
    eta = refopt.schedule("cosine-warm-restarts", period=8, factor=2, floor=0.1)
    assert eta.cycle_ends(3) == [8, 24, 56]
    for n, end in ((8, 8), (16, 24), (32, 56)):
        cycle = [eta(t) for t in range(end - n + 1, end + 1)]
        assert cycle[0] == 1.0
        assert np.all(np.diff(cycle) < 0)
        assert np.mean(cycle) == pytest.approx(1.1 / 2 + 0.9 / (2 * n), rel=1e-14)
    assert refopt.schedule("cosine-warm-restarts", period=3, factor=1.5).cycle_ends(3) == [3, 8, 15]


@pytest.mark.claim("linear-decay")
def test_last_iterate_bound() -> None:
    """The last iterate of the subgradient method has f(x_T) - f* <= D G / sqrt(T), on 20 piecewise linear f."""
    steps, rng = 100, np.random.default_rng(0)
    eta = refopt.schedule("linear-decay", steps=steps)
    for _ in range(20):
        rows = rng.standard_normal((6, 3))
        rows = np.vstack([rows, -rows])  # so that 0 is a minimiser, with f = 0
        x, g_max = rng.standard_normal(3), np.max(np.linalg.norm(rows, axis=1))
        d = np.linalg.norm(x)
        for t in range(1, steps):
            x = x - d / (g_max * math.sqrt(steps)) * eta(t) * rows[np.argmax(rows @ x)]
        assert np.max(rows @ x) <= d * g_max / math.sqrt(steps)
    assert eta(steps) == 0.0


def _refined(norms: list[float], power: int) -> np.ndarray:
    """Algorithm: weights, and each times the share of the weights that follow."""
    w = [g**-power for g in norms]
    rates = [w[t] * sum(w[t + 1 :]) / sum(w) for t in range(len(w))]
    return np.array(rates) / max(rates)


@pytest.mark.identity("refined")
@pytest.mark.parametrize("power", [1, 2])
def test_refined_algorithm(power: int) -> None:
    """Equals the paper's weights written out, for both powers, to 1e-13."""
    g = np.exp(np.random.default_rng(1).standard_normal(23)).tolist()
    eta = refopt.schedule("refined", norms=g, power=power, smoothing=0.0)
    np.testing.assert_allclose([eta(t) for t in range(1, 24)], _refined(g, power), rtol=1e-13)
    # tau T = 4.6: two on either side; the first repeated on the left, mirrored on the right.
    around = [g[0], g[0], *g, g[-2], g[-3]]
    smooth = [sorted(around[i : i + 5])[2] for i in range(23)]
    eta = refopt.schedule("refined", norms=np.array(g), power=power, smoothing=0.2)
    np.testing.assert_allclose([eta(t) for t in range(1, 24)], _refined(smooth, power), rtol=1e-13)
    assert [eta(t) for t in (23, 24, 1000)] == [0.0, 0.0, 0.0]
    assert pickle.loads(pickle.dumps(eta))(7) == eta(7)
    wide = refopt.schedule("refined", norms=[1e-200, 1e200, 1e-200], smoothing=0.0)
    assert [wide(t) for t in (1, 2, 3)] == [1.0, 0.0, 0.0]


@pytest.mark.claim("refined", "linear-decay")
def test_constant_norms_give_linear_decay() -> None:
    """Equal gradient norms give linear decay; norms that fall early a warm-up, norms that rise late a faster fall."""
    line = refopt.schedule("linear-decay", steps=40)
    eta = refopt.schedule("refined", norms=[3.0] * 40)
    np.testing.assert_allclose(
        [eta(t) for t in range(1, 41)], [line(t) / line(1) for t in range(1, 41)], rtol=1e-14
    )
    warm = refopt.schedule("refined", norms=[4.0] * 10 + [1.0] * 30)
    assert warm(1) < 0.1 < warm(11) == 1.0
    fast = refopt.schedule("refined", norms=[1.0] * 30 + [4.0] * 10)
    assert fast(35) / fast(1) < 0.1 * line(35) / line(1)


@pytest.mark.claim("cosine-decay")
def test_cosine_is_half_on_average() -> None:
    """Half-way the rate is (1 + eta_min) / 2, and by symmetry eta at k and at T - k sum to 1 + eta_min."""
    eta = refopt.schedule("cosine-decay", steps=30, floor=0.2)
    for k in range(31):
        assert eta(1 + k) + eta(31 - k) == pytest.approx(1.2, rel=1e-15)


@pytest.mark.claim("inverse-square-root")
def test_attention_peak() -> None:
    """With the paper's d = 512 and 4000 warm-up steps the rate peaks at step 4000 with (512 * 4000)^-0.5 = 6.99e-4."""
    eta = refopt.schedule("inverse-square-root", width=512)
    assert max(range(1, 20_001, 100), key=eta) in (3901, 4001)
    assert eta(4000) == pytest.approx(6.9877e-4, rel=1e-4)
    assert eta(16_000) == pytest.approx(eta(4000) / 2, rel=1e-15)
    assert eta(1000) == pytest.approx(eta(4000) / 4, rel=1e-15)


@pytest.mark.claim("wsd")
def test_the_stable_stage_needs_no_end() -> None:
    """Two lengths of training share all steps up to the shorter one's decay: a decay starts from any checkpoint."""
    short, long = (refopt.schedule("wsd", warmup=10, stable=n, decay=n // 9) for n in (90, 900))
    assert [short(t) for t in range(1, 91)] == [long(t) for t in range(1, 91)]
    assert short(100) == long(1000) == 0.5


def test_a_run_is_the_methods_with_these_rates() -> None:
    """minimize multiplies lr by the schedule's value at t = 1, 2, ..., as a list of them does."""
    eta = refopt.schedule("warmup", steps=3, start=0.5, after=refopt.schedule("linear-decay", steps=9))
    p = refopt.problem("quadratic", n=3)
    rates = [eta(t) for t in range(1, 13)]
    a = refopt.minimize(p, "momentum", lr=0.3, schedule=eta, steps=12)
    b = refopt.minimize(p, "momentum", lr=0.3, schedule=lambda t: rates[t - 1], steps=12)
    np.testing.assert_array_equal(a.x, b.x)


def test_a_checkpoint_knows_its_schedule(tmp_path: Any) -> None:
    """A resumed run with another number in its schedule is refused; with the same it goes on."""
    p, path = refopt.problem("quadratic", n=3), tmp_path / "run.ckpt"

    def run(start: float, steps: int) -> Any:
        eta = refopt.schedule(
            "warmup", steps=50, start=start, after=refopt.schedule("linear-decay", steps=99)
        )
        return refopt.minimize(p, "sgd", lr=0.1, schedule=eta, steps=steps, checkpoint=path, resume=True)

    run(0.5, 5)
    with pytest.raises(refopt.errors.CheckpointError, match="schedule"):
        run(0.6, 9)
    assert run(0.5, 9).nit == 9


@pytest.mark.parametrize(
    ("name", "settings", "error", "says"),
    [
        ("cosine", {}, refopt.errors.UnknownNameError, "cosine-decay"),
        ("adam", {}, refopt.errors.UnknownNameError, "is an optimizer, wanted schedule"),
        ("cosine-decay", {}, refopt.errors.HyperparameterError, "steps must be given"),
        ("cosine-decay", {"step": 3}, refopt.errors.HyperparameterError, "no hyperparameter 'step'"),
        ("cosine-decay", {"steps": 2.5}, refopt.errors.ArgumentTypeError, "cosine-decay: steps"),
        (
            "cosine-decay",
            {"steps": 3, "dialect": "paddle"},
            refopt.errors.UnknownNameError,
            "no dialect 'paddle'",
        ),
        ("warmup", {"steps": 3, "after": lambda t: 1.0}, refopt.errors.ArgumentTypeError, "warmup: after"),
        ("step-decay", {}, refopt.errors.ArgumentError, "every or milestones"),
        ("step-decay", {"milestones": 3}, refopt.errors.ArgumentTypeError, "milestones"),
        ("step-decay", {"milestones": (3, 3)}, refopt.errors.ArgumentError, "increasing"),
        ("step-decay", {"milestones": (0, 3)}, refopt.errors.ArgumentError, "milestones"),
        ("refined", {"norms": [1.0, 0.0]}, refopt.errors.ArgumentError, "norms: wanted two or more positive"),
        ("refined", {"norms": [1.0, math.inf]}, refopt.errors.ArgumentError, "norms"),
        ("refined", {"norms": [1.0]}, refopt.errors.ArgumentError, "norms"),
        ("refined", {"norms": 3.0}, refopt.errors.ArgumentTypeError, "norms"),
        ("refined", {"norms": ["a", "b"]}, refopt.errors.ArgumentTypeError, "norms"),
        ("wsd", {"warmup": 9, "stable": 3, "decay": 2}, refopt.errors.ArgumentError, "warmup"),
        ("one-cycle", {"steps": 9, "rise": 0.5, "fall": 0.5}, refopt.errors.ArgumentError, "fall"),
    ],
)
def test_bad_settings(name: str, settings: dict[str, Any], error: type[Exception], says: str) -> None:
    """Each error names the argument, what came and what is wanted."""
    with pytest.raises(error, match=says):
        refopt.schedule(name, **settings)


@pytest.mark.parametrize("t", [0, -1, 1.5, True, "1"])
def test_bad_steps(t: Any) -> None:
    """Steps count from 1."""
    with pytest.raises(refopt.errors.RefoptError, match="t: wanted"):
        refopt.schedule("linear-decay", steps=3)(t)


@pytest.mark.claim("inverse-time-decay")
def test_the_rates_sum_to_infinity_and_their_squares_do_not() -> None:
    """Robbins and Monro's conditions: from n to 2 n the rates sum to log(2) / α for every n, the squares to half of that before."""
    eta = refopt.schedule("inverse-time-decay", rate=0.5)
    rates = np.array([eta(t) for t in range(1, 8193)])
    sums = [rates[n : 2 * n].sum() for n in (1024, 2048, 4096)]
    np.testing.assert_allclose(sums, np.log(2) / 0.5, rtol=3e-3)
    squares = [(rates[n : 2 * n] ** 2).sum() for n in (1024, 2048, 4096)]
    np.testing.assert_allclose(np.divide(squares[1:], squares[:-1]), 0.5, rtol=3e-3)


@pytest.mark.parametrize("wrong", [(0.5,), (0.5, -1.0), 0.5, ()])
def test_multipliers_of_milestones_are_checked(wrong: Any) -> None:
    with pytest.raises(refopt.errors.ArgumentError, match="step-decay: multipliers"):
        refopt.schedule("step-decay", milestones=(3, 5), multipliers=wrong)
    with pytest.raises(refopt.errors.ArgumentError, match="step-decay: multipliers"):
        refopt.schedule("step-decay", every=3, multipliers=(0.5,))


def test_lists_are_kept_as_tuples() -> None:
    """So that two that are equal are one to a checkpoint, and a list that changes later changes no schedule."""
    milestones, multipliers = [3, 5], [1, 0]
    eta = refopt.schedule("step-decay", milestones=milestones, multipliers=multipliers)
    assert eta == refopt.schedule("step-decay", milestones=(3, 5), multipliers=(1.0, 0.0))
    before = repr(eta)
    multipliers[0] = 7
    assert repr(eta) == before and "multipliers=(1.0, 0.0)" in before
