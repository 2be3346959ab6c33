"""`refopt.as_torch`: methods in torch's own loops, beside torch's own optimizers."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import refopt
from refopt.core.groups import ParameterGroups

torch = pytest.importorskip("torch")

PAIRS = [
    ("sgd", "SGD", {"lr": 0.1, "weight_decay": 0.1}),
    ("momentum", "SGD", {"lr": 0.1, "momentum": 0.9}),
    ("nesterov", "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("adam", "Adam", {"lr": 0.01, "betas": (0.8, 0.99), "weight_decay": 0.1}),
    ("adamw", "AdamW", {"lr": 0.01}),
    ("adamax", "Adamax", {"lr": 0.01}),
    ("adagrad", "Adagrad", {"lr": 0.01}),
    ("adadelta", "Adadelta", {"lr": 1.0}),
    ("rmsprop", "RMSprop", {"lr": 0.01}),
]
RNG = np.random.default_rng(0)
X, Y = (torch.as_tensor(RNG.standard_normal(s)) for s in ((20, 4), (20, 1)))


def model():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()


def closure_of(net, o):
    def closure():
        o.zero_grad()
        loss = ((net(X) - Y) ** 2).mean()
        loss.backward()
        return loss

    return closure


def run(net, o, steps=6, schedule=None):
    for _ in range(steps):
        o.step(closure_of(net, o))
        if schedule is not None:
            schedule.step()
    return torch.cat([p.detach().ravel() for p in net.parameters()])


def ours(name, params, **kw):
    return refopt.as_torch(name, params, dialect="torch", **{k: v for k, v in kw.items() if k != "nesterov"})


@pytest.mark.parametrize(("name", "cls", "kw"), PAIRS, ids=[p[0] for p in PAIRS])
def test_torch_s_own_trajectory_under_a_scheduler(name, cls, kw) -> None:
    a, b = model(), model()
    mine, its = ours(name, a.parameters(), **kw), getattr(torch.optim, cls)(b.parameters(), **kw)
    one, two = (torch.optim.lr_scheduler.CosineAnnealingLR(o, 5) for o in (mine, its))
    torch.testing.assert_close(run(a, mine, schedule=one), run(b, its, schedule=two), rtol=1e-13, atol=1e-15)


def test_groups_one_cycle_and_maximize() -> None:
    results = []
    for make in (lambda g, **kw: refopt.as_torch("adamw", g, dialect="torch", **kw), torch.optim.AdamW):
        net = model()
        groups = [
            {"params": [net[0].weight, net[2].weight]},
            {"params": [net[0].bias, net[2].bias], "weight_decay": 0.0, "lr": 0.1, "betas": (0.5, 0.9)},
        ]
        o = make(groups, lr=torch.tensor(0.01, dtype=torch.float64), maximize=True, foreach=False)
        cycle = torch.optim.lr_scheduler.OneCycleLR(o, max_lr=[0.1, 0.2], total_steps=8)
        results.append(run(net, o, schedule=cycle))
    torch.testing.assert_close(*results, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", ["adamw", "muon", "prodigy", "clip-norm", "sam", "shampoo", "mezo"])
def test_a_loaded_state_goes_on_to_the_same_bits(name) -> None:
    kw = {"base": "adamw"} if name in ("clip-norm", "sam") else {}
    whole = model()
    want = run(whole, refopt.as_torch(name, whole.parameters(), **kw), 6)
    half = model()
    first = refopt.as_torch(name, half.parameters(), **kw)
    run(half, first, 3)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = refopt.as_torch(name, half.parameters(), **kw)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(run(half, second, 3), want)
    assert copy.deepcopy(second).state_dict()["param_groups"] == second.state_dict()["param_groups"]
    pickle.loads(pickle.dumps(second)).state_dict()


def test_the_same_numbers_as_update() -> None:
    net = model()
    o = refopt.optimizer("muon")
    x = {n: p.detach().clone() for n, p in net.named_parameters()}
    s = o.init(x)
    shell = refopt.as_torch("muon", net.named_parameters())
    for _ in range(3):
        closure_of(net, shell)()
        x, s = o.update(x, {n: p.grad.clone() for n, p in net.named_parameters()}, s)
        shell.step()
    assert all(torch.equal(p.detach(), x[n]) for n, p in net.named_parameters())


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_without_a_gradient_a_parameter_and_its_state_stand_still(name) -> None:
    net = model()
    o = refopt.as_torch(name, net.parameters())
    run(net, o, 2)
    still = net[2].bias.detach().clone()
    closure_of(net, o)()
    net[2].bias.grad = None
    o.step()
    assert torch.equal(net[2].bias.detach(), still)
    run(net, o, 1)
    assert not torch.equal(net[2].bias.detach(), still)
    if name == "adamw":
        assert {int(o.state[p]["step"]) for p in net.parameters()} == {3, 4}


@pytest.mark.parametrize(("name", "cls", "kw"), PAIRS[3:5], ids=["adam", "adamw"])
def test_complex_parameters_are_pairs_of_reals(name, cls, kw) -> None:
    results = []
    for make in (lambda p: ours(name, p, **kw), lambda p: getattr(torch.optim, cls)(p, **kw)):
        z = torch.nn.Parameter(torch.tensor([1 + 2j, -0.5j, 3.0 + 0j], dtype=torch.complex128))
        o = make([z])
        for _ in range(5):
            o.zero_grad()
            (z.abs() ** 2).sum().backward()
            o.step()
        results.append(z.detach())
    torch.testing.assert_close(*results, rtol=1e-13, atol=1e-15)


def test_sparse_gradients_are_made_dense() -> None:
    results = []
    for sparse in (True, False):
        torch.manual_seed(0)
        table = torch.nn.Embedding(5, 3, sparse=sparse)
        o = refopt.as_torch("adagrad", table.parameters(), lr=0.1)
        for rows in ([0, 1, 1], [2, 4, 0]):
            o.zero_grad()
            table(torch.tensor(rows)).pow(2).sum().backward()
            o.step()
        results.append(table.weight.detach())
    assert torch.equal(*results)


def test_sam_asks_through_the_closure_as_minimize_asks_the_problem() -> None:
    net = model()
    names = [n for n, _ in net.named_parameters()]

    def loss(x):
        return ((torch.func.functional_call(net, x, (X,)) - Y) ** 2).mean()

    start = {n: p.detach().clone() for n, p in net.named_parameters()}
    r = refopt.minimize(refopt.from_torch(loss, start), "sam", base="adamw", steps=4)
    moved = model()
    run(moved, refopt.as_torch("sam", moved.named_parameters(), base="adamw"), 4)
    for n, p in zip(names, moved.parameters()):
        torch.testing.assert_close(p.detach(), r.x[n], rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(("name", "calls"), [("sam", 2), ("gam", 4), ("friendly-sam", 2), ("mezo", 3)])
def test_the_closure_is_called_once_a_point(name, calls) -> None:
    """SAM's two gradients, GAM's four; MeZO asks at two points, neither of which is that whose loss `step` returns."""
    net, count = model(), 0
    o = refopt.as_torch(name, net.parameters())
    inner = closure_of(net, o)

    def closure():
        nonlocal count
        count += 1
        return inner()

    want = inner().item()
    assert o.step(closure).item() == want and count == calls


@pytest.mark.parametrize("maximize", [False, True])
def test_each_group_asks_while_the_others_stand(maximize) -> None:
    """SAM on two groups as `ParameterGroups` has them, to 1e-13; upwards as downwards on the loss with its sign turned."""
    net = model()
    start = {n: p.detach().clone() for n, p in net.named_parameters()}
    sign = -1.0 if maximize else 1.0

    def loss(x):
        return sign * ((torch.func.functional_call(net, x, (X,)) - Y) ** 2).mean()

    groups = [("*.bias", {"rho": 0.3}), ("*.weight", {"rho": 0.1})]
    kw = {"base": "adamw", "lr": 0.01}
    each = ParameterGroups(base=refopt.optimizer("sam", **kw), groups=groups)
    r = refopt.minimize(refopt.from_torch(loss, start), each, steps=4)
    moved = model()
    named = dict(moved.named_parameters())
    own = [
        {"params": [(n, p) for n, p in named.items() if n.endswith(pattern[1:])], **settings}
        for pattern, settings in groups
    ]
    run(moved, refopt.as_torch("sam", own, maximize=maximize, **kw), 4)
    for n, p in named.items():
        torch.testing.assert_close(p.detach(), r.x[n], rtol=1e-13, atol=1e-15)


def test_what_cannot_be_is_told() -> None:
    net = model()
    with pytest.raises(refopt.errors.CapabilityError, match="hvp"):
        refopt.as_torch("adahessian", net.parameters())
    sam = refopt.as_torch("sam", net.parameters())
    closure_of(net, sam)()
    with pytest.raises(refopt.errors.ArgumentError, match="closure"):
        sam.step()
    with pytest.raises(refopt.errors.HyperparameterError, match="learning_rate"):
        refopt.as_torch("adam", net.parameters(), learning_rate=0.1)
    with pytest.raises(refopt.errors.ArgumentError, match="weight_decay"):
        refopt.as_torch("adam", [{"params": net.parameters(), "weight_decay": -1.0}])
    with pytest.raises(refopt.errors.ArgumentError, match="capturable"):
        refopt.as_torch("adam", net.parameters(), capturable=True)
    make = refopt.as_torch("adam", lr=0.5)
    assert make(net.parameters()).param_groups[0]["lr"] == 0.5
