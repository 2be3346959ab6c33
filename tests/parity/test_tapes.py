"""refopt against the peers' recorded arrays: needs no peer."""

from __future__ import annotations

import pytest

from tests.parity.case import TAPES, Case, all_cases, assert_close, read, tape_path

CASES = all_cases()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_tape(case: Case) -> None:
    """refopt reproduces the recorded arrays of the peer."""
    header, theirs = read(case)
    assert header["peer"] == case.peer
    assert_close(case.ours(0), theirs, case)


def test_no_orphan_tapes() -> None:
    """Every stored tape belongs to a case."""
    assert {p.name for p in TAPES.glob("*.npz")} == {tape_path(c).name for c in CASES}
