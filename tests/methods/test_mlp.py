"""The multilayer perceptron against brute-force matrices; activations against mpmath."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from refopt.core.errors import ArgumentError, ArgumentTypeError, RefoptError, ShapeError
from refopt.core.problem import offers
from refopt.problems.mlp import MLP
from refopt.problems.network import gelu

from tests.methods.matrices import check_network, check_sampled_layers, close, product_columns

RNG = np.random.default_rng(0)
X = RNG.standard_normal((10, 4))
LABELS = RNG.integers(0, 3, size=10)
REAL = RNG.standard_normal((10, 3))


def make(activation: str, loss: str, l2: float = 0.0, widths: tuple[int, ...] = (5, 3)) -> MLP:
    return MLP(widths, activation, loss, (X, REAL if loss == "mse" else LABELS), l2=l2)


def point(p: MLP) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {k: v + 0.3 * rng.standard_normal(v.shape) for k, v in p.start(1).items()}


@pytest.mark.identity("mlp")
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
@pytest.mark.parametrize(("l2", "batch"), [(0.0, None), (0.2, np.array([3, 0, 3, 9]))], ids=["full", "batch"])
def test_matrices(activation: str, loss: str, l2: float, batch: np.ndarray | None) -> None:
    """Hessian, Gauss-Newton, Fisher and empirical Fisher matrices equal brute-force ones to 1e-12."""
    p = make(activation, loss, l2)
    check_network(p, point(p), batch)


@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
def test_linear_model(loss: str) -> None:
    """Without hidden layers the Gauss-Newton matrix is the Hessian (checked inside)."""
    p = make("tanh", loss, widths=())
    check_network(p, point(p), None)


@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
def test_sampled_labels(loss: str) -> None:
    p = make("tanh", loss, widths=(3,))
    check_sampled_layers(p, point(p), draws=2000)


def test_least_squares() -> None:
    """f = ||r||^2 / 2 with r = (z - y) / sqrt(B), and it is said only where it is so."""
    p = make("gelu", "mse")
    x, batch = point(p), np.array([1, 7, 2])
    assert offers(p, "least_squares")
    for b in (None, batch):
        r = p.residual(x, b)
        np.testing.assert_allclose(float(p.value(x, b)), np.sum(r * r) / 2, rtol=1e-14)
        close(p.loss_gradient(x, b), r)
        rows = slice(None) if b is None else b
        half = np.sum((p.predict(x, b) - REAL[rows]) ** 2, axis=1) / 2
        np.testing.assert_allclose(float(p.value(x, b)), half.mean(), rtol=1e-14)
    assert not offers(make("gelu", "mse", l2=0.1), "least_squares")
    assert not offers(make("gelu", "cross-entropy"), "least_squares")


def test_activation_derivatives() -> None:
    """gelu is the tanh form and its derivatives are those of that form, to 30 digits' derivative."""

    def form(s: mpmath.mpf) -> mpmath.mpf:
        return s / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (s + mpmath.mpf("0.044715") * s**3)))

    points = np.array([-3.0, -0.7, 0.0, 0.2, 1.5, 4.0])
    with mpmath.workdps(40):
        want = [[float(mpmath.diff(form, mpmath.mpf(s), k)) for s in points] for k in range(3)]
    np.testing.assert_allclose(gelu(points), want, rtol=1e-12, atol=1e-15)


def test_relu_hessian_has_no_curvature_of_its_own() -> None:
    """Each relu layer is linear around x: with one layer varied, GGN and Hessian agree there."""
    p = make("relu", "cross-entropy", widths=(6,))
    x = point(p)
    hessian = product_columns(lambda v: p.hvp(x, v), x)
    ggn = product_columns(lambda v: p.vjp(x, p.loss_hessian(x, p.jvp(x, v))), x)
    first = 6 * 4 + 6
    close(hessian[:first, :first], ggn[:first, :first])
    close(hessian[first:, first:], ggn[first:, first:])
    assert np.max(np.abs(hessian - ggn)) > 1e-3


def test_teacher() -> None:
    p = MLP((4,), loss="mse", data="teacher", seed=2)
    assert p.n_examples == 200
    assert p.optimum == 0.0 == float(p.value(p.solution))
    assert float(p.value(p.start())) > 0.01
    q = MLP((4,), data="teacher", seed=2)
    assert q.solution is None
    np.testing.assert_array_equal(q.targets.sum(axis=1), 1.0)
    np.testing.assert_array_equal(p.inputs, q.inputs)


def test_data() -> None:
    p = MLP()
    assert p.widths == (64, 32, 10)
    assert p.dimension == 64 * 32 + 32 + 320 + 10
    assert list(p.start()) == ["W1", "b1", "W2", "b2"]
    assert MLP(loss="mse", n_examples=20).targets.shape == (20, 10)
    assert MLP(loss="mse", data=(X, REAL[:, 0])).widths == (4, 32, 1)
    assert not np.array_equal(p.start(0)["W1"], p.start(1)["W1"])


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"widths": 3}, ArgumentTypeError),
        ({"widths": (3, 0)}, ArgumentError),
        ({"activation": "tahn"}, ArgumentError),
        ({"loss": "nll"}, ArgumentError),
        ({"l2": -0.1}, ArgumentError),
        ({"seed": 1.5}, ArgumentTypeError),
        ({"loss": "mse", "data": (X, np.zeros((10, 2, 2)))}, ShapeError),
        ({"data": "teacher", "n_examples": 0}, ArgumentError),
    ],
)
def test_bad_keywords(keywords: dict[str, object], error: type[RefoptError]) -> None:
    with pytest.raises(error, match=next(reversed(keywords))):
        MLP(**keywords)  # type: ignore[arg-type]
