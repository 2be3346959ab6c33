"""What a comparison of functions, call by call, found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class FunctionDiagnosis:
    """The answer of `diagnose` for a function; as `refopt.verify.report.Diagnosis`."""

    explained_by: tuple[str, ...]
    other: str
    method: str
    sentence: str
    nearest: tuple[str, ...]
    error: float

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, eq=False)
class Answer:
    """One case's outcome: relative difference, what is allowed, and the message of an error."""

    case: str
    error: float
    allowed: float
    problem: str = ""

    @property
    def agrees(self) -> bool:
        """Whether rounding (and the stop's tolerance) explains the difference."""
        return not self.problem and self.error <= self.allowed


# Of the cases that were left out, those that are named.
SHOWN = 5


@dataclass(frozen=True, eq=False)
class FunctionReport:
    """The answer of `compare` for a function; ``str(report)`` says it in words.

    Parameters
    ----------
    agrees : bool
    other, method : str
    answers : tuple of Answer
    left_out : tuple of str
        Cases that the other side cannot be given.
    agrees_in : str
        Where it differs: another dialect in which it agrees; empty if there is none.
    """

    agrees: bool
    other: str
    method: str
    answers: tuple[Answer, ...]
    left_out: tuple[str, ...] = ()
    agrees_in: str = ""

    step: None = None
    index: None = None

    @property
    def worst(self) -> Answer:
        """The case that differs most, of those that differ if any does."""
        return max(self.answers, key=lambda a: (not a.agrees, a.error))

    @property
    def leaf(self) -> str | None:
        """The case that differs most; None if all agree."""
        return None if self.agrees else self.worst.case

    @property
    def error(self) -> float:
        """Its relative difference."""
        return self.worst.error

    def __bool__(self) -> bool:
        return self.agrees

    def __str__(self) -> str:
        w = self.worst
        cases = f"{len(self.answers)} case{'s' * (len(self.answers) > 1)}"
        if self.agrees:
            text = (
                f"{self.other} agrees with {self.method} in {cases}; largest relative difference"
                f" {w.error:.2g} (allowed there {w.allowed:.2g})."
            )
        else:
            also = (
                f"agrees with {self.method} in the dialect {self.agrees_in!r}, and " if self.agrees_in else ""
            )
            bad = [a.case for a in self.answers if not a.agrees]
            what = w.problem or f"relative difference {w.error:.2g}, allowed {w.allowed:.2g}"
            text = (
                f"{self.other} {also}differs from {self.method} in {len(bad)} of {cases}: {', '.join(bad)}."
                f"\n  Most in {w.case!r}: {what}."
            )
        if self.left_out:
            shown = ", ".join(self.left_out[:SHOWN])
            more = f" and {len(self.left_out) - SHOWN} others" if len(self.left_out) > SHOWN else ""
            text += f"\n  Not tried, since it cannot be given what they need: {shown}{more}."
        return text
