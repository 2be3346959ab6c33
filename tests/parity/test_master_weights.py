"""`as_torch(..., master_weights=True)`: steps that bfloat16 would round away."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentTypeError

torch: Any = pytest.importorskip("torch")
SHAPES = {"w": (4, 6), "b": (4,)}
# By leaf; a method whose leaves look at each other; one that asks through the closure.
METHODS = [
    ("sgd", {"lr": 1e-4}),
    ("adamw", {"lr": 1e-4, "weight_decay": 0.0}),
    ("muon", {"lr": 2e-3}),
    ("sam", {"base": "sgd", "lr": 1e-4}),
]
methods = pytest.mark.parametrize(("name", "options"), METHODS, ids=[m[0] for m in METHODS])


def parameters(dtype: Any) -> list[Any]:
    rng = np.random.default_rng(0)
    # Exact in bfloat16, and large enough that a step of 1e-4 is far below half a unit in the last place.
    return [
        torch.nn.Parameter(torch.tensor(rng.choice([1.0, -1.5, 2.0], s), dtype=dtype))
        for s in SHAPES.values()
    ]


def closure_of(params: list[Any], o: Any) -> Any:
    """A linear loss: its gradient is known, and the same wherever it is asked for."""
    slopes = [
        torch.tensor(np.random.default_rng(1).choice([0.5, -1.0], s), dtype=torch.float32)
        for s in SHAPES.values()
    ]

    def closure() -> Any:
        o.zero_grad()
        loss = sum((p.float() * g).sum() for p, g in zip(params, slopes))
        loss.backward()
        return loss

    return closure


def steps(params: list[Any], o: Any, n: int) -> None:
    for _ in range(n):
        o.step(closure_of(params, o))


@methods
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_weights_are_the_rounded_run_in_float32(name: str, options: dict[str, Any], dtype: str) -> None:
    """To the bit at each step; without masters bfloat16 stands still, with them it has moved after 200 steps."""
    short, wide = parameters(getattr(torch, dtype)), parameters(torch.float32)
    o = refopt.as_torch(name, short, master_weights=True, **options)
    reference = refopt.as_torch(name, wide, **options)
    start = [p.detach().clone() for p in short]
    for _ in range(200):
        steps(short, o, 1)
        steps(wide, reference, 1)
        for p, q in zip(short, wide):
            assert torch.equal(o.state[p]["master"], q.detach())
            assert torch.equal(p.detach(), q.detach().to(p.dtype))
    assert all(bool((p != s).any()) for p, s in zip(short, start))
    if dtype == "bfloat16":
        alone = parameters(torch.bfloat16)
        steps(alone, refopt.as_torch(name, alone, **options), 200)
        assert all(torch.equal(p.detach(), s) for p, s in zip(alone, start))


@methods
def test_a_state_dict_keeps_the_masters(name: str, options: dict[str, Any]) -> None:
    """Through a file and into a new optimizer: the same bits as an unbroken run, state and masters in float32."""
    params = parameters(torch.bfloat16)
    o = refopt.as_torch(name, params, master_weights=True, **options)
    steps(params, o, 150)
    file = io.BytesIO()
    torch.save((o.state_dict(), [p.detach() for p in params]), file)
    steps(params, o, 150)
    file.seek(0)
    state, weights = torch.load(file, weights_only=True)
    others = [torch.nn.Parameter(w) for w in weights]
    second = refopt.as_torch(name, others, master_weights=True, **options)
    second.load_state_dict(state)
    for i, p in enumerate(others):
        held = second.state[p]
        assert held["master"].dtype == torch.float32
        assert held["master"].data_ptr() != state["state"][i]["master"].data_ptr()
        assert all(
            v.dtype == torch.float32 for v in held.values() if torch.is_tensor(v) and v.is_floating_point()
        )
    steps(others, second, 150)
    for p, q in zip(params, others):
        assert torch.equal(p.detach(), q.detach()) and torch.equal(
            o.state[p]["master"], second.state[q]["master"]
        )


def test_weights_that_were_set_meanwhile_are_what_counts() -> None:
    """As a loaded model's: their entries are the masters, the others keep theirs."""
    params = parameters(torch.bfloat16)
    o = refopt.as_torch("sgd", params, lr=1e-4, master_weights=True)
    steps(params, o, 3)
    before = o.state[params[0]]["master"].clone()
    with torch.no_grad():
        params[0][0, 0] = 7.0
    steps(params, o, 1)
    after = o.state[params[0]]["master"]
    assert abs(float(after[0, 0]) - 7.0) < 2e-4
    assert float((after - before)[1:].abs().max()) < 2e-4


def test_wider_parameters_have_none_and_a_copy_steps_alike() -> None:
    params = parameters(torch.float32)
    o = refopt.as_torch("adamw", params, master_weights=True)
    steps(params, o, 2)
    assert all("master" not in o.state[p] for p in params)
    short = parameters(torch.bfloat16)
    first = refopt.as_torch("adamw", short, lr=1e-3, master_weights=True)
    steps(short, first, 20)
    second = copy.deepcopy(first)
    theirs = [p for g in second.param_groups for p in g["params"]]
    steps(theirs, second, 20)
    steps(short, first, 20)
    assert all(torch.equal(p.detach(), q.detach()) for p, q in zip(short, theirs))
    with pytest.raises(ArgumentTypeError, match="master_weights: wanted True or False, got 'yes'"):
        refopt.as_torch("adamw", short, master_weights="yes")
