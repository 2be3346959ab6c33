"""What is measured of an implementation, and who is recognised by it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt
from refopt.core.registry import entry
from refopt.verify import compare, diagnose, fingerprint
from refopt.verify.measure.differences import ORDER
from refopt.verify.measure.experiments import EXPERIMENTS, words
from refopt.verify.measure.nearest import line, of, recognisable, table
from refopt.verify.search.recognition import recognise


def of_method(name: str, **settings) -> dict[str, float]:
    return dict(fingerprint(refopt.optimizer(name, **settings)).numbers)


def test_gradient_descent() -> None:
    """Linear in the gradient, without memory, coordinate by coordinate."""
    n = of_method("sgd", lr=0.01)
    assert n["step"] == pytest.approx(0.01) and n["after"] == n["tail"] == n["shrink"] == 0.0
    ones = ("second", "steady", "alternating", "past", "degree", "degree_tiny", "degree_huge")
    assert [n[k] for k in ones] == pytest.approx([1.0] * len(ones))
    assert n["row"] == n["column"] == n["leaf"] == n["others"] == 0.0 and n["turned"] < 1e-12


def test_momentum() -> None:
    """A geometric filter: its factor after one gradient, and its sum under a constant one."""
    n = of_method("momentum", lr=0.01, momentum=0.8)
    assert n["after"] == pytest.approx(0.8) and n["tail"] == pytest.approx(0.8)
    assert n["steady"] == pytest.approx((1 - 0.8**40) / (1 - 0.8))
    assert n["alternating"] == pytest.approx((1 - 0.8**8) / (1 + 0.8))


def test_adam() -> None:
    """Free of the gradients' scale but where eps rules; eps itself halves a step at g = eps."""
    n = of_method("adam", lr=1e-3, eps=1e-20)
    assert abs(n["degree"]) < 1e-12 and abs(n["degree_tiny"]) < 1e-9
    assert n["steady"] == pytest.approx(1.0)
    assert of_method("adam", eps=1.0)["degree_tiny"] == pytest.approx(1.0, abs=1e-6)


def test_decay() -> None:
    """The pull at a zero gradient is the rate times the coefficient, or the coefficient."""
    assert of_method("adamw", dialect="torch", lr=0.1, weight_decay=0.5)["shrink"] == pytest.approx(-0.05)
    assert of_method("adamw", lr=0.1, weight_decay=0.5)["shrink"] == pytest.approx(-0.5)


def test_couplings() -> None:
    """Rows, leaves and all leaves; rotations."""
    assert of_method("normalized-gd")["others"] > 0.01 and of_method("lars")["others"] == 0.0
    assert of_method("muon")["leaf"] > 0.01 and of_method("muon")["turned"] < 1e-9
    mini = of_method("adam-mini")
    assert mini["row"] > 0.01 and mini["column"] == mini["leaf"] == 0.0


def test_rate_and_schedule() -> None:
    """A rate inside the velocity is cut with a delay, one outside at once."""

    def momentum(inside: bool):
        def step(x, g, state, lr=0.01, momentum=0.9):
            v = 0 * x if state is None else state
            v = momentum * v + (lr * g if inside else g)
            return x - (v if inside else lr * v), v

        return step

    outside, inside = (fingerprint(momentum(i)).numbers for i in (False, True))
    assert [outside["rate"], inside["rate"]] == pytest.approx([1.0, 1.0])
    assert outside["cut"] == pytest.approx(0.1) and inside["cut"] > 0.3


def test_the_report_is_led_by_what_was_measured() -> None:
    def step(x, g, state, lr=0.01):
        return x - lr * g * g, None

    found = fingerprint(step, "sgd")
    assert found.differing[:2] == ("degree", "degree_tiny") and "odd" in found.differing
    assert "Steps grow as the gradients' scale to the power 2; the reference 1." in str(found)
    assert "to the power 2; the reference 1" in str(compare(step, "sgd", steps=5)).splitlines()[2]
    assert fingerprint(step, "sgd", lr=0.01).reference["step"] == pytest.approx(0.01)


def test_every_number_has_words_and_a_place() -> None:
    named = [k for e in EXPERIMENTS for k in e.words]
    assert sorted(named) == sorted(ORDER)
    assert all("2" in words(k, 2.0) for k in named)


@pytest.mark.parametrize("name", ["sgd", "nadam", "lion", "shampoo", "galore", "lars"])
def test_the_table_is_up_to_date(name: str) -> None:
    """refopt/fingerprints.tsv is as made; if not: python -m refopt.verify.measure."""
    for dialect in entry(name).dialects:
        kept, now = table()[name, dialect], of(name, dialect)
        assert kept.keys() == now.keys()
        for k in kept:
            made = float(line("", "", {k: now[k]}).split("\t")[2 + ORDER.index(k)])
            assert kept[k] == made or math.isclose(kept[k], made, rel_tol=1e-3, abs_tol=1e-4)


def test_the_table_has_every_method() -> None:
    """A new method's line is made by python -m refopt.verify.measure."""
    assert set(table()) == {(e.name, d) for e in recognisable() for d in e.dialects}


def test_recognised_without_a_name() -> None:
    """A rule is found among all methods: its name, dialect and switches."""

    def mine(x, g, state, lr=1e-3, b1=0.9, b2=0.99):
        m = 0 * x if state is None else state
        step = np.sign(b1 * m + (1 - b1) * g)
        return x - lr * step, b2 * m + (1 - b2) * g

    answer = diagnose(mine, steps=10)
    assert answer.method == "lion" and answer.explained_by == ("paper",)
    unlike = fingerprint(mine)
    assert unlike.nearest[0] == "lion" and "Nearest in this: lion" in str(unlike)


def test_called_after_a_method() -> None:
    """What takes no registered method's steps is held to the one that it is called after."""

    class faults:
        @staticmethod
        def adagrad(x, g, state, lr=0.1):
            s = 0 * x if state is None else state
            s = s + g * g
            return x + lr * g / (np.sqrt(s) + 1e-10), s

    answer = diagnose(faults.adagrad, steps=10)
    assert answer.method == "adagrad" and answer.explained_by == ("torch", "rate-times--1")


@pytest.mark.parametrize("name", ["muon", "scion", "adafactor", "sgd"])
def test_the_plainer_of_two_names(name: str) -> None:
    """Of a method and another name of the same rule (distributed-muon, scion-light, adalomo, lomo) the method is named."""
    assert recognise(refopt.optimizer(name)).name == name
