"""How each release's own code is made a side of a comparison; every import happens in its environment."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.museum.exhibit import together


def find(package: str, path: str) -> Path:
    """Return a file of an installed package that cannot, or need not, be imported as a whole."""
    for place in sys.path:
        if (Path(place) / package / path).is_file():
            return Path(place) / package / path
    raise FileNotFoundError(f"{package}/{path}")


def stand_in(name: str, **members: Any) -> None:
    """Put a module with these members in a missing one's place."""
    module = types.ModuleType(name)
    module.__dict__.update(members)
    module.__path__ = []
    sys.modules[name] = module
    parent, _, last = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], last, module)


def load(name: str, path: Path) -> Any:
    """Return the module in a file."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def kozistr(cls: str, **kept: Any) -> Any:
    """Return an optimizer of pytorch_optimizer."""
    import pytorch_optimizer

    made = getattr(pytorch_optimizer, cls)
    return functools.partial(made, **kept) if kept else made


def in_the_same_memory(optimizer: Any, method: str) -> Any:
    """Return a side whose gradients all come in one place, as where they are cleared in place."""
    from refopt.core.registry import entry
    from refopt.verify.sides.adapt import side

    it = side(optimizer, entry(method).obj)
    always = {"reuse": property(lambda run: True, lambda run, value: None)}

    def begin(*given: Any) -> Any:
        run = it.begin(*given)
        run.__class__ = type("Reusing", (type(run),), always)
        return run

    return dataclasses.replace(it, begin=begin)


def muon() -> Any:
    make = kozistr("Muon")
    return lambda params: make([{"params": params, "use_muon": True}], lr=0.02)


def scion() -> Any:
    from pytorch_optimizer.optimizer.scion import LMONorm

    return kozistr("SCION", norm_type=LMONorm.SIGN)


def torch_optimizer(cls: str, **kept: Any) -> Any:
    import torch_optimizer as library

    return functools.partial(getattr(library, cls), **kept)


def timm_lars() -> Any:
    module = load("timm_lars", find("timm", "optim/lars.py"))
    return functools.partial(module.Lars, always_adapt=True, momentum=0.9)


def optax_adan() -> Any:
    import optax

    return optax.adan


def bitsandbytes_lion() -> Any:
    """Return Lion by the update that runs where there is no kernel (its class fails on a CPU)."""
    import torch
    from bitsandbytes.backends.default import ops

    def lion(
        x: Any, g: Any, m: Any, lr: float = 1e-4, beta1: float = 0.9, beta2: float = 0.99,
        weight_decay: float = 0.0,
    ) -> tuple[Any, Any]:  # fmt: skip
        p, state = torch.tensor(x), torch.zeros(x.shape) if m is None else m
        ops._optimizer_update_32bit(
            torch.tensor(g), p, state, None, None, 0.0, 0.0, beta1, beta2, 0.0, 0.0, 0.0, weight_decay, 1, lr,
            1.0, ops.name2optimizer_id["lion"],
        )  # fmt: skip
        return p.numpy().copy(), state

    return lion


class _Variable(np.lib.mixins.NDArrayOperatorsMixin):
    """A TensorFlow variable, as far as two optimizers need one."""

    def __init__(self, value: Any) -> None:
        self.value = np.array(value)
        self.device, self.dtype = "", types.SimpleNamespace(base_dtype=self.value.dtype)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.value

    def __array_ufunc__(self, ufunc: Any, how: str, *inputs: Any, **kwargs: Any) -> Any:
        return ufunc(*(v.value if isinstance(v, _Variable) else v for v in inputs), **kwargs)

    def assign(self, value: Any) -> None:
        self.value = np.asarray(value)

    def assign_add(self, value: Any) -> None:
        self.value = self.value + value

    def assign_sub(self, value: Any) -> None:
        self.value = self.value - value


def _keras_around() -> None:
    """Stand in for TensorFlow and for Keras but for the file that is looked at."""
    v2 = {
        "sqrt": np.sqrt, "square": np.square, "maximum": np.maximum, "pow": np.power,
        "cast": lambda a, dtype: a, "IndexedSlices": type("IndexedSlices", (), {}),
        "math": types.SimpleNamespace(rsqrt=lambda a: 1 / np.sqrt(a)),
        "function": lambda *a, **k: a[0] if a and callable(a[0]) else lambda f: f,
    }  # fmt: skip
    for name in ("tensorflow", "tensorflow.compat", "tensorflow.python", "tensorflow.python.util"):
        stand_in(name)
    stand_in("tensorflow.compat.v2", **v2)
    stand_in("tensorflow.python.util.tf_export", keras_export=lambda *a, **k: lambda cls: cls)
    base = type("Base", (), {"_fallback_apply_state": None})
    shared = {"OptimizerV2": base, "Optimizer": base, "base_optimizer_keyword_args": ""}
    config = types.SimpleNamespace(epsilon=lambda: 1e-7)
    for package in ("keras", "keras.src"):
        stand_in(package, backend_config=config)
        for part in ("utils", "optimizers", "optimizers.legacy", "optimizers.optimizer_experimental"):
            stand_in(f"{package}.{part}")
        stand_in(f"{package}.optimizers.legacy.optimizer_v2", **shared)
        stand_in(f"{package}.optimizers.optimizer_experimental.optimizer", **shared)
        stand_in(f"{package}.saving")
        decorator = {"register_keras_serializable": lambda *a, **k: lambda c: c}
        stand_in(f"{package}.saving.object_registration", **decorator)
        stand_in(f"{package}.utils.generic_utils", **decorator)


def keras_adam() -> Any:
    """Return the legacy NonFusedAdam's dense update."""
    try:
        path = find("keras", "src/optimizers/legacy/adam.py")
    except FileNotFoundError:
        path = find("keras", "optimizers/legacy/adam.py")
    _keras_around()
    cls = load("release_adam", path).NonFusedAdam

    def adam(
        x: Any, g: Any, s: Any, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-7
    ) -> tuple[Any, Any]:
        slots = s or {"m": _Variable(0.0 * x), "v": _Variable(0.0 * x), "t": 0}
        slots["t"] += 1
        numbers = {
            "lr_t": lr, "beta_1_t": beta1, "beta_2_t": beta2, "epsilon": eps,
            "beta_1_power": beta1 ** slots["t"], "beta_2_power": beta2 ** slots["t"],
        }  # fmt: skip
        it, var = cls.__new__(cls), _Variable(x)
        it.amsgrad, it.get_slot = False, lambda var, name: slots[name]
        it._resource_apply_dense(g, var, {(var.device, var.dtype.base_dtype): numbers})
        return var.value, slots

    return adam


def keras_rmsprop() -> Any:
    """Return the experimental RMSprop's dense update."""
    path = find("keras", "optimizers/optimizer_experimental/rmsprop.py")
    _keras_around()
    cls = load("release_rmsprop", path).RMSprop

    def rmsprop(
        x: Any, g: Any, s: Any, lr: float = 1e-3, rho: float = 0.9, eps: float = 1e-7
    ) -> tuple[Any, Any]:
        v, mean = s or (_Variable(0.0 * x), _Variable(0.0 * x))
        it, var = cls.__new__(cls), _Variable(x)
        it.__dict__.update(
            learning_rate=lr, rho=rho, momentum=0.0, epsilon=eps, centered=True, _velocities=[v],
            _average_gradients=[mean], _momentums=[], _index_dict={0: 0}, _var_key=lambda var: 0,
        )  # fmt: skip
        it.update_step(g, var)
        return var.value, (v, mean)

    return rmsprop


def pennylane_adagrad() -> Any:
    """Return the optimizer's `apply_grad` on all leaves at once."""
    for name in ("pennylane", "pennylane.optimize"):
        stand_in(name)

    def flat(a: Any) -> Any:
        return iter(np.asarray(a).ravel().tolist())

    def unflat(values: Any, like: Any) -> Any:
        return np.asarray(values).reshape(np.shape(like))

    stand_in("pennylane.utils", _flatten=flat, unflatten=unflat)
    stand_in("pennylane.numpy", ndarray=type("ndarray", (), {}), tensor=type("tensor", (), {}))
    stand_in("pennylane._grad", grad=None)
    path = find("pennylane", "optimize/adagrad.py")
    load("pennylane.optimize.gradient_descent", path.with_name("gradient_descent.py"))
    cls = load("pennylane.optimize.adagrad", path).AdagradOptimizer

    def adagrad(xs: Any, gs: Any, it: Any, lr: float = 0.01, eps: float = 1e-8) -> tuple[Any, Any]:
        it = it or cls(lr, eps)
        new = it.apply_grad(tuple(gs.values()), list(xs.values()))
        return dict(zip(xs, new)), it

    return together("pennylane AdagradOptimizer", adagrad, ("lr", "eps"))


def geoopt_adam() -> Any:
    """Return RiemannianAdam by its own file, on Euclidean parameters."""
    import torch

    class Euclidean:
        def egrad2rgrad(self, x: Any, g: Any) -> Any:
            return g

        def component_inner(self, x: Any, u: Any, v: Any = None) -> Any:
            return u * (u if v is None else v)

        inner = component_inner

        def retr_transp(self, x: Any, u: Any, *v: Any) -> Any:
            return (x + u, *v)

    plain = type("Plain", (), {})
    for name in ("geoopt", "geoopt.optim"):
        stand_in(name)
    stand_in("geoopt.manifolds", Euclidean=Euclidean)
    stand_in("geoopt.tensor", ManifoldParameter=plain, ManifoldTensor=plain)
    stand_in("geoopt.utils", copy_or_set_=lambda a, b: a.copy_(b))

    class Mixin(torch.optim.Optimizer):
        _default_manifold = Euclidean()

        def add_param_group(self, group: Any) -> None:
            group.setdefault("stabilize", None)
            super().add_param_group(group)

    stand_in("geoopt.optim.mixin", OptimMixin=Mixin)
    return load("geoopt.optim.radam", find("geoopt", "optim/radam.py")).RiemannianAdam


READERS: dict[str, Callable[[], Any]] = {
    "sgdp-look-ahead-kept": lambda: kozistr("SGDP", nesterov=True),
    "lion-one-buffer": lambda: kozistr("Lion"),
    "lion-coupled-decay": bitsandbytes_lion,
    "adan-root-in-place": lambda: kozistr("Adan"),
    "adan-weight": optax_adan,
    "sgdw-constant-decay": lambda: torch_optimizer("SGDW", momentum=0.9),
    "diffgrad-aliased": lambda: in_the_same_memory(torch_optimizer("DiffGrad"), "diffgrad"),
    "lars-decay-dropped": timm_lars,
    "diffgrad-friction-dropped": lambda: kozistr("DiffGrad"),
    "adamp-inverse-root": lambda: kozistr("AdamP"),
    "lars-begun-twice": lambda: kozistr("LARS"),
    "muon-branches-swapped": muon,
    "prodigy-counted-twice": lambda: kozistr("Prodigy", bias_correction=True),
    "scion-gradient": scion,
    "adam-eps-subtracted": keras_adam,
    "rmsprop-centered-on-squares": keras_rmsprop,
    "adagrad-first-gradient": pennylane_adagrad,
    "adam-eps-before-correction": geoopt_adam,
}
