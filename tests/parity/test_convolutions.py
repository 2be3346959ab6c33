"""K-FAC's layers of a convolution in PyTorch: patches beside autodiff, factors beside a loop, blocks beside brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.curvature.exact import per_example
from refopt.curvature.kronecker import factors

torch = pytest.importorskip("torch")

FORMS = [
    {"stride": (2, 1), "padding": (1, 2)},
    {"dilation": 2, "padding": (2, 1)},
    {"kernel_size": (3, 2), "padding": "same", "dilation": (1, 2)},
    {"kernel_size": (2, 4), "padding": "same", "padding_mode": "circular"},
    {"padding": 1, "padding_mode": "reflect", "stride": 3},
    {"padding": "valid", "bias": False},
]


def network(
    form: dict[str, Any], loss: str = "cross-entropy", size: tuple[int, int] = (7, 6), n: int = 5
) -> Any:
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(2, 3, **{"kernel_size": 3, **form})
    before = torch.nn.Sequential(conv, torch.nn.Tanh(), torch.nn.Flatten()).double()
    a = torch.randn(n, 2, *size).double()
    last = torch.nn.Linear(before(a).shape[1], 3).double()
    y = torch.randint(0, 3, (n,)) if loss == "cross-entropy" else torch.randn(n, 3).double()
    return refopt.from_torch(torch.nn.Sequential(*before, last), loss, (a, y)), a, conv


@pytest.mark.parametrize("form", FORMS)
def test_patches_times_gradients_are_the_examples_gradients(form: dict[str, Any]) -> None:
    """Stride, padding, its modes, dilation and a missing bias: as torch's autodiff, an example at a time."""
    p, _, _ = network(form)
    want, got = p.example_grads(p.x0), per_example(p.layers(p.x0), p.x0)
    for k, each in want.items():
        assert got[k].shape == each.shape and float(each.abs().max()) > 1e-3
        np.testing.assert_allclose(got[k], each, rtol=1e-12, atol=1e-14)
    assert refopt.get("derivative-check")(p, p.x0).passed


def patches(a: np.ndarray, kernel: tuple[int, int], stride: Any, padding: Any, dilation: Any) -> np.ndarray:
    """All patches (B, T, C k1 k2), by loops over positions and offsets, with zeros beyond the margins."""
    B, C, H, W = a.shape
    down, right = ((size + 2 * p - d * (k - 1) - 1) // s + 1
                   for size, p, d, k, s in zip((H, W), padding, dilation, kernel, stride))  # fmt: skip
    out = np.zeros((B, down * right, C, *kernel))
    for i in range(down):
        for j in range(right):
            for u in range(kernel[0]):
                for v in range(kernel[1]):
                    row, column = (
                        i * stride[0] - padding[0] + u * dilation[0],
                        j * stride[1] - padding[1] + v * dilation[1],
                    )
                    if 0 <= row < H and 0 <= column < W:
                        out[:, i * right + j, :, u, v] = a[:, :, row, column]
    return out.reshape(B, down * right, -1)


def test_factors_of_a_convolution_are_the_paper_s() -> None:
    """KFC by loops: ``Ω = mean_b Σ_t ā āᵀ`` of patches with a one, ``Γ = mean_b mean_t s sᵀ``, to 1e-12; and its products."""
    stride, padding, dilation = (2, 1), (1, 2), (1, 2)
    p, a, _ = network({"stride": stride, "padding": padding, "dilation": dilation})
    found = p.layers(p.x0)[0]
    all_patches, B = patches(a.numpy(), (3, 3), stride, padding, dilation), len(a)
    np.testing.assert_array_equal(found.inputs, all_patches)
    T = all_patches.shape[1]
    omega, gamma = np.zeros((19, 19)), np.zeros((3, 3))
    for b in range(B):
        for t in range(T):
            one, s = np.append(all_patches[b, t], 1.0), found.output_grads[b, t].numpy()
            omega += np.outer(one, one) / B
            gamma += np.outer(s, s) / (B * T)
    C = refopt.curvature("kfac-factors", p, p.x0, labels="data")
    for got, want in zip(C.factors["0.weight"], (omega, gamma)):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)
    block = np.kron(gamma, omega).reshape(3, 19, 3, 19)
    dense = np.asarray(C.dense())
    np.testing.assert_allclose(dense[:54, :54], block[:, :18, :, :18].reshape(54, 54), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(dense[54:57, :54], block[:, 18, :, :18].reshape(3, 54), rtol=1e-12, atol=1e-14)
    v = {k: torch.randn_like(t) for k, t in p.x0.items()}
    flat = np.concatenate([t.numpy().ravel() for t in v.values()])
    solved = np.concatenate([t.numpy().ravel() for t in C.solve(v, damping=0.1).values()])
    np.testing.assert_allclose(
        solved, np.linalg.solve(dense + 0.1 * np.eye(len(flat)), flat), rtol=1e-8, atol=1e-12
    )
    np.testing.assert_allclose(
        np.concatenate([t.numpy().ravel() for t in C.diagonal().values()]), np.diag(dense), rtol=1e-12
    )


class _Units:
    """In a generator's place: the k-th draw is sqrt(C) e_k, so that the C draws have exactly unit covariance."""

    def __init__(self, k: int) -> None:
        self.k = k

    def standard_normal(self, shape: tuple[int, int]) -> np.ndarray:
        return np.tile(np.sqrt(shape[1]) * np.eye(shape[1])[self.k], (shape[0], 1))


@pytest.mark.parametrize("layer", ["0", "3"])
def test_one_example_and_one_position_is_the_dense_block(layer: str) -> None:
    """Where the kernel is the image and the batch one example the blocks are those of the dense Gauss-Newton matrix."""
    p, _, _ = network({"kernel_size": (4, 3)}, "mse", (4, 3), n=1)
    draws = [factors(p.layers(p.x0, rng=_Units(k)))[f"{layer}.weight"] for k in range(3)]
    A, G = draws[0][0].numpy(), sum(g.numpy() for _, g in draws) / 3
    C = refopt.curvature("ggn", p, p.x0)
    dense, at, slices = np.asarray(C.dense()), 0, {}
    for k, v in p.x0.items():
        slices[k] = np.arange(at, at + v.numel())
        at += v.numel()
    out, n = G.shape[0], A.shape[0] - 1
    order = np.concatenate(
        [slices[f"{layer}.weight"].reshape(out, n), slices[f"{layer}.bias"][:, None]], axis=1
    ).ravel()
    block = dense[np.ix_(order, order)]
    np.testing.assert_allclose(np.kron(G, A), block, rtol=0, atol=1e-13 * np.abs(block).max())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kfac", {}),
        ("singd", {"lr": 0.05}),
        ("ingd", {"lr": 0.05}),
        ("sophia", {"estimator": "gnb", "lr": 0.01}),
    ],
)
def test_methods_run_on_a_small_cnn(name: str, options: dict[str, Any]) -> None:
    """The loss falls by half; tensors and NumPy arrays take the same steps."""
    p, _, _ = network(FORMS[0])
    r = refopt.minimize(p, name, steps=30, **options)
    assert r.success and r.fun < 0.5 * float(p.value(p.x0))
    start = {k: v.numpy() for k, v in p.x0.items()}
    few, same = (refopt.minimize(p, name, x, steps=3, **options).x for x in (None, start))
    for k, v in few.items():
        assert tuple(same[k].shape) == tuple(p.x0[k].shape)
        np.testing.assert_allclose(same[k], v, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(("name", "options"), [
    ("ggn", {}), ("hessian", {}), ("fisher", {}), ("fisher", {"samples": 2}), ("empirical-fisher", {}), ("kfac-factors", {"samples": 2}),
])  # fmt: skip
def test_curvature_of_a_small_cnn(name: str, options: dict[str, Any]) -> None:
    """Products, dense matrices and solutions belong together."""
    p, _, _ = network(FORMS[1], size=(5, 5))
    C = refopt.curvature(name, p, p.x0, **options)
    dense = np.asarray(C.dense())
    np.testing.assert_allclose(dense, dense.T, rtol=0, atol=1e-12 * np.abs(dense).max())
    v = {k: torch.randn_like(t) for k, t in p.x0.items()}
    flat = lambda x: np.concatenate([t.numpy().ravel() for t in x.values()])  # noqa: E731
    np.testing.assert_allclose(flat(C @ v), dense @ flat(v), rtol=1e-9, atol=1e-12)


def test_what_is_refused() -> None:
    """Groups by name; and methods for layers that are used once say so, and name those that take both."""
    p, _, _ = network({"groups": 1})
    for name in ("mkor", "adafisher", "tract", "randomized-backprop"):
        with pytest.raises(refopt.errors.CapabilityError, match=r"0\.weight is used at 20 positions .*kfac"):
            refopt.minimize(p, name, steps=1)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, groups=2), torch.nn.Flatten(), torch.nn.Linear(4, 2)
    ).double()
    q = refopt.from_torch(net, "cross-entropy", (torch.randn(4, 2, 3, 3).double(), torch.randint(0, 2, (4,))))
    with pytest.raises(
        refopt.errors.CapabilityError, match=r"0 is a convolution of 2 groups.*wanted groups = 1"
    ):
        refopt.minimize(q, "kfac", steps=1)
    assert refopt.minimize(q, "adam", steps=1).success


def test_a_linear_layer_over_a_sequence() -> None:
    """A Linear that every example uses at several positions is the same as a convolution of width one."""
    torch.manual_seed(0)
    shared = torch.nn.Sequential(
        torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(15, 2)
    ).double()
    p = refopt.from_torch(shared, "mse", (torch.randn(6, 5, 4).double(), torch.randn(6, 2).double()))
    want, got = p.example_grads(p.x0), per_example(p.layers(p.x0), p.x0)
    for k in want:
        np.testing.assert_allclose(got[k], want[k], rtol=1e-12, atol=1e-14)
    assert refopt.minimize(p, "kfac", steps=3).success
