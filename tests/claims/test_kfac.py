"""Where K-FAC is exact, and what it is invariant to."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle


def _linear() -> object:
    """One linear layer with squared loss: 3 inputs, 2 outputs."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((40, 3))
    y = a @ rng.standard_normal((3, 2)) + 0.3 * rng.standard_normal((40, 2))
    return refopt.problem("mlp", widths=(), loss="mse", data=(a, y))


EXACT = {"damping": 1e-24, "eta": 0.0, "statistics_share": 1.0, "model_share": 1.0}


@pytest.mark.claim("kfac")
def test_exact_for_one_linear_layer() -> None:
    """One linear layer with squared loss: A x Gamma is the Gauss-Newton matrix, so one undamped step
    solves it (1e-10).

    With the exact Gamma = I of squared loss, A x Gamma is the Gauss-Newton matrix, and one undamped
    step lands on the least-squares solution.
    """
    p = _linear()
    o = refopt.optimizer("kfac", **EXACT)
    x = p.start(0)
    oracle = Oracle(p)
    oracle.begin(1)
    layers = p.layers(x, None)
    from refopt.optimizers.second_order.kfac import damped_inverses, factors

    a, _ = factors(layers)[layers[0].weight]
    inverses = {layers[0].weight: damped_inverses(a, np.eye(2), 1e-12)}
    step = o.proposal(p.grad(x), inverses, layers)
    new = {k: x[k] + step[k] for k in x}
    design = np.concatenate([p.inputs, np.ones((40, 1))], axis=1)
    want = np.linalg.lstsq(design, p.targets, rcond=None)[0].T
    np.testing.assert_allclose(new["W1"], want[:, :-1], rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(new["b1"], want[:, -1], rtol=1e-10, atol=1e-11)
    # A x Gamma with Gamma = I against the Gauss-Newton matrix, column by column.
    for name in x:
        for index in np.ndindex(x[name].shape):
            v = {k: np.zeros_like(u) for k, u in x.items()}
            v[name][index] = 1.0
            ggn = oracle.ggn(x, v)
            bar = np.concatenate([v["W1"], v["b1"][:, None]], axis=1) @ a
            np.testing.assert_allclose(ggn["W1"], bar[:, :-1], atol=1e-13)
            np.testing.assert_allclose(ggn["b1"], bar[:, -1], atol=1e-13)


@pytest.mark.claim("kfac")
@pytest.mark.parametrize("rescale", [True, False])
def test_invariant_to_affine_inputs(rescale: bool) -> None:
    """The undamped step does not change under an affine map of the network's inputs (1e-8)."""
    rng = np.random.default_rng(1)
    inputs, targets = rng.standard_normal((60, 4)), rng.standard_normal((60, 2))
    t, c = rng.standard_normal((4, 4)) + 3 * np.eye(4), rng.standard_normal(4)
    a = refopt.problem("mlp", widths=(3,), loss="mse", data=(inputs, targets))
    b = refopt.problem("mlp", widths=(3,), loss="mse", data=(inputs @ t.T + c, targets))
    x = a.start(0)
    inverse = np.linalg.inv(t)
    y = {**x, "W1": x["W1"] @ inverse, "b1": x["b1"] - x["W1"] @ inverse @ c}
    np.testing.assert_allclose(a.value(x), b.value(y), rtol=1e-12)
    o = refopt.optimizer("kfac", rescale=rescale, momentum=False, **EXACT)
    # The factors must be invertible for the claim: squared loss, widths below the batch size.
    oa, ob = Oracle(a, 0), Oracle(b, 0)
    oa.begin(1)
    ob.begin(1)
    x, _ = o.step(x, o.init(x), oa)
    y, _ = o.step(y, o.init(y), ob)
    np.testing.assert_allclose(y["W1"] @ t, x["W1"], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(a.value(x), b.value(y), rtol=1e-8)
