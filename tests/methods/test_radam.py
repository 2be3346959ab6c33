"""RAdam."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import stream


@pytest.mark.claim("radam")
@pytest.mark.parametrize(("beta2", "first"), [(0.999, 5), (0.9, 5), (0.6, 0)])
def test_when_the_rectification_begins(beta2: float, first: int) -> None:
    """Above ρ = 4 from the fifth step on for β2 of 0.9 and 0.999; with at least 5, as the libraries have it, from the sixth;
    never for β2 = 0.6, whose ρ_∞ is 4."""
    for options, want in (({}, first), ({"threshold": 5.0, "at_threshold": True}, first and first + 1)):
        o = refopt.optimizer("radam", beta2=beta2, eps=0.0, **options)
        x = np.array([0.0])
        s, began = o.init(x), 0
        for t in range(1, 40):
            before = x
            x, s = o.update(x, np.array([7.0]), s)
            # A plain step of a constant gradient is lr times it.
            if not began and abs(float(before[0] - x[0]) - 7e-3) > 1e-12:
                began = t
        assert began == want


@pytest.mark.claim("radam")
def test_the_factor_rises_to_one_and_adam_remains() -> None:
    """Steps over Adam's: 0.0172 at the fifth (r of the paper's formula), rising, 0.983 at the 5000th."""
    x, gradients = stream(2, "random", steps=5)
    ratio = []
    for t, carried in ((5, 5), (200, 200), (5000, 5000)):
        a, b = refopt.optimizer("radam", eps=0.0), refopt.optimizer("adam", eps=0.0)
        s = {"t": t - 1, "m": gradients[0], "v": {k: v**2 + 1.0 for k, v in gradients[1].items()}}
        one, two = (float((o.update(x, gradients[2], s)[0]["w"] - x["w"])[1, 1]) for o in (a, b))
        ratio.append(one / two)
        end = 1999.0
        rho = end - 2 * carried * 0.999**carried / (1 - 0.999**carried)
        np.testing.assert_allclose(
            ratio[-1], np.sqrt((rho - 4) * (rho - 2) * end / ((end - 4) * (end - 2) * rho)), rtol=1e-9
        )
    assert ratio[0] < 0.02 and ratio[0] < ratio[1] < ratio[2] and 0.98 < ratio[2] < 1.0


@pytest.mark.identity("radam")
def test_plain_steps_are_those_of_averaged_momentum() -> None:
    """β2 = 0.6 never rectifies: x moves by lr m̂, as Adam with β2 = 0 and sign-free squares does not; to 1e-13."""
    o = refopt.optimizer("radam", beta2=0.6, lr=0.1)
    x, gradients = stream(4, "random", steps=30)
    y, m, s = dict(x), {k: np.zeros_like(v) for k, v in x.items()}, o.init(x)
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        for k in y:
            m[k] = 0.9 * m[k] + 0.1 * g[k]
            y[k] = y[k] - 0.1 * m[k] / (1 - 0.9**t)
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-14)


@pytest.mark.identity("radam")
def test_standing_still_before_rectification() -> None:
    """fallback="none": five steps without a move, and without decay where `decays_still` is False; after them as ever."""
    x, gradients = stream(5, "random", steps=8)
    a = refopt.optimizer("radam", dialect="official", weight_decay=0.1)
    s, y = a.init(x), x
    for g in gradients[:5]:
        y, s = a.update(y, g, s)
    assert all(np.array_equal(x[k], y[k]) for k in x)
    b = refopt.optimizer("radam", dialect="official", weight_decay=0.1, decays_still=True)
    z, r = b.update(x, gradients[0], b.init(x))
    assert all(np.allclose(z[k], (1 - 1e-4) * x[k], rtol=1e-15) for k in x) and r["t"] == 1
    assert_same_run(
        refopt.optimizer("radam", threshold=5.0), refopt.optimizer("radam", threshold=5.0, at_threshold=True),
        stream(6, "random", steps=12),
    )  # fmt: skip
