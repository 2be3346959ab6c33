"""What a search tries is counted, not timed."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import RefoptError
from refopt.verify.search.effort import Effort


def odd(x: Any, g: Any, state: Any, lr: float = 1e-3) -> Any:
    return x - lr * np.tanh(g) * np.cos(g), None


def test_a_slow_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a second passes at every look at the clock, the answer is the same to the letter."""
    quick = refopt.verify.diagnose(odd, "sgd", steps=8, effort=300)
    slow = itertools.count()
    for name in ("monotonic", "perf_counter", "process_time", "time"):
        monkeypatch.setattr(time, name, lambda: float(next(slow)))
    again = refopt.verify.diagnose(odd, "sgd", steps=8, effort=300)
    assert str(again) == str(quick) and again.tried == quick.tried


def test_patience_says_that_it_struck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds stop a search, and the answer says so and how to go on."""
    slow = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(slow)))
    for other, name in ((odd, "sgd"), (lambda a, b: np.cos(b), "cg")):
        text = str(refopt.verify.diagnose(other, name, patience=5.0))
        assert "Stopped after 5 s at" in text and "depends on the machine" in text
        assert "would go on to effort=" in text


def test_a_share_is_counted_by_who_looks() -> None:
    """What comes to nothing costs nothing; a share that had no more is not cut."""
    effort = Effort(10)
    seen = []
    for c in effort.share(0.5, [1, None, 2, None, 3]):
        seen.append(c)
        effort.spent += 1
    assert seen == [1, 2, 3] and not effort.cut and not effort.note()
    for _ in effort.rest(range(100)):
        effort.spent += 1
    assert effort.spent == 10 and effort.cut and "effort=40 would go on" in effort.note()


@pytest.mark.parametrize(
    "bad", [{"effort": 0}, {"effort": 1.5}, {"patience": 0.0}, {"patience": float("nan")}]
)
def test_what_is_refused(bad: Any) -> None:
    """Nothing, parts of a variant, and no time at all."""
    for name in ("sgd", "cg", "gravity"):
        with pytest.raises(RefoptError, match=next(iter(bad))):
            refopt.verify.diagnose(odd if name != "cg" else (lambda a, b: b), name, **bad)
