"""`compare`: agreement within rounding, and the first difference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentError, ArgumentTypeError, CapabilityError, UnknownNameError
from refopt.verify.inputs.tapes import KINDS, SHAPES, make, recorded
from refopt.verify.runs.reference import follow
from refopt.verify.runs.rounding import bound, operations

from tests.verify.adam import adam


def test_agrees_in_every_profile() -> None:
    """A function with hyperparameters is tried under all four profiles, on every leaf."""
    report = refopt.verify.compare(adam("none"), "adam")
    assert report.agrees and bool(report)
    assert {f.profile for f in report.findings} == {"as given", "low betas, large eps", "decay", "schedule"}
    assert {f.leaf for f in report.findings} == set(SHAPES)
    assert {f.tape for f in report.findings} == set(KINDS)
    assert report.step is None and report.leaf is None and report.index is None
    assert 0 < report.error < 1e-12
    assert report.rtol < 2e-12
    assert "agrees with adam" in str(report)


def test_names_the_first_difference() -> None:
    """A fault from step 3 on, in one entry of one leaf, is located."""

    def sgd(x: Any, g: Any, state: Any, lr: float = 0.1) -> Any:
        t = (state or 0) + 1
        x = x - lr * g
        if t == 3 and x.shape == (6, 2):
            x = x.copy()
            x[1, 1] *= 1 + 1e-9
        return x, t

    report = refopt.verify.compare(sgd, "sgd", steps=20)
    assert not report.agrees
    assert (report.step, report.leaf, report.index) == (3, "tall", (1, 1))
    assert report.error < 1e-8
    assert 1e5 < report.ulps < 1e8
    assert "First at step 3, leaf 'tall'[1, 1]" in str(report)
    assert "agrees in scalar, vector, long, wide, kernel, twin, far" in str(report)


def test_rounding_in_another_order_is_no_difference() -> None:
    """The same Adam with its operations in another order agrees; a relative change of 1e-10 does not."""

    def other(scale: float) -> Any:
        def step(x: Any, g: Any, state: Any, lr: float = 1e-3, eps: float = 1e-8) -> Any:
            m, v, t = state or (0.0, 0.0, 0)
            t += 1
            m = m + 0.1 * (g - m)
            v = v - 0.001 * (v - g * g)
            size = lr * scale * np.sqrt(1 - np.exp(t * np.log(0.999))) / (1 - np.exp(t * np.log(0.9)))
            return x - size * (m / (np.sqrt(v) + eps * np.sqrt(1 - 0.999**t))), (m, v, t)

        return step

    assert refopt.verify.compare(other(1.0), "adam", steps=80).agrees
    assert not refopt.verify.compare(other(1 + 1e-10), "adam", steps=20).agrees


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_single_precision(dtype: str) -> None:
    """In float32 the same function agrees with the float64 reference; a wrong eps is seen there too."""
    assert refopt.verify.compare(adam("none"), "adam", dtype=dtype, steps=40).agrees
    assert not refopt.verify.compare(adam("eps inside"), "adam", dtype=dtype, steps=40).agrees
    assert not refopt.verify.compare(adam("no correction of m"), "adam", dtype=dtype, steps=40).agrees


def test_bound_is_of_rounding() -> None:
    """The bound of Adam stays below 1e-12 of the steps made, and is not zero where something moves."""
    method, tape = refopt.optimizer("adam"), make("random", 100)
    ours = follow(method, tape)
    limit = bound(method, tape, ours, 2.0**-52)
    for k, v in ours.points.items():
        moved = np.abs(v - tape.x0[k]).max(axis=0)
        assert np.all(limit.allowed[k][-1][moved > 0] > 0)
        assert np.all(limit.allowed[k] < 1e-12 * max(1.0, np.max(np.abs(tape.x0[k]))))
    assert 10 < operations(method) < 100


def test_tolerance_grows_with_the_precision() -> None:
    """The bound in float32 is about 2^29 of that in float64."""
    method, tape = refopt.optimizer("adam"), make("random", 20)
    ours = follow(method, tape)
    fine = bound(method, tape, ours, 2.0**-52).allowed["long"][-1].max()
    coarse = bound(method, tape, ours, 2.0**-23).allowed["long"][-1].max()
    assert 2**28 < coarse / fine < 2**30


def test_state_is_compared() -> None:
    """Shown state is matched with the reference's slots, to rounding."""

    def shown(x: Any, g: Any, s: Any, lr: float = 1e-3) -> Any:
        s = s or {"first": np.zeros_like(x), "second": np.zeros_like(x), "junk": np.ones_like(x), "t": 0}
        t = s["t"] + 1
        m = 0.9 * s["first"] + 0.1 * g
        v = 0.999 * s["second"] + 0.001 * g * g
        x = x - lr * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        return x, {"first": m, "second": v, "junk": s["junk"], "t": t}

    report = refopt.verify.compare(shown, "adam", steps=10)
    assert report.agrees
    assert report.state["first"][0] == "m" and report.state["first"][1] < 1e-14
    assert report.state["second"][0] == "v"
    assert report.state["junk"][0] == ""
    assert "Its first is our m" in str(report)


def test_zero_over_zero_is_left_out() -> None:
    """NaN where every gradient so far was zero is noted, NaN elsewhere is a difference."""

    def rms(x: Any, g: Any, v: Any, lr: float = 1e-3) -> Any:
        v = 0.9 * (0 if v is None else v) + 0.1 * g * g
        return x - lr * g / np.sqrt(v), v

    report = refopt.verify.compare(rms, "rmsprop", eps=0.0)
    assert report.agrees
    assert any("0/0" in note for note in report.notes)

    def broken(x: Any, g: Any, t: Any) -> Any:
        t = (t or 0) + 1
        return (x - 0.01 * g) * (np.nan if t > 4 else 1.0), t

    report = refopt.verify.compare(broken, "sgd", steps=10)
    assert not report.agrees and report.step == 5


def test_forms_of_the_other_side() -> None:
    """A method, a pair, an object with members, a partial."""

    class Mine:
        def init(self, x: Any) -> Any:
            return np.zeros_like(x)

        def update(self, x: Any, g: Any, s: Any) -> Any:
            s = 0.9 * s + g
            return x - 0.01 * s, s

    import functools

    mine = Mine()
    for other in (mine, (mine.init, mine.update), refopt.optimizer("momentum", lr=0.01)):
        assert refopt.verify.compare(other, "momentum", lr=0.01, steps=10).agrees
    bound_ = functools.partial(adam("none"), lr=0.02)
    assert refopt.verify.compare(bound_, "adam", steps=10).agrees
    assert not refopt.verify.compare(mine, "momentum", lr=0.02, steps=10).agrees


def test_recorded_gradients_and_own_shapes() -> None:
    """A zoo problem's gradients join the tapes, on the problem's own leaves."""
    tape = recorded(refopt.problem("matrix-sensing"), 10)
    assert refopt.verify.compare(adam("none"), "adam", steps=5, extra_tapes=[tape]).agrees
    report = refopt.verify.compare(adam("none"), "adam", steps=5, shapes={"w": (2, 2)})
    assert {f.leaf for f in report.findings} == {"w"}


def test_leaves_that_one_side_refuses() -> None:
    """A leaf that the other side cannot take is left out and named; if it takes none, that is an error."""

    def flat(x: Any, g: Any, state: Any, lr: float = 0.1) -> Any:
        if x.ndim != 1:
            raise ValueError("vectors only")
        return x - lr * g, None

    report = refopt.verify.compare(flat, "sgd", steps=5)
    assert report.agrees
    assert {f.leaf for f in report.findings} == {"vector", "long", "far"}
    assert "vectors only" in str(report)
    with pytest.raises(ArgumentTypeError, match="could not make a step on any leaf"):
        refopt.verify.compare(flat, "sgd", steps=5, shapes={"w": (2, 2)})


def test_bad_arguments() -> None:
    """Typed errors that name the argument."""
    with pytest.raises(UnknownNameError, match="adom"):
        refopt.verify.compare(adam("none"), "adom")
    with pytest.raises(ArgumentTypeError, match="other"):
        refopt.verify.compare(3, "adam")
    with pytest.raises(ArgumentError, match="dtype"):
        refopt.verify.compare(adam("none"), "adam", dtype="float16")
    with pytest.raises(ArgumentError, match="steps"):
        refopt.verify.compare(adam("none"), "adam", steps=0)
    with pytest.raises(CapabilityError, match="levenberg-marquardt"):
        refopt.verify.compare(adam("none"), "levenberg-marquardt")
    with pytest.raises(ArgumentTypeError, match=r"wanted \(x, state\)"):
        refopt.verify.compare(lambda x, g, s: x - g, "sgd")


def test_plot(tmp_path: Any) -> None:
    """The errors by step are drawn."""
    path = tmp_path / "errors.png"
    refopt.verify.compare(adam("keras"), "adam", steps=5).plot(str(path))
    assert path.stat().st_size > 10_000


def test_tapes_are_exact_in_both_precisions() -> None:
    """Every number of a tape is a float32 number, and a seed gives the same tape."""
    for kind in KINDS:
        tape, again = make(kind, 7, seed=3), make(kind, 7, seed=3)
        for g, h in zip(tape.gradients, again.gradients):
            for k in g:
                np.testing.assert_array_equal(g[k], h[k])
                np.testing.assert_array_equal(g[k], g[k].astype(np.float32).astype(np.float64))
    with pytest.raises(ArgumentError, match="Did you mean 'random'"):
        make("randon", 3)


@pytest.mark.parametrize("copies", [True, False])
def test_a_kept_gradient_is_noted(copies: bool) -> None:
    """A function that stores the gradient itself agrees in fresh memory; the note says when it does not."""

    def differences(x: Any, g: Any, s: Any, lr: float = 0.1) -> Any:
        v, last = (np.zeros_like(x), g) if s is None else s
        v = 0.9 * v + lr * (g + 0.0 * (g - last)) + 1e-3 * (g - last)
        return x - v, (v, g.copy() if copies else g)

    report = refopt.verify.compare(differences, "momentum", lr=0.1, steps=5)
    assert any("stores the gradient array without copying it" in note for note in report.notes) == (
        not copies
    )


def test_overflow_is_excused_where_squares_overflow() -> None:
    """Infinity beside 1e200 is no difference, infinity beside 1e100 is one."""
    from refopt.verify.report import examine

    for value, agrees in ((1e200, True), (1e100, False)):
        ours, theirs = np.full((3, 2), value), np.array([[value, value], [value, np.inf], [value, np.inf]])
        assert examine("p", "t", "l", ours, theirs, np.zeros((3, 2)), "float64").agrees == agrees
