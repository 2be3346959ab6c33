"""The Numba engine's memory: many leaves in one call, arrays that are not plain, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentTypeError, DtypeError, ShapeError

pytest.importorskip("numba")
from refopt.core.engines import numba as engine
from refopt.core.engines import numba_memory as memory


def _leaves(count: int, seed: int, dtype: str = "float64") -> dict[str, np.ndarray]:
    """Leaves of sizes from one element to several pieces, and a last one that is a whole piece."""
    rng = np.random.default_rng(seed)
    sizes = [*rng.integers(1, 3 * memory.PIECE, count - 1), memory.PIECE]
    return {f"w{k}": rng.standard_normal(n).astype(dtype) for k, n in enumerate(sizes)}


def _steps(o: Any, x: Any, seed: int, donate: bool = False) -> tuple[Any, Any]:
    s = o.init(x)
    for t in range(3):
        rng = np.random.default_rng([seed, t])
        g = {k: rng.standard_normal(v.shape).astype(v.dtype) for k, v in x.items()}
        x, s = o.update(x, g, s, donate=donate)
    return x, s


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of leaves of the calls of compiled loops."""
    seen: list[int] = []
    inner = engine._Loop.__call__

    def call(self: Any, table: int, leaves: int) -> bool:
        seen.append(leaves)
        return inner(self, table, leaves)

    monkeypatch.setattr(engine._Loop, "__call__", call)
    return seen


@pytest.mark.parametrize("donate", [False, True])
@pytest.mark.parametrize("count", [1, 2, 7, 200])
def test_many_leaves_are_one_call(calls: list[int], count: int, donate: bool) -> None:
    """Any number of leaves, serial or parallel, gives the array engine's bits in one call a step."""
    x = _leaves(count, 0)
    assert (sum(v.size for v in x.values()) >= engine.PARALLEL_FROM) == (count > 7)
    want, s = _steps(refopt.optimizer("adan"), x, 5)
    fused = {k: v.copy() for k, v in x.items()}
    got, u = _steps(refopt.optimizer("adan", engine="numba"), fused, 5, donate)
    assert calls == [count] * 3
    for k in x:
        np.testing.assert_array_equal(got[k], want[k])
        for slot in ("m", "v", "n", "previous"):
            np.testing.assert_array_equal(u[slot][k], s[slot][k])
        assert (got[k] is fused[k]) == donate


def test_other_numbers_of_leaves_compile_nothing() -> None:
    o = refopt.optimizer("adamax", engine="numba")
    _steps(o, _leaves(4, 0), 0)
    loop = engine._loops[o][np.dtype("float64")]
    serial, parallel, known = loop.serial, loop.parallel, len(engine._loops[o])
    for count in (1, 3, 30):
        _steps(o, _leaves(count, 1), 1)
    assert len(engine._loops[o]) == known
    assert loop.serial is serial and len(serial.signatures) == 1
    assert loop.parallel is parallel and len(parallel.signatures) == 1


@pytest.mark.parametrize("size", [5, 30_000])
@pytest.mark.parametrize("donate", [False, True])
def test_without_headers(monkeypatch: pytest.MonkeyPatch, size: int, donate: bool) -> None:
    """Where array headers cannot be read, addresses asked of NumPy give the same bits."""
    o = refopt.optimizer("adam", engine="numba")
    x = {"a": np.linspace(-1.0, 1.0, size), "b": np.ones((2, 3))}
    want, _ = _steps(o, x, 3)
    loop = engine._loops[o][np.dtype("float64")]
    assert loop.readable
    monkeypatch.setattr(loop, "readable", False)
    mine = {k: v.copy() for k, v in x.items()}
    got, _ = _steps(o, mine, 3, donate)
    for k in x:
        np.testing.assert_array_equal(got[k], want[k])
        assert got[k].shape == x[k].shape
        assert (got[k] is mine[k]) == donate


def _fortran(a: np.ndarray) -> np.ndarray:
    return np.asfortranarray(a)


def _strided(a: np.ndarray) -> np.ndarray:
    wide = np.zeros((a.shape[0], 2 * a.shape[1]))
    wide[:, ::2] = a
    return wide[:, ::2]


def _misaligned(a: np.ndarray) -> np.ndarray:
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:]
    out = raw.view(a.dtype).reshape(a.shape)
    out[...] = a
    return out


def _read_only(a: np.ndarray) -> np.ndarray:
    out = a.copy()
    out.flags.writeable = False
    return out


def _subclass(a: np.ndarray) -> np.ndarray:
    return a.view(np.recarray)


@pytest.mark.parametrize("form", [_fortran, _strided, _misaligned, _read_only, _subclass])
@pytest.mark.parametrize("donate", [False, True])
def test_any_memory(form: Any, donate: bool) -> None:
    """Gradients, parameters and slots of any memory are taken; only plain ones are written to."""
    o = refopt.optimizer("adam", engine="numba")
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((4, 6)), rng.standard_normal((4, 6))
    x1, s1 = o.update(x, g, o.init(x))
    x2, s2 = o.update(x1, g, s1)
    odd = {k: form(s1[k]) if k in "mv" else s1[k] for k in s1}
    point = x1 if form is _subclass else form(x1)
    given = (point, odd["m"], odd["v"])
    before = [np.array(a) for a in given]
    got, new = o.update(point, form(g), odd, donate=donate)
    np.testing.assert_array_equal(got, x2)
    np.testing.assert_array_equal(new["v"], s2["v"])
    if not donate or form is _read_only:
        for a, was in zip(given, before):
            np.testing.assert_array_equal(a, was)


def test_memory_of_another_size_is_refused() -> None:
    """A state of another shape must not be read past its end."""
    o = refopt.optimizer("adam", engine="numba")
    s = o.init(np.zeros(3))
    with pytest.raises(ShapeError, match=r"wanted shape \(5,\) like x, got \(3,\)"):
        o.update(np.zeros(5), np.zeros(5), s)


def test_refusals() -> None:
    o = refopt.optimizer("adam", engine="numba")
    x = np.zeros(3, np.float16)
    with pytest.raises(DtypeError, match="wanted float32 or float64, got float16"):
        o.update(x, x, refopt.optimizer("adam").init(x))
    x32, x64 = np.zeros(3, np.float32), np.zeros(3)
    s = o.init(x64)
    with pytest.raises(DtypeError, match="got float64"):
        o.update(x32, x32, s)
    strict = pytest.importorskip("array_api_strict")
    y = strict.asarray([1.0])
    with pytest.raises(ArgumentTypeError, match="wanted NumPy arrays, got array_api_strict"):
        o.update(y, y, refopt.optimizer("adam").init(y))


def test_where_is_a_selection() -> None:
    """Numba's own `where` allocates arrays for every element; the rule's picks one of two numbers."""
    import numba
    from numba.core.runtime import _nrt_python as runtime

    picked = numba.njit(lambda c, a, b: memory.select(c, a, b))
    assert picked(True, 1.5, 2.5) == 1.5 and picked(False, 1.5, 2.5) == 2.5
    o = refopt.optimizer("adan", engine="numba")
    counts = []
    for n in (10, 10_000):
        x, s = np.zeros(n), o.init(np.zeros(n))
        o.update(x, x, s)
        runtime.memsys_enable_stats()
        before = runtime.memsys_get_stats_alloc()
        o.update(x, x, s)
        counts.append(runtime.memsys_get_stats_alloc() - before)
        runtime.memsys_disable_stats()
    assert counts[0] == counts[1] > 0
