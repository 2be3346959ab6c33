"""The reference in 50 digits: that it is the same rule, that it is exact, and what the errors are."""

from __future__ import annotations

import math
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import mpmath
import numpy as np
import pytest
import refopt
from refopt.core import registry
from refopt.core.errors import ArgumentError, ArgumentTypeError, MissingExtraError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Elementwise
from refopt.core.registry import Source, register
from refopt.precision.lift import context, lift
from refopt.precision.rounding_errors import BOUND, _exact, measure, precision, table, ulp
from refopt.verify.inputs.tapes import make

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "precision.md"
ELEMENTWISE = [m.name for m in refopt.methods("optimizer") if issubclass(m.obj, Elementwise)]
SHORT = 20


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.exhaustive] if i % 3 else []) for i, n in enumerate(ELEMENTWISE)]
)  # fmt: skip
def test_every_elementwise_method(name: str) -> None:
    """In both precisions (a third of the names; the rest is on the page): the numbers of the step run in 50 digits, and no error is above the bound."""
    found = measure(name, steps=SHORT, kinds=("ill",))
    for dtype, p in found.items():
        assert p.scalars == "exact"
        assert p.x.largest <= BOUND, (dtype, str(p))
        for slot, error in p.slots.items():
            assert error.largest <= BOUND, (dtype, slot, str(p))
        # A run that rounds nothing at all was not compared with its own text in another arithmetic.
        assert p.x.largest > 0.0
        assert set(p.slots) == set(refopt.optimizer(name).active_slots())


def test_the_page_is_up_to_date() -> None:
    """Two rows anew; every elementwise method has one; none is above the bound."""
    text = PAGE.read_text(encoding="utf-8")
    for line in table(("sgd", "adagrad")).splitlines():
        assert line in text
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ") and " / " in line]
    assert [r[0].strip() for r in rows] == ELEMENTWISE
    for row in rows:
        for cell in row[1:5]:
            if cell.strip() != "none":
                assert float(cell.split("/")[0]) <= BOUND
        assert row[5].strip() == "exact"


# The lifted method against formulas written out in 60 digits, so that a float in between would show.


def _ctx() -> Any:
    ctx = mpmath.MPContext()
    ctx.dps = 60
    return ctx


def test_adam_written_out() -> None:
    """Algorithm 1 with decay in 60 digits: the lifted run equals it to 45; the float run does not."""
    hypers = {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01}
    method = refopt.optimizer("adam", schedule=lambda t: 1.0 / t, **hypers)
    tape = make("ill", 30)
    run, how = _exact(method, [tape], 60)
    assert how == "exact"
    ctx = _ctx()
    lr, beta1, beta2, eps, decay = (ctx.mpf(v) for v in hypers.values())
    for leaf in ("scalar", "wide"):
        for i in range(tape.x0[leaf].size):
            x, m, v = ctx.mpf(float(tape.x0[leaf].flat[i])), ctx.mpf(0), ctx.mpf(0)
            for t, gradient in enumerate(tape.gradients, 1):
                g = ctx.mpf(float(gradient[leaf].flat[i]))
                rate = lr * ctx.mpf(1.0 / t)
                m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
                step = m / (1 - beta1**t) / (ctx.sqrt(v / (1 - beta2**t)) + eps)
                x = (1 - rate * decay) * x - rate * step
                got = run[t]["x"][leaf].flat[i]
                assert abs(got - x) <= ctx.mpf(10) ** -45 * (1 + abs(x)), (leaf, i, t)


@pytest.mark.parametrize(
    ("name", "settings", "number", "formula"),
    [
        ("adam", {}, "root", lambda c, t: 1 / c.sqrt(1 - c.mpf(0.999) ** t)),
        ("amsgrad", {}, "step", lambda c, t: c.mpf(1e-3) / c.sqrt(t)),
        ("adamnc", {}, "beta2", lambda c, t: 1 - c.mpf(1) / t),
        ("adabound", {"beta1_decay": 0.7}, "beta1", lambda c, t: c.mpf(0.9) * c.mpf(0.7) ** (t - 1)),
        ("inna", {"lr": 0.3, "power": 0.7}, "lr", lambda c, t: c.mpf(0.3) * c.mpf(t) ** -c.mpf(0.7)),
        ("madgrad", {}, "third", lambda c, t: c.mpf(1) / 3),
        ("madgrad", {"lr": 0.1}, "weight", lambda c, t: c.mpf(0.1) * c.sqrt(t)),
        ("rmsprop", {"bias_correction": True}, "weight", lambda c, t: 1 - c.mpf(0.9) ** t),
        (
            "spam",
            {"reset_every": 2, "warmup": 5},
            "step",
            lambda c, t: (
                (1 - (t > 1) * c.mpf(99) / 100 * (1 + c.cos(c.pi * (t % 2) / 6)) / 2)
                * c.mpf(1e-3) * c.sqrt(1 - c.mpf(0.999) ** t) / (1 - c.mpf(0.9) ** t)
            ),
        ),
        (
            "nadam",
            {"momentum_decay": 0.004},
            "direct",
            lambda c, t: c.mpf(1e-3) * (1 - _mu(c, t)) / (1 - c.fprod(_mu(c, k) for k in range(1, t + 1))),
        ),
    ],
)  # fmt: skip
def test_numbers_of_the_step(name: str, settings: dict[str, Any], number: str, formula: Any) -> None:
    """To 55 digits of 60: no float rounds on the way, and 0.96, 0.99 and 1/3 are what they are written as."""
    ctx = _ctx()
    lifted = lift(refopt.optimizer(name, **settings), context(60))
    state = dict(lifted.start_numbers())
    for t in range(1, 8):
        state = lifted.carry(t, state)
        got = lifted.numbers(t, state)[number]
        want = formula(ctx, t)
        assert abs(ctx.mpf(got) - want) <= ctx.mpf(10) ** -55 * abs(want), t


def _mu(c: Any, t: int) -> Any:
    return c.mpf(0.9) * (1 - (c.mpf(24) / 25) ** (t * c.mpf(0.004)) / 2)


def test_more_digits_change_nothing() -> None:
    """50 digits and 80 agree to 40: the exact run is converged."""
    for name in ("diffgrad", "madgrad", "innaprop"):
        tape = make("tiny", 15)
        runs = [_exact(refopt.optimizer(name), [tape], digits)[0] for digits in (50, 80)]
        for a, b in zip(*runs):
            for leaf in a["x"]:
                gap = np.max(np.abs(a["x"][leaf] - b["x"][leaf]))
                assert gap <= 1e-40 * max(1.0, float(np.max(np.abs(b["x"][leaf])))), name


def test_the_mask_of_spam_and_its_resets() -> None:
    """What a method's own `update` does beside the rule is done in the exact run too."""
    p = precision("spam", steps=SHORT, tapes=("random",), density=0.5, reset_every=6, clip_after=2)
    assert p.scalars == "exact" and p.x.largest < BOUND
    assert p.slots["mask"].largest == 0.0


SOURCE = Source("nobody-2026-test", "nobody", "none", url="none")


@pytest.fixture
def temporary() -> Any:
    """Register methods for a test."""
    before = dict(registry._entries)
    yield
    registry._entries.clear()
    registry._entries.update(before)


def test_lost_digits_are_found(temporary: None) -> None:
    """A rule that adds and takes away 1e6 loses six digits in floats; in 50 digits it is SGD."""

    @register("sloppy", kind="optimizer", source=SOURCE, where="")
    class Sloppy(Elementwise):
        """SGD with a detour."""

        lr: Rate = hyper(0.1, "[0, inf)")

        def scalars(self, t: int, carried: Mapping[str, float]) -> dict[str, float]:
            return {"lr": self.rate(t), "big": 1e6}

        def rule(self, xp: Any) -> Any:
            return lambda x, g, lr, big: (((x - lr * g) + big) - big,)

    for dtype in ("float64", "float32"):
        p = precision("sloppy", steps=5, dtype=dtype, tapes=("random",))
        assert 1e4 < p.x.largest < 1e8, str(p)
        assert p.scalars == "exact"


def test_rounded_numbers_count(temporary: None) -> None:
    """A step's number that floats compute badly: 1 - (1 - 1e-9) as rate is wrong in eight digits."""

    @register("badly", kind="optimizer", source=SOURCE, where="")
    class Badly(Elementwise):
        """SGD whose rate is a cancellation."""

        lr: Rate = hyper(1e-9, "[0, inf)")

        def scalars(self, t: int, carried: Mapping[str, float]) -> dict[str, float]:
            return {"lr": 1e9 * (1.0 - (1.0 - self.rate(t)))}

        def rule(self, xp: Any) -> Any:
            return lambda x, g, lr: (x - lr * g,)

    p = precision("badly", steps=5, tapes=("random",))
    assert p.scalars == "exact" and 1e6 < p.x.largest < 1e10, str(p)


@pytest.mark.parametrize("way", ["raises", "returns a float"])
def test_numbers_that_cannot_run_are_told(temporary: None, way: str) -> None:
    """Then they are taken from float64, and the result says so."""

    @register("foreign", kind="optimizer", source=SOURCE, where="")
    class Foreign(Elementwise):
        """SGD whose rate is computed in a way that only floats know."""

        lr: Rate = hyper(0.1, "[0, inf)")

        def scalars(self, t: int, carried: Mapping[str, float]) -> dict[str, float]:
            if way == "raises":
                return {"lr": float.fromhex(self.rate(t).hex())}
            return {"lr": np.float64(math.ldexp(self.rate(t), 0))}

        def rule(self, xp: Any) -> Any:
            return lambda x, g, lr: (x - lr * g,)

    p = precision("foreign", steps=5, tapes=("random",))
    assert p.scalars == "float64" and "taken from float64" in str(p)
    assert p.x.largest < BOUND


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_ulp(dtype: str) -> None:
    """NumPy's spacing in the normal range; below it, that of the least normal number."""
    info = np.finfo(dtype)
    values = np.array([1.0, 1.5, 2.0, 1.0 - info.epsneg, 3e-7, 1e30, float(info.smallest_normal)])
    np.testing.assert_array_equal(ulp(values, dtype), np.spacing(values.astype(dtype)).astype(float))
    np.testing.assert_array_equal(ulp(np.array([0.0, 1e-320]), dtype), float(info.smallest_subnormal))


def test_results() -> None:
    """What is returned is frozen, complete and printable; two tapes give the worse of both."""
    p = precision("adam", steps=8, tapes=("random", "tiny"), beta2=0.5)
    assert (p.method, p.dialect, p.dtype, p.tapes, p.steps, p.digits) == (
        "adam", "paper", "float64", ("random", "tiny"), 8, 50,
    )  # fmt: skip
    alone = [precision("adam", steps=8, tapes=(k,), beta2=0.5) for k in ("random", "tiny")]
    assert p.slots["v"].largest == max(a.slots["v"].largest for a in alone)
    assert p.x.elementwise == max(a.x.elementwise for a in alone)
    assert 1 <= p.x.step <= 8
    text = str(p)
    assert text.startswith("adam (paper), float64, 8 steps against 50 digits:") and "\n  v: " in text
    with pytest.raises(AttributeError):
        p.steps = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        p.slots["v"] = p.x  # type: ignore[index]


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"name": "lamb"}, ArgumentTypeError, "lamb looks at whole arrays"),
        ({"name": "adamm"}, ArgumentError, "Did you mean 'adam'"),
        ({"dtype": "float16"}, ArgumentError, "dtype: wanted one of float64, float32, got 'float16'"),
        ({"steps": 0}, ArgumentError, "steps: wanted a value in"),
        ({"digits": 10}, ArgumentError, "digits: wanted a value in"),
        ({"tapes": ("wild",)}, ArgumentError, "kind: wanted one of"),
        ({"tapes": ()}, ArgumentError, "tapes: wanted at least one"),
        ({"beta9": 1.0}, TypeError, "beta9"),
    ],
)
def test_errors(keywords: dict[str, Any], error: type[Exception], message: str) -> None:
    """Typed, with the argument's name."""
    with pytest.raises(error, match=message):
        precision(**{"name": "adam", **keywords})


def test_without_mpmath(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    monkeypatch.setitem(sys.modules, "mpmath", None)
    with pytest.raises(MissingExtraError, match=r"refopt\[verify\]"):
        precision("adam", steps=1)
