"""The table of docs/matrix-accuracy.md: errors against mpmath stay near the conditioning's bound."""

from __future__ import annotations

import pathlib

import pytest
from docs.tables.matrix_accuracy import ROWS, Row, measure


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.label)
@pytest.mark.parametrize("kappa", [1.0, 1e4, 1e8, 1e12, 1e14])
def test_error_near_bound(row: Row, kappa: float) -> None:
    """At most 16 n times the bound (or eps, if that is more) up to 1e14; nothing is refused to 1e12."""
    error, bound = measure(row, kappa)
    if error is None:
        assert kappa > 1e12
        return
    assert error <= 16 * 6 * max(bound, 2.3e-16)


def test_page_is_there() -> None:
    """The page has a line for every function."""
    text = (pathlib.Path(__file__).parents[2] / "docs" / "matrix-accuracy.md").read_text(encoding="utf-8")
    for row in ROWS:
        assert f"| {row.label} |" in text
