"""`diagnose` names what was done to an implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.verify.inputs.profiles import Profile, schedule
from refopt.verify.variants.deviation import known

from tests.verify.adam import FAULTS, adam


# Every second one; `make exhaustive` has the others.
@pytest.mark.parametrize(
    "fault", [pytest.param(f, marks=[pytest.mark.exhaustive] if i % 2 else []) for i, f in enumerate(FAULTS)]
)
def test_hand_written_adam(fault: str) -> None:
    """Each fault, put in by hand, is found; and a comparison with the paper's form sees it."""
    why = refopt.verify.diagnose(adam(fault), "adam", steps=8)
    # Another name for the same trajectory may come first.
    assert set(FAULTS[fault]) in [set(names) for names in (why.explained_by, *why.also)], str(why)
    assert refopt.verify.compare(adam(fault), "adam", steps=8).agrees == (fault == "none")


def test_sentence() -> None:
    """One sentence that names the method, the fault and the release that had it."""
    text = str(refopt.verify.diagnose(adam("decay constant"), "adam"))
    assert "is adam with the decay subtracted as a constant" in text
    assert "torch-optimizer 0.3.0 SGDW" in text
    assert text.endswith(".") and "\n" not in text


def test_another_method() -> None:
    """AMSGrad handed in as Adam is recognised."""
    other = refopt.optimizer("amsgrad", dialect="torch", lr=1e-3)
    why = refopt.verify.diagnose(other, "adam", lr=1e-3)
    assert why.explained_by == ("amsgrad", "torch")


def test_nothing_explains() -> None:
    """What nobody knows is not explained, and the nearest variant is named."""

    def odd(x: Any, g: Any, state: Any, lr: float = 1e-3) -> Any:
        return x - lr * np.tanh(g) * np.cos(g), None

    why = refopt.verify.diagnose(odd, "adam", effort=1000)
    assert why.explained_by == ()
    assert why.nearest
    assert "Nothing that was tried" in str(why) and "cut short by effort=1000" in str(why)


@pytest.mark.parametrize(("how", "single"), [("float32", True), ("one in 1e11", False)])
def test_single_precision(how: str, single: bool) -> None:
    """Rounding to float32 is said to be that; a difference that is smaller by far is not."""

    def mine(x: Any, g: Any, state: Any, lr: float = 0.1) -> Any:
        step = (lr * g).astype(np.float32) if single else lr * g * (1.0 + 1e-11)
        return x - step, None

    why = refopt.verify.diagnose(mine, "sgd", steps=8, effort=100)
    assert ("single-precision" in why.explained_by) == single, str(why)


class Keywords:
    """A method as a function of (x, g, state, lr, ...), changed by a deviation."""

    def __init__(self, name: str, change: Any) -> None:
        self.name, self.change = name, change

    def __call__(
        self, x: Any, g: Any, state: Any, lr: float = 0.02, weight_decay: float = 0.0, momentum: float = 0.9
    ) -> Any:
        hyper = {"lr": lr, "weight_decay": weight_decay}
        if self.name == "nesterov":
            hyper["momentum"] = momentum
        base = refopt.optimizer(self.name, dialect=DIALECTS[self.name], **hyper)
        changed = self.change(base)
        made = base if changed is None else changed
        s = made.init(x) if state is None else state
        return made.update(x, g, s)


DIALECTS = {"adam": "optax", "nesterov": "torch", "lion": "paper"}
ALL = [
    (name, d)
    for name in DIALECTS
    for d in known(name)
    # A counter that starts at 0 divides by zero; a schedule is not a property of one call.
    if d.name != "counter-one-behind" and not d.name.startswith("schedule-") and "leaf" not in d.name
]


def _once(found: list[tuple[str, Any]]) -> list[Any]:
    """Every other deviation on the first method that it changes; the rest is `make exhaustive`'s."""
    seen: list[str] = []
    out = []
    for name, d in found:
        if d.change(refopt.optimizer(name, lr=0.02, weight_decay=0.1)) is not None:
            again = d.name in seen or (not d.only and len(seen) % 2)
            marks = [pytest.mark.exhaustive] if again else []
            out.append(pytest.param(name, d, marks=marks, id=f"{name}-{d.name}"))
            seen += [] if d.name in seen else [d.name]
    return out


@pytest.mark.parametrize(("name", "d"), _once(ALL))
def test_every_deviation_is_found(name: str, d: Any) -> None:
    """A method changed by a deviation is explained, by it or by something equal to it on these tapes."""
    why = refopt.verify.diagnose(Keywords(name, d.change), name, steps=6, effort=1000)
    assert why.explained_by, str(why)
    assert len(why.explained_by) <= 3


def test_every_deviation_says_what_it_is() -> None:
    """Names are in lower case with hyphens, clauses are no sentences."""
    for d in known():
        assert d.name == d.name.lower() and " " not in d.name
        assert d.what and not d.what.endswith(".") and d.what[0].islower()


def test_schedule_faults() -> None:
    """A schedule read one step late is named, in a function that is given its rate anew at every step."""
    made = refopt.optimizer("adam", schedule=lambda t: schedule(max(t - 1, 1)))
    profile = Profile("schedule", {}, {}, scheduled=True)
    late = next(d for d in known("adam") if d.name == "schedule-late").change(profile.method("adam", "paper"))
    x, g = np.ones(3), np.array([0.5, -1.0, 2.0])
    a, s, b, r = x, made.init(x), x, late.init(x)
    for _ in range(4):
        a, s = made.update(a, g, s)
        b, r = late.update(b, g, r)
    np.testing.assert_array_equal(a, b)


def test_zero_over_zero_is_no_hindrance() -> None:
    """NaN where every gradient so far was zero is left out of a diagnosis, as of a comparison."""

    def rms(x: Any, g: Any, v: Any, lr: float = 1e-3) -> Any:
        v = 0.9 * (0 if v is None else v) + 0.1 * g * g
        return x - lr * g / np.sqrt(v), v

    assert refopt.verify.diagnose(rms, "rmsprop", eps=0.0, steps=16).explained_by == ("paper",)
