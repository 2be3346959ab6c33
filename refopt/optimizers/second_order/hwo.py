"""Hidden weight optimisation and optimal input gains, between solutions for the output weights (Rane et al. 2023)."""

from __future__ import annotations

import math

import numpy as np

from refopt.core import params
from refopt.core.arrays import like, to_numpy
from refopt.core.errors import ArgumentError, ShapeError
from refopt.core.hyper import hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.problem import Layer
from refopt.core.registry import Source, register

RANE = Source("rane-2023-optimal", "C. Rane, K. Tyagi, S. Malalur, Y. Shinge, M. Manry",
    "Optimal Input Gain: All You Need to Supercharge a Feed-Forward Neural Network", arxiv="2303.17732")  # fmt: skip
YU = Source("yu-2006-efficient", "C. Yu, M. T. Manry, J. Li, P. L. Narasimha",
    "An efficient hidden layer training method for the multilayer perceptron", venue="Neurocomputing 70, 525-535",
    doi="10.1016/j.neucom.2005.11.008")  # fmt: skip
NEEDS = ("residual", "jvp", "vjp", "layers", "least_squares")
CALM = ("mlp", {"widths": (1,), "loss": "mse", "data": "teacher", "n_examples": 20})


def solved(R: np.ndarray, C: np.ndarray, threshold: float) -> np.ndarray:
    """Return W of ``R W = C`` by orthogonal least squares: a basis function that depends on those before it has weight 0.

    Parameters
    ----------
    R : array of shape (n, n)
        The basis functions' products, symmetric and positive semidefinite.
    C : array of shape (n, ...)
    threshold : float
        A function is left out where no more than this share of its square is orthogonal to those before.

    Examples
    --------
    >>> solved(np.array([[4.0, 4.0], [4.0, 4.0]]), np.array([8.0, 8.0]), 1e-10).tolist()
    [2.0, 0.0]
    """
    n = len(R)
    L = np.zeros((n, n))
    kept: list[int] = []
    for k in range(n):
        # The Cholesky factor's row is the Gram-Schmidt coefficients.
        row = np.linalg.solve(L[np.ix_(kept, kept)], R[kept, k]) if kept else np.zeros(0)
        left = float(R[k, k] - row @ row)
        if left > threshold * float(R[k, k]):
            L[k, kept], L[k, k] = row, math.sqrt(left)
            kept.append(k)
    out = np.zeros_like(C)
    T = L[np.ix_(kept, kept)]
    out[kept] = np.linalg.solve(T.T, np.linalg.solve(T, C[kept]))
    return out


class OutputWeightOptimization(Method):
    """Base of the three: the hidden layer moves, then the output weights are solved for (OWO).

    ``W ← W + D diag(r)`` with G = -∂E/∂W of the hidden layer W (its bias a column, of the input 1), and then the output
    weights are the least-squares ones, ``R W_o = C`` with the products R of what the output layers are fed, by orthogonal
    least squares. The learning factors are the Newton step of ``r ↦ E(W + D diag(r))`` with Gauss-Newton second derivatives.
    """

    has_rate = False
    threshold: float = hyper(1e-10, "[0, 1)",
        "An input or a hidden unit is left out of a solution where no more than this share of its square is new.")  # fmt: skip
    words = {"schedule": "Not used."}

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step counter alone."""
        params.check_start(x, "x")
        return {"t": 0}

    def direction(self, G: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """Return D, of the shape of G, given the hidden layer's inputs with the 1."""
        raise NotImplementedError

    def factors(self, G: np.ndarray, D: np.ndarray, U: np.ndarray) -> np.ndarray:
        """Return r, given the derivatives of the residual by r, one a column."""
        raise NotImplementedError

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Move the hidden layer, and solve for the output weights."""
        t, layers = s["t"] + 1, oracle.layers(x, sample=False)
        if not isinstance(x, dict) or len(layers) < 2:
            raise ShapeError("x0: wanted a hidden layer and output layers, each with leaves of its own")
        hidden = layers[0]
        inputs = augmented([hidden])
        G = -matrix_of(oracle.vjp(x, oracle.residual(x)), hidden)
        D = self.direction(G, inputs)
        still = params.zeros_like(x)
        U = []
        for m in range(D.shape[1]):
            one = np.zeros_like(D)
            one[:, m] = D[:, m]
            U.append(
                to_numpy(oracle.jvp(x, {**still, **leaves_of(one, hidden, x)})).astype(np.float64).ravel()
            )
        moved = matrix_of(x, hidden) + D * self.factors(G, D, np.stack(U, axis=1))
        return self.output_weights({**x, **leaves_of(moved, hidden, x)}, t, oracle), {"t": t}

    def output_weights(self, x: Params, t: int, oracle: Oracle) -> Params:
        """Return x with the least-squares output weights."""
        fed = oracle.layers(x, sample=False)[1:]
        names = [name for layer in fed for name in (layer.weight, layer.bias) if name is not None]
        nothing = {**x, **{name: 0.0 * x[name] for name in names}}
        Z = augmented(fed)
        wrong = ArgumentError(
            "problem: wanted a residual of outputs over the root of the number of examples, linear in"
            f" {', '.join(names)}: one hidden layer"
        )
        if len({x[layer.weight].shape[0] for layer in fed}) > 1:
            raise wrong
        back = oracle.vjp(nothing, oracle.residual(nothing))
        C = -np.concatenate([matrix_of(back, layer) for layer in fed], axis=1).T
        W = solved(Z.T @ Z / len(Z), C, self.threshold).T
        new, start = dict(x), 0
        for layer in fed:
            stop = start + layer.inputs.shape[1] + (layer.bias is not None)
            new |= leaves_of(W[:, start:stop], layer, x)
            start = stop
        if t == 1:
            left = oracle.vjp(new, oracle.residual(new))
            eps = float(np.finfo(to_numpy(new[names[0]]).dtype).eps)
            if max(params.max_abs(left[n]) for n in names) > eps**0.5 * float(np.max(np.abs(C))):
                raise wrong
        return new


def augmented(layers: list[Layer]) -> np.ndarray:
    """Return what layers are fed, side by side, with a column of ones for each bias."""
    parts = []
    for layer in layers:
        a = to_numpy(layer.inputs).astype(np.float64)
        parts += [a] if layer.bias is None else [a, np.ones((len(a), 1))]
    return np.concatenate(parts, axis=1)


def matrix_of(x: Params, layer: Layer) -> np.ndarray:
    """Return a layer's weights, its bias as the last column."""
    W = to_numpy(x[layer.weight]).astype(np.float64)
    return W if layer.bias is None else np.column_stack([W, to_numpy(x[layer.bias]).astype(np.float64)])


def leaves_of(W: np.ndarray, layer: Layer, x: Params) -> dict[str, object]:
    """Return a layer's leaves from such a matrix."""
    if layer.bias is None:
        return {layer.weight: like(W, x[layer.weight])}
    return {layer.weight: like(W[:, :-1], x[layer.weight]), layer.bias: like(W[:, -1], x[layer.bias])}


@register(
    "hwo",
    source=RANE,
    where="the OWO-HWO algorithm with its optimal learning factor",
    also=(YU,),
    needs=NEEDS,
    calm_problem=CALM,
)
class HWO(OutputWeightOptimization):
    """Hidden weight optimisation: the hidden layer's gradient over the inputs' products, by an optimal factor.

    ``D R_x = G``, ``R_x = mean x xᵀ`` of the inputs with a 1, G = -∂E/∂W; ``W ← W + z D`` with
    ``z = <G, D> / ‖J D‖²``, J D the residual's derivative along D; then the output weights are solved for. It is
    steepest descent on whitened inputs.

    Notes
    -----
    For networks with one hidden layer and squared error, direct weights from inputs to outputs among the output weights: the
    first of the problem's `layers` is hidden, in all others the residual is linear. It works on all examples of the step.

    Raises
    ------
    ArgumentError, ShapeError
        The network is of another kind.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("mlp", widths=(4,), loss="mse", data="teacher")
    >>> r = refopt.minimize(p, "hwo", steps=40)
    >>> bool(r.fun < 0.06)
    True
    """

    def direction(self, G: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """Return G over the inputs' products."""
        return solved(inputs.T @ inputs / len(inputs), G.T, self.threshold).T

    def factors(self, G: np.ndarray, D: np.ndarray, U: np.ndarray) -> np.ndarray:
        """Return z, once a column."""
        along = U.sum(axis=1)
        square = float(along @ along)
        return np.full(D.shape[1], float(np.sum(G * D)) / square if square > 0.0 else 0.0)


@register("oig-bp", source=RANE, where="the OIG-BP algorithm", needs=NEEDS, calm_problem=CALM)
class OIGBP(OutputWeightOptimization):
    """Optimal input gains on back-propagation: a learning factor for each input, by a Newton step.

    ``W ← W + G diag(r)`` with G = -∂E/∂W, ``H r = g``, ``g_m = Σ_k G_km D_km``, ``H = UᵀU``, D = G, and in U's column m the
    residual's derivative along D's column m; then the output weights are solved for.

    Notes
    -----
    As of `hwo`. With equal gains it is steepest descent with `hwo`'s factor.

    Raises
    ------
    ArgumentError, ShapeError
        The network is of another kind.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("mlp", widths=(4,), loss="mse", data="teacher")
    >>> r = refopt.minimize(p, "oig-bp", steps=40)
    >>> bool(r.fun < 0.06)
    True
    """

    def direction(self, G: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """Return G."""
        return G

    def factors(self, G: np.ndarray, D: np.ndarray, U: np.ndarray) -> np.ndarray:
        """Return the gains."""
        return solved(U.T @ U, np.sum(G * D, axis=0), self.threshold)


@register("oig-hwo", source=RANE, where="the OIG-HWO algorithm", also=(YU,), needs=NEEDS, calm_problem=CALM)
class OIGHWO(OIGBP):
    """Optimal input gains on hidden weight optimisation: `oig-bp` with `hwo`'s direction for G.

    ``W ← W + D diag(r)`` with ``D R_x = G``, ``H r = g``, ``g_m = Σ_k G_km D_km``, ``H = UᵀU``, and in U's column m the
    residual's derivative along D's column m; then the output weights are solved for.

    Notes
    -----
    As of `hwo`. The gains stand on the columns of D, as this library reads the paper.

    Raises
    ------
    ArgumentError, ShapeError
        The network is of another kind.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("mlp", widths=(4,), loss="mse", data="teacher")
    >>> r = refopt.minimize(p, "oig-hwo", steps=40)
    >>> bool(r.fun < 0.06)
    True
    """

    direction = HWO.direction
