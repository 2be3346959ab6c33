"""Softmax regression against brute-force matrices, scikit-learn, and its bound."""

from __future__ import annotations

import numpy as np
import pytest
from refopt.core.errors import ArgumentError, RefoptError, ShapeError
from refopt.problems.logistic import Logistic
from refopt.problems.softmax import Softmax

from tests.methods.matrices import check_network, check_sampled_layers, product_columns

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 4))
Y = RNG.integers(0, 3, size=12)
POINT = {"W": RNG.standard_normal((3, 4)), "b": RNG.standard_normal(3)}


@pytest.mark.identity("softmax")
@pytest.mark.parametrize("batch", [None, np.array([3, 0, 3, 9])], ids=["full", "batch"])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_matrices(l2: float, batch: np.ndarray | None) -> None:
    """Hessian, Gauss-Newton, Fisher and empirical Fisher matrices equal brute-force ones to 1e-12."""
    check_network(Softmax((X, Y), l2=l2), POINT, batch)


def test_sampled_labels() -> None:
    check_sampled_layers(Softmax((X, Y)), POINT, draws=2000)


def test_two_classes_are_logistic_regression() -> None:
    """Rows ±w/2 of W give the logistic model, so the values agree."""
    rng = np.random.default_rng(0)
    labels = (Y > 0).astype(int)
    p, q = Softmax((X, labels)), Logistic((X, labels))
    w = rng.standard_normal(5)
    x = {"W": np.array([-w[:4], w[:4]]) / 2, "b": np.array([-w[4], w[4]]) / 2}
    np.testing.assert_allclose(float(p.value(x)), float(q.value(w)), rtol=1e-14)


def test_scikit_learn_minimiser() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    # A constant feature regularised like the others makes theirs our model with its bias.
    p = Softmax(l2=0.01, n_examples=300)
    inputs = np.concatenate([p.inputs, np.ones((300, 1))], axis=1)
    theirs = linear_model.LogisticRegression(C=1 / (300 * 0.01), fit_intercept=False, tol=1e-9, max_iter=2000)
    theirs.fit(inputs, p.targets.argmax(axis=1))
    x = {"W": theirs.coef_[:, :64], "b": theirs.coef_[:, 64]}
    gradient, start = p.grad(x), p.grad(p.start())
    for name in gradient:
        assert np.linalg.norm(gradient[name]) < 1e-6 * np.linalg.norm(start["W"])


@pytest.mark.claim("softmax")
def test_lipschitz_bound() -> None:
    """The Hessian's eigenvalues stay below L at random points and reach it with two classes.

    Never exceeded; attained at x = 0 with two classes, where diag(p) - p p^T has the eigenvalue 1/2.
    """
    p = Softmax((X, Y), l2=0.2)
    for seed in range(3):
        x = {k: 0.3 * np.random.default_rng(seed).standard_normal(v.shape) for k, v in POINT.items()}
        top = np.linalg.eigvalsh(product_columns(lambda v, x=x: p.hvp(x, v), x))
        assert top[0] >= 0.2 * (1 - 1e-12)
        assert top[-1] < p.lipschitz
    two = Softmax((X, Y > 0))
    top = np.linalg.eigvalsh(product_columns(lambda v: two.hvp(two.start(), v), two.start()))
    np.testing.assert_allclose(top[-1], two.lipschitz, rtol=1e-12)


def test_data() -> None:
    p = Softmax()
    assert p.inputs.shape == (1797, 64)
    assert p.targets.shape == (1797, 10)
    assert p.inputs.max() == 1.0
    np.testing.assert_array_equal(p.targets[:3], np.eye(10)[:3])
    np.testing.assert_array_equal(Softmax((X, np.array([7, 2, 5] * 4))).classes, [2, 5, 7])


def test_extreme_logits(xp: object, dtype: str) -> None:
    """No overflow at logits of 10^5, in any library and dtype."""
    kind = getattr(xp, dtype)
    p = Softmax(([[1.0], [1.0]], [0, 1]))
    x = {"W": xp.asarray([[1e5], [-1e5]], dtype=kind), "b": xp.zeros(2, dtype=kind)}  # type: ignore[attr-defined]
    assert float(p.value(x)) == pytest.approx(1e5, rel=1e-6)
    np.testing.assert_allclose([float(g) for g in p.grad(x)["b"]], [0.5, -0.5], rtol=1e-6)
    assert all(float(h) == 0.0 for h in p.hvp(x, x)["b"])


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"data": (X, np.zeros(12))}, ArgumentError),
        ({"data": (X, np.eye(12))}, ShapeError),
        ({"l2": float("nan")}, ArgumentError),
    ],
)
def test_bad_keywords(keywords: dict[str, object], error: type[RefoptError]) -> None:
    with pytest.raises(error, match=next(reversed(keywords))):
        Softmax(**keywords)  # type: ignore[arg-type]


def test_bad_points() -> None:
    p = Softmax((X, Y))
    with pytest.raises(ShapeError, match="names W, b"):
        p.grad({"W": POINT["W"]})
    with pytest.raises(ShapeError, match=r"x\['b'\]"):
        p.grad({"W": POINT["W"], "b": np.zeros(2)})
    with pytest.raises(ShapeError, match="u: wanted shape"):
        p.vjp(POINT, np.zeros((3, 12)))
