"""Gradients that torch takes through matrix functions and transport."""

from __future__ import annotations

import pytest
import refopt

torch = pytest.importorskip("torch")


def symmetric(values) -> object:
    torch.manual_seed(0)
    Q = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]
    A = (Q * torch.tensor(values, dtype=torch.float64)) @ Q.T
    return (A + A.T) / 2


@pytest.mark.parametrize("name", ["sqrtm-eigh", "spd-log", "spd-exp", "spd-power"])
@pytest.mark.parametrize("values", [[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 2.0, 2.0], [0.5, 1.0, 2.0, 3.0]])
def test_equal_eigenvalues_do_a_gradient_no_harm(name, values) -> None:
    """Beside differences; torch's own derivative of eigenvectors is not a number there."""
    A = torch.eye(4, dtype=torch.float64) if len(set(values)) == 1 else symmetric(values)
    f = refopt.get(name)
    assert torch.autograd.gradcheck(lambda X: f((X + X.T) / 2), (A.requires_grad_(),))
    plain = f(A.detach())
    assert torch.equal(f(A).detach(), plain) and not plain.requires_grad


def test_second_derivatives_and_maps_of_a_root() -> None:
    root = refopt.get("sqrtm-eigh")
    A = symmetric([0.5, 1.0, 2.0, 3.0])
    assert torch.autograd.gradgradcheck(lambda X: root((X + X.T) / 2), (A.clone().requires_grad_(),))
    stack = torch.stack([A, 2 * A])
    mapped = torch.func.vmap(torch.func.grad(lambda a: root(a, check=False).sum()))(stack)
    torch.testing.assert_close(mapped[1], mapped[0] / 2**0.5, rtol=1e-10, atol=1e-12)
    Z = (A + 1j * torch.tril(A, -1) - 1j * torch.tril(A, -1).T).requires_grad_()
    assert torch.autograd.gradcheck(lambda X: root((X + X.mH) / 2), (Z,))


def cloud():
    torch.manual_seed(0)
    x, y = torch.rand(5, 2, dtype=torch.float64), torch.rand(4, 2, dtype=torch.float64)
    a, b = (torch.full((n,), 1.0 / n, dtype=torch.float64) for n in (5, 4))
    return [v.requires_grad_() for v in (a, b, torch.cdist(x, y) ** 2)]


def test_the_value_of_exact_transport_has_the_program_s_derivatives() -> None:
    """By the cost the plan, by the masses the potentials: a shift of mass costs what a second solve says."""
    a, b, C = cloud()
    r = refopt.get("exact-ot")(a, b, C)
    r.value.backward()
    torch.testing.assert_close(C.grad, r.plan)
    torch.testing.assert_close(a.grad, r.potentials[0])
    torch.testing.assert_close(b.grad, r.potentials[1])
    move = torch.tensor([1e-4, 0.0, 0.0, 0.0, -1e-4], dtype=torch.float64)
    moved = refopt.get("exact-ot")(a.detach() + move, b.detach(), C.detach()).value
    # A vertex of the program: one-sided derivatives on both sides of the potentials' one.
    back = refopt.get("exact-ot")(a.detach() - move, b.detach(), C.detach()).value
    slope, r = float(a.grad @ move), r.value.detach()
    assert float(r - back) - 1e-9 <= slope <= float(moved - r) + 1e-9


@pytest.mark.parametrize("name", ["exact-ot", "sinkhorn", "sinkhorn-log", "quadratic-ot", "sparse-ot"])
def test_gradients_are_finite_and_nothing_warns(name) -> None:
    a, b, C = cloud()
    value = refopt.get(name)(a, b, C, *([] if name == "exact-ot" else [0.5])).value
    value.backward()
    for v in (a, b, C):
        assert bool(torch.isfinite(v.grad).all()) and float(v.grad.abs().max()) > 1e-3


@pytest.mark.filterwarnings("ignore:Sparse CSR:UserWarning")
@pytest.mark.parametrize("layout", ["csr", "coo"])
def test_sparse_torch_matrices_are_solved(layout) -> None:
    """As operators: beside the dense matrix; what reads entries, and shapes that do not fit, are told."""
    A = 3.0 * torch.eye(6, dtype=torch.float64) - torch.diag(torch.ones(5, dtype=torch.float64), 1)
    A = (A + A.T) / 2
    b = torch.arange(6.0, dtype=torch.float64)
    sparse = A.to_sparse_csr() if layout == "csr" else A.to_sparse()
    r = refopt.get("cg")(sparse, b, rtol=1e-12)
    assert r.success
    torch.testing.assert_close(r.x, torch.linalg.solve(A, b), rtol=1e-10, atol=1e-12)
    with pytest.raises(refopt.errors.ShapeError, match="do not fit"):
        refopt.get("cg")(sparse, b[:5])
    with pytest.raises(refopt.errors.ArgumentTypeError, match="jacobi"):
        refopt.get("pcg")(sparse, b, preconditioner="jacobi")
