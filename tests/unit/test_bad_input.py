"""Bad input: a typed error before any work, naming the argument, what came and what is wanted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt import errors


class Counting:
    """A quadratic that fails the test if it is asked for anything."""

    n_examples = 10

    def value(self, x: Any, batch: Any = None) -> float:
        raise AssertionError("worked on bad input")

    def grad(self, x: Any, batch: Any = None) -> Any:
        raise AssertionError("worked on bad input")


X = np.ones(3)


@pytest.mark.parametrize(
    ("x0", "error", "words"),
    [
        (np.array([1, 2]), errors.DtypeError, "x0: wanted a real floating dtype, got int64"),
        (np.array([True]), errors.DtypeError, "got bool"),
        ({"a": [X, np.array([1, 2])]}, errors.DtypeError, "x0['a.1']: wanted a real floating dtype"),
        (np.zeros(0), errors.ShapeError, "empty"),
        ({}, errors.ShapeError, "empty dict"),
        ({"a": np.zeros((2, 0))}, errors.ShapeError, "x0: has no array with entries"),
        (np.array([1.0, np.nan]), errors.NonFiniteError, "NaN"),
        ({"a": np.array([np.inf])}, errors.NonFiniteError, "x0['a']"),
        ("no array", errors.ArgumentTypeError, "x0: wanted an array, got builtins.str"),
        ({"a": {"b": "text"}}, errors.ArgumentTypeError, "x0['a.b']: wanted an array, got builtins.str"),
        ({1: X}, errors.ArgumentTypeError, "keys must be str"),
        (None, errors.ArgumentError, "x0: the problem has no default start"),
    ],
)
def test_start(x0: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        refopt.minimize(Counting(), "sgd", x0)
    assert words in str(caught.value)
    assert isinstance(caught.value, (ValueError, TypeError))


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"lr": -1.0}, errors.ArgumentError, "sgd: lr: wanted a value in [0, inf), got -1.0"),
        ({"lr": np.nan}, errors.ArgumentError, "lr"),
        ({"lr": "fast"}, errors.ArgumentTypeError, "wanted a number in [0, inf), got 'fast'"),
        ({"lr": True}, errors.ArgumentTypeError, "got True"),
        ({"learning_rate": 1.0}, errors.HyperparameterError, "no hyperparameter 'learning_rate'"),
        ({"decay": "l2"}, errors.ArgumentError, "wanted one of 'coupled'"),
        ({"engine": "gpu"}, errors.ArgumentError, "wanted one of 'array', 'numba', 'cupy'"),
        ({"dialect": "tensorflow"}, errors.UnknownNameError, "sgd has no dialect 'tensorflow'"),
        ({"schedule": 3}, errors.ArgumentError, "schedule"),
        ({"steps": -1}, errors.ArgumentError, "steps"),
        ({"steps": 2.5}, errors.ArgumentTypeError, "steps: wanted an integer"),
        ({"tol": -1.0}, errors.ArgumentError, "tol"),
        ({"batch_size": 11}, errors.ArgumentError, "at most the problem's 10 examples, got 11"),
        ({"batch_size": 0}, errors.ArgumentError, "batch_size"),
        ({"sampling": "random"}, errors.ArgumentError, "sampling"),
        ({"seed": -1}, errors.ArgumentError, "seed"),
        ({"callback": 5}, errors.ArgumentTypeError, "callback: wanted a callable or None, got int"),
        ({"record_every": 0}, errors.ArgumentError, "record_every"),
        ({"max_calls": "many"}, errors.ArgumentTypeError, "max_calls"),
        ({"resume": True}, errors.ArgumentError, "resume"),
    ],
)
def test_arguments(kwargs: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        refopt.minimize(Counting(), "sgd", X, **kwargs)
    assert words in str(caught.value)
    assert isinstance(caught.value, (ValueError, TypeError))


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(errors.UnknownNameError, match="Did you mean 'adam'"):
        refopt.optimizer("adm")
    with pytest.raises(errors.UnknownNameError, match="'quadratic'"):
        refopt.problem("quadratc")
    with pytest.raises(errors.UnknownNameError, match="is a problem"):
        refopt.optimizer("quadratic")
    with pytest.raises(errors.ArgumentTypeError, match="no parameter 'nn'"):
        refopt.problem("quadratic", nn=3)
    with pytest.raises(errors.ArgumentError, match="kind"):
        refopt.methods(kind="optimiser")


def test_missing_capability_says_how_to_supply_it() -> None:
    with pytest.raises(errors.CapabilityError) as caught:
        refopt.minimize(Counting(), "adahessian", X)
    text = str(caught.value)
    assert "adahessian needs hvp, which Counting does not offer" in text
    assert "hvp(x, v, batch=None)" in text
    assert "quadratic" in text
    with pytest.raises(errors.CapabilityError, match="n_examples"):
        refopt.minimize(refopt.problem("quadratic"), "sgd", batch_size=2)


def test_gradient_unlike_the_parameters() -> None:
    o = refopt.optimizer("adam")
    s = o.init(X)
    for grad, error in (
        (np.ones(2), errors.ShapeError),
        (np.ones(3, dtype="float32"), errors.DtypeError),
        ({"a": X}, errors.ArgumentTypeError),
        ([1.0, 2.0, 3.0], errors.ArgumentTypeError),
    ):
        with pytest.raises(error, match="grad"):
            o.update(X, grad, s)
    with pytest.raises(errors.CapabilityError, match="step"):
        refopt.optimizer("adahessian").update(X, X, refopt.optimizer("adahessian").init(X))


def test_method_of_the_wrong_type() -> None:
    with pytest.raises(errors.ArgumentTypeError, match="method"):
        refopt.minimize(Counting(), 3, X)  # type: ignore[arg-type]
    with pytest.raises(errors.ArgumentTypeError, match="built already"):
        refopt.minimize(Counting(), refopt.optimizer("sgd"), X, lr=0.1)
    with pytest.raises(errors.ArgumentTypeError, match="base"):
        refopt.optimizer("sam", base=refopt.optimizer("sgd"), lr=0.1)
    with pytest.raises(errors.ArgumentTypeError, match="schedule"):
        refopt.optimizer("sam", base=refopt.optimizer("sgd"), schedule=lambda t: 1.0)
    assert refopt.optimizer("sam", lr=0.1, schedule=lambda t: 0.5).base.rate(1) == 0.05


@pytest.mark.parametrize(("method", "name", "said"), [
    ("adam", "learning_rate", "Here it is 'lr'"), ("adam", "b1", "Here it is 'beta1'"), ("rmsprop", "alpha", "Here it is 'beta2'"),
    ("adam", "betas", "beta1 and beta2"), ("adam", "max_grad_norm", "wrapper 'clip-norm'"), ("momentum", "nesterov", "'nesterov'"),
    ("adam", "lrr", "Did you mean 'lr'"), ("rprop", "learning_rate", "It has: "),
])  # fmt: skip
def test_names_of_other_libraries_are_known(method, name, said) -> None:
    with pytest.raises(refopt.errors.HyperparameterError, match=name) as info:
        refopt.optimizer(method, **{name: 0.5})
    assert said in str(info.value)
