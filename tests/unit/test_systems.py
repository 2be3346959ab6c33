"""What a solver takes as a system: dtypes are promoted as SciPy promotes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
import scipy.sparse

A = np.array([[4, 1], [1, 3]])
B = np.array([1, 2])
FORMS: dict[str, Any] = {"array": np.asarray, "csr": scipy.sparse.csr_array, "coo": scipy.sparse.coo_array}


@pytest.mark.parametrize("solver", ["cg", "pcg", "sor", "iterative-sketching"])
@pytest.mark.parametrize("form", FORMS)
def test_the_widest_dtype(solver: str, form: str) -> None:
    """Integers are float64; of two precisions the solution has the wider, of real and complex the complex."""
    solve = refopt.get(solver)
    kinds = ("int64", "float32", "float64", "complex128")
    if solver == "iterative-sketching":
        kinds = kinds[:3]
    for a in kinds:
        for b in kinds:
            r = solve(FORMS[form](A.astype(a)), B.astype(b), rtol=1e-5)
            want = np.result_type(*("float64" if k == "int64" else k for k in (a, b)))
            assert (r.x.dtype, r.status) == (want, "converged"), (a, b)
            np.testing.assert_allclose(A @ r.x, B, rtol=1e-3)


def test_a_column_is_a_vector() -> None:
    """A right side of shape (n, 1) has a solution of shape (n,), as in SciPy; what was given is not changed."""
    b, x0 = B[:, None].astype(float), np.zeros(2, dtype=np.float32)
    x = refopt.get("cg")(A.astype(float), b, x0, rtol=1e-12).x
    assert (x.shape, x.dtype) == ((2,), np.float64)
    np.testing.assert_allclose(A @ x, B)
    assert b.shape == (2, 1)
    assert not x0.any()
