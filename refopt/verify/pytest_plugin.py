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

    It takes what `refopt.verify.compare` takes and returns its report where the sides agree. Where they
    do not, the test fails with the report and, unless ``diagnose=False`` is given, the diagnosis.
    Without ``--refopt`` the test is skipped.
    """
    if not request.config.getoption("--refopt"):
        pytest.skip("holds an implementation against refopt; run pytest --refopt")

    def hold(other: Any, name: str, *, diagnose: bool = True, **options: Any) -> Any:
        import refopt

        report = refopt.verify.compare(other, name, **options)
        if report.agrees:
            return report
        why = ""
        if diagnose:
            told = {
                k: v for k, v in options.items() if k not in ("dialect", "steps", "shapes", "extra_tapes")
            }
            why = f"{refopt.verify.diagnose(other, name, **told)}\n"
        pytest.fail(f"{why}{report}", pytrace=False)

    return hold
