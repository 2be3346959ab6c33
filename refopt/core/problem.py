"""What a problem offers. A method names what it needs; nothing else is asked of a problem.

A problem is any object that has some of the members below, all exact. `batch` is an integer NumPy
array of example indices, or None for all of them; with a batch every quantity is the mean over the
batch, plus the whole regulariser.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from refopt.core.arrays import Array, like, namespace
from refopt.core.errors import ArgumentTypeError, CapabilityError
from refopt.core.hyper import check_number
from refopt.core.params import Params, leaves

# name: (form, what it returns, how a user supplies it)
CAPABILITIES: dict[str, tuple[str, str]] = {
    "value": ("value(x, batch=None)", "the smooth objective f, a 0-d array"),
    "grad": ("grad(x, batch=None)", "its gradient, like x"),
    "value_and_grad": ("value_and_grad(x, batch=None)", "both for the price of the gradient"),
    "directional": ("directional(x, v, batch=None)", "the derivative of f at x along v, a 0-d array"),
    "hvp": ("hvp(x, v, batch=None)", "the Hessian of f times v, like x"),
    "third": ("third(x, v, batch=None)", "the third derivative of f at x along v, v and v, a 0-d array"),
    "example_grads": (
        "example_grads(x, batch=None)",
        "the gradient of each example's f_i on a new first axis; their mean is the gradient",
    ),
    "residual": ("residual(x, batch=None)", "the inner map r of f = phi(r(x)), one array"),
    "jvp": ("jvp(x, v, batch=None)", "the Jacobian of r times v, like r"),
    "vjp": ("vjp(x, u, batch=None)", "the transposed Jacobian of r times u, like x"),
    "loss_gradient": ("loss_gradient(x, batch=None)", "the gradient of phi at r(x), like r"),
    "loss_hessian": ("loss_hessian(x, u, batch=None)", "the Hessian of phi at r(x) times u, like r"),
    "least_squares": ("least_squares = True", "says that phi(r) = ||r||^2 / 2"),
    "layers": (
        "layers(x, batch=None, rng=None)",
        "a Layer for each linear layer; with rng the labels are drawn from the model",
    ),
    "slopes": (
        "slopes(x, batch=None)",
        "the activation's derivative at each layer's outputs but the last's, in the order of layers, shapes (B, out)",
    ),
    "rollouts": (
        "rollouts(x, n=None, rng=None)",
        "Rollouts: all trajectories of the policy x with their probabilities, or n drawn from it",
    ),
    "sample_grad": (
        "sample_grad(x, d)",
        "of an expectation of f over one-hot rows drawn from the softmax of x: the gradient of f at the draw d, like x",
    ),
    "penalty": ("penalty(x)", "the nonsmooth part g of the objective f + g"),
    "prox": ("prox(x, step)", "argmin_u g(u) + ||u - x||^2 / (2 step), like x"),
    "example_prox": (
        "example_prox(x, step, batch)",
        "argmin_u f_i(u) + ||u - x||^2 / (2 step) for the batch's one example i, like x",
    ),
    "project": ("project(x)", "the nearest feasible point, like x"),
    "bounds": (
        "bounds(x)",
        "the least and the largest values allowed, a pair like x, infinite where there is no bound",
    ),
    "gram": ("gram(x)", "the Gram matrix of the points times x, like x"),
    "term_weights": (
        "term_weights(x, batch=None)",
        "of f_i = -log sum_s exp(-l_is), each example's shares exp(-l_is) / sum_s exp(-l_is), shape (B, S)",
    ),
    "term_grad": (
        "term_grad(x, weights, batch=None)",
        "the mean over examples of the gradients of the l_is, summed with weights of shape (B, S), like x",
    ),
    "fraction": (
        "fraction(x)",
        "f, h and g of the objective (f + h) / g, f smooth and g positive, three 0-d arrays",
    ),
    "coordinate_slope": (
        "coordinate_slope(x, i)",
        "the derivative of f of the fraction by the i-th entry, and a bound of its second one, two 0-d arrays",
    ),
    "coordinate_prox": (
        "coordinate_prox(x, i, slope, curvature, level)",
        "the t of the least slope t + curvature t^2 / 2 + h(x + t e_i) - level g(x + t e_i), of all t, a 0-d array",
    ),
    "objectives": ("objectives(x, batch=None)", "the values of several objectives, an array of shape (m,)"),
    "jacobian": (
        "jacobian(x, batch=None)",
        "the gradient of each objective on a new first axis, like x beyond it",
    ),
    # Of two levels: x is {"upper": ..., "lower": ...}.
    "upper_value": (
        "upper_value(x, batch=None)",
        "the upper level's objective F at both players, a 0-d array",
    ),
    "upper_grad": ("upper_grad(x, batch=None)", "the gradient of F by both players, like x"),
    "lower_value": ("lower_value(x, batch=None)", "the lower level's objective f, a 0-d array"),
    "lower_grad": ("lower_grad(x, batch=None)", "the gradient of f by both players, like x"),
    "lower_hvp": (
        "lower_hvp(x, v, batch=None)",
        "the Hessian of f by the lower player times v, like x['lower']",
    ),
    "lower_mixed": (
        "lower_mixed(x, v, batch=None)",
        "the gradient by the upper player of v times the gradient of f by the lower one, like x['upper']",
    ),
    "upper_hvp": (
        "upper_hvp(x, v, batch=None)",
        "the Hessian of F by the lower player times v, like x['lower']",
    ),
    "upper_mixed": ("upper_mixed(x, v, batch=None)", "as lower_mixed, of F"),
    "constraint": ("constraint(x)", "what must be at most 0, a vector; 0 where equality = True"),
    "constraint_vjp": ("constraint_vjp(x, u)", "its transposed Jacobian times u, like x"),
    "constraint_hvp": ("constraint_hvp(x, u, v)", "the Hessian of its product with u, times v, like x"),
}


@dataclass(frozen=True)
class Layer:
    """One linear layer ``s = W a + b`` of a model, seen on a batch.

    A layer that every example uses at T positions, as a convolution does, has them on a second axis; an example's gradient by
    W is then the sum ``Σ_t g_t a_tᵀ``.

    Attributes
    ----------
    weight : str
        The name of W among the parameters, of shape (out, in), or (out, ...) with the last axes of `in` numbers.
    bias : str or None
        The name of b, of shape (out,).
    inputs : array of shape (B, in) or (B, T, in)
        The layer's inputs a (a convolution's patches), without an appended one.
    output_grads : array of shape (B, out) or (B, T, out)
        The gradient of each example's own loss (not of the mean) by the layer's output s.
    """

    weight: str
    bias: str | None
    inputs: Array
    output_grads: Array

    def rows(self) -> tuple[Array, Array]:
        """Return inputs and output gradients with a row for each example and position, (B T, in) and (B T, out).

        Returns
        -------
        inputs, output_grads : arrays of two axes
        """
        a, g = self.inputs, self.output_grads
        xp = namespace(a)
        return xp.reshape(a, (-1, a.shape[-1])), xp.reshape(g, (-1, g.shape[-1]))


@dataclass(frozen=True)
class Rollouts:
    """Trajectories of a policy, and what each says of the derivatives of f, minus the expected return.

    Attributes
    ----------
    weights : array of shape (m,)
        Probabilities of all trajectories, or 1/m each of drawn ones.
    grads : array of shape (m, ...)
        Each trajectory's estimate of the gradient, on a first axis.
    hvps : callable
        ``hvps(v)``: each one's estimate of the Hessian of f times v, likewise.
    """

    weights: Array
    grads: Array
    hvps: Callable[[Array], Array]

    def mean(self, rows: Array) -> Array:
        """Return the weighted sum of `rows`.

        Parameters
        ----------
        rows : array of shape (m, ...)

        Returns
        -------
        array of shape (...)
        """
        xp = namespace(rows)
        return xp.tensordot(self.weights, rows, axes=1)


def offers(problem: Any, capability: str) -> bool:
    """Tell whether `problem` has `capability`.

    Parameters
    ----------
    problem : object
    capability : str
        One of `CAPABILITIES`.

    Returns
    -------
    bool
    """
    member = getattr(problem, capability, None)
    return bool(member) if capability == "least_squares" else callable(member)


def offered(problem: Any) -> list[str]:
    """Return the capabilities that `problem` has.

    Parameters
    ----------
    problem : object

    Returns
    -------
    list of str
    """
    return [c for c in CAPABILITIES if offers(problem, c)]


def require(problem: Any, needs: tuple[str, ...], method: str, having: list[str] | None = None) -> None:
    """Raise unless `problem` offers all of `needs`; the message says how to supply what is missing.

    Parameters
    ----------
    problem : object
    needs : tuple of str
    method : str
        Who asks.
    having : list of str, optional
        Names of registered problems that offer everything, for the message.

    Raises
    ------
    CapabilityError
    """
    missing = [n for n in needs if not offers(problem, n)]
    if not missing:
        return
    forms = "; ".join(f"{CAPABILITIES[m][0]}: {CAPABILITIES[m][1]}" for m in missing)
    zoo = f" Problems of the zoo that have it: {', '.join(having)}." if having else ""
    raise CapabilityError(
        f"{method} needs {', '.join(missing)}, which {type(problem).__qualname__} does not offer. Supply {forms}"
        f" (as a method of the problem, or a keyword of refopt.from_functions).{zoo}"
    )


def start_of(problem: Any, seed: int) -> Params:
    """Return the start that a problem draws from `seed`; a `start` without parameters has one for all seeds."""
    try:
        inspect.signature(problem.start).bind(seed)
    except TypeError:
        return problem.start()
    except ValueError:  # a builtin without a signature
        pass
    return problem.start(seed)


class Problem:
    """Base of the zoo's problems: known facts, and data in the library of x.

    Attributes
    ----------
    n_examples : int or None
        The number of examples of a finite sum; None for a problem without batches.
    solution, optimum, lipschitz, strong_convexity, condition_number, rank
        What is known: a minimiser (like x), the least objective, L, mu, L / mu, the rank of the
        solution. None where it is not known.
    """

    n_examples: int | None = None
    solution: Params | None = None
    optimum: float | None = None
    lipschitz: float | None = None
    strong_convexity: float | None = None
    condition_number: float | None = None
    rank: int | None = None

    def start(self, seed: int = 0) -> Params:
        """Return the default start, float64 NumPy.

        Parameters
        ----------
        seed : int
            Of the start alone; a problem's data has its own seed.

        Returns
        -------
        array or dict of arrays
        """
        raise NotImplementedError

    # The arrays with an example a row, for `subset`.
    per_example: tuple[str, ...] = ()

    def subset(self, rows: Any) -> Any:
        """Return the same problem on some of its examples.

        Parameters
        ----------
        rows : array of int
            Which, in their order.

        Returns
        -------
        like the problem
            What is known of the whole, its optimum and L, is not known of the part.

        Raises
        ------
        CapabilityError
            It is not a sum over examples that can be taken apart.
        """
        if not self.per_example:
            raise CapabilityError(f"subset: {type(self).__qualname__} has no examples to choose from")
        chosen = np.asarray(rows)
        other = copy.copy(self)
        other._cache = {}  # type: ignore[attr-defined]
        other.__dict__.pop("lipschitz", None)
        for name in self.per_example:
            setattr(other, name, getattr(self, name)[chosen])
        other.n_examples, other.solution, other.optimum = len(chosen), None, None
        return other

    def split(self, share: float, seed: int = 0) -> tuple[Any, Any]:
        """Return the problem on all but a random share of its examples, and on that share: for validation.

        Parameters
        ----------
        share : float
            Of the second part, in (0, 1); each part has an example at least.
        seed : int

        Returns
        -------
        problem, problem

        Raises
        ------
        ArgumentError, ArgumentTypeError
            A share that is none.
        CapabilityError
            It has no examples to choose from.
        """
        check_number(share, "(0, 1)", "share")
        n = self.n_examples or 0
        order = np.random.default_rng(seed).permutation(n)
        cut = min(max(round(n * (1.0 - share)), 1), n - 1)
        return self.subset(np.sort(order[:cut])), self.subset(np.sort(order[cut:]))

    def _data(self, name: str, x: Params, dtype: Any = None) -> Array:
        """Return the NumPy array `self.<name>` in the library, device and dtype of `x` (kept)."""
        reference = next(iter(leaves(x).values()))
        if type(reference) is np.ndarray and reference.dtype == np.float64 and dtype is None:
            return getattr(self, name)
        data = getattr(self, name)
        # SciPy's matrices and Dask's arrays, without importing either here, stay what they are.
        stays = hasattr(data, "tocsr") or hasattr(data, "__dask_graph__")
        if stays and not isinstance(reference, np.ndarray):
            raise ArgumentTypeError(
                f"x: wanted NumPy arrays, since the data is of {type(data).__module__}, got {type(reference)}"
            )
        xp = namespace(reference)
        key = (name, xp.__name__, str(dtype or reference.dtype), str(getattr(reference, "device", "")))
        cache = self.__dict__.setdefault("_cache", {})
        if key not in cache:
            cache[key] = (
                data.astype(dtype or reference.dtype) if stays else like(data, reference, dtype=dtype)
            )
        return cache[key]
