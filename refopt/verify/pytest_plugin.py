"""The pytest plugin: ``pytest --refopt`` gives the fixture ``refopt_oracle``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--refopt``."""
    parser.getgroup("refopt").addoption(
        "--refopt",
        action="store_true",
        help="run tests that hold implementations against refopt (refopt_oracle)",
    )


@pytest.fixture
def refopt_oracle(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Hold an implementation against the reference: ``refopt_oracle(other, name, **options)``.

    The fixture's value is `hold`. Without ``--refopt`` the test is skipped.
    """
    if not request.config.getoption("--refopt"):
        pytest.skip("holds an implementation against refopt; run pytest --refopt")
    return hold


def hold(other: Any, name: str, *, diagnose: bool = True, **options: Any) -> Any:
    """Compare, and fail the running test where the sides differ: the value of the fixture ``refopt_oracle``.

    The test's failure has the report and, before it, the diagnosis.

    Parameters
    ----------
    other : object
        Any implementation that `refopt.verify.compare` takes.
    name : str
        The reference's name.
    diagnose : bool
        False leaves the diagnosis out, which takes longer than the comparison.
    options
        Those of `refopt.verify.compare`.

    Returns
    -------
    Report
        Where the sides agree.
    """
    import refopt

    report = refopt.verify.compare(other, name, **options)
    if report.agrees:
        return report
    why = ""
    if diagnose:
        told = {k: v for k, v in options.items() if k not in ("dialect", "steps", "shapes", "extra_tapes")}
        why = f"{refopt.verify.diagnose(other, name, **told)}\n"
    pytest.fail(f"{why}{report}", pytrace=False)
