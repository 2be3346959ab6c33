"""Every method that asks a problem for something: what comes back in a wrong form is told, typed, by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.params import leaves, map_leaves

from tests.properties.test_everywhere import METHODS, _problem

ASKED = (
    "directional", "grad", "hvp", "example_grads", "residual", "jvp", "vjp", "loss_gradient", "loss_hessian", "layers", "prox",
    "project",
)  # fmt: skip
PAIRS = [(m, need) for m in METHODS for need in refopt.optimizer(m.name).needs if need in ASKED]


class Lying:
    """A problem, but for one capability, whose answers are changed."""

    def __init__(self, problem: Any, capability: str, change: Any) -> None:
        self._problem, self._capability, self._change = problem, capability, change

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._problem, name)
        if name == "value_and_grad":
            raise AttributeError(name)
        if name != self._capability:
            return member
        return lambda *args, **kwargs: self._change(member(*args, **kwargs))


def _shorter(answer: Any) -> Any:
    """One entry less on the last axis, or one more axis where there is none."""
    if isinstance(answer, list):
        return [object() for _ in answer]
    return map_leaves(lambda a: a[..., :-1] if a.ndim and a.shape[-1] > 1 else a[None], answer)


def _poisoned(answer: Any) -> Any:
    if isinstance(answer, list):
        first = answer[0]
        return [type(first)(first.weight, first.bias, first.inputs * np.nan, first.output_grads), *answer[1:]]
    return map_leaves(lambda a: a * np.nan, answer)


def _run(method: Any, need: str, change: Any) -> Any:
    problem = _problem(method)
    batch = {"batch_size": 32} if (getattr(problem, "n_examples", None) or 0) > 32 else {}
    if hasattr(method.obj, "lag"):  # looks back so many epochs before it asks
        batch |= {"lag": 1, "start": 0}
    lying = Lying(problem, need, change)
    return refopt.minimize(lying, method.name, problem.start(1), steps=12, record_every=12, tol=0.0, **batch)


@pytest.mark.parametrize(("method", "need"), PAIRS, ids=[f"{m.name}-{need}" for m, need in PAIRS])
@pytest.mark.parametrize("change", [lambda answer: None, _shorter], ids=["forgotten", "shape"])
def test_a_wrong_form_is_told(method: Any, need: str, change: Any) -> None:
    """None ("is a `return` missing?"), another shape: an error of refopt that names the capability."""
    # Where a form is known from another answer alone, either may be the wrong one.
    with pytest.raises(refopt.errors.RefoptError, match=f"{need}|residual|jvp|loss_gradient"):
        _run(method, need, change)


@pytest.mark.parametrize(("method", "need"), PAIRS, ids=[f"{m.name}-{need}" for m, need in PAIRS])
def test_a_non_finite_answer_ends_the_run(method: Any, need: str) -> None:
    """NaN in any answer: the run is diverged, and x the last finite point."""
    found = _run(method, need, _poisoned)
    assert (found.status, found.success) == ("diverged", False)
    assert all(np.all(np.isfinite(leaf)) for leaf in leaves(found.x).values())
