"""Curvatures: problems and points at which their matrices are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.build import problem
from refopt.core.problem import offers
from refopt.core.registry import get
from refopt.core.rng import generator, normal
from refopt.curvature.estimates import PROBES
from refopt.verify.inputs.calls.case import Case, Fault, Kind, Reference, after, as_array, negated

PAIRS = 12

# Without these another implementation computes something else, and would be called wrong for it.
NEEDS = {
    "lbfgs-inverse": ("steps",),
    "m-fac-static": ("damp",),
    "lanczos-quadrature": ("directions",),
    "lie-group-fit": ("directions",),
    "closed-form-fit": ("directions",),
}


def _data(rng: np.random.Generator, classes: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((10, 4)), rng.integers(0, classes, 10)


def _problems(rng: np.random.Generator) -> dict[str, Any]:
    X, y = _data(rng, 3)
    return {
        "softmax regression": problem("softmax", data=(X, y), l2=0.1),
        "a network": problem("mlp", widths=(3,), data=(X, y)),
        "logistic regression": problem("logistic", data=(X, np.sign(rng.standard_normal(10)))),
    }


def curvature_cases(name: str, seed: int) -> list[Case]:
    """Return small problems, each with a point."""
    rng, out = generator(seed, "tape", 3400), []
    for label, p in _problems(rng).items():
        if name == "kfac-factors" and not offers(p, "layers"):
            continue
        x = params.map_leaves(lambda a: a + 0.4 * rng.standard_normal(a.shape), p.start(0))
        options, extras = _options(name, p, x, rng), _extras(name, x)
        out.append(Case(label, (p, x), options, needs=NEEDS.get(name, ()), extras=extras))
    return out


def _options(name: str, p: Any, x: Any, rng: np.random.Generator) -> dict[str, Any]:
    if name == "kfac-factors":
        return {"labels": "data"}
    if name == "m-fac-static":
        return {"damp": 1e-2}
    if name == "lbfgs-inverse":
        walk = [x]
        for _ in range(5):
            walk.append(params.axpy(-0.3, p.grad(walk[-1]), walk[-1]))
        return {"steps": walk}
    if name in ("lie-group-fit", "closed-form-fit"):
        return {"pairs": PAIRS}
    return {"steps": 4} if name == "lanczos-quadrature" else {}


def _extras(name: str, x: Any) -> dict[str, Any]:
    """Return what the reference draws, as the other side may ask for it: directions, one a row."""
    rng = generator(0, "method")
    if name == "lanczos-quadrature":
        return {"directions": params.flatten(PROBES["rademacher"](rng, x))[None, :]}
    if name in ("lie-group-fit", "closed-form-fit"):
        return {"directions": np.stack([params.flatten(normal(rng, x)) for _ in range(PAIRS)])}
    return {}


def curvature(name: str) -> Reference:
    """Return a curvature as a function of a problem and a point."""
    return lambda problem, x, **options: get(name)(problem, x, **options)


def read_matrix(value: Any) -> np.ndarray:
    """Return the matrix from an array, its diagonal (a vector or a dict), or an object with ``dense`` or ``@``."""
    if hasattr(value, "nodes"):
        value = (value.nodes, value.weights)
    if isinstance(value, tuple):
        nodes, weights = (as_array(v) for v in value)
        order = np.argsort(nodes, kind="stable")
        return np.stack([nodes[order], weights[order]])
    if hasattr(value, "dense"):
        value = value.dense()
    elif hasattr(value, "matvec"):
        value = value @ np.eye(value.shape[1])
    if isinstance(value, Mapping):
        value = params.flatten(dict(value))
    found = as_array(value)
    return np.diag(found) if found.ndim == 1 else found


def _of_batch(change: Callable[[int], float]) -> Callable[[Reference], Reference]:
    return lambda f: lambda p, x, **o: read_matrix(f(p, x, **o)) * change(int(p.n_examples))


SUMMED = Fault("summed-over-examples", "summed over the examples, not averaged", _of_batch(float))

CURVATURES = Kind(
    curvature_cases,
    (
        *negated(read_matrix),
        SUMMED,
        Fault("divided-twice", "divided by the number of examples twice", _of_batch(lambda n: 1.0 / n)),
        Fault("over-n-minus-one", "with n - 1 where the mean has n", _of_batch(lambda n: n / (n - 1))),
        Fault("inverted", "with the inverse matrix as the answer", after(lambda C: np.linalg.inv(read_matrix(C)))),
        Fault("diagonal-alone", "of its diagonal alone", after(lambda C: np.diag(np.diag(read_matrix(C))))),
        Fault("transposed", "transposed", after(lambda C: read_matrix(C).T)),
        *(
            Fault(f"{other}-in-its-place", f"in name alone: it is the {other}", (lambda o: lambda f: lambda p, x, **_: get(o)(p, x))(other))
            for other in ("hessian", "ggn", "fisher", "empirical-fisher")
        ),
    ),
    read_matrix,
    reference=curvature,
    conventions=(SUMMED,),
    effort=1_000,
)  # fmt: skip
