"""Parameters as users have them: nested, complex, empty, of two dtypes, without a gradient now and then."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.registry import Entry

from tests.properties.test_everywhere import METHODS, UPDATING

Pair = namedtuple("Pair", "scale shift")
FACTORS = {m.name for m in METHODS if m.extra.get("factors")}
# AdaHessian and Sophia have an update, which says that it is not enough.
UPDATES = [
    m
    for m in METHODS
    if m.name in UPDATING and m.name not in FACTORS and getattr(m.obj, "given", ("g",)) == ("g",)
]


@pytest.fixture
def rng() -> np.random.Generator:
    """The same numbers for every test, whichever ran before."""
    return np.random.default_rng(0)


SEPARATE = [m for m in UPDATES if not m.obj.one_vector]
JOINT = [m for m in UPDATES if m.obj.one_vector]


def nested(draw: Any) -> Any:
    """An encoder with a list and a named tuple, a complex array and an empty one."""
    return {
        "enc": {"w": draw(3, 2), "layers": [draw(2), draw(2, 2)]},
        "norm": Pair(draw(2), draw(2)),
        "z": draw(2) + 1j * draw(2),
        "none": np.zeros((0, 3)),
    }


def flat(x: Any) -> dict[str, np.ndarray]:
    return {
        "enc.w": x["enc"]["w"], "enc.layers.0": x["enc"]["layers"][0], "enc.layers.1": x["enc"]["layers"][1],
        "norm.scale": x["norm"].scale, "norm.shift": x["norm"].shift,
        "z": np.stack([x["z"].real, x["z"].imag], axis=-1),
    }  # fmt: skip


@pytest.mark.parametrize("method", UPDATES, ids=[m.name for m in UPDATES])
def test_update_takes_and_gives_back_the_user_s_form(method: Entry, rng: np.random.Generator) -> None:
    """The same steps as those of the flat dict of reals, to the bit, and the same state."""
    o = refopt.optimizer(method.name)
    x = nested(lambda *s: rng.standard_normal(s))
    y = flat(x)
    s, r = o.init(x), o.init(y)
    for _ in range(2):
        g = nested(lambda *s: rng.standard_normal(s))
        x, s = o.update(x, g, s)
        y, r = o.update(y, flat(g), r)
    assert isinstance(x["norm"], Pair) and x["z"].dtype == np.complex128 and x["none"].shape == (0, 3)
    for name, leaf in flat(x).items():
        np.testing.assert_array_equal(leaf, y[name])
    assert s.keys() == r.keys()


@pytest.mark.parametrize("method", JOINT, ids=[m.name for m in JOINT])
def test_a_method_of_one_vector_says_that_it_takes_all_leaves(method: Entry) -> None:
    """A leaf without a gradient, or of another dtype, is told."""
    o = refopt.optimizer(method.name)
    x = {"a": np.ones((3, 2)), "b": np.ones(4)}
    with pytest.raises(refopt.errors.ArgumentTypeError, match=r"one vector.* None for a"):
        o.update(x, {"a": None, "b": np.ones(4)}, o.init(x))
    with pytest.raises(refopt.errors.DtypeError, match="one dtype"):
        o.init({**x, "b": np.ones(4, "f4")})


@pytest.mark.parametrize("method", SEPARATE, ids=[m.name for m in SEPARATE])
def test_a_leaf_without_a_gradient_stands_still(method: Entry, rng: np.random.Generator) -> None:
    """And so does its state; with a gradient it goes on."""
    # AdaShift does not move before its window is full, RAdam without a schedule not before its ρ is above 4, SaRA not what is large.
    at_once: dict[str, dict[str, Any]] = {
        "adashift": {"window": 1}, "schedule-free-radam": {"silent": False}, "sara": {"threshold": 10.0}
    }  # fmt: skip
    o = refopt.optimizer(method.name, **at_once.get(method.name, {}))
    x = {"a": rng.standard_normal((3, 2)), "b": rng.standard_normal(4)}
    g = {k: rng.standard_normal(v.shape) for k, v in x.items()}
    y, s = o.update(x, g, o.init(x))
    z, r = o.update(y, {"a": None, "b": g["b"]}, s)
    assert z["a"] is y["a"] and not np.array_equal(z["b"], y["b"]) and list(z) == ["a", "b"]
    for key, value in r.items():
        if isinstance(value, dict) and "a" in value:
            np.testing.assert_equal(value["a"], s[key]["a"])
    assert np.all(np.isfinite(o.update(z, g, r)[0]["a"]))
    same, t = o.update(y, {"a": None, "b": None}, s)
    assert same is y and t is s


@pytest.mark.parametrize("method", SEPARATE, ids=[m.name for m in SEPARATE])
def test_leaves_of_two_dtypes_keep_theirs(method: Entry, rng: np.random.Generator) -> None:
    """float32 norms beside float64 matrices: neither is cast, and the state of each is in its dtype."""
    o = refopt.optimizer(method.name)
    x = {"w": rng.standard_normal((3, 2)), "scale": rng.standard_normal(3).astype("f4")}
    g = {k: rng.standard_normal(v.shape).astype(v.dtype) for k, v in x.items()}
    y, s = o.update(x, g, o.init(x))
    y, s = o.update(y, g, s)
    assert {k: v.dtype for k, v in y.items()} == {k: v.dtype for k, v in x.items()}
    wide = {k: v.astype("f8") for k, v in x.items()}
    want, r = o.update(wide, {k: v.astype("f8") for k, v in g.items()}, o.init(wide))
    want, _ = o.update(want, {k: v.astype("f8") for k, v in g.items()}, r)
    for k, v in y.items():
        np.testing.assert_allclose(v, want[k], rtol=2e-3, atol=1e-5)


class Complex:
    """The squared distance of a matrix times a complex vector from another."""

    def __init__(self, n: int = 3) -> None:
        rng = np.random.default_rng(1)
        self.a = rng.standard_normal((5, n)) + 1j * rng.standard_normal((5, n))
        self.b = rng.standard_normal(5) + 1j * rng.standard_normal(5)
        self.x0 = {"inner": [np.zeros(n, complex), np.zeros(2)]}

    def value(self, x: Any) -> float:
        z, y = x["inner"]
        return float(np.sum(np.abs(self.a @ z - self.b) ** 2) + np.sum((y - 1.0) ** 2)) / 2

    def grad(self, x: Any) -> Any:
        z, y = x["inner"]
        return {"inner": [self.a.conj().T @ (self.a @ z - self.b), y - 1.0]}

    def hvp(self, x: Any, v: Any) -> Any:
        z, y = v["inner"]
        return {"inner": [self.a.conj().T @ (self.a @ z), y]}


@pytest.mark.parametrize("name", ["adam", "adahessian", "sam", "heavy-ball"])
def test_minimize_calls_the_user_s_functions_with_the_user_s_form(name: str, tmp_path: Any) -> None:
    """A complex least-squares problem in a nested x: the gradient's pairs of reals are its derivative by them."""
    p = Complex()
    assert refopt.get("derivative-check")(p, p.x0).passed
    seen = []
    kw: dict[str, Any] = {"lr": 0.02, "steps": 200}
    if name == "heavy-ball":
        top = np.linalg.eigvalsh(p.a.conj().T @ p.a)
        kw = {
            "lipschitz": float(max(top[-1], 1.0)),
            "strong_convexity": float(min(top[0], 1.0)),
            "steps": 400,
        }
    r = refopt.minimize(p, name, callback=lambda x: seen.append(x), **kw)
    z, y = r.x["inner"]
    assert z.dtype == complex and seen[0]["inner"][0].dtype == complex and r.fun < p.value(p.x0)
    if name == "heavy-ball":
        np.testing.assert_allclose(z, np.linalg.lstsq(p.a, p.b)[0], rtol=1e-6)
        np.testing.assert_allclose(y, 1.0, rtol=1e-6)
    path = tmp_path / "run.npz"
    refopt.minimize(p, name, **{**kw, "steps": 5}, checkpoint=path)
    again = refopt.minimize(p, name, **{**kw, "steps": 9}, checkpoint=path, resume=True)
    np.testing.assert_array_equal(
        again.x["inner"][0], refopt.minimize(p, name, **{**kw, "steps": 9}).x["inner"][0]
    )


def test_curvature_of_a_nested_point() -> None:
    p = Complex()
    C = refopt.curvature("hessian", p, p.x0)
    assert C.n == 8
    v = {"inner": [np.array([1j, 0, 0]), np.ones(2)]}
    np.testing.assert_allclose((C @ v)["inner"][0], p.hvp(p.x0, v)["inner"][0], rtol=1e-12)
    np.testing.assert_allclose((C @ C.solve(v))["inner"][0], v["inner"][0], atol=1e-12)


def test_what_cannot_be_is_told() -> None:
    o = refopt.optimizer("adam")
    x = {"a": [np.ones(2), np.ones(3)]}
    s = o.init(x)
    with pytest.raises(refopt.errors.ShapeError, match=r"grad\['a'\]: wanted 2 entries, got 1"):
        o.update(x, {"a": [np.ones(2)]}, s)
    with pytest.raises(refopt.errors.ArgumentTypeError, match=r"grad\['a'\]: wanted a list like x"):
        o.update(x, {"a": {"b": np.ones(2)}}, s)
    with pytest.raises(refopt.errors.ShapeError, match=r"grad\['a\.1'\]|grad\['a'\]\[1\]"):
        o.update(x, {"a": [np.ones(2), np.ones(4)]}, s)
    with pytest.raises(refopt.errors.ArgumentError, match="another's"):
        o.init({"a.b": np.ones(2), "a": {"b": np.ones(2)}})
    with pytest.raises(refopt.errors.ShapeError, match="entries"):
        o.init({"a": np.zeros(0)})
    np.testing.assert_array_equal(
        refopt.optimizer("sgd", lr=1.0).update([1.0, 2.0], np.ones(2), {"t": 0})[0], [0.0, 1.0]
    )
