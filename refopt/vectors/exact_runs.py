"""Test vectors: exact runs of every gradient-only method, for implementations in any language."""

from __future__ import annotations

import dataclasses
import dis
import importlib.metadata
import os
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from refopt.core.build import optimizer
from refopt.core.errors import ArgumentError, VectorsError
from refopt.core.hyper import check_hyperparameters
from refopt.core.method import Elementwise, Method
from refopt.core.registry import Entry, entry, methods
from refopt.core.rng import generator
from refopt.vectors import format as form
from refopt.vectors.state import Found, entry_that_differs, held
from refopt.verify.inputs.tapes import make

Leaves = dict[str, np.ndarray]


STEPS = 12


SHAPES = {"scalar": (), "vector": (3,), "matrix": (3, 2), "kernel": (2, 2, 1, 2)}


# Falls every step; multiples of 1/16, which every format holds.
SCHEDULE = tuple(1.0 - t / 16.0 for t in range(STEPS))


# Where a wrong average, a misplaced eps or decay shows within a few steps.
OTHER = {"beta2": 0.5, "eps": 0.01, "weight_decay": 0.1}


# A perturbation of one ulp is drawn so often; what it does is multiplied by this.
DRAWS, MARGIN = 4, 16.0


_LIBRARY = {"exp", "expm1", "log", "log1p", "tanh", "cbrt", "pow", "power", "sin", "cos"}


@dataclass(frozen=True)
class Multipliers:
    """A schedule given by its values at steps 1, 2, …; the last one holds from then on."""

    values: tuple[float, ...]

    def __call__(self, t: int) -> float:
        """Return the multiplier of step `t`."""
        return self.values[min(int(t), len(self.values)) - 1]


@dataclass(frozen=True)
class Mismatch:
    """The first number of a file that refopt does not give.

    Attributes
    ----------
    profile, dtype : str
    step : int
        1, 2, …; that of the last step for an entry of the state.
    leaf : str
        Name of the leaf, or ``state.slot.leaf``.
    index : tuple of int
    want, got : str
        The file's and refopt's, hexadecimal.
    """

    profile: str
    dtype: str
    step: int
    leaf: str
    index: tuple[int, ...]
    want: str
    got: str

    def __str__(self) -> str:
        where = self.leaf + (str(list(self.index)) if self.index else "")
        return (
            f"profile {self.profile!r}, {self.dtype}: first difference at step {self.step}, {where}:"
            f" the file has {self.want}, refopt gives {self.got}"
        )


def gradient_only(found: Entry) -> bool:
    """Tell whether a registered name is an optimizer whose ``update(x, grad, s)`` is the whole method."""
    cls = found.obj
    return (
        found.kind == "optimizer"
        and found.needs == ("grad",)
        and isinstance(cls, type)
        and issubclass(cls, Method)
        and cls.update is not Method.update
        and getattr(cls, "given", ("g",)) == ("g",)
    )


def released() -> list[tuple[str, str]]:
    """Return every method and dialect of which the released set has a file."""
    # The files' leaves are no factors (n, r), which is all that some methods take.
    whole = [m for m in methods("optimizer") if gradient_only(m) and not m.extra.get("factors")]
    return [(m.name, dialect) for m in whole for dialect in m.dialects]


def _functions(rule: Any) -> Iterator[types.CodeType]:
    """Yield the code of a function and of the plain functions that it has captured or refers to."""
    todo, seen = [rule], set()
    while todo:
        fn = todo.pop()
        if not isinstance(fn, types.FunctionType) or fn.__code__ in seen:
            continue
        seen.add(fn.__code__)
        yield fn.__code__
        todo += [c.cell_contents for c in fn.__closure__ or ()]
        todo += [fn.__globals__[n] for n in fn.__code__.co_names if n in fn.__globals__]


def is_exact(method: Method) -> bool:
    """Tell whether a rule is elementwise arithmetic, roots and comparisons, which IEEE 754 fixes to the bit."""
    if not isinstance(method, Elementwise):
        return False
    for code in _functions(method.rule(np)):
        powers = any(i.argrepr in ("**", "**=") for i in dis.get_instructions(code))
        if powers or set(code.co_names) & _LIBRARY:
            return False
    return True


def _short(values: np.ndarray) -> np.ndarray:
    """Round to 12 significant bits: such numbers are short to write, and float32 holds them."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(mantissa * 4096.0), exponent - 12)


def _given() -> tuple[Leaves, list[Leaves]]:
    tape = make("random", STEPS, shapes=SHAPES)
    # Scales from 1/16 to 16 by coordinate, so that no two coordinates of a leaf behave alike.
    rng = generator(1, "tape")
    scale = {k: 2.0 ** rng.integers(-4, 5, size=s) for k, s in SHAPES.items()}
    gradients = [{k: _short(v * scale[k]) for k, v in g.items()} for g in tape.gradients]
    return {k: _short(v) for k, v in tape.x0.items()}, gradients


def _profiles(name: str, dialect: str) -> dict[str, Method]:
    """Return the dialect with its defaults, and with other numbers and, where it has a rate, a schedule."""
    default = optimizer(name, dialect=dialect)
    changed: dict[str, Any] = {k: v for k, v in OTHER.items() if isinstance(getattr(default, k, None), float)}
    if default.has_rate:
        changed["schedule"] = Multipliers(SCHEDULE)
    other = dataclasses.replace(default, **changed)
    return {"default": default, "other": other}


def _run(method: Method, x: Leaves, gradients: list[Leaves], dtype: str) -> tuple[list[Leaves], Any]:
    """Return the points after every step, and the last state."""
    x = {k: v.astype(dtype) for k, v in x.items()}
    s = method.init(x)
    points = []
    for g in gradients:
        x, s = method.update(x, {k: v.astype(dtype) for k, v in g.items()}, s)
        points.append(x)
    return points, s


def distance(a: list[Leaves], b: list[Leaves]) -> float:
    """Return the largest difference of two trajectories, relative to the largest entry of its leaf."""
    worst = 0.0
    for leaf in a[0]:
        scale = max(float(np.max(np.abs(p[leaf].astype(np.float64)))) for p in a)
        for p, q in zip(a, b, strict=True):
            gap = float(np.max(np.abs(p[leaf].astype(np.float64) - q[leaf].astype(np.float64))))
            # A difference from nothing but zeros has no scale.
            worst = max(worst, gap / scale if scale > 0.0 else (0.0 if gap == 0.0 else np.inf))
    return worst


def _rounding(method: Method, x: Leaves, gradients: list[Leaves], dtype: str, points: list[Leaves]) -> float:
    """Return how far apart two correct runs may be: 16 times what one ulp in the gradients does."""
    runs = (_run(method, x, moved, dtype)[0] for moved in _moved(gradients, dtype))
    return MARGIN * max(float(np.finfo(dtype).eps), *(distance(points, run) for run in runs))


def _moved(gradients: list[Leaves], dtype: str) -> Iterator[list[Leaves]]:
    """Yield the gradients, each entry one ulp up or down at random, as often as DRAWS says."""
    eps = float(np.finfo(dtype).eps)
    for draw in range(DRAWS):
        rng = generator(draw, "tape", 2)
        yield [
            {
                k: (v.astype(dtype) * (1 + eps * rng.choice([-1, 1], v.shape))).astype(dtype)
                for k, v in g.items()
            }
            for g in gradients
        ]


def make_vectors(name: str, *, dialect: str = "paper") -> dict[str, Any]:
    """Return the content of a method's file of test vectors; docs/vectors.md explains its fields.

    Parameters
    ----------
    name : str
        An optimizer that needs gradients alone.
    dialect : str

    Returns
    -------
    dict
        Ready for JSON.

    Raises
    ------
    UnknownNameError
        No such method or dialect.
    ArgumentError
        The method needs more than gradients.

    Examples
    --------
    >>> from refopt.verify import make_vectors
    >>> v = make_vectors("adam")
    >>> v["shapes"]["matrix"], v["profiles"][0]["hyper"]["beta1"]
    ([3, 2], '0x1.ccccccccccccdp-1')
    """
    found = entry(name, ("optimizer",))
    if not gradient_only(found):
        raise ArgumentError(f"method: vectors are of methods that need gradients alone; {name} asks for more")
    x0, gradients = _given()
    profiles = []
    for label, method in _profiles(name, dialect).items():
        runs = {}
        for dtype in form.DTYPES:
            points, state = _run(method, x0, gradients, dtype)
            runs[dtype] = {
                "rounding": form.hexadecimal(_rounding(method, x0, gradients, dtype, points)),
                "trajectory": [form.encode_leaves(p) for p in points],
                "state": form.encode_state(state),
            }
        multipliers = [form.hexadecimal(u) for u in SCHEDULE] if method.schedule else None
        profiles.append(
            {"name": label, "hyper": form.encode_hyper(method), "schedule": multipliers, "runs": runs}
        )
    source = found.source
    places = {k: getattr(source, k) for k in ("arxiv", "doi", "url") if getattr(source, k)}
    content = {
        "format": form.FORMAT,
        "version": form.VERSION,
        "refopt": importlib.metadata.version("refopt"),
        "numpy": np.__version__,
        "method": name,
        "dialect": dialect,
        "source": {"key": source.key, "text": str(source), **places},
        "where": found.where,
        "exact": is_exact(optimizer(name, dialect=dialect)),
        "shapes": {k: list(s) for k, s in SHAPES.items()},
        "x0": form.encode_leaves(x0),
        "gradients": [form.encode_leaves(g) for g in gradients],
        "profiles": profiles,
    }
    return {**content, "sha256": form.checksum(content)}


def write_vectors(name: str, path: str | os.PathLike[str], *, dialect: str = "paper") -> None:
    """Write a method's test vectors to a file; see `make_vectors`.

    Parameters
    ----------
    name : str
    path : path
    dialect : str

    Raises
    ------
    VectorsError
        The file cannot be written.
    """
    form.save(make_vectors(name, dialect=dialect), path)


def check_vectors(path: str | os.PathLike[str]) -> list[Mismatch]:
    """Run refopt anew on a file's start, hyperparameters and gradients, and compare.

    Bit for bit, in both precisions and with the last state, where the file says ``exact``; else the points
    to the ``rounding`` that it states, relative to the largest entry of the leaf, and the last state to a
    bound measured here in the same way (`refopt.vectors.state`).

    Parameters
    ----------
    path : path
        A file of any refopt of the same format version.

    Returns
    -------
    list of Mismatch
        The first of each profile and precision; empty if all agree.

    Raises
    ------
    VectorsError
        The file is missing, not of the format, or changed since it was written; it names a method,
        dialect or hyperparameter that refopt does not have.
    """
    content = form.load(path)
    try:
        return list(_mismatches(content))
    except VectorsError as error:
        raise VectorsError(f"{path}: {error}") from None


def _mismatches(content: Mapping[str, Any]) -> Iterator[Mismatch]:
    shapes = content["shapes"]
    gradients = [
        form.decode_leaves(g, shapes, "float32", f"gradients[{i}]")
        for i, g in enumerate(content["gradients"])
    ]
    x0 = form.decode_leaves(content["x0"], shapes, "float32", "x0")
    for n, profile in enumerate(content["profiles"]):
        method = _method(content, profile, f"profiles[{n}]")
        for dtype, run in profile["runs"].items():
            place = f"profiles[{n}].runs.{dtype}"
            if len(run["trajectory"]) != len(gradients):
                raise VectorsError(
                    f"{place}.trajectory: wanted {len(gradients)} steps, got {len(run['trajectory'])}"
                )
            want = [
                form.decode_leaves(p, shapes, dtype, f"{place}.trajectory[{i}]")
                for i, p in enumerate(run["trajectory"])
            ]
            got, state = _run(method, x0, gradients, dtype)
            exact = content["exact"]
            found = _first(want, got, 0.0 if exact else float.fromhex(run["rounding"]))
            if found is None:
                near = [] if exact else [_run(method, x0, g, dtype)[1] for g in _moved(gradients, dtype)]
                found = held(run["state"], state, near, len(got), MARGIN, float(np.finfo(dtype).eps))
            if found:
                yield Mismatch(profile["name"], dtype, *found)


def _method(content: Mapping[str, Any], profile: Mapping[str, Any], place: str) -> Method:
    """Build the method with every hyperparameter as the file has it."""
    try:
        base = optimizer(content["method"], dialect=content["dialect"])
        if not gradient_only(entry(content["method"])):
            raise ArgumentError(f"{content['method']} needs more than gradients")
        hyper = form.decode_hyper(profile["hyper"], base, f"{place}.hyper")
        now = form.encode_hyper(base)
        changed = [k for k, v in profile["hyper"].items() if now.get(k) != v]
        if profile["name"] == "default" and changed:
            raise VectorsError(
                f"{place}.hyper.{changed[0]}: the file has {profile['hyper'][changed[0]]!r}, and this refopt's"
                f" dialect {now.get(changed[0])!r}"
            )
        schedule = profile["schedule"] and Multipliers(tuple(float.fromhex(u) for u in profile["schedule"]))
        method = dataclasses.replace(base, **hyper, schedule=schedule)
        check_hyperparameters(method)
    except VectorsError:
        raise
    except (ArgumentError, TypeError) as error:
        raise VectorsError(f"{place}: {error}") from None
    return method


def _first(want: list[Leaves], got: list[Leaves], allowed: float) -> Found | None:
    scale = {k: max(float(np.max(np.abs(p[k].astype(np.float64)))) for p in want) for k in want[0]}
    for t, (a, b) in enumerate(zip(want, got), 1):
        for leaf in a:
            found = entry_that_differs(a[leaf], b[leaf], allowed, scale[leaf])
            if found:
                return (t, leaf, *found)
    return None
