"""DCT-AdamW: the transform, the choice of columns, and what becomes of the moments."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import refopt
import scipy.fft

from tests.alike import assert_same_run
from tests.streams import schedule, stream


@pytest.mark.claim("dct-adamw")
@pytest.mark.parametrize("transform", ["dct3", "dct2"])
def test_no_other_columns_leave_less(transform: str) -> None:
    """Of all choices of 2 of 5 columns, those by l2 norms leave the smallest error, at most (1 - r/n) ‖G‖²."""
    g = np.random.default_rng(0).standard_normal((7, 5))
    o = refopt.optimizer("dct-adamw", rank=2, transform=transform)
    _, s = o.update(np.zeros((7, 5)), g, o.init(np.zeros((7, 5))))
    error = np.sum(s["error"] ** 2)
    S = (scipy.fft.idct if transform == "dct3" else scipy.fft.dct)(g, axis=1, norm="ortho", type=2)
    kept = [np.sum(S[:, list(pair)] ** 2) for pair in itertools.combinations(range(5), 2)]
    np.testing.assert_allclose(error, np.sum(g**2) - max(kept), rtol=1e-12)
    assert error <= (1 - 2 / 5) * np.sum(g**2)


@pytest.mark.claim("dct-adamw")
def test_memory() -> None:
    """2 r max(m, n) numbers and r indices for an m × n matrix without error feedback."""
    for shape in ((20, 7), (7, 20)):
        s = refopt.optimizer("dct-adamw", rank=3, error_feedback=False).init(np.zeros(shape))
        assert s["m"].size + s["v"].size == 2 * 3 * 20
        assert s["columns"][0].shape == (3,)


@pytest.mark.identity("dct-adamw")
@pytest.mark.parametrize(
    ("at_refresh", "norm", "at_multiples"),
    [("project", "l2", True), ("reset", "l1", False), ("keep", "l1", True)],
)
def test_written_out(at_refresh: str, norm: str, at_multiples: bool) -> None:
    """30 steps with error feedback equal the listing with SciPy's transforms and moments kept in a dict by
    column, tall and wide, to 1e-12.
    """
    lr, b1, b2, eps, wd, r, gap = 0.03, 0.8, 0.7, 1e-3, 0.1, 2, 4
    shapes = {"tall": (5, 3), "wide": (3, 6)}
    x, gradients = stream(0, "random", steps=30, shapes=shapes)
    o = refopt.optimizer(
        "dct-adamw", lr=lr, beta1=b1, beta2=b2, eps=eps, rank=r, update_every=gap, weight_decay=wd, norm=norm,
        at_refresh=at_refresh, refresh_at_multiples=at_multiples, schedule=schedule,
    )  # fmt: skip
    y = {k: v if k == "tall" else v.T for k, v in x.items()}
    error = {k: np.zeros(v.shape) for k, v in y.items()}
    columns: dict[str, list[int]] = {k: [] for k in y}
    moments: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {k: [] for k in y}
    s, age = o.init(x), 0
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        due = t == 1 or (t % gap == 0 if at_multiples else (t - 1) % gap == 0)
        age = 1 if due and at_refresh == "reset" else age + 1
        for k, w in y.items():
            A = (g[k] if k == "tall" else g[k].T) + error[k]
            S = scipy.fft.idct(A, axis=1, norm="ortho", type=2)
            rows, empty = w.shape[0], np.zeros(w.shape[0])
            if due:
                sizes = np.sum(np.abs(S), axis=0) if norm == "l1" else np.sqrt(np.sum(S**2, axis=0))
                new = list(np.argsort(-sizes)[:r])
                old = dict(zip(columns[k], moments[k]))
                if at_refresh == "project":
                    moments[k] = [old.get(c, (empty, empty)) for c in new]
                elif at_refresh == "reset" or t == 1:
                    moments[k] = [(empty, empty)] * r
                columns[k] = new
            low, u = np.zeros((rows, w.shape[1])), np.zeros((rows, w.shape[1]))
            for i, c in enumerate(columns[k]):
                m, v = moments[k][i]
                m, v = b1 * m + (1 - b1) * S[:, c], b2 * v + (1 - b2) * S[:, c] ** 2
                moments[k][i] = m, v
                low[:, c] = S[:, c]
                u[:, c] = (m / (1 - b1**age)) / (np.sqrt(v / (1 - b2**age)) + eps)
            error[k] = A - scipy.fft.dct(low, axis=1, norm="ortho", type=2)
            step = lr * schedule(t)
            y[k] = (1 - step * wd) * w - step * scipy.fft.dct(u, axis=1, norm="ortho", type=2)
            np.testing.assert_allclose(x[k] if k == "tall" else x[k].T, y[k], rtol=1e-12, atol=1e-12)


@pytest.mark.identity("dct-adamw")
def test_all_columns_leave_no_error() -> None:
    """r = n: feedback changes nothing, to 1e-13."""
    a, b = (refopt.optimizer("dct-adamw", lr=0.1, error_feedback=e) for e in (True, False))
    assert_same_run(
        a, b, stream(0, "random", steps=20, shapes={"w": (5, 3), "b": (4,)}), rtol=1e-12, atol=1e-13
    )


def test_vectors_have_adamw() -> None:
    x, gradients = stream(0, "random", steps=5, shapes={"w": (3, 4), "b": (4,)})
    o, adam = (refopt.optimizer(n, lr=0.1, weight_decay=0.1) for n in ("dct-adamw", "adam"))
    s, y = o.init(x), x
    a = adam.init(y)
    for g in gradients:
        x, s = o.update(x, g, s)
        y, a = adam.update(y, g, a)
    np.testing.assert_allclose(x["b"], y["b"], rtol=1e-14)
