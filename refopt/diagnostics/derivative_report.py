"""What `derivative_check` reports."""

from __future__ import annotations

from dataclasses import dataclass

from refopt.core.errors import ArgumentError


@dataclass(frozen=True)
class Check:
    """One capability's check.

    Attributes
    ----------
    capability : str
    how : str
        ``"complex step"``, ``"differences"``, ``"identity"`` or ``"unchecked"``.
    error : float
        Relative; the worst of several directions. Of differences, the best step's.
    slope : float or None
        Of differences: the exponent of the remainder ``|F(x+hv) - F(x-hv) - 2h F'v|`` in h at the smallest
        steps above rounding: 3 for a right derivative, 1 for a wrong one; None where the remainder
        is rounding alone.
    passed : bool
    note : str
    """

    capability: str
    how: str
    error: float
    slope: float | None
    passed: bool
    note: str = ""

    def __str__(self) -> str:
        slope = "" if self.slope is None else f", slope {self.slope:.2f}"
        note = f" ({self.note})" if self.note else ""
        verdict = "ok  " if self.passed else "FAIL"
        return f"{verdict} {self.capability:14} {self.how}: error {self.error:.1e}{slope}{note}"


@dataclass(frozen=True)
class DerivativeReport:
    """What `derivative_check` found: one `Check` for each capability offered."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """True if every check passed."""
        return all(c.passed for c in self.checks)

    @property
    def failures(self) -> tuple[str, ...]:
        """The names of the capabilities that failed."""
        return tuple(c.capability for c in self.checks if not c.passed)

    def __getitem__(self, capability: str) -> Check:
        """Return the check of `capability`."""
        for check in self.checks:
            if check.capability == capability:
                return check
        raise ArgumentError(f"capability: {capability!r} was not checked, as the problem does not offer it")

    def __str__(self) -> str:
        return "\n".join(map(str, self.checks))
