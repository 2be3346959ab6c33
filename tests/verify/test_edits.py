"""Small edits of the reference's text explain what no named deviation does."""

from __future__ import annotations

import ast
import contextlib
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.verify.variants import recorder
from refopt.verify.variants.edits import Edit, Seen, Text, edits
from refopt.verify.variants.replacements import NUMBER
from refopt.verify.variants.text_edit import codes_of, edited, small_edits, swapped


def sample(a: Any, k: float, n: float) -> Any:
    """Stand in for a rule."""
    a = a * a
    b = k * a - n
    return b, a


def twice(a: Any, b: Any) -> Any:
    """Use one name at two places."""
    a = a + b
    b = a * a - b
    return a, b


def counting(n: float) -> float:
    """Loop until a count is reached."""
    i = total = 0.0
    while i < n:
        i += 1.0
        total += 2.0
    return total


def leaving(n: float) -> float:
    """Loop until a test inside says so."""
    i = 0.0
    while True:
        i += 1.0
        if i > n:
            break
    return i


class Base:
    """A base whose function the next class extends."""

    def value(self, t: float) -> float:
        """Return a number."""
        return t


class Derived(Base):
    """It calls its base by ``super``, so that its function has a free variable."""

    def value(self, t: float) -> float:
        """Return another number."""
        return 2.0 * super().value(t)


def found(function: Any, kinds: dict[str, Any] | None = None) -> dict[str, Edit]:
    """Return the edits of a function all of whose lines ran, by their new clause."""
    first = function.__code__.co_firstlineno
    seen = Seen(frozenset(range(first, first + 20)), {function.__qualname__: kinds or {}})
    return {f"{e.old} -> {e.new}": e for e in edits(Text(function), seen)}


KINDS = {"a": ("array", (2,)), "b": ("array", (2,)), "k": NUMBER, "n": NUMBER}


@pytest.mark.parametrize(
    ("edit", "first", "second"),
    [
        ("b = k * a - n -> b = k * a + n", [19.0, 34.0], [4.0, 9.0]),
        ("b = k * a - n -> b = k * a", [12.0, 27.0], [4.0, 9.0]),
        ("b = k * a - n -> b = n * a - n", [21.0, 56.0], [4.0, 9.0]),
        ("b = k * a - n -> b = k * a_before - n", [-1.0, 2.0], [4.0, 9.0]),
        ("a = a * a -> a = abs(a)", [-1.0, 2.0], [2.0, 3.0]),
        ("a = a * a -> ", [-1.0, 2.0], [2.0, 3.0]),
        ("return (b, a) -> return (b, a_before)", [5.0, 20.0], [2.0, 3.0]),
        ("b = k * a - n -> b = k * a * n - n", [77.0, 182.0], [4.0, 9.0]),
        ("b = k * a - n -> b = (1.0 - k) * a - n", [-15.0, -25.0], [4.0, 9.0]),
    ],
)
def test_edits_are_made(edit: str, first: list[float], second: list[float]) -> None:
    """Each does what its clause says while it is in place, and nothing afterwards."""
    codes = codes_of((found(sample, KINDS)[edit],))
    assert codes is not None
    a = np.array([2.0, 3.0])
    with swapped(codes):
        b, new = sample(a, 3.0, 7.0)
    assert b.tolist() == first and new.tolist() == second
    assert sample(a, 3.0, 7.0)[0].tolist() == [5.0, 20.0]


def test_only_like_stands_for_like() -> None:
    """An array does not take a number's place, nor one of another shape."""
    made = found(sample, {**KINDS, "b": ("array", (3,))})
    assert "b = k * a - n -> b = n * a - n" in made
    assert "b = k * a - n -> b = k * k - n" not in made
    assert "b = k * a - n -> b = k * b - n" not in made


def test_a_name_throughout_a_statement() -> None:
    """A wrong variable that stands at two places is one edit."""
    arrays = dict.fromkeys("ab", ("array", (2,)))
    codes = codes_of((found(twice, arrays)["b = a * a - b -> b = a_before * a_before - b"],))
    assert codes is not None
    with swapped(codes):
        assert twice(np.array([2.0, 3.0]), np.array([1.0, 1.0]))[1].tolist() == [3.0, 8.0]


def test_two_in_one_function() -> None:
    """Two edits of one function stand together; of one place, they clash."""
    all_ = found(sample, KINDS)
    one, two = all_["a = a * a -> a = abs(a)"], all_["b = k * a - n -> b = k * a + n"]
    codes = codes_of((one, two))
    assert codes is not None
    with swapped(codes):
        assert sample(np.array([2.0, 3.0]), 3.0, 7.0)[0].tolist() == [13.0, 16.0]
    assert not one.clashes(two)
    assert two.clashes(all_["b = k * a - n -> b = k * a_before - n"])


def test_loops_end() -> None:
    """What decides when a loop ends is not edited; its body is."""
    all_ = found(counting)
    assert "total += 2.0 -> total -= 2.0" in all_
    assert not [name for name in all_ if name.startswith(("i < n", "i += 1.0"))]
    assert not [name for name in found(leaving) if name.startswith(("i > n", "i += 1.0", "if i > n"))]
    for edit in all_.values():
        codes = codes_of((edit,))
        assert codes is not None
        with swapped(codes), contextlib.suppress(UnboundLocalError):
            counting(3.0)


def test_super() -> None:
    """A function with a free variable keeps it."""
    edit = found(Derived.value)["return 2.0 * super().value(t) -> return 3.0 * super().value(t)"]
    codes = codes_of((edit,))
    assert codes is not None
    with swapped(codes):
        assert Derived().value(1.0) == 3.0
    assert Derived().value(1.0) == 2.0
    # Without super() its code would not fit: there is no such edit.
    assert codes_of((found(Derived.value)["return 2.0 * super().value(t) -> return 2.0"],)) is None


@functools.cache
def kept(n: float) -> float:
    """Answer from a cache the second time."""
    return within(n)


def within(n: float) -> float:
    """Run inside what is cached."""
    return 2.0 * n


def beside(n: float) -> float:
    """Run as well."""
    return kept(n) + 1.0


def test_what_a_cache_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions that run inside a cached one are not edited: the answer would outlive the edit."""
    here = Path(__file__)
    monkeypatch.setattr(recorder, "_HOME", here.parent.parent)
    monkeypatch.setattr(recorder, "ROOMS", (here.parent.name,))
    made = small_edits(lambda: beside(3.0))
    names = {e.text.function.__qualname__ for e in made}
    assert "beside" in names and not names & {"kept", "within"}


def test_what_numba_compiles() -> None:
    """Loops that Numba compiles are not edited."""
    made = small_edits(lambda: refopt.get("cg")(np.diag([0.5, 1.0]), np.ones(2)))
    files = {Path(e.text.function.__code__.co_filename).name for e in made}
    assert "conjugate_gradient.py" in files and "compiled.py" not in files


def test_only_what_ran() -> None:
    """AdaMax's run edits AdaMax, not Adam beside it; every edit is of text that parses."""
    method = refopt.optimizer("adamax")
    x = np.ones(3)
    made = small_edits(lambda: method.update(x, x, method.init(x)), ("beta1", "beta2"))
    names = {e.text.function.__qualname__ for e in made}
    assert {"AdaMax.rule", "AdaMax.scalars"} <= names
    assert not any(n.startswith("Adam.") for n in names)
    for e in made:
        if "': " not in e.new:
            ast.parse(e.new)


def test_edited_methods_leave_the_class_alone() -> None:
    """A method with an edit steps differently, again and again; the class, and an error, undo it."""
    method = refopt.optimizer("sgd", lr=0.5)
    x, g = np.ones(3), np.full(3, 2.0)
    made = {e.new: e for e in small_edits(lambda: method.update(x, g, method.init(x)), ("lr",))}
    other = edited(made["return (keep * x + lr * (g + l2 * x),)"])(method)
    for _ in range(2):
        assert other.update(x, g, other.init(x))[0].tolist() == [2.0, 2.0, 2.0]
    assert method.update(x, g, method.init(x))[0].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.exhaustive
def test_adam_with_absolute_gradients() -> None:
    """Coupled decay and |g| in the first average: a dialect and an edit."""

    def mine(x: Any, g: Any, s: Any, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999,
             eps: float = 1e-8, weight_decay: float = 0.0) -> Any:  # fmt: skip
        m, v, t = s or (0 * x, 0 * x, 0)
        t, g = t + 1, g + weight_decay * x
        m, v = beta1 * m + (1 - beta1) * abs(g), beta2 * v + (1 - beta2) * g * g
        return x - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), (m, v, t)

    why = refopt.verify.diagnose(mine, "adam", steps=16)
    assert why.explained_by == ("torch", "m = ema(m, g, beta1, k1) -> m = ema(m, abs(g), beta1, k1)")
    assert "`m = ema(m, abs(g), beta1, k1)` where Adam.rule has `m = ema(m, g, beta1, k1)`" in str(why)


def test_two_edits() -> None:
    """Absolute gradients and half the decay are found as a pair."""

    def mine(x: Any, g: Any, s: Any, lr: float = 1e-2, weight_decay: float = 0.0) -> Any:
        return x - lr * (abs(g) + 0.5 * weight_decay * x), None

    why = refopt.verify.diagnose(mine, "sgd", steps=8)
    assert len(why.explained_by) == 2, str(why)
    assert any("abs(g)" in name for name in why.explained_by)


def test_conjugate_gradients_with_a_sign() -> None:
    """The direction's sign turned, and Polak's product in place of Fletcher's: one edit each."""

    def mine(A: Any, b: Any, x0: Any = None, rtol: float = 1e-5, maxiter: int = 400) -> Any:
        x = np.zeros_like(b) if x0 is None else x0.copy()
        r = b - A @ x
        p, rho = r.copy(), r @ r
        for _ in range(maxiter):
            if np.sqrt(rho) <= rtol * np.linalg.norm(b):
                break
            alpha = rho / (p @ (A @ p))
            x, r = x + alpha * p, r - alpha * (A @ p)
            rho, old = r @ r, rho
            p = r - rho / old * p
        return x

    why = refopt.verify.diagnose(mine, "cg")
    assert len(why.explained_by) == 1 and "->" in why.explained_by[0], str(why)
