"""refopt's methods as optax transformations."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from refopt.core.arrays import to_numpy
from refopt.core.build import optimizer
from refopt.core.errors import ArgumentError, ArgumentTypeError, CapabilityError, DtypeError, missing_extra
from refopt.core.method import Method
from refopt.core.oracle import Oracle

# In which small steps are rounded away.
SHORT = ("float16", "bfloat16")


def as_optax(
    name: str, *, dialect: str = "paper", master_weights: bool = False, seed: int = 0, **hyperparameters: Any
) -> Any:
    """Return a method as an ``optax.GradientTransformation``.

    Parameters
    ----------
    name : str
        A registered optimizer or wrapper that needs gradients alone.
    dialect : str
    master_weights : bool
        True keeps for each float16 or bfloat16 parameter its weights and the method's state in float32, in the state; the
        updates, in float32, lead to the master, rounded.
    seed : int
        Of the random numbers, for methods that draw.
    hyperparameters
        The method's own. Functions of the step count from 1, as everywhere here; optax's count from 0. Numbers may be JAX
        arrays, also traced ones, as ``optax.inject_hyperparams`` hands them over; they are looked at when a step is made,
        and until then taken for other than zero.

    Returns
    -------
    optax.GradientTransformationExtraArgs
        ``init(params)`` and ``update(grads, state, params)``, on any tree of arrays; a leaf's name, for ``groups``, is
        its path with dots (``"encoder.w"``). What is added to the parameters is ``x_t - x_{t-1}``. A state array of every
        leaf stands in the state as a tree like the parameters; further arguments of ``update`` are passed over.

    Raises
    ------
    MissingExtraError
        optax is not installed.
    CapabilityError
        The method asks for more than a gradient.
    DtypeError
        A parameter is bfloat16, which NumPy does not have, and there are no master weights.

    Notes
    -----
    The step is refopt's NumPy code. Under ``jax.jit`` it is a callback to the host, in the parameters' dtype; it
    is for holding other code against, not for speed.
    """
    try:
        import jax
        import optax
    except ImportError:
        raise missing_extra("parity", "optax") from None
    if not isinstance(master_weights, bool):
        raise ArgumentTypeError(f"master_weights: wanted True or False, got {master_weights!r}")
    arrays = {k: v for k, v in hyperparameters.items() if isinstance(v, jax.Array)}
    plain = {k: v for k, v in hyperparameters.items() if k not in arrays}

    def of(values: dict[str, Any]) -> Any:
        """Return the method with the numbers that came as arrays."""
        return optimizer(name, dialect=dialect, **plain, **values)

    # Which arrays a state has may hang on whether a number is zero.
    method = of({k: 1 if np.issubdtype(v.dtype, np.integer) else 0.5 for k, v in arrays.items()})
    if method.needs != ("grad",):
        raise CapabilityError(
            f"as_optax: {name} asks for {', '.join(method.needs)}; optax hands over gradients"
        )
    draws = type(method).update is Method.update
    if draws:
        x, s = {"": np.ones((2, 2))}, None
        for _ in range(3):
            x, s = _stepped(method, x, {"": np.ones((2, 2))}, s, seed)

    def of_now(values: dict[str, Any]) -> Any:
        return of({k: to_numpy(v).item() for k, v in values.items()}) if values else method

    def named(tree: Any) -> dict[str, Any]:
        paths = jax.tree_util.tree_flatten_with_path(tree)[0]
        return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in paths}

    def like(tree: Any, leaves: dict[str, Any]) -> Any:
        return jax.tree_util.tree_unflatten(
            jax.tree_util.tree_structure(tree), [leaves[k] for k in named(tree)]
        )

    def short(a: Any) -> bool:
        return master_weights and a.dtype.name in SHORT

    def wide(x: dict[str, Any]) -> dict[str, Any]:
        return {k: to_numpy(v).astype(np.float32) if short(v) else to_numpy(v) for k, v in x.items()}

    def kept(x: dict[str, Any], moved: dict[str, Any], s: Any) -> Any:
        """Return what is held between steps: the method's state, with the masters where there are some."""
        return {"state": s, "master": {k: moved[k] for k in x if short(x[k])}} if master_weights else s

    def start(x: dict[str, Any], values: dict[str, Any]) -> Any:
        return _packed(kept(x, wide(x), of_now(values).init(wide(x))))

    def step(
        x: dict[str, Any], g: dict[str, Any], s: Any, values: dict[str, Any]
    ) -> tuple[dict[str, Any], Any]:
        s, at, masters = _unpacked(s), wide(x), {}
        if master_weights:
            s, masters = s["state"], s["master"]
        for k, m in masters.items():
            # Where somebody else has set the parameter since, it is what counts.
            at[k] = np.where(m.astype(x[k].dtype) == np.asarray(x[k]), m, at[k])
        now = of_now(values)
        new_x, new_s = _stepped(now, at, wide(g), s, seed) if draws else now.update(at, wide(g), s)
        update = {k: (new_x[k] - at[k]).astype(at[k].dtype) for k in x if k not in masters}
        for k in masters:
            update[k] = new_x[k].astype(x[k].dtype).astype(np.float32) - np.asarray(x[k]).astype(np.float32)
        return {k: update[k] for k in x}, _packed(kept(x, new_x, new_s))

    def shapes(tree: Any) -> Any:
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(np.shape(a), a.dtype), tree)

    def steps(x: dict[str, Any]) -> Any:
        return {
            k: jax.ShapeDtypeStruct(np.shape(v), np.float32 if short(v) else v.dtype) for k, v in x.items()
        }

    def init(params: Any) -> Any:
        x = named(params)
        for k, v in x.items():
            if v.dtype.name == "bfloat16" and not master_weights:
                raise DtypeError(
                    f"params: {k} is bfloat16, which NumPy does not have; pass master_weights=True"
                )
        if not x:
            # optax asks with something without leaves which parts of a state are like the parameters.
            return _as_trees(start({"": np.ones(1)}, {}), {""}, lambda leaves: params)
        form = shapes(start({k: np.ones(np.shape(v), v.dtype) for k, v in x.items()}, {}))
        return _as_trees(
            jax.pure_callback(start, form, x, arrays), set(x), lambda leaves: like(params, leaves)
        )

    def update(grads: Any, state: Any, params: Any = None, **_: Any) -> tuple[Any, Any]:
        if params is None:
            raise ArgumentError(
                f"params: {name} is a rule for x, so update needs the parameters: update(g, s, params)"
            )
        x, g = named(params), named(grads)
        state = _as_leaves(state, named)
        moved, state = jax.pure_callback(step, (steps(x), shapes(state)), x, g, state, arrays)
        return like(params, moved), _as_trees(state, set(x), lambda leaves: like(params, leaves))

    return optax.GradientTransformationExtraArgs(init, update)


class _Given:
    """A problem of which one gradient is known, where the step begins."""

    def __init__(self, name: str, x: Any, g: Any) -> None:
        self.name, self.x, self.g = name, x, g

    def grad(self, x: Any) -> Any:
        """Return the gradient that was handed over."""
        if x is not self.x:
            raise CapabilityError(
                f"as_optax: {self.name} asks for gradients at points of its own; optax hands over one"
            )
        return self.g


def _stepped(method: Any, x: Any, g: Any, s: Any, seed: int) -> tuple[Any, Any]:
    """Make a step of a method that draws, from one gradient."""
    s = method.init(x) if s is None else s
    oracle = Oracle(_Given(method.registered_name, x, g), seed)
    oracle.begin(int(s["t"]) + 1, x)
    return method.step(x, s, oracle)


class Leaves(NamedTuple):
    """An array of every leaf, in the state: a tree like the parameters."""

    tree: Any


class Number(NamedTuple):
    """A number of a state, as two words; an int's low and high, a float's bits."""

    whole: Any
    bits: Any


def _as_trees(s: Any, names: set[str], tree_of: Any) -> Any:
    """Return a state in which an array of every leaf, by name, is a tree like the parameters."""
    if not isinstance(s, dict):
        return s
    if s.keys() == names and not any(isinstance(v, (dict, Number)) for v in s.values()):
        return Leaves(tree_of(s))
    return {k: _as_trees(v, names, tree_of) for k, v in s.items()}


def _as_leaves(s: Any, named: Any) -> Any:
    """Return the state that `_as_trees` was given."""
    if isinstance(s, Leaves):
        return named(s.tree)
    return {k: _as_leaves(v, named) for k, v in s.items()} if isinstance(s, dict) else s


def _packed(s: Any) -> Any:
    """Return a state as a tree of arrays alone."""
    if isinstance(s, dict):
        return {k: _packed(v) for k, v in s.items()}
    if isinstance(s, (bool, int, float)):
        whole = not isinstance(s, float)
        word = np.array([int(s)], np.int64) if whole else np.array([s], np.float64)
        return Number(np.array(whole), word.view(np.uint32))
    return s


def _unpacked(s: Any) -> Any:
    """Return the state that `_packed` was given."""
    if isinstance(s, Number):
        word = np.ascontiguousarray(to_numpy(s.bits))
        return int(word.view(np.int64)[0]) if bool(s.whole) else float(word.view(np.float64)[0])
    if isinstance(s, dict):
        return {k: _unpacked(v) for k, v in s.items()}
    return to_numpy(s)
