"""What a curvature is: a symmetric matrix of the flattened parameters, known by its products."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import scipy.linalg
import scipy.sparse.linalg

from refopt.core import params
from refopt.core.arrays import is_array, to_numpy
from refopt.core.errors import ArgumentError, ArgumentTypeError, HyperparameterError, ShapeError, nearest
from refopt.core.forms import opened
from refopt.core.hyper import check_number
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_like, check_start, copied
from refopt.core.problem import offers, require
from refopt.core.registry import entry

# Up to so many parameters a matrix is laid out for `solve`; beyond, MINRES asks for products.
DENSE_UP_TO = 3000


def _looked_at(product: Callable[..., Params]) -> Callable[..., Params]:
    """Hold what a product is of to x, and the damping to its range."""

    @functools.wraps(product)
    def call(self: Curvature, v: Params, *damping: Any, **named: Any) -> Params:
        for value in (*damping, *named.values()):
            check_number(value, "[0, inf)", "damping")
        return product(self, check_like(v, self.x, "v", finite_values=True), *damping, **named)

    return call


class Curvature:
    """The curvature of a problem at a point, as a symmetric matrix C of order n.

    Rows and columns are the entries of x in the order of `refopt.core.params.flatten`: leaf by leaf as the dict
    has them, each in C order. Subclasses give `product`; whatever else they know better, they override.

    Attributes
    ----------
    n : int
        The number of parameters.
    shape : (n, n)
    exact : bool
        Whether C is the matrix that its name says, or an estimate or approximation of it.
    calls : dict of str to int
        What was asked of the problem so far, by oracle.
    """

    shared_parameters: ClassVar[str] = """\
problem : object
    With the capabilities that the curvature needs.
x : array or dict of arrays
    The point. It is copied. Inside a nested one, everything but ``C @ v`` and ``solve`` is flat.
batch : array of int, optional
    Examples; None for all of them.
seed : int, range [0, 2**63), default 0
    Of what is drawn."""

    exact: bool = True
    needs: tuple[str, ...] = ()
    registered_name: ClassVar[str] = ""

    def __init__(self, problem: Any, x: Params, batch: Any = None, *, seed: int = 0) -> None:
        check_number(seed, "int [0, 9223372036854775807]", "seed")
        if any(not offers(problem, need) for need in self.needs):
            require(problem, self.needs, self.registered_name or type(self).__name__)
        problem, x, self.form = opened(problem, x)
        self.x = copied(check_start(x, "x"))
        oracle = Oracle(problem, int(seed))
        self.oracle = oracle if batch is None else oracle.on(_indices(batch))
        self.n = params.size(self.x)
        self.shape = (self.n, self.n)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("product", "inverse_product"):
            if name in cls.__dict__:
                setattr(cls, name, _looked_at(cls.__dict__[name]))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n={self.n}, exact={self.exact})"

    @property
    def calls(self) -> Mapping[str, int]:
        """What was asked of the problem so far, by oracle."""
        return dict(self.oracle.counts.calls)

    def product(self, v: Params) -> Params:
        """Return C v for v like x.

        Parameters
        ----------
        v : array or dict of arrays
            Like x.

        Returns
        -------
        like v
            ``C v``.
        """
        raise NotImplementedError

    def __matmul__(self, v: Any) -> Any:
        """Return C v, for v like x, a NumPy vector (n,), or NumPy columns (n, k): the form that came."""
        if isinstance(v, np.ndarray) and not self._is_like_x(v):
            return self._columns(self.product, v)
        if self.form is not None:
            return self.form.outside(self.product(check_like(self.form.inside(v, "v"), self.x, "v")))
        return self.product(check_like(v, self.x, "v"))

    def solve(self, v: Any, damping: float = 0.0) -> Any:
        """Return ``(C + damping I)^{-1} v`` in the form of v.

        By a dense factorization up to 3000 parameters; beyond by MINRES to a residual of 1e-12.

        Parameters
        ----------
        v : array or dict of arrays
            Like x; or a NumPy vector (n,), or columns (n, k).
        damping : float, range [0, inf)
            What is added to the diagonal.

        Returns
        -------
        like v

        Raises
        ------
        ArgumentError
            ``C + damping I`` is singular, or MINRES has not got there in 10 n products.
        """
        check_number(damping, "[0, inf)", "damping")
        if isinstance(v, np.ndarray) and not self._is_like_x(v):
            return self._columns(lambda u: self.inverse_product(u, damping), v)
        if self.form is not None:
            v = check_like(self.form.inside(v, "v"), self.x, "v")
            return self.form.outside(self.inverse_product(v, damping))
        return self.inverse_product(check_like(v, self.x, "v"), damping)

    @_looked_at
    def inverse_product(self, v: Params, damping: float) -> Params:
        """Return ``(C + damping I)^{-1} v`` for v like x.

        Parameters
        ----------
        v : array or dict of arrays
            Like x.
        damping : float

        Returns
        -------
        like v

        Raises
        ------
        ArgumentError
            As `solve`.
        """
        flat = params.flatten(v)
        if self.n <= DENSE_UP_TO:
            return params.unflatten(self._factored(float(damping))(flat), self.x)
        found, left = scipy.sparse.linalg.minres(
            self.linear_operator(), flat, shift=-damping, rtol=1e-12, maxiter=10 * self.n
        )
        if left:
            raise ArgumentError(
                f"damping: {damping:g} leaves the system too ill-conditioned for {10 * self.n} products"
            )
        return params.unflatten(found, self.x)

    @functools.cached_property
    def _matrix(self) -> np.ndarray:
        matrix = self._assemble()
        matrix.flags.writeable = False
        return matrix

    @functools.lru_cache(maxsize=4)  # noqa: B019 (a curvature is short-lived, and so are the factors)
    def _factored(self, damping: float) -> Callable[[np.ndarray], np.ndarray]:
        matrix = self._matrix + damping * np.eye(self.n, dtype=self._matrix.dtype)
        with np.errstate(all="ignore"):
            try:
                factor = scipy.linalg.lu_factor(matrix, check_finite=False)
            except scipy.linalg.LinAlgWarning:  # pragma: no cover (a warning made an error by the caller)
                factor = (np.zeros_like(matrix), np.arange(self.n))
        pivots = np.abs(np.diagonal(factor[0]))
        if (
            not np.all(np.isfinite(pivots))
            or pivots.min() <= self.n * np.finfo(matrix.dtype).eps * pivots.max()
        ):
            raise ArgumentError(
                f"damping: C + {damping:g} I is singular to rounding; wanted a damping that makes it regular"
            )
        return lambda v: scipy.linalg.lu_solve(factor, v, check_finite=False)

    def _assemble(self) -> np.ndarray:
        return np.stack([params.flatten(self.product(e)) for e in self.basis()], axis=1)

    def basis(self) -> Iterator[Params]:
        """Give the unit vectors, like x.

        Yields
        ------
        like x
            One for each parameter, in the order of the rows.
        """
        eye = np.zeros(self.n, dtype=self.dtype)
        for i in range(self.n):
            eye[i] = 1.0
            yield params.unflatten(eye, self.x)
            eye[i] = 0.0

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the dense forms: that of x."""
        return params.flatten(self.x).dtype

    def dense(self) -> np.ndarray:
        """Return C as a NumPy array of shape (n, n), by n products where nothing better is known.

        Returns
        -------
        numpy.ndarray of shape (n, n)
            A copy.
        """
        return self._matrix.copy()

    def diagonal(self) -> Params:
        """Return the diagonal of C, like x.

        Returns
        -------
        array or dict of arrays
            Like x.
        """
        return params.unflatten(np.diagonal(self._matrix), self.x)

    def trace(self) -> float:
        """Return the trace of C; `refopt.curvature.estimates.trace` estimates it by fewer products.

        Returns
        -------
        float
        """
        return float(np.sum(params.flatten(self.diagonal()), dtype=np.float64))

    def spectrum(self) -> np.ndarray:
        """Return the eigenvalues of C, ascending, of shape (n,).

        Returns
        -------
        numpy.ndarray of shape (n,)
        """
        return scipy.linalg.eigvalsh(self._matrix)

    def linear_operator(self) -> scipy.sparse.linalg.LinearOperator:
        """Return C as a SciPy LinearOperator of order n.

        Returns
        -------
        scipy.sparse.linalg.LinearOperator
            It asks the problem for a product at each call.
        """
        return scipy.sparse.linalg.LinearOperator(
            self.shape, matvec=lambda v: self @ np.asarray(v, dtype=self.dtype).reshape(-1), dtype=self.dtype
        )

    def _is_like_x(self, v: np.ndarray) -> bool:
        return is_array(self.x) and tuple(v.shape) == tuple(self.x.shape)

    def _columns(self, apply: Callable[[Params], Params], v: np.ndarray) -> np.ndarray:
        if v.ndim not in (1, 2) or v.shape[0] != self.n:
            raise ShapeError(
                f"v: wanted parameters like x, or shape ({self.n},) or ({self.n}, k), got {v.shape}"
            )
        if v.dtype.kind != "f":
            raise ArgumentTypeError(f"v: wanted floating-point numbers, got {v.dtype}")
        columns = [params.flatten(apply(params.unflatten(c, self.x))) for c in v.reshape(self.n, -1).T]
        return np.stack(columns, axis=-1).reshape(v.shape)


def _indices(batch: Any) -> np.ndarray:
    found = to_numpy(batch) if is_array(batch) else np.asarray(batch)
    if found.ndim != 1 or found.dtype.kind not in "iu" or not found.size:
        raise ArgumentTypeError("batch: wanted a non-empty vector of example indices, or None")
    return found


def curvature(name: str, problem: Any, x: Any, batch: Any = None, **options: Any) -> Curvature:
    """Return the curvature of a problem at a point, by name.

    Parameters
    ----------
    name : str
        A registered name of kind ``curvature``: ``refopt list --kind curvature``.
    problem : object
        Of the zoo, or any with the capabilities that the name needs.
    x : array or dict of arrays
    batch : array of int, optional
        Examples; None for all.
    options
        The curvature's own, and ``seed``.

    Returns
    -------
    Curvature
        ``C @ v``, ``C.solve(v, damping=)``, ``C.diagonal()``, ``C.dense()``, ``C.trace()``, ``C.spectrum()``,
        ``C.linear_operator()``, ``C.exact``, ``C.calls``.

    Raises
    ------
    UnknownNameError, CapabilityError, HyperparameterError, ArgumentError, ArgumentTypeError

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("quadratic", n=3, condition_number=10.0)
    >>> C = refopt.curvature("hessian", p, np.zeros(3))
    >>> print(C.spectrum().round(6), C.exact, C.calls)
    [0.1      0.316228 1.      ] True {'hvp': 3}
    """
    import inspect

    cls = entry(name, ("curvature",)).obj
    known = [k for k in inspect.signature(cls).parameters if k not in ("problem", "x", "batch")]
    for key in options:
        if key not in known:
            raise HyperparameterError(
                f"{name} has no option {key!r}.{nearest(key, known)} It has: {', '.join(known)}"
            )
    return cls(problem, x, batch, **options)
