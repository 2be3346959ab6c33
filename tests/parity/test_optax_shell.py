"""`refopt.as_optax`: methods in optax's own loops, beside optax's own."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
jax.config.update("jax_enable_x64", True)
jnp = jax.numpy

PAIRS = [
    ("adam", lambda: optax.adam(0.1), 1e-14),
    ("adamw", lambda: optax.adamw(0.1), 1e-14),
    ("lion", lambda: optax.lion(0.1), 1e-14),
    ("muon", lambda: optax.contrib.muon(0.1), 1e-11),
    ("prodigy", lambda: optax.contrib.prodigy(0.1), 1e-12),
]


def tree():
    rng = np.random.default_rng(0)
    return {"enc": {"w": jnp.asarray(rng.standard_normal((2, 3))), "b": jnp.zeros(3)}, "dec": [jnp.ones(2)]}


def loss(p):
    return sum(
        jnp.sum((leaf - 3.0) ** 2 * (1.0 + jnp.arange(leaf.size).reshape(leaf.shape)))
        for leaf in jax.tree.leaves(p)
    )


def run(o, jit):
    def step(p, s):
        u, s = o.update(jax.grad(loss)(p), s, p)
        return optax.apply_updates(p, u), s

    init, step = (jax.jit(o.init), jax.jit(step)) if jit else (o.init, step)
    p, s = tree(), init(tree())
    for _ in range(6):
        p, s = step(p, s)
    return p


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(("name", "its", "rtol"), PAIRS, ids=[p[0] for p in PAIRS])
def test_optax_s_own_trajectory(name, its, rtol, jit) -> None:
    """Nested trees, with jit and without."""
    mine = run(refopt.as_optax(name, dialect="optax", lr=0.1), jit)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), mine, run(its(), jit))


def test_groups_and_chains() -> None:
    """A leaf's name is its path; a transformation stands in a chain."""
    still = refopt.as_optax("adam", lr=0.1, groups=[("enc.*", {"lr": 0.0})])
    p = run(optax.chain(optax.clip_by_global_norm(1.0), still), True)
    np.testing.assert_array_equal(p["enc"]["w"], tree()["enc"]["w"])
    assert not np.array_equal(p["dec"][0], tree()["dec"][0])


def test_numbers_of_a_state_survive_float32() -> None:
    """Without 64 bits in JAX a state's numbers keep theirs: step counts, and NAdam's product of rates."""
    from refopt.adapters.optax import _packed, _unpacked

    s = {"t": 2**40 + 1, "product": 1.0 / 3.0, "flag": True}
    through = jax.tree.map(lambda a: jnp.asarray(np.asarray(a)), _packed(s))
    assert _unpacked(through) == s


def test_what_cannot_be_is_told() -> None:
    with pytest.raises(refopt.errors.CapabilityError, match="hvp"):
        refopt.as_optax("adahessian")
    o = refopt.as_optax("adam")
    with pytest.raises(refopt.errors.ArgumentError, match="params"):
        o.update(tree(), o.init(tree()))


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["sgd", "adam", "muon"])
def test_master_weights(name, dtype, jit) -> None:
    """Short weights are the rounded run in float32, to the bit at each step, and move where they would stand still without."""
    rng = np.random.default_rng(0)
    start = rng.choice([1.0, -1.5, 2.0], (3, 4))
    slope = {"w": jnp.asarray(rng.choice([0.5, -1.0], (3, 4)), jnp.float32)}
    lr = {"sgd": 1e-4, "adam": 1e-4, "muon": 1e-3}[name]
    tx, plain = refopt.as_optax(name, lr=lr, master_weights=True), refopt.as_optax(name, lr=lr)

    def steps(o, p, s, g):
        u, s = o.update(g, s, p)
        return optax.apply_updates(p, u), s

    step = jax.jit(lambda p, s, g: steps(tx, p, s, g)) if jit else lambda p, s, g: steps(tx, p, s, g)
    p, q = ({"w": jnp.asarray(start, t)} for t in (getattr(jnp, dtype), jnp.float32))
    s, r = tx.init(p), plain.init(q)
    first = p["w"]
    for _ in range(150):
        p, s = step(p, s, {"w": slope["w"].astype(p["w"].dtype)})
        q, r = steps(plain, q, r, slope)
        assert p["w"].dtype == getattr(jnp, dtype)
        np.testing.assert_array_equal(s["master"].tree["w"], q["w"])
        np.testing.assert_array_equal(
            p["w"].astype(jnp.float32), q["w"].astype(p["w"].dtype).astype(jnp.float32)
        )
    assert bool((p["w"] != first).any())


def test_bfloat16_without_masters_is_refused() -> None:
    with pytest.raises(refopt.errors.DtypeError, match=r"params: w is bfloat16.*master_weights=True"):
        refopt.as_optax("sgd").init({"w": jnp.ones(3, jnp.bfloat16)})
    with pytest.raises(refopt.errors.ArgumentTypeError, match="master_weights: wanted True or False"):
        refopt.as_optax("sgd", master_weights=1)


def test_hyperparameters_may_be_injected() -> None:
    """A rate that optax changes in the state, under jit, beside optax's own."""
    found = []
    for make in (lambda lr: refopt.as_optax("momentum", dialect="optax", lr=lr, momentum=0.9),
                 lambda lr: optax.sgd(lr, momentum=0.9)):  # fmt: skip
        tx = optax.inject_hyperparams(make)(lr=0.1)
        p, s = tree(), tx.init(tree())
        step = jax.jit(lambda p, s, tx=tx: tx.update(jax.grad(loss)(p), s, p))
        for k in range(4):
            s.hyperparams["lr"] = jnp.asarray(0.1 / (k + 1))
            u, s = step(p, s)
            p = optax.apply_updates(p, u)
        found.append(p)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13), *found)


def test_a_number_that_an_array_replaces_decides_what_the_state_holds() -> None:
    make = lambda momentum: refopt.as_optax("rmsprop", dialect="optax", lr=0.1, momentum=momentum)  # noqa: E731
    tx, plain = optax.inject_hyperparams(make)(momentum=0.5), make(0.5)
    s, r = jax.jit(tx.init)(tree()), plain.init(tree())
    for _ in range(3):
        u, s = jax.jit(tx.update)(jax.grad(loss)(tree()), s, tree())
        v, r = plain.update(jax.grad(loss)(tree()), r, tree())
    jax.tree.map(np.testing.assert_array_equal, u, v)


def test_state_arrays_are_trees_like_the_parameters() -> None:
    """So that ``optax.tree.map_params`` and sharding rules find them."""
    tx = refopt.as_optax("adam", lr=0.1)
    s = tx.init(tree())
    assert jax.tree.structure(s["m"].tree) == jax.tree.structure(tree())
    marked = optax.tree.map_params(tx, lambda leaf: leaf + 1.0, s)
    jax.tree.map(np.testing.assert_array_equal, marked["v"].tree, jax.tree.map(lambda a: a * 0 + 1.0, tree()))
    assert int(marked["t"].bits[0]) == 0


def test_further_arguments_are_passed_over_and_what_draws_has_a_seed() -> None:
    """Without noise noisy SGD is SGD; with it the seed decides."""

    def first(**kw):
        tx = refopt.as_optax("noisy-sgd", lr=0.5, **kw)
        return tx.update(jnp.ones(3), tx.init(jnp.ones(3)), jnp.ones(3), value=1.0, extra=None)[0]

    np.testing.assert_array_equal(first(variance=0.0), -0.5 * np.ones(3))
    np.testing.assert_array_equal(first(seed=1), first(seed=1))
    assert not np.array_equal(first(seed=1), first(seed=2))
    for name in ("n-pg-igt", "svrg"):
        with pytest.raises(refopt.errors.CapabilityError, match=name):
            refopt.as_optax(name, lr=0.1)
