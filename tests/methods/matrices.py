"""Brute-force curvature matrices of a problem: column by column, example by example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from refopt.core.params import flatten, leaves, rebuild

H = 1e-30  # a complex step has no cancellation, so it can be this small


def shifted(x: Any, vector: np.ndarray) -> Any:
    """x + vector, complex where `vector` is, keeping x's structure."""
    out, start = {}, 0
    for name, leaf in leaves(x).items():
        out[name] = leaf + vector[start : start + leaf.size].reshape(leaf.shape)
        start += leaf.size
    return rebuild(x, out)


def complex_columns(fn: Callable[[Any], Any], x: Any) -> np.ndarray:
    """The Jacobian of fn at x, one complex step a column; fn's values are flattened."""
    n = flatten(x).size
    columns = []
    for j in range(n):
        step = np.zeros(n, dtype=complex)
        step[j] = 1j * H
        columns.append(flatten(fn(shifted(x, step))).imag / H)
    return np.array(columns).T


def product_columns(fn: Callable[[Any], Any], x: Any) -> np.ndarray:
    """The matrix of the linear map fn, one unit vector a column."""
    n = flatten(x).size
    zero = rebuild(x, {k: np.zeros_like(v) for k, v in leaves(x).items()})
    return np.array([flatten(fn(shifted(zero, e))) for e in np.eye(n)]).T


def ggn_product(problem: Any, x: Any, v: Any, batch: Any) -> Any:
    u = problem.loss_hessian(x, problem.jvp(x, v, batch=batch), batch=batch)
    return problem.vjp(x, u, batch=batch)


def flat_rows(grads: Any) -> np.ndarray:
    """Example gradients (new first axis) as rows."""
    parts = [np.asarray(g).reshape(g.shape[0], -1) for g in leaves(grads).values()]
    return np.concatenate(parts, axis=1)


def layer_gradients(layers: Any, x: dict[str, Any]) -> dict[str, np.ndarray]:
    """Each example's loss gradient from the layers' inputs and output gradients, by a loop."""
    out: dict[str, np.ndarray] = {}
    for layer in layers:
        out[layer.weight] = np.array([np.outer(g, a) for g, a in zip(layer.output_grads, layer.inputs)])
        out[layer.bias] = np.array(layer.output_grads)
    return {k: out[k] for k in x}


def close(got: np.ndarray, want: np.ndarray, rtol: float = 1e-12) -> None:
    """Compare relative to the largest entry."""
    assert got.shape == want.shape
    scale = np.max(np.abs(want))
    assert scale > 0
    np.testing.assert_allclose(got, want, rtol=0, atol=rtol * scale)


def check_network(problem: Any, x: Any, batch: Any) -> None:
    """Hold hvp, GGN, Fisher and empirical Fisher of a network to brute force, on a batch."""
    indices = np.arange(problem.n_examples) if batch is None else batch
    n = flatten(x).size
    l2 = problem.l2 * np.eye(n)

    close(
        flatten(problem.grad(x, batch)), complex_columns(lambda w: problem.value(w, batch).reshape(1), x)[0]
    )
    hessian = complex_columns(lambda w: problem.grad(w, batch), x)
    close(product_columns(lambda v: problem.hvp(x, v, batch), x), hessian)
    close(hessian, hessian.T)

    ggn, fisher, empirical = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n))
    for i in indices:
        one = np.array([i])
        jacobian = complex_columns(lambda w, one=one: problem.predict(w, one), x)
        z = problem.predict(x, one)[0]
        if problem.loss.least_squares:
            output_hessian = np.eye(z.size)
            fisher += jacobian.T @ jacobian  # E g g^T over y = z + noise of unit covariance
        else:
            p = np.exp(z - z.max())
            p /= p.sum()
            output_hessian = np.diag(p) - np.outer(p, p)
            for c in range(z.size):  # E g g^T over the model's labels, by enumeration
                g = jacobian.T @ (p - np.eye(z.size)[c])
                fisher += p[c] * np.outer(g, g)
        ggn += jacobian.T @ output_hessian @ jacobian
        g = flatten(problem.grad(x, one))
        empirical += np.outer(g, g)
    ggn, fisher, empirical = ggn / len(indices), fisher / len(indices), empirical / len(indices)
    close(product_columns(lambda v: ggn_product(problem, x, v, batch), x), ggn)
    close(ggn, fisher)
    each = flat_rows(problem.example_grads(x, batch))
    close(each.T @ each / len(indices), empirical)

    plain = flat_rows(layer_gradients(problem.layers(x, batch), x))
    close(plain + problem.l2 * flatten(x), each)
    inner = flatten(problem.vjp(x, problem.loss_gradient(x, batch), batch))
    close(inner + problem.l2 * flatten(x), flatten(problem.grad(x, batch)))
    if len(problem.names) == 1:  # linear in the parameters: Gauss-Newton is the Hessian
        close(ggn + l2, hessian)


def check_sampled_layers(problem: Any, x: Any, draws: int) -> None:
    """The average of g g^T over sampled labels approaches the Gauss-Newton matrix like 1/sqrt(draws)."""
    ggn = product_columns(lambda v: ggn_product(problem, x, v, None), x)
    total, squares = np.zeros_like(ggn), np.zeros_like(ggn)
    rng = np.random.default_rng(0)
    for _ in range(draws):
        g = flat_rows(layer_gradients(problem.layers(x, rng=rng), x))
        sample = g.T @ g / problem.n_examples
        total += sample
        squares += sample**2
    mean = total / draws
    deviation = np.sqrt(np.maximum(squares / draws - mean**2, 0) / draws)
    used = deviation > 1e-14
    assert used.mean() > 0.5
    scores = (mean - ggn)[used] / deviation[used]
    # Standard scores: mean square about 1 (they are correlated); a factor 2 in the matrix gives > 50.
    assert 0.3 < np.mean(scores**2) < 2.5
    assert np.max(np.abs(scores)) < 6
