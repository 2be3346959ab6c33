"""refopt against the peers, run live: on the tape's inputs and on fresh ones."""

from __future__ import annotations

import os

import pytest

from tests.parity.case import Case, all_cases, assert_close, installed_version, read

CASES = [c for c in all_cases() if c.theirs is not None]
FRESH_SEED = int(os.environ.get("REFOPT_PARITY_SEED", "20261121"))


@pytest.mark.live
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_live(case: Case) -> None:
    """The peer still gives its tape, and refopt agrees with it on inputs nobody recorded."""
    if installed_version(case.peer) is None:
        pytest.skip(f"{case.peer} is not installed; make parity runs this")
    assert case.theirs is not None
    assert_close(read(case)[1], case.theirs(0), case)
    assert_close(case.ours(FRESH_SEED), case.theirs(FRESH_SEED), case)
