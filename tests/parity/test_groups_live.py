"""Parameter groups of torch and optax themselves."""

from __future__ import annotations

from typing import Any

import pytest
import refopt
from refopt.core.errors import ArgumentError

from tests.parity.test_verify_live import need

pytestmark = pytest.mark.live

GROUPS: list[Any] = [("vectors", {"weight_decay": 0.0, "lr": 0.02}), (["wide"], {"beta1": 0.5})]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_torch_class(dtype: str) -> None:
    """A class is given the groups, under every profile; without them on one side it differs."""
    adamw = need("torch").optim.AdamW
    given = {"dialect": "torch", "dtype": dtype, "steps": 25}
    report = refopt.verify.compare(adamw, "adamw", param_groups=GROUPS, **given)
    assert report.agrees and len({f.profile for f in report.findings}) == 5, str(report)
    with pytest.raises(refopt.errors.ArgumentError, match="has no full_first"):
        refopt.verify.compare(
            need("torch").optim.SGD, "momentum", param_groups=[("vectors", {"full_first": True})], **given
        )


def test_torch_function() -> None:
    """A function of the parameters has its own groups: the right ones, and a decay that reaches vectors too."""
    torch = need("torch")

    def mine(params: Any, spared: float = 0.0) -> Any:
        vectors = [p for p in params if p.ndim < 2]
        others = [p for p in params if p.ndim >= 2]
        parts = [{"params": vectors, "weight_decay": spared}, {"params": others, "weight_decay": 0.1}]
        return torch.optim.AdamW([part for part in parts if part["params"]], lr=0.01)

    groups = [("vectors", {"weight_decay": 0.0}), ("matrices-and-kernels", {"weight_decay": 0.1})]
    given = {"param_groups": groups, "steps": 20}
    report = refopt.verify.compare(lambda params: mine(params), "adamw", dialect="torch", **given)
    assert report.agrees, str(report)
    report = refopt.verify.compare(lambda params: mine(params, 0.1), "adamw", dialect="torch", **given)
    assert {f.leaf for f in report.findings if not f.agrees} == {"scalar", "vector", "long", "far"}
    why = refopt.verify.diagnose(lambda params: mine(params, 0.1), "adamw", **given)
    # What the first group has, all have.
    assert set(why.explained_by) == {"torch", "groups-ignored"}, str(why)


def test_optax() -> None:
    """A mask of the decay, and multi_transform."""
    optax = need("optax")

    masked = optax.adamw(0.01, weight_decay=0.1, mask=lambda x: {k: v.ndim > 1 for k, v in x.items()})
    given = {"dialect": "optax", "lr": 0.01, "weight_decay": 0.1, "steps": 20}
    none = [("vectors", {"weight_decay": 0.0})]
    assert refopt.verify.compare(masked, "adamw", param_groups=none, **given).agrees
    wrong = [(["vector"], {"weight_decay": 0.0})]
    report = refopt.verify.compare(masked, "adamw", param_groups=wrong, **given)
    assert {f.leaf for f in report.findings if not f.agrees} == {"scalar", "long", "far"}, str(report)
    two = optax.multi_transform(
        {"a": optax.adam(0.1), "b": optax.adam(0.01, b1=0.5)},
        lambda x: {k: "a" if v.ndim < 2 else "b" for k, v in x.items()},
    )
    own = [("vectors", {"lr": 0.1}), ("matrices-and-kernels", {"lr": 0.01, "beta1": 0.5})]
    assert refopt.verify.compare(two, "adam", dialect="optax", param_groups=own, steps=20).agrees


def test_an_instance_whose_groups_differ_is_refused() -> None:
    """Its second group was once dropped in silence."""
    torch = need("torch")
    p = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(3))]
    two = torch.optim.AdamW([{"params": p[:1], "weight_decay": 0.0}, {"params": p[1:], "weight_decay": 0.1}])
    with pytest.raises(ArgumentError, match="2 parameter groups, which differ in weight_decay"):
        refopt.verify.compare(two, "adamw", steps=3)
    alike = torch.optim.AdamW([{"params": p[:1]}, {"params": p[1:]}])
    assert refopt.verify.compare(alike, "adamw", dialect="torch", steps=3).agrees
