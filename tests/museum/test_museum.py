"""Every exhibit's right rule agrees; the buggy one is caught and called by its name."""

from __future__ import annotations

from pathlib import Path

import pytest
import refopt

from tests.museum.exhibit import Exhibit
from tests.museum.exhibits import EXHIBITS

IDS = [e.id for e in EXHIBITS]
PAGE = Path(__file__).parents[2] / "docs" / "museum.md"


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=IDS)
def test_right_rule_agrees(exhibit: Exhibit) -> None:
    report = refopt.verify.compare(
        exhibit.right, exhibit.method, dialect=exhibit.dialect, steps=16, **exhibit.given
    )
    assert report.agrees, str(report)


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=IDS)
def test_bug_is_caught_and_named(exhibit: Exhibit) -> None:
    report = refopt.verify.compare(
        exhibit.buggy, exhibit.method, dialect=exhibit.dialect, steps=16, **exhibit.given
    )
    assert not report.agrees
    why = refopt.verify.diagnose(exhibit.buggy, exhibit.method, steps=16, **exhibit.given)
    assert set(why.explained_by) == set(exhibit.diagnosis), str(why)


def test_ids_are_unique() -> None:
    assert len(set(IDS)) == len(IDS)


def test_the_page_has_every_exhibit() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for e in EXHIBITS:
        for part in (e.release.partition("==")[0], *e.diagnosis):
            assert part in text, (e.id, part)
        assert f"## {e.id}" in text
