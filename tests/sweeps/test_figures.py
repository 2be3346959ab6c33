"""What a sweep says: best points, performance profiles, curves, and their plots."""

from __future__ import annotations

import math
import pathlib
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core import errors
from refopt.sweeps import Serial
from refopt.sweeps.figures import Row
from refopt.sweeps.summary import quantiles

INF = math.inf


def _row(method: str, problem: str, seed: int, lr: float, values: Any, status: str = "steps", full: Any = 1.0) -> Row:  # fmt: skip
    """A run that has the given objective after 0, 1, 2, ... gradients."""
    n = len(values)
    columns = {"value": values, "gradient_equivalents": range(n), "full": np.broadcast_to(full, n)}
    history = {k: np.array(v, dtype=np.float64) for k, v in columns.items()}
    about = {"arguments": {}, "target": None, "refopt": "1", "problem": {"name": problem}}
    return Row(
        method, problem, seed, {"lr": lr}, status, "", values[-1], n - 1, float(n - 1), 0.0, {"grad": n - 1}, None, history,
        about, f"{method}{problem}{seed}{lr}",
    )  # fmt: skip


def test_quantiles_are_numpys_and_take_infinity() -> None:
    """Finite values: `numpy.quantile` to the bit; of infinite ones, the order statistics."""
    rng = np.random.default_rng(0)
    for n in range(1, 9):
        a = rng.standard_normal((n, 3))
        levels = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
        np.testing.assert_allclose(quantiles(a, levels), np.quantile(a, levels, axis=0), rtol=1e-14)
    assert quantiles([1.0, INF, 2.0], (0.0, 0.5, 0.75, 1.0)).tolist() == [1.0, 2.0, INF, INF]
    assert quantiles([INF, INF], (0.25, 0.5)).tolist() == [INF, INF]


def test_best_is_the_least_median() -> None:
    """Not the least value; a failed seed is infinite and counted; ties are named; without any success it says so."""
    s = refopt.Sweep((
        _row("a", "p", 0, 0.1, [9, 0.0]), _row("a", "p", 1, 0.1, [9, 5.0]), _row("a", "p", 2, 0.1, [9, 6.0]),
        _row("a", "p", 0, 0.2, [9, 3.0]), _row("a", "p", 1, 0.2, [9, 4.0]), _row("a", "p", 2, 0.2, [9, 0.0], "diverged"),
        _row("a", "p", 0, 0.3, [9, 4.0]), _row("a", "p", 1, 0.3, [9, 4.0]), _row("a", "p", 2, 0.3, [9, 4.0]),
        _row("b", "p", 0, 0.1, [9, 1.0], "diverged"), _row("b", "p", 0, 0.2, [9, 1.0], "error"),
    ))  # fmt: skip
    a, b = s.best().chosen
    assert (a.method, a.settings, a.median, a.low, a.high) == ("a", {"lr": 0.2}, 4.0, 3.5, INF)
    assert (a.runs, a.failed, a.ties) == (3, 1, ({"lr": 0.3},))
    assert (b.method, b.median, b.failed, b.runs, b.ties) == ("b", INF, 1, 1, ({"lr": 0.2},))
    assert [p.median for p in s.best().points] == [5.0, 4.0, 4.0, INF, INF]


def _profiled() -> refopt.Sweep:
    """Costs to 0.1 of the start's gap: a 2, 4, never; b 1, 8, 5; c 2, never, never."""
    down = {k: [10.0] * k + [0.5] for k in (1, 2, 4, 5, 8)}
    never = [10.0] * 9
    rows = []
    for method, costs in {"a": (2, 4, None), "b": (1, 8, 5), "c": (2, None, None)}.items():
        for (problem, seed), cost in zip([("p", 0), ("p", 1), ("q", 0)], costs):
            rows.append(_row(method, problem, seed, 0.1, down[cost] if cost else never))
    # The least of each problem is 0, seen by a point of b that is worse in the median.
    rows += [_row("b", "p", 0, 0.2, [10.0] * 8 + [0.0]), _row("b", "p", 1, 0.2, [10.0] * 9)]
    rows += [_row("b", "q", 0, 0.2, [10.0] * 8 + [0.0])]
    return refopt.Sweep(tuple(rows))


def test_performance_profiles_by_hand() -> None:
    """Dolan and Moré's r and rho of three solvers on three instances, worked out by hand."""
    p = _profiled().profile(0.1)
    assert p.methods == ("a", "b", "c") and p.instances == (("p", 0), ("p", 1), ("q", 0))
    assert p.costs.tolist() == [[2.0, 4.0, INF], [1.0, 8.0, 5.0], [2.0, INF, INF]]
    assert p.ratios.tolist() == [[2.0, 1.0, INF], [1.0, 2.0, 1.0], [2.0, INF, INF]]
    assert p.settings["b", "p"] == {"lr": 0.1}
    third = 1 / 3
    wanted = {"a": (third, third, 2 * third, 2 * third), "b": (2 * third, 2 * third, 1.0, 1.0), "c": (0.0, 0.0, third, third)}  # fmt: skip
    for method, shares in wanted.items():
        assert [p.share(method, t) for t in (1.0, 1.99, 2.0, INF)] == pytest.approx(shares)
    tau, share = p.curve("a")
    assert tau.tolist() == [1.0, 2.0] and share == pytest.approx([third, 2 * third])
    assert p.figures()[2] == {"method": "c", "wins": 0.0, "within_2": third, "solved": third}
    with pytest.raises(errors.ArgumentError, match="method: wanted one of a, b, c"):
        p.share("d", 1.0)


def test_the_convergence_test_is_more_and_wilds() -> None:
    """f <= f_L + tolerance (f_0 - f_L): the boundary counts, a hair above does not; failed and batch values never do."""
    base = _row("a", "p", 0, 0.1, [11.0, 6.0, 2.0, 1.0])
    cost = [refopt.Sweep((base,)).profile(t).costs[0, 0] for t in (0.5, 0.49, 0.1, 0.09)]
    assert cost == [1.0, 2.0, 2.0, 3.0]
    failed = _row("b", "p", 0, 0.1, [11.0, 1.0], "diverged")
    batch = _row("c", "p", 0, 0.1, [11.0, 0.0, 1.0], full=[1.0, 0.0, 1.0])
    assert refopt.Sweep((base, failed, batch)).profile(0.1).costs[:, 0].tolist() == [2.0, INF, 2.0]
    for bad in (0.0, 1.0, "small"):
        with pytest.raises((errors.ArgumentError, errors.ArgumentTypeError), match="tolerance"):
            refopt.Sweep((base,)).profile(bad)


def test_curves_are_quantiles_over_seeds() -> None:
    """Between rows straight lines; a run that ended keeps its value, one that diverged is infinite from there on."""
    s = refopt.Sweep((
        _row("a", "p", 0, 0.1, [8.0, 4.0, 2.0]), _row("a", "p", 1, 0.1, [8.0, 2.0]), _row("a", "p", 2, 0.1, [8.0, 6.0, 5.0]),
        _row("a", "p", 0, 0.2, [8.0, 7.0]), _row("a", "p", 1, 0.2, [8.0, 7.0]), _row("a", "p", 2, 0.2, [8.0, 1.0]),
        _row("b", "p", 0, 0.1, [8.0, 4.0]), _row("b", "p", 1, 0.1, [8.0, 4.0, 3.0]), _row("b", "p", 2, 0.1, [8.0], "diverged"),
    ))  # fmt: skip
    a, b = s.curves((0.0, 0.5, 1.0)).curves
    assert (a.settings, a.runs, a.failed) == ({"lr": 0.1}, 3, 0)
    assert a.gradients.tolist() == [0.0, 1.0, 2.0]
    assert a.values.tolist() == [[8.0, 2.0, 2.0], [8.0, 4.0, 2.0], [8.0, 6.0, 5.0]]
    assert b.values.tolist() == [[8.0, 4.0, 3.0], [8.0, 4.0, 4.0], [8.0, INF, INF]] and b.failed == 1


def test_figures_need_comparable_rows() -> None:
    """No rows, or other problems under one label: an error, not a figure."""
    for call in (refopt.Sweep(()).best, refopt.Sweep(()).profile, refopt.Sweep(()).curves):
        with pytest.raises(errors.ArgumentError, match="no rows"):
            call()
    with pytest.raises(errors.ArgumentError, match="measure: wanted one of fun, gradients, got 'time'"):
        refopt.Sweep((_row("a", "p", 0, 0.1, [1.0]),)).best("time")
    with pytest.raises(errors.ArgumentError, match="levels"):
        refopt.Sweep((_row("a", "p", 0, 0.1, [1.0]),)).curves((2.0,))


def test_columns_are_of_one_length() -> None:
    """As a data frame wants them: settings and calls flat, None where a row has none; rows cannot be written to."""
    s = refopt.sweep(
        ["sgd", ("adam", {"beta1": 0.5})], "quadratic", [0], {"lr": [0.1]}, None, Serial(), steps=2
    )
    columns = s.columns()
    assert {len(v) for v in columns.values()} == {2}
    assert columns["settings.beta1"] == [None, 0.5] and columns["calls.grad"] == [2, 2]
    assert s.records()[1]["settings"] == {"beta1": 0.5, "lr": 0.1}
    with pytest.raises(ValueError, match="read-only"):
        s.rows[0].history["value"][0] = 0.0


def test_plots_show_the_data(tmp_path: pathlib.Path) -> None:
    """Lines have the figures' numbers; files are written, or an error says why not."""
    pytest.importorskip("matplotlib")
    s = _profiled()
    axes = s.profile(0.1).plot(tmp_path / "p.svg").axes[0]
    b = {line.get_label(): line for line in axes.get_lines()}["b"]
    assert b.get_xdata()[:2] == pytest.approx([1.0, 2.0]) and b.get_ydata()[:2] == pytest.approx([2 / 3, 1.0])
    frames = s.curves().plot(tmp_path / "c.png").axes
    assert [f.get_title() for f in frames] == ["p", "q"]
    assert frames[0].get_lines()[0].get_ydata().tolist() == s.curves().curves[0].values[1].tolist()
    lines = s.best().plot("lr", tmp_path / "b.pdf").axes[0].get_lines()
    assert [list(line.get_xdata()) for line in lines if line.get_label() == "b"] == [[0.1, 0.2]]
    assert sorted(f.name for f in tmp_path.iterdir() if f.stat().st_size > 500) == ["b.pdf", "c.png", "p.svg"]
    with pytest.raises(errors.ArgumentError, match="no method has a number as 'beta1'"):
        s.best().plot("beta1")
    with pytest.raises(errors.ArgumentError, match="cannot write"):
        s.curves().plot(tmp_path / "c.nonsense")
