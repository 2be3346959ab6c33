"""Linear systems: Poisson's equation, diffusion, random matrices of given condition."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.io
import scipy.sparse
from refopt.core.arrays import check_array
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.rng import generator


def _second_difference(n: int, dtype: Any) -> scipy.sparse.csr_array:
    ones = np.ones(n, dtype=dtype)
    return scipy.sparse.csr_array(
        scipy.sparse.diags_array((-ones[1:], 2 * ones, -ones[1:]), offsets=(-1, 0, 1), dtype=dtype)
    )


def _grid_laplacian(sizes: tuple[int, ...], dtype: Any) -> scipy.sparse.csr_array:
    """Sum of the axes' second differences, each acting on its own axis of the grid (C order)."""
    total: Any = None
    for axis, n in enumerate(sizes):
        before = scipy.sparse.eye_array(int(np.prod(sizes[:axis])), dtype=dtype)
        after = scipy.sparse.eye_array(int(np.prod(sizes[axis + 1 :])), dtype=dtype)
        term = scipy.sparse.kron(scipy.sparse.kron(before, _second_difference(n, dtype)), after, format="csr")
        total = term if total is None else total + term
    return scipy.sparse.csr_array(total)


def poisson_2d(nx: int, ny: int | None = None, *, dtype: Any = np.float64) -> scipy.sparse.csr_array:
    """Five-point Laplacian of an nx x ny interior with zero boundary: 4 on the diagonal, -1 beside it.

    Parameters
    ----------
    nx, ny : int
        Interior points along each axis, at least 1; `ny` defaults to `nx`.
    dtype : dtype
        float32 or float64.

    Returns
    -------
    scipy.sparse.csr_array of shape (nx ny, nx ny)

    Examples
    --------
    >>> poisson_2d(2).toarray()[0].tolist()
    [4.0, -1.0, -1.0, 0.0]
    """
    ny = nx if ny is None else ny
    check_number(nx, "int [1, inf)", "nx")
    check_number(ny, "int [1, inf)", "ny")
    return _grid_laplacian((nx, ny), dtype)


def poisson_3d(
    nx: int, ny: int | None = None, nz: int | None = None, *, dtype: Any = np.float64
) -> scipy.sparse.csr_array:
    """Seven-point Laplacian of an nx x ny x nz interior with zero boundary: 6 on the diagonal.

    Parameters
    ----------
    nx, ny, nz : int
        Interior points along each axis, at least 1; `ny` and `nz` default to `nx`.
    dtype : dtype
        float32 or float64.

    Returns
    -------
    scipy.sparse.csr_array of shape (nx ny nz, nx ny nz)

    Examples
    --------
    >>> float(poisson_3d(3).sum())
    54.0
    """
    ny, nz = nx if ny is None else ny, nx if nz is None else nz
    for name, n in (("nx", nx), ("ny", ny), ("nz", nz)):
        check_number(n, "int [1, inf)", name)
    return _grid_laplacian((nx, ny, nz), dtype)


def diffusion_2d(coefficient: Any) -> scipy.sparse.csr_array:
    r"""Finite volumes for :math:`-\nabla\cdot(c\nabla u)` with zero boundary.

    The flux between two cells carries the harmonic mean of their coefficients, the flux through the
    boundary the coefficient of the cell; a constant coefficient c gives c times `poisson_2d`.

    Parameters
    ----------
    coefficient : array of shape (nx, ny)
        Positive.

    Returns
    -------
    scipy.sparse.csr_array of shape (nx ny, nx ny)
        Symmetric positive definite.

    Raises
    ------
    ArgumentError
        A coefficient that is not positive.

    Examples
    --------
    >>> float(abs(diffusion_2d(np.full((3, 4), 2.0)) - 2 * poisson_2d(3, 4)).max())
    0.0
    """
    c = np.asarray(check_array(coefficient, "coefficient", ndim=2))
    if not np.all(c > 0):
        raise ArgumentError(f"coefficient: wanted positive values, the smallest is {c.min():.3g}")
    cells = np.arange(c.size).reshape(c.shape)
    rows, columns, values = [], [], []
    diagonal = np.zeros_like(c)
    for axis in (0, 1):
        u, v = np.moveaxis(c, axis, 0)[:-1], np.moveaxis(c, axis, 0)[1:]
        flux = 2 / (1 / u + 1 / v)
        along = np.moveaxis(diagonal, axis, 0)  # a view: the sums go into `diagonal`
        along[:-1] += flux
        along[1:] += flux
        along[0] += np.moveaxis(c, axis, 0)[0]
        along[-1] += np.moveaxis(c, axis, 0)[-1]
        i = np.moveaxis(cells, axis, 0)[:-1].ravel()
        j = np.moveaxis(cells, axis, 0)[1:].ravel()
        rows += [i, j]
        columns += [j, i]
        values += [-flux.ravel(), -flux.ravel()]
    rows.append(cells.ravel())
    columns.append(cells.ravel())
    values.append(diagonal.ravel())
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return scipy.sparse.csr_array(scipy.sparse.coo_array(entries, shape=(c.size, c.size)))


def random_spd(
    n: int, condition: float, *, seed: int = 0, spectrum: Any = "geometric", complex_: bool = False
) -> np.ndarray:
    """Dense positive definite matrix with largest eigenvalue 1 and a given condition number.

    Parameters
    ----------
    n : int
        Order, at least 1.
    condition : float
        Largest over smallest eigenvalue, at least 1.
    seed : int
        The eigenvectors are the Q of a Gaussian matrix's QR factorization.
    spectrum : {"geometric", "linear"} or array of shape (n,)
        How the eigenvalues lie between 1 / condition and 1; an array gives them outright, and
        `condition` is not read.
    complex_ : bool
        Hermitian with complex entries instead of symmetric.

    Returns
    -------
    array of shape (n, n)

    Examples
    --------
    >>> round(float(np.linalg.cond(random_spd(20, 1e3))), 6)
    1000.0
    """
    check_number(n, "int [1, inf)", "n")
    check_number(condition, "[1, inf)", "condition")
    if isinstance(spectrum, str):
        if spectrum not in ("geometric", "linear"):
            raise ArgumentError(f"spectrum: wanted 'geometric', 'linear' or an array, got {spectrum!r}")
        space = np.geomspace if spectrum == "geometric" else np.linspace
        values = space(1 / condition, 1.0, n)
    else:
        values = np.asarray(check_array(spectrum, "spectrum", shape=(n,)))
        if not np.all(values > 0):
            raise ArgumentError(f"spectrum: wanted positive eigenvalues, the smallest is {values.min():.3g}")
    rng = generator(seed, "problem")
    gaussian = rng.standard_normal((n, n))
    basis = np.linalg.qr(gaussian + 1j * rng.standard_normal((n, n)) if complex_ else gaussian)[0]
    matrix = (basis * values) @ basis.conj().T
    return (matrix + matrix.conj().T) / 2
