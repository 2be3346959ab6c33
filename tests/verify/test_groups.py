"""Parameter groups: leaves with hyperparameters of their own, on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentError, ArgumentTypeError, CapabilityError, HyperparameterError
from refopt.verify.sides.side import Leaves, Run, Schedule, Side

GROUPS: list[Any] = [("vectors", {"weight_decay": 0.0, "lr": 0.02}), (["wide"], {"beta1": 0.5})]
ADAMW = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.1}


def adamw(x: Any, g: Any, s: Any, **numbers: float) -> Any:
    """Return AdamW's step, with torch's decay."""
    lr, b1, b2, eps, wd = (numbers[k] for k in ADAMW)
    m, v, t = s or (0.0, 0.0, 0)
    t, m, v = t + 1, b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    step = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
    return x * (1 - lr * wd) - lr * step, (m, v, t)


def numbers_of(fault: str, leaf: str, shape: tuple[int, ...]) -> dict[str, float]:
    """Return what a leaf's group has of its own, as `GROUPS` means it or as a fault has it."""
    vector, wide = len(shape) < 2, leaf == "wide"
    first = {"weight_decay": 0.0, "lr": 0.02}
    if fault == "ignored":
        return {}
    if fault == "first everywhere":
        return first
    if fault == "decay ignored" and vector:
        return {"lr": 0.02}
    return first if vector else {"beta1": 0.5} if wide else {}


class Grouped(Run):
    """An AdamW that has the groups by itself, with all leaves together."""

    def __init__(self, fault: str, x0: Leaves) -> None:
        self.x, self.s = dict(x0), dict.fromkeys(x0)
        self.numbers = {k: {**ADAMW, **numbers_of(fault, k, v.shape)} for k, v in x0.items()}

    def step(self, g: Leaves, t: int) -> Leaves:
        for k, v in self.x.items():
            self.x[k], self.s[k] = adamw(v, g[k], self.s[k], **self.numbers[k])
        return {k: np.array(v) for k, v in self.x.items()}


def grouped(fault: str) -> Side:
    """Return it as a side."""

    def begin(x0: Leaves, hyper: Any, schedule: Schedule | None) -> Run:
        return Grouped(fault, x0)

    return Side(f"AdamW, groups {fault}", begin, known=dict(ADAMW))


FAULTS = {"ignored": "groups-ignored", "first everywhere": "first-group-everywhere", "decay ignored": "group-weight_decay-ignored"}  # fmt: skip


def test_groups_agree() -> None:
    """An optimizer with the groups agrees; the report says what they are."""
    report = refopt.verify.compare(grouped("none"), "adamw", dialect="torch", param_groups=GROUPS, steps=30)
    assert report.agrees, str(report)
    assert (
        "vector, long, far: weight_decay=0.0, lr=0.02; wide: beta1=0.5; tall, kernel, twin: as the rest"
        in str(report)
    )
    assert not refopt.verify.compare(grouped("none"), "adamw", dialect="torch", steps=30).agrees


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(fault: str) -> None:
    """The leaf that differs is one of a group, and the fault has a name."""
    report = refopt.verify.compare(grouped(fault), "adamw", dialect="torch", param_groups=GROUPS, steps=20)
    wrong = {f.leaf for f in report.findings if not f.agrees}
    touched = {"scalar", "vector", "long", "far"}
    want = {
        "decay ignored": touched, "ignored": touched | {"wide"}, "first everywhere": {"wide", "tall", "kernel", "twin"},
    }  # fmt: skip
    assert wrong == want[fault] and report.leaf in wrong, str(report)
    why = refopt.verify.diagnose(grouped(fault), "adamw", param_groups=GROUPS, steps=20)
    # Without decay anywhere the dialects are one.
    assert set(why.explained_by) | {"torch"} == {"torch", FAULTS[fault]}, str(why)


def test_groups_exchanged() -> None:
    """Two groups the wrong way round."""

    class Swapped(Grouped):
        def __init__(self, x0: Leaves) -> None:
            super().__init__("none", x0)
            self.numbers = {k: {**ADAMW, "lr": 0.5 if v.ndim < 2 else 0.1} for k, v in x0.items()}

    side = Side("swapped", lambda x0, hyper, schedule: Swapped(x0), known=dict(ADAMW))
    two = [("vectors", {"lr": 0.1}), ("matrices-and-kernels", {"lr": 0.5})]
    why = refopt.verify.diagnose(side, "adamw", param_groups=two, steps=12)
    assert set(why.explained_by) == {"torch", "groups-exchanged"}, str(why)


def test_a_function_is_given_each_leafs_numbers() -> None:
    """A function runs leaf by leaf, with the numbers of the leaf's group, under every profile."""

    def mine(x: Any, g: Any, s: Any, lr: float = 1e-3, beta1: float = 0.9, weight_decay: float = 0.1) -> Any:
        return adamw(x, g, s, **{**ADAMW, "lr": lr, "beta1": beta1, "weight_decay": weight_decay})

    report = refopt.verify.compare(mine, "adamw", dialect="torch", param_groups=GROUPS, steps=20)
    assert report.agrees and len({f.profile for f in report.findings}) == 5, str(report)
    why = refopt.verify.diagnose(mine, "adamw", param_groups=GROUPS, steps=20)
    assert "torch" in why.explained_by or ("torch",) in why.also, str(why)

    def rigid(x: Any, g: Any, s: Any, lr: float = 1e-3) -> Any:
        return adamw(x, g, s, **{**ADAMW, "lr": lr})

    with pytest.raises(CapabilityError, match="cannot be given weight_decay"):
        refopt.verify.compare(rigid, "adamw", param_groups=GROUPS, steps=3)


def test_rounding_is_measured_by_group() -> None:
    """The bound is about that of the method without groups, not a hundred times."""
    own = refopt.verify.compare(grouped("none"), "adamw", dialect="torch", param_groups=GROUPS, steps=30)
    plain = refopt.verify.compare(grouped("ignored"), "adamw", dialect="torch", steps=30)
    assert own.operations == plain.operations
    assert max(f.allowed for f in own.findings) < 20 * max(f.allowed for f in plain.findings)


def test_bad_groups() -> None:
    """Each is told with what is wanted."""

    def refused(groups: Any, error: type[Exception], match: str, name: str = "adamw") -> None:
        with pytest.raises(error, match=match):
            refopt.verify.compare(grouped("none"), name, param_groups=groups, steps=3)

    refused({"vector": {}}, ArgumentTypeError, "param_groups: wanted a list of")
    refused([("vectors", 0.1)], ArgumentTypeError, r"param_groups\[0\]: wanted \(leaves, hyperparameters\)")
    refused([(["bias"], {"lr": 0.1})], ArgumentError, "means none of the leaves")
    refused(
        [("vectors", {}), (["long"], {})], ArgumentError, r"param_groups\[1\]: long is in an earlier group"
    )
    refused([("vectors", {"rate": 1})], HyperparameterError, "rate")
    refused([("vectors", {"lr": 1.0})], CapabilityError, "param_groups: are for methods", "adahessian")
    refused([("vectors", {"lr": 1.0})], CapabilityError, "param_groups: are for methods", "svrg")
    refused([("vectors", {"lr": 1.0})], CapabilityError, "param_groups: gravity draws", "gravity")
