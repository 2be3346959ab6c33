"""The quadratic has the spectrum, the minimum and the constants that it says."""

from __future__ import annotations

import numpy as np
import pytest
from refopt.core.errors import ArgumentError, ArgumentTypeError, RefoptError, ShapeError
from refopt.problems.quadratic import Quadratic

from tests.methods.matrices import close, complex_columns, ggn_product, product_columns


@pytest.mark.identity("quadratic")
@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("spectrum", [[5.0, 0.1, 2.0], [3.0, -2.0, 0.5, 1.0], [-4.0, 1.0], [1.0, 0.0]])
def test_spectrum(spectrum: list[float], diagonal: bool) -> None:
    """The Hessian built from hvp columns has the asked spectrum to 1e-13; f, grad, L, mu agree."""
    p = Quadratic(spectrum=spectrum, diagonal=diagonal, optimum=0.7, seed=3)
    x = p.start(1)
    hessian = product_columns(lambda v: p.hvp(x, v), x)
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian), np.sort(spectrum), atol=1e-13)
    np.testing.assert_array_equal(hessian, p.hessian)
    close(hessian, complex_columns(p.grad, x))
    close(p.grad(x), complex_columns(lambda w: p.value(w).reshape(1), x)[0])
    close(product_columns(lambda v: ggn_product(p, x, v, None), x), hessian)
    d = x - p.center
    np.testing.assert_allclose(float(p.value(x)), 0.7 + d @ hessian @ d / 2, rtol=1e-14)
    assert p.lipschitz == max(map(abs, spectrum))
    if diagonal:
        np.testing.assert_array_equal(hessian, np.diag(spectrum))
    if min(spectrum) < 0:
        assert p.solution is None
        assert p.optimum is None
        assert p.strong_convexity is None
    else:
        assert float(p.value(p.solution)) == p.optimum == 0.7
        assert p.strong_convexity == min(spectrum)
        assert p.condition_number == (max(spectrum) / min(spectrum) if min(spectrum) else None)


def test_default_spectrum() -> None:
    p = Quadratic(n=7, condition_number=1e4)
    np.testing.assert_allclose(p.spectrum[1:] / p.spectrum[:-1], 1e4 ** (1 / 6), rtol=1e-12)
    assert p.lipschitz == 1.0
    np.testing.assert_allclose(p.condition_number, 1e4, rtol=1e-12)
    assert not np.array_equal(p.hessian, Quadratic(n=7, condition_number=1e4, seed=1).hessian)
    np.testing.assert_array_equal(p.hessian, Quadratic(n=7, condition_number=1e4).hessian)


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"n": 0}, ArgumentError),
        ({"n": 2.5}, ArgumentTypeError),
        ({"n": 3, "spectrum": [1.0, 2.0]}, ArgumentError),
        ({"spectrum": []}, ArgumentError),
        ({"spectrum": [1.0, float("nan")]}, ArgumentError),
        ({"spectrum": [[1.0]]}, ShapeError),
        ({"spectrum": "wide"}, ArgumentTypeError),
        ({"spectrum": [1.0], "condition_number": 2.0}, ArgumentError),
        ({"condition_number": 0.5}, ArgumentError),
        ({"diagonal": 1}, ArgumentTypeError),
        ({"seed": -1}, ArgumentError),
    ],
)
def test_bad_keywords(keywords: dict[str, object], error: type[RefoptError]) -> None:
    with pytest.raises(error, match=next(reversed(keywords))):
        Quadratic(**keywords)  # type: ignore[arg-type]


def test_bad_points() -> None:
    p = Quadratic(n=3)
    with pytest.raises(ShapeError, match="x: wanted shape"):
        p.value(np.zeros(4))
    with pytest.raises(ArgumentTypeError, match="x: wanted a floating-point"):
        p.grad(np.zeros(3, dtype=int))
    with pytest.raises(ArgumentTypeError, match="x: wanted one array"):
        p.grad({"x": np.zeros(3)})
    with pytest.raises(ArgumentError, match="batch"):
        p.grad(np.zeros(3), batch=np.array([0]))
