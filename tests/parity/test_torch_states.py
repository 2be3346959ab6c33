"""`refopt.as_torch`: its states as torch's own tools take them, and graphs through a step."""

from __future__ import annotations

import copy

import pytest
import refopt

torch = pytest.importorskip("torch")


def made(name, params, **kw):
    return refopt.as_torch(name, params, dialect="torch", **kw)


def stepped(o, params, steps):
    for _ in range(steps):
        o.zero_grad()
        loss = sum((p**2).sum() * (k + 1) for k, p in enumerate(params))
        loss.backward()
        o.step(lambda: loss)
    return [p.detach().clone() for p in params]


def pair():
    return [torch.nn.Parameter(torch.tensor([1.0, -2.0])), torch.nn.Parameter(torch.tensor([[0.5], [3.0]]))]


def test_the_count_of_steps_is_a_tensor_of_each_parameter() -> None:
    params = pair()
    o = made("adamw", params, lr=0.1)
    stepped(o, params, 3)
    counts = [o.state[p]["step"] for p in params]
    assert [int(c) for c in counts] == [3, 3]
    assert all(torch.is_tensor(c) for c in counts)
    assert counts[0] is not counts[1]


@pytest.mark.parametrize("name", ["adam", "momentum", "muon"])
def test_a_state_whose_groups_lack_a_number_takes_the_optimizer_s_own(name) -> None:
    """As torch's optimizers load what was saved before a flag existed."""
    params = pair()
    o = made(name, params, lr=0.1)
    stepped(o, params, 2)
    old = copy.deepcopy(o.state_dict())
    for group in old["param_groups"]:
        del group["maximize"], group["weight_decay"]
    twins = [torch.nn.Parameter(p.detach().clone()) for p in params]
    loaded = made(name, twins, lr=0.1)
    loaded.load_state_dict(old)
    assert loaded.param_groups[0]["maximize"] is False
    assert loaded.param_groups[0]["weight_decay"] == o.param_groups[0]["weight_decay"]
    for a, b in zip(stepped(o, params, 2), stepped(loaded, twins, 2)):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["adam", "momentum", "muon", "lbfgs", "prodigy", "sam"])
def test_a_state_follows_the_order_of_the_parameters_and_not_their_names(name) -> None:
    kw = {"base": "momentum"} if name == "sam" else {}
    params = pair()
    o = refopt.as_torch(name, params, **kw)
    stepped(o, params, 3)
    twins = [torch.nn.Parameter(p.detach().clone()) for p in params]
    named = refopt.as_torch(name, [("first", twins[0]), ("0", twins[1])], **kw)
    named.load_state_dict(copy.deepcopy(o.state_dict()))
    assert_same(named.state_dict()["state"], o.state_dict()["state"])
    for a, b in zip(stepped(o, params, 3), stepped(named, twins, 3)):
        assert torch.equal(a, b)


def assert_same(a, b) -> None:
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for k in a:
            assert_same(a[k], b[k])
    elif torch.is_tensor(a):
        assert torch.equal(a, b)
    else:
        assert a == b


def test_a_rate_may_be_a_tensor_of_one_number() -> None:
    params, twins = pair(), pair()
    stepped(made("adam", params, lr=torch.tensor([0.125])), params, 2)
    stepped(made("adam", twins, lr=0.125), twins, 2)
    assert all(torch.equal(p, q) for p, q in zip(params, twins))


def test_rprop_s_rate_is_its_first_step_and_schedulers_take_it() -> None:
    params, twins = pair(), pair()
    mine, its = made("rprop", params, lr=0.25), torch.optim.Rprop(twins, lr=0.25)
    for o in (mine, its):
        torch.optim.lr_scheduler.StepLR(o, 1)
    assert mine.param_groups[0]["lr"] == 0.25
    for a, b in zip(stepped(mine, params, 6), stepped(its, twins, 6)):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["adam", "momentum", "rmsprop", "adamax", "lion"])
def test_a_graph_goes_through_every_step(name) -> None:
    """Derivatives of the point after two steps by the start and both gradients, beside differences."""
    start = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    grads = torch.tensor([[0.3, 1.0, -2.0], [0.1, -0.7, 0.4]], dtype=torch.float64, requires_grad=True)

    def two_steps(x, gs):
        p = x.clone()
        o = refopt.as_torch(name, [p], lr=0.1, weight_decay=0.5, differentiable=True)
        for g in gs:
            p.grad = g
            o.step()
        return p

    assert torch.autograd.gradcheck(two_steps, (start, grads))


@pytest.mark.parametrize(("name", "cls"), [("adam", "Adam"), ("rmsprop", "RMSprop"), ("adamax", "Adamax")])
def test_the_derivatives_are_torch_s(name, cls, doubles) -> None:
    # Of one step: torch's own Adam writes over what a second one's derivative needs.
    g = torch.tensor([0.3, 1.0, -2.0], requires_grad=True)
    found = []
    for make in (lambda p, **kw: made(name, p, **kw), getattr(torch.optim, cls)):
        p = torch.tensor([1.0, -2.0, 0.5], requires_grad=True).clone()
        o = make([p], lr=0.1, eps=0.01, differentiable=True)
        p.grad = g
        o.step()
        found.append(torch.autograd.grad(p.sum(), g)[0])
    torch.testing.assert_close(*found, rtol=1e-10, atol=0)


@pytest.fixture
def doubles():
    """Torch counts steps in its default dtype, and corrects the averages in it."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", ["rprop", "adasmooth"])
def test_a_state_array_called_step_is_no_count_of_steps(name) -> None:
    params = pair()
    o = refopt.as_torch(name, params)
    method = refopt.optimizer(name)
    x = {f"p{i}": p.detach().clone() for i, p in enumerate(params)}
    s = method.init(x)
    assert "step" in s
    for _ in range(4):
        x, s = method.update(x, {k: 2.0 * (i + 1) * v for i, (k, v) in enumerate(x.items())}, s)
    assert all(torch.equal(a, b) for a, b in zip(stepped(o, params, 4), x.values()))


def test_no_state_array_takes_a_name_of_the_shell_s_own() -> None:
    from refopt.core.method import LeafRule

    for m in refopt.methods("optimizer"):
        if issubclass(m.obj, LeafRule):
            assert not {"t", "master", "last_step"} & set(m.obj.slots), m.name


def test_what_no_graph_goes_through_is_told() -> None:
    with pytest.raises(refopt.errors.CapabilityError, match="muon"):
        refopt.as_torch("muon", pair(), differentiable=True)
    with pytest.raises(refopt.errors.ArgumentTypeError, match="differentiable"):
        refopt.as_torch("adam", pair(), differentiable=1)
    p = torch.ones(2, requires_grad=True).clone()
    q = torch.ones(2, requires_grad=True)
    o = refopt.as_torch("adam", [p, q], differentiable=True)
    p.grad = torch.ones(2)
    o.step()
    assert p.requires_grad and torch.equal(q, torch.ones(2))
