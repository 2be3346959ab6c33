"""Parameter groups, and the methods that treat the leaves of their groups' rest."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import refopt
from refopt.core.groups import Multiple
from refopt.errors import ArgumentError, ArgumentTypeError, HyperparameterError

X = {"in.w": np.ones((3, 2)), "in.bias": np.ones(2), "out.w": np.ones((2, 2)), "out.bias": np.ones(2)}
G = {k: np.full_like(v, 0.1) for k, v in X.items()}
NO_DECAY = [("*.bias", {"weight_decay": 0.0})]


def one_step(o, x=X):
    return o.update(x, {k: G[k] for k in x}, o.init(x))[0]


@pytest.mark.parametrize(
    "chooser", ["*.bias", "vectors", ["in.bias", "out.bias"], lambda name, leaf: leaf.ndim == 1]
)
def test_leaves_are_named_in_four_ways(chooser) -> None:
    got = one_step(refopt.optimizer("adamw", weight_decay=0.5, groups=[(chooser, {"weight_decay": 0.0})]))
    with_decay = one_step(refopt.optimizer("adamw", weight_decay=0.5))
    without = one_step(refopt.optimizer("adamw", weight_decay=0.0))
    for name in X:
        np.testing.assert_array_equal(got[name], (without if name.endswith("bias") else with_decay)[name])


def test_a_later_pair_wins_and_settings_add_up() -> None:
    o = refopt.optimizer(
        "sgd", lr=1.0, groups=[("*", {"lr": 0.5, "weight_decay": 1.0}), ("out.*", {"lr": 0.0})]
    )
    assert [(m.lr, m.weight_decay, names) for m, names in o.parts(X)] == [
        (0.5, 1.0, ["in.w", "in.bias"]),
        (0.0, 1.0, ["out.w", "out.bias"]),
    ]
    assert list(one_step(o)) == list(X)


def test_a_group_without_settings_is_no_group() -> None:
    p = refopt.problem("mlp")
    a, b = (refopt.minimize(p, "adahessian", steps=3, **kw) for kw in ({}, {"groups": [("vectors", {})]}))
    assert a.fun == b.fun and a.calls == b.calls


def test_one_gradient_serves_all_groups_and_a_product_each_is_asked() -> None:
    p = refopt.problem("mlp")
    r = refopt.minimize(p, "adamw", steps=4, groups=[("vectors", {"weight_decay": 0.0})])
    assert r.calls == {"grad": 4}
    r = refopt.minimize(p, "adahessian", steps=4, groups=[("vectors", {"lr": 0.01})])
    assert r.calls == {"grad": 4, "hvp": 8}


def test_products_of_a_group_are_its_block_of_the_hessian() -> None:
    """On a quadratic that couples the groups, Newton's diagonal of each group is that of the whole."""
    a = np.array([[2.0, 1.0], [1.0, 3.0]])

    def join(x):
        return np.concatenate([x["u"], x["v"]])

    def split(w):
        return {"u": w[:1], "v": w[1:]}

    p = refopt.from_functions(
        lambda x: float(join(x) @ a @ join(x)) / 2, lambda x: split(a @ join(x)), hvp=lambda x, v: split(a @ join(v)),
        x0=split(np.ones(2)),
    )  # fmt: skip
    got = refopt.minimize(p, "adahessian", steps=1, lr=1.0, eps=0.0, groups=[("u", {"lr": 2.0})]).x
    # Diagonal 2 and 3, gradient 3 and 4: the first step of AdaHessian is Newton's on the diagonal, times lr.
    np.testing.assert_allclose(join(got), [1 - 2.0 * 3 / 2, 1 - 4 / 3], rtol=1e-15)


def test_checkpoints_and_wrappers_know_groups(tmp_path) -> None:
    p = refopt.problem("mlp")
    options = {"groups": [("vectors", {"weight_decay": 0.0})], "lr": 1e-2, "seed": 1}
    whole = refopt.minimize(p, "sam", base="adamw", steps=6, **options)
    path = tmp_path / "run.npz"
    refopt.minimize(p, "sam", base="adamw", steps=3, checkpoint=path, **options)
    resumed = refopt.minimize(p, "sam", base="adamw", steps=6, checkpoint=path, resume=True, **options)
    assert resumed.fun == whole.fun
    other = {**options, "groups": [("vectors", {"weight_decay": 0.1})]}
    with pytest.raises(refopt.errors.CheckpointError, match="method"):
        refopt.minimize(p, "sam", base="adamw", steps=9, checkpoint=path, resume=True, **other)


@pytest.mark.parametrize(
    ("groups", "error", "words"),
    [
        ("*.bias", ArgumentTypeError, "list of pairs"),
        ({"*.bias": {}}, ArgumentTypeError, "list of pairs"),
        ([3], ArgumentTypeError, "pairs"),
        ([(3, {})], ArgumentTypeError, "pattern"),
        ([("*", 0.1)], ArgumentTypeError, "dict"),
        ([("*", {"weight_decy": 0.0})], HyperparameterError, "Did you mean 'weight_decay'"),
        ([("*", {"lr": -1.0})], ArgumentError, "lr"),
    ],
)
def test_bad_groups_are_refused_when_the_method_is_built(groups, error, words) -> None:
    with pytest.raises(error, match=words):
        refopt.optimizer("adamw", groups=groups)


def test_a_pattern_that_means_nothing_is_refused_at_the_start() -> None:
    with pytest.raises(ArgumentError, match=r"'bias' means no leaf of x, whose leaves are in\.w"):
        refopt.optimizer("adamw", groups=[("bias", {"lr": 0.0})]).init(X)


def test_a_method_that_asks_for_whole_layers_has_no_groups() -> None:
    with pytest.raises(ArgumentError, match="kfac asks for layers"):
        refopt.optimizer("kfac", groups=[("*", {"lr": 0.1})])


@pytest.mark.parametrize("name", ["muon", "conda", "scale"])
def test_the_rest_follows_the_rate_and_the_schedule(name) -> None:
    """Biases of methods for matrices: twice the rate or a schedule of two moves them twice as far."""
    x = {"w": np.eye(3), "bias": np.zeros(3)}
    g = {"w": np.eye(3), "bias": np.ones(3)}

    def moved(**options):
        o = refopt.optimizer(name, weight_decay=0.0, **options)
        return o.update(x, g, o.init(x))[0]["bias"]

    lr = refopt.optimizer(name).lr
    np.testing.assert_allclose(moved(lr=2 * lr), 2 * moved(), rtol=1e-12)
    np.testing.assert_allclose(moved(schedule=lambda t: 2.0), 2 * moved(), rtol=1e-12)
    np.testing.assert_allclose(moved(lr=lambda t: 2 * lr), 2 * moved(), rtol=1e-12)
    own = refopt.optimizer("sgd", lr=0.5)
    np.testing.assert_array_equal(moved(lr=2 * lr, others=own), -0.5 * np.ones(3))
    assert pickle.loads(pickle.dumps(Multiple(np.sqrt, 2.0)))(4.0) == 4.0
