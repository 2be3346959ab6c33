"""The benchmarks' logic: nothing here is timed."""

from __future__ import annotations

import json
import math
import pathlib
from typing import Any

import numpy as np
import pytest
import refopt
from asv_bench import bilevel, growth, rows, second_order, sparse_logistic, target
from asv_bench.side_by_side import SPREAD, Times, compare
from asv_bench.sides import Key
from refopt.cli import bench, main
from refopt.core.cost import Cost
from refopt.core.errors import ArgumentError
from refopt.core.registry import methods

NAMES = [m.name for m in (*methods("optimizer"), *methods("wrapper"), *methods("estimator"))]


@pytest.mark.parametrize("name", NAMES)
def test_every_method_can_be_stepped(name: str) -> None:
    """A new registration is timed without being named anywhere: it steps on the benchmark's own problem."""
    step = bench.stepper(bench.build(name, "numpy", {}), bench.leaves_of(name, (6, 4)), "float64")
    step()
    step()


def test_stepper_carries_the_state_on() -> None:
    seen: list[int] = []

    class Counting(type(refopt.optimizer("adam"))):  # type: ignore[misc]
        def scalars(self, t: int, carried: object) -> dict[str, float]:
            seen.append(t)
            return super().scalars(t, carried)  # type: ignore[no-any-return]

    step = bench.stepper(Counting(), {"a": (3,), "b": (2, 2)}, "float32")
    for _ in range(3):
        step()
    assert seen == [1, 2, 3]


def test_timings_are_as_many_as_asked() -> None:
    calls: list[int] = []
    times = bench.timings(lambda: calls.append(1), 0.0, least=4)
    assert len(times) == 4 and min(times) >= 0
    assert len(calls) == 5, "one call warms up"


def test_bench_command(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "lion", "--engine", "numpy", "--shapes", "12,3x4", "--seconds", "0.001", "--json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(r["shape"], r["dtype"], r["engine"]) for r in found] == [
        (shape, dtype, "numpy") for shape in ("12", "3x4") for dtype in ("float32", "float64")
    ]
    assert all(r["seconds"] * 1e9 == pytest.approx(12 * r["nanoseconds_per_parameter"]) for r in found)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nope"], "no optimizer, wrapper, estimator or bilevel is called 'nope'"),
        (["sqrtm-eigh"], "is a matfun, wanted optimizer, wrapper, estimator or bilevel"),
        (["adam", "--shapes", "3y"], "--shapes: wanted shapes such as 1000,256x128, got '3y'"),
        (["adam", "--engine", "steam"], "--engine: wanted one of numpy"),
        (["adam", "--seconds", "0"], "--seconds: wanted a positive number"),
        (["adam", "--lrr", "1"], "adam has no hyperparameter 'lrr'"),
        (["muon", "--engine", "numba"], "--engine: wanted one of numpy"),
        (["adam", "--problem.n", "3"], "--problem.n: there is no problem here"),
    ],
)
def test_bench_command_refuses(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_slope() -> None:
    sizes = (10, 20, 40, 80)
    assert growth.slope(sizes, [3.0 * n**1.5 for n in sizes]) == pytest.approx(1.5, abs=1e-12)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="positive measurements"):
            growth.slope(sizes, [1.0, 2.0, bad, 8.0])


def _cost(exponent: float, grows: float) -> Cost:
    def setup(n: int) -> Any:
        return lambda: {"a": np.zeros(int(n**grows), np.uint8), "t": 1}

    return Cost("n", exponent, "stated", setup, (10, 100, 1000), "bytes", 0.05)


def test_growth_fails_loudly() -> None:
    """A method that grows faster than stated is an error that names it; one that does not passes."""
    good, bad = growth.fit("good", _cost(2.0, 2.0)), growth.fit("bad", _cost(1.0, 1.5))
    assert good.exponent == pytest.approx(2.0, abs=1e-6) and not good.worse
    growth.check([good])
    with pytest.raises(growth.WorseThanStated, match=r"bad: bytes grow as n\^1.50, stated 1 .* WORSE") as e:
        growth.check([good, bad])
    assert "good" not in str(e.value)
    unknown = growth.Fit("nan", good.cost, math.nan, (1.0, 1.0, 1.0))
    assert unknown.worse, "an exponent that is not a number is not a pass"


def test_least_seconds_leaves_others_turns_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock where threads share the work, the processor's time where the core was another's."""
    for clock, own, want in ((0.5, 1.0, 0.5), (3.0, 1.0, 1.0)):
        now = {"clock": 0.0, "own": 0.0}

        def call(clock: float = clock, own: float = own, now: dict[str, float] = now) -> None:
            now["clock"] += clock
            now["own"] += own

        monkeypatch.setattr(growth.time, "perf_counter", lambda now=now: now["clock"])
        monkeypatch.setattr(growth.time, "process_time", lambda now=now: now["own"])
        assert growth.least_seconds(call, 5.0) == want


def test_growth_is_measured_again_when_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """One disturbed size does not condemn a method: the least time of each counts; thrice worse does."""
    cost = Cost("n", 1.0, "stated", lambda n: lambda: None, (10, 100, 1000), "seconds", 0.05)
    for rounds, worse in (([(1, 10, 900), (2, 10, 100)], False), ([(1, 100, 10000)] * 3, True)):
        times = iter([t for values in rounds for t in values])
        monkeypatch.setattr(growth, "measured", lambda *_, times=times: float(next(times)))
        found = growth.fit("method", cost)
        assert found.worse is worse
        assert next(times, None) is None, "every round was looked at"
        if not worse:
            assert found.values == (1.0, 10.0, 100.0)


def test_cost_checks() -> None:
    with pytest.raises(ArgumentError, match="at least three, increasing"):
        Cost("n", 1.0, "", lambda n: lambda: None, (10, 10, 20))
    with pytest.raises(ArgumentError, match="measure: wanted one of seconds, bytes"):
        Cost("n", 1.0, "", lambda n: lambda: None, (1, 2, 3), "flops")


def test_declared_costs_are_found() -> None:
    """Costs are found in the registry alone, of every kind, and their work can be set up and done."""
    found = growth.declared()
    names = [name for name, _ in found]
    assert {"sinkhorn-newton-sparse", "spectral-norm-gram", "iterative-sketching", "shampoo", "adam"} <= set(
        names
    )
    assert set(names) >= {
        m.name for m in methods() if m.extra.get("state_copies", 0) > 0 or "costs" in m.extra
    }
    for name, cost in found:
        if cost.measure == "bytes":
            growth.check([growth.fit(name, cost)])


def test_state_copies_are_copies() -> None:
    """The state that is declared as k arrays like x holds no more than them, once steps have been made."""
    for m in methods("optimizer"):
        copies = m.extra.get("state_copies", 0)
        if not copies:
            continue
        x, o = np.ones((512, 8)), refopt.optimizer(m.name)
        size = growth.bytes_of(dict(o.init(x)))
        # Sums by row or column, or a basis of the short side, are allowed beside.
        assert size <= (copies + 0.15) * x.nbytes, m.name


def _runner(best_rate: float, seen: list[float]) -> Any:
    def one(lr: float) -> target.Trial:
        off = abs(math.log10(lr / best_rate))
        return target.Trial(lr, 10 * (1 + off) if off < 2 else None, 1.0, off)

    def run(rates: list[float]) -> list[target.Trial]:
        seen.extend(rates)
        return [one(lr) for lr in rates]

    return run


@pytest.mark.parametrize("best_rate", [1e-4, 2e-3, 0.1, 30.0])
def test_search_has_the_same_budget_and_closes_in(best_rate: float) -> None:
    seen: list[float] = []
    rates = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0]
    trials = target.search(_runner(best_rate, seen), rates)
    assert len(seen) == len(rates) + 2 == len(trials)
    assert seen[:6] == rates
    # The further two are beside the best of the grid.
    assert all(abs(math.log10(rate / best_rate)) <= 1.0 + 1e-9 for rate in seen[6:])
    chosen = target.best(trials)
    assert abs(math.log10(chosen.lr / best_rate)) <= 0.5 + 1e-9


def test_rank_prefers_a_met_target_to_a_small_objective() -> None:
    met, near, lost = (
        target.Trial(0.1, 200.0, 1.0, 0.2),
        target.Trial(0.2, None, None, 0.1),
        target.Trial(0.3, None, None, math.inf),
    )
    assert target.best([lost, near, met]) is met
    assert target.best([lost, near]) is near
    assert target.best([target.Trial(0.4, 100.0, 9.0, 0.2), met]).lr == 0.4


def test_trials_stop_at_the_target_and_within_the_budget() -> None:
    problem = refopt.problem("quadratic", n=5, condition_number=10.0)
    spec = {"target": 1e-3, "budget": 500, "seconds": 10}
    trials = target.Sweeps().trials
    (met,) = trials("q", problem, "nesterov", [0.1], spec)
    assert met.gradients is not None and met.gradients < 500 and met.fun <= 1e-3 and met.seconds > 0
    (short,) = trials("q", problem, "nesterov", [0.1], {**spec, "budget": met.gradients - 1})
    assert short.gradients is None and short.seconds is None and short.fun > 1e-3
    lost = [target.Trial(lr, None, None, math.inf) for lr in (1e6, -1.0)]
    assert trials("q", problem, "sgd", [1e6, -1.0], spec) == lost  # diverged; no rate of it
    (rateless,) = target.Sweeps().tune("q", problem, "polyak-sgd", spec, [0.1])
    assert rateless.lr is None and rateless.gradients is not None


def test_spaces_and_results_belong_together() -> None:
    """Every result is of a registered method on a problem of the spaces, from the stated search."""
    spaces, results = json.loads(target.SPACES.read_text(encoding="utf-8")), target.results()
    assert set(results) == set(spaces["problems"])
    for title, found in results.items():
        spec = spaces["problems"][title]
        assert len(found) >= 40
        for name, row in found.items():
            assert name in NAMES
            tried = row["tried"]
            assert len(tried) == (1 if row["lr"] is None else len(spaces["rates"]) + 2)
            if row["lr"] is not None:
                assert [t[0] for t in tried[: len(spaces["rates"])]] == spaces["rates"]
            if row["gradients"] is None:
                assert all(t[1] is None for t in tried)
            else:
                assert row["gradients"] == min(t[1] for t in tried if t[1] is not None)
                assert row["fun"] <= target.rounded(spec["target"])


def test_quiet_rounds_count() -> None:
    """Medians of quiet rounds; where one side never was quiet, first deciles of both."""
    ours, theirs = Times(), Times()
    for seconds, fast, foreign in ((1.0, 0.9, 0.0), (50.0, 0.8, 0.5), (1.1, 0.95, 0.0)):
        ours.add(seconds, fast, foreign)
    theirs.add(2.0, 1.5, 0.01)
    assert compare(ours, theirs) == (1.05, 2.0)
    assert not ours.disturbed and not ours.doubtful and theirs.doubtful
    noisy = Times()
    noisy.add(9.0, 3.0, 0.4)
    assert noisy.disturbed and compare(ours, noisy) == (0.8, 3.0)
    apart = Times()
    apart.add(1.0, 1.0, 0.0)
    apart.add(1.01 * SPREAD, 1.0, 0.0)
    assert apart.doubtful


def test_keys_and_bytes_moved() -> None:
    key = Key.read("adam/200*1000/float32")
    assert key.shapes == [(1000,)] * 200 and key.parameters == 200_000
    assert [a.dtype for a in Key.read("muon/4x3/float32").arrays(0)] == [np.float32]
    # x, m and v both ways, and the gradient.
    assert rows.moved("adam") == 7 and rows.moved("lion") == 5 and rows.moved("adan") == 11
    every = [r for group in rows.GROUPS.values() for r in group()]
    assert len({r.title for r in every}) == len(every), "asv knows a row by its title"


def test_asv_classes_are_whole() -> None:
    """Each class that asv finds names its parameters, and the registry's methods are among them unasked."""
    import importlib
    import inspect

    from asv_bench import bench_registry, tracks

    assert bench_registry.NAMES == NAMES
    assert set(bench_registry.ELEMENTWISE) | set(bench_registry.MATRIX) == set(NAMES)
    timed = 0
    for module in ("bench_registry", "bench_elementwise", *tracks.MODULES):
        for _, cls in inspect.getmembers(importlib.import_module(f"asv_bench.{module}"), inspect.isclass):
            found = [m for m in dir(cls) if m.startswith(("track_", "time_", "peakmem_"))]
            if cls.__module__ == f"asv_bench.{module}" and found:
                timed += 1
                assert len(getattr(cls, "params", ())) == len(getattr(cls, "param_names", ())), cls
    assert timed >= 12
    assert ("ConjugateGradient", "track_ratio_to_scipy", ()) in tracks.tracks("bench_linear")
    assert len([t for t in tracks.tracks("bench_matrix") if t[0] == "BatchedRoot"]) == 6


def test_survey_covers_every_method() -> None:
    from asv_bench import survey

    cases = survey.cases(True, "numpy")
    assert {name for name, _ in cases} == set(NAMES)
    assert all((len(shape) == 1) == (name in survey.ELEMENTWISE) for name, shape in cases)
    assert {name for name, _ in survey.cases(True, "numba")} == set(survey.ELEMENTWISE)


def test_sparse_logistic_counts_the_steps_that_it_times() -> None:
    """On a small draw: every way meets the target with the number that it finds, and not with one step (or pass) less."""
    pytest.importorskip("sklearn")
    inputs, labels = sparse_logistic.data(60, 40, 5)
    assert inputs.nnz == 300 and set(labels) == {-1.0, 1.0}
    np.testing.assert_allclose((inputs * inputs).sum(axis=1), 1.0, rtol=1e-12)
    p = refopt.problem("logistic", data=(inputs, labels), l2=0.1, intercept=False)
    target = (1 + 1e-5) * refopt.minimize(p, "lbfgs", steps=100, tol=1e-12).fun
    ways = sparse_logistic.theirs(p, target) + sparse_logistic.ours(p, target)[:2]
    assert [w.name.split()[1].strip(",") for w in ways] == ["lbfgs", "saga", "lbfgs", "nesterov"]
    for way in ways:
        k = way.steps()
        assert k is not None and p.value(way.run(k)) <= target < p.value(
            way.run(k - 1) if k > 1 else p.start()
        )


def test_bilevel_counts_until_the_target() -> None:
    """On the scalar quadratic, whose phi is x^2/2 + (x - 1)^2/2: what a run asks for until phi is there, and no step less."""
    p = refopt.problem("bilevel-quadratic", scalar=True)
    x0 = p.start(0)["upper"]
    assert bilevel.value(p, np.array([0.3])) == pytest.approx(0.3**2 / 2 + 0.7**2 / 2)
    assert bilevel.least(p, x0) == pytest.approx(0.25)
    given = {"lr": 0.1, **bilevel.methods(bilevel.lower_lipschitz(p), 1)["ift-cg"]}
    target = 0.25 + (bilevel.value(p, x0) - 0.25) / 10
    got = bilevel.spent(p, "ift-cg", target, **given)
    steps = [refopt.minimize(p, "ift-cg", steps=k, **given) for k in range(1, 20)]
    wanted = next(r for r in steps if bilevel.value(p, r.x["upper"]) <= target)
    assert wanted.gradient_equivalents <= got <= bilevel.SPACING * wanted.gradient_equivalents + 33
    assert bilevel.spent(p, "ift-cg", -1.0, **given) == math.inf
    assert math.isnan(bilevel.spent(refopt.problem("ridge-hyperparameter"), "maid", target))
    assert bilevel.HYPERGRADIENT == 33.0
    # A hypernetwork's step is stable: the rate times L (1 + σ² n) is below 2.
    for L, n in ((0.5, 3), (8.0, 50)):
        nested = bilevel.methods(L, n)["nested"]
        assert nested["lower_lr"] * L * (1 + n * nested["sigma"] ** 2) == pytest.approx(1.0)


def test_second_order_compares_the_same_numbers() -> None:
    """Both sides' products of the Hessian are one; a median is of steps behind the first, so many together."""
    found = second_order.rows()
    assert len(found) == 3 * len(second_order.WIDTHS) + 4
    made: list[int] = []
    assert second_order.measured(lambda: made.append(1), 5, 4, 0.0) >= 0.0
    assert len(made) == 5 + 3 * 4
    step = second_order.our_step("sgd", second_order.drawn(2, 3), lr=0.1)
    step()
    torch = pytest.importorskip("torch", reason="torch is not installed; make parity runs this")
    before = torch.get_default_dtype()
    try:
        theirs = second_order.double_backward(8, pathlib.Path())()
    finally:
        torch.set_default_dtype(before)
    p, _, _ = second_order.network(8)
    ours = second_order.our_product("hessian", 8)()
    for name, leaf in zip((n for pair in p.names for n in pair), theirs):
        np.testing.assert_allclose(ours[name], leaf.numpy(), rtol=1e-10, atol=1e-12)
