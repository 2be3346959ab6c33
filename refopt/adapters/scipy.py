"""refopt's methods as ``scipy.optimize.minimize(..., method=...)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.adapters.functions import from_functions
from refopt.core.errors import ArgumentError
from refopt.driver import minimize


def scipy_method(name: str, **hyperparameters: Any) -> Callable[..., Any]:
    """Return a function that `scipy.optimize.minimize` takes as its ``method``.

    Parameters
    ----------
    name : str
        A registered optimizer or wrapper.
    hyperparameters
        The method's own, and ``dialect``.

    Returns
    -------
    callable
        SciPy's ``options`` may hold ``maxiter`` (default 1000), ``seed``, ``gtol`` and whatever else
        `refopt.minimize` takes. ``jac`` must be given; ``hessp`` or ``hess`` serve as ``hvp``.

    Examples
    --------
    >>> import numpy as np, scipy.optimize, refopt
    >>> r = scipy.optimize.minimize(
    ...     lambda x: x @ x, [1.0, -2.0], jac=lambda x: 2 * x, method=refopt.scipy_method("momentum", lr=0.1),
    ...     options={"maxiter": 300},
    ... )
    >>> bool(r.fun < 1e-12), r.nit
    (True, 300)
    """

    def method(
        fun: Callable[..., Any], x0: Any, args: tuple[Any, ...] = (), *, jac: Any = None, hess: Any = None,
        hessp: Any = None, callback: Any = None, bounds: Any = None, constraints: Any = (), maxiter: int = 1000,
        gtol: float | None = None, tol: float | None = None, **options: Any,
    ) -> Any:  # fmt: skip
        from scipy.optimize import OptimizeResult

        if bounds is not None or constraints:
            raise ArgumentError(f"{name}: takes no bounds or constraints through SciPy")
        if not callable(jac):
            raise ArgumentError(f"{name}: needs the gradient, jac=...")
        given: dict[str, Any] = {}
        if callable(hessp):
            given["hvp"] = lambda x, v: np.asarray(hessp(x, v, *args))
        elif callable(hess):
            given["hvp"] = lambda x, v: np.asarray(hess(x, *args) @ v)

        def gradient(x: Any) -> Any:
            return np.asarray(jac(x, *args), dtype=np.float64)

        problem = from_functions(lambda x: fun(x, *args), gradient, **given)
        r = minimize(
            problem, name, np.asarray(x0, dtype=np.float64), steps=maxiter, tol=gtol if gtol is not None else tol,
            callback=callback, **{**options, **hyperparameters},
        )  # fmt: skip
        return OptimizeResult(
            x=r.x, fun=r.fun, nit=r.nit, success=r.success, message=r.message, status=0 if r.success else 1,
            nfev=r.calls.get("value", 0), njev=r.calls.get("grad", 0), nhev=r.calls.get("hvp", 0), jac=gradient(r.x),
        )  # fmt: skip

    method.__name__ = name
    return method
