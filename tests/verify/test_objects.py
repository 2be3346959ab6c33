"""Home-made optimizers as they are usually written: classes with a step on dicts, lists or one array."""

from __future__ import annotations

import numpy as np
import pytest
from refopt.core.errors import ArgumentTypeError
from refopt.verify import compare, fingerprint


class InPlace:
    """Writes into a dict of parameters."""

    def __init__(self, lr=0.01, momentum=0.9):
        self.lr, self.momentum, self.v = lr, momentum, None

    def update(self, params, grads):
        self.v = self.v or {k: np.zeros_like(p) for k, p in params.items()}
        for k in params:
            self.v[k] = self.momentum * self.v[k] + self.lr * grads[k]
            params[k] -= self.v[k]


class Returning:
    """Returns a list of new parameters; gradients come first."""

    def __init__(self, learning_rate=0.001, beta1=0.9, beta2=0.999):
        self.rate, self.b1, self.b2, self.t, self.m = learning_rate, beta1, beta2, 0, None

    def step(self, grads, params):
        if self.m is None:
            self.m, self.v = [0 * p for p in params], [0 * p for p in params]
        self.t += 1
        out = []
        for i, (p, g) in enumerate(zip(params, grads)):
            self.m[i] = self.b1 * self.m[i] + (1 - self.b1) * g
            self.v[i] = self.b2 * self.v[i] + (1 - self.b2) * g * g
            m, v = self.m[i] / (1 - self.b1**self.t), self.v[i] / (1 - self.b2**self.t)
            out.append(p - self.rate * m / (np.sqrt(v) + 1e-8))
        return out


class OneArray:
    """Takes one array alone."""

    def __init__(self, lr=0.1):
        self.lr = lr

    def apply(self, w, g):
        return w - self.lr * g.reshape(w.shape)


def test_a_class_on_dicts() -> None:
    """Its arguments are hyperparameters, its rate can be scheduled, its state is shown."""
    report = compare(InPlace, "momentum", steps=10)
    assert report.agrees and report.state["v"] == ("v", 0.0)
    assert {f.profile for f in report.findings} == {"as given", "low betas, large eps", "schedule"}


def test_an_instance_on_dicts() -> None:
    """Its numbers are read, and it is not touched itself."""
    mine = InPlace(0.05, 0.5)
    report = compare(mine, "momentum", steps=10)
    assert report.agrees and report.hyperparameters["momentum"] == 0.5 and mine.v is None


def test_lists_with_gradients_first() -> None:
    assert compare(Returning, "adam", steps=10).agrees


def test_one_array() -> None:
    report = compare(OneArray(0.2), "sgd", steps=5)
    assert report.agrees and report.hyperparameters["lr"] == 0.2
    assert "sgd" in fingerprint(OneArray).nearest


def test_what_cannot_be_handed_over_says_why() -> None:
    class Wants:
        def update(self, params, grads):
            raise KeyError("model")

    with pytest.raises(ArgumentTypeError, match="as dict: KeyError"):
        compare(Wants, "sgd")


class Owner:
    """Keeps the parameters that it is made of; its step takes gradients alone."""

    def __init__(self, params, lr=0.01, momentum=0.9):
        self.params, self.lr, self.momentum = params, lr, momentum
        self.v = [0 * p for p in params]

    def step(self, grads):
        for i, g in enumerate(grads):
            self.v[i] = self.momentum * self.v[i] + self.lr * g
            self.params[i] = self.params[i] - self.v[i]


def test_a_class_that_keeps_its_parameters():
    """It is made of the run's start, and given gradients; its numbers are the reference's."""
    report = compare(Owner, "momentum", steps=20)
    assert report.agrees, str(report)
    assert any(f.profile == "low betas, large eps" for f in report.findings)
