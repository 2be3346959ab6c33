"""`refopt.from_torch(module, loss, data)`: a network that somebody brings, beside the same network of the zoo."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

torch = pytest.importorskip("torch")
N = 40


def both(loss):
    """The zoo's MLP and a module of the same weights on the same data."""
    rng = np.random.default_rng(0)
    a, y = rng.standard_normal((N, 5)), rng.standard_normal((N, 3))
    labels = y.argmax(1)
    p = refopt.problem("mlp", widths=(4,), loss=loss, data=(a, labels if loss == "cross-entropy" else y))
    x = p.start(1)
    net = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)).double()
    names = {"W1": "0.weight", "b1": "0.bias", "W2": "2.weight", "b2": "2.bias"}
    net.load_state_dict({names[k]: torch.as_tensor(v) for k, v in x.items()})
    targets = torch.as_tensor(labels if loss == "cross-entropy" else y)
    q = refopt.from_torch(net, loss, (torch.as_tensor(a), targets))
    return p, x, q, {names[k]: v for k, v in x.items()}, names


def close(a, b, names, rtol=1e-12):
    for k, v in a.items():
        np.testing.assert_allclose(np.asarray(b[names[k]]), v, rtol=rtol, atol=1e-14)


@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
@pytest.mark.parametrize("batch", [None, np.array([3, 1, 7, 7])])
def test_every_capability_is_the_zoo_s(loss, batch) -> None:
    p, x, q, y, names = both(loss)
    rng = np.random.default_rng(1)
    v = {k: rng.standard_normal(a.shape) for k, a in x.items()}
    w = {names[k]: a for k, a in v.items()}
    np.testing.assert_allclose(q.value(y, batch), p.value(x, batch), rtol=1e-14)
    close(p.grad(x, batch), q.grad(y, batch), names)
    close(p.hvp(x, v, batch), q.hvp(y, w, batch), names)
    close(p.example_grads(x, batch), q.example_grads(y, batch), names)
    r = p.residual(x, batch)
    np.testing.assert_allclose(q.residual(y, batch), r, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(q.jvp(y, w, batch), p.jvp(x, v, batch), rtol=1e-12, atol=1e-14)
    close(p.vjp(x, r, batch), q.vjp(y, r, batch), names)
    np.testing.assert_allclose(q.loss_gradient(y, batch), p.loss_gradient(x, batch), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(
        q.loss_hessian(y, r, batch), p.loss_hessian(x, r, batch), rtol=1e-12, atol=1e-15
    )
    for mine, its in zip(q.layers(y, batch), p.layers(x, batch)):
        assert (mine.weight, mine.bias) == (names[its.weight], names[its.bias])
        np.testing.assert_allclose(mine.inputs, its.inputs, rtol=1e-13)
        np.testing.assert_allclose(mine.output_grads, its.output_grads, rtol=1e-12, atol=1e-14)
    assert q.least_squares == p.least_squares


@pytest.mark.parametrize("name", ["kfac", "adahessian", "levenberg-marquardt", "svrg", "muon"])
def test_methods_run_on_a_network_as_on_the_zoo_s(name) -> None:
    """In NumPy and in torch, seeds and batches as there."""
    p, x, q, y, names = both("mse")
    batch = {} if name == "levenberg-marquardt" else {"batch_size": 10}
    a = refopt.minimize(p, name, x, steps=3, **batch)
    b = refopt.minimize(q, name, y, steps=3, **batch)
    c = refopt.minimize(q, name, steps=3, **batch)
    close(a.x, b.x, names, rtol=1e-7)
    close(a.x, {k: v.numpy() for k, v in c.x.items()}, names, rtol=1e-7)


@pytest.mark.parametrize("name", ["ggn", "hessian", "fisher", "empirical-fisher", "kfac-factors"])
def test_curvature_of_a_network(name) -> None:
    p, x, q, y, _ = both("cross-entropy")
    C, D = refopt.curvature(name, p, x), refopt.curvature(name, q, y)
    np.testing.assert_allclose(D.dense(), C.dense(), rtol=1e-9, atol=1e-13)


def test_a_dataset_a_convolution_and_a_loss_of_one_s_own() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.GroupNorm(1, 2), torch.nn.Flatten(), torch.nn.Linear(18, 3)
    ).double()
    data = torch.utils.data.TensorDataset(torch.randn(12, 1, 5, 5).double(), torch.randint(0, 3, (12,)))
    q = refopt.from_torch(net, torch.nn.functional.cross_entropy, data)
    assert refopt.get("derivative-check")(q, q.x0).passed
    assert refopt.minimize(q, "adahessian", steps=2, batch_size=4).success
    before = [p.detach().clone() for p in net.parameters()]
    refopt.minimize(q, "adamw", steps=2)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters()))
    with pytest.raises(refopt.errors.CapabilityError, match="layers, which TorchModule does not offer"):
        refopt.curvature("kfac-factors", q, q.x0)


def test_what_cannot_be_is_told() -> None:
    data = torch.randn(4, 2), torch.randn(4, 1)
    net = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Dropout(0.5))
    with pytest.raises(refopt.errors.ArgumentError, match=r"eval\(\)"):
        refopt.from_torch(net, "mse", data)
    refopt.from_torch(net.eval(), "mse", data)
    with pytest.raises(refopt.errors.ArgumentError, match="mix"):
        refopt.from_torch(torch.nn.BatchNorm1d(2), "mse", data)
    with pytest.raises(refopt.errors.ArgumentError, match="loss"):
        refopt.from_torch(net, "hinge", data)
    with pytest.raises(refopt.errors.ArgumentTypeError, match="loss"):
        refopt.from_torch(net, None, data)
    with pytest.raises(refopt.errors.ArgumentTypeError, match="data"):
        refopt.from_torch(net, "mse", data[0])
    with pytest.raises(refopt.errors.ArgumentTypeError, match="fun"):
        refopt.from_torch(3, data[0])
