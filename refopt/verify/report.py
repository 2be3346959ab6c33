"""What a comparison found."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Finding:
    """One leaf of one tape under one profile of hyperparameters.

    Parameters
    ----------
    profile, tape, leaf : str
    step : int or None
        The first step at which the difference is more than rounding explains, from 1; None: never.
    index : tuple of int or None
        The entry that differs most at that step.
    ours, theirs : float
        The values there (where the difference is largest, if all agree).
    error : float
        ``|theirs - ours|`` there over the largest ``|ours|`` that the leaf has had by that step;
        infinite if one side is not finite.
    ulps : float
        The same difference in units in the last place of ours, in the compared precision.
    allowed : float
        What rounding explains there, as `error`.
    growth : array
        The largest relative error of the leaf after every step.
    """

    profile: str
    tape: str
    leaf: str
    step: int | None
    index: tuple[int, ...] | None
    ours: float
    theirs: float
    error: float
    ulps: float
    allowed: float
    growth: np.ndarray

    @property
    def agrees(self) -> bool:
        """Whether rounding explains every difference."""
        return self.step is None


def examine(
    profile: str,
    tape: str,
    leaf: str,
    ours: np.ndarray,
    theirs: np.ndarray,
    allowed: np.ndarray,
    dtype: str,
    undefined: np.ndarray | None = None,
) -> Finding:
    """Compare two trajectories (steps, *shape) of one leaf.

    Two entries that are both not finite count as equal; one that alone is, as different, but where the
    rule is undefined (`undefined`: every gradient so far was zero, so that it asks for 0/0) and where
    rounding explains a difference as large as the values.
    """
    theirs = theirs.astype(np.float64)
    lost = ~np.isfinite(theirs)
    # The square of what is larger overflows, and with it a norm that is not scaled first.
    large = np.abs(ours) > np.sqrt(np.finfo(dtype).max)
    excused = lost & (~np.isfinite(ours) | (allowed >= np.abs(ours)) | large)
    if undefined is not None:
        # What is lost there stays lost.
        excused |= np.maximum.accumulate(lost & undefined, axis=0)
    with np.errstate(all="ignore"):
        gap = np.where(excused, 0.0, np.abs(theirs - ours))
    gap = np.where(np.isnan(gap), np.inf, gap)
    steps = ours.shape[0]
    flat, bad = gap.reshape(steps, -1), (gap > allowed).reshape(steps, -1)
    sizes = np.abs(np.where(np.isfinite(ours), ours, 0.0)).reshape(steps, -1).max(axis=1)
    # A leaf that crosses zero keeps the scale it has had.
    sizes = np.maximum.accumulate(sizes)
    scale = np.where(sizes > 0, sizes, 1.0)
    growth = flat.max(axis=1) / scale
    wrong = np.flatnonzero(bad.any(axis=1))
    first = int(wrong[0]) if wrong.size else None
    if first is not None:
        row, place = first, int(np.argmax(np.where(bad[first], flat[first], -1.0)))
    else:
        row, place = (int(i) for i in np.unravel_index(np.argmax(flat / scale[:, None]), flat.shape))
    mine, yours = float(ours.reshape(steps, -1)[row, place]), float(theirs.reshape(steps, -1)[row, place])
    with np.errstate(all="ignore"):
        ulps = np.float64(flat[row, place]) / np.spacing(np.dtype(dtype).type(abs(mine)))
    return Finding(
        profile=profile, tape=tape, leaf=leaf,
        step=None if first is None else first + 1,
        index=tuple(int(i) for i in np.unravel_index(place, ours.shape[1:])),
        ours=mine, theirs=yours,
        error=float(flat[row, place] / scale[row]),
        ulps=float(ulps),
        allowed=float(allowed.reshape(steps, -1)[row, place] / scale[row]),
        growth=growth,
    )  # fmt: skip


# Measured properties that a report prints.
MEASURED = 5


@dataclass(frozen=True, eq=False)
class Report:
    """The answer of `compare`; ``str(report)`` says it in words.

    Parameters
    ----------
    agrees : bool
        Every difference is within what rounding explains, in every finding, and nothing is wrong beside
        the trajectory (a note then says what).
    other, method, dialect : str
    hyperparameters : dict
        Of the reference, where they are not its defaults.
    dtype : str
        The other side's precision.
    steps : int
    findings : tuple of Finding
    notes : tuple of str
        What could not be tried, what was noticed beside the trajectory.
    operations : int
        Counted in one step of the reference; the bound is so many times the spread of perturbed runs.
    state : dict of str to (str, float)
        A state array of the other side: the reference's slot that it equals or is nearest to, and the
        largest relative difference.
    agrees_in : str
        Where it differs: another dialect of the method in which it agrees; empty if there is none.
    measured : tuple of str
        Where it differs: the properties that short experiments found to differ (`refopt.verify.fingerprint`).
    """

    agrees: bool
    other: str
    method: str
    dialect: str
    hyperparameters: dict[str, Any]
    dtype: str
    steps: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    operations: int = 0
    state: dict[str, tuple[str, float]] = field(default_factory=dict)
    agrees_in: str = ""
    measured: tuple[str, ...] = ()

    @property
    def worst(self) -> Finding:
        """The finding that differs first (then most); the largest error where all agree."""
        different = [f for f in self.findings if not f.agrees]
        if different:
            return min(different, key=lambda f: (f.step, -f.error))
        return max(self.findings, key=lambda f: f.error)

    @property
    def step(self) -> int | None:
        """The first step that differs, from 1; None if all agree."""
        return self.worst.step

    @property
    def leaf(self) -> str | None:
        """The leaf in which the first difference shows; None if all agree."""
        return None if self.worst.agrees else self.worst.leaf

    @property
    def index(self) -> tuple[int, ...] | None:
        """The entry of the first difference; None if all agree."""
        return None if self.worst.agrees else self.worst.index

    @property
    def error(self) -> float:
        """The relative error of the first difference; the largest of all where all agree."""
        return self.worst.error

    @property
    def ulps(self) -> float:
        """The first difference in units in the last place."""
        return self.worst.ulps

    @property
    def rtol(self) -> float:
        """What rounding explains at the worst place, relative to the leaf's largest entry."""
        return self.worst.allowed

    @property
    def growth(self) -> np.ndarray:
        """The worst finding's relative error after every step."""
        return self.worst.growth

    def __bool__(self) -> bool:
        return self.agrees

    def __str__(self) -> str:
        given = ", ".join(f"{k}={v!r}" for k, v in self.hyperparameters.items() if k != "schedule")
        name = f"{self.method} ({self.dialect}{'; ' + given if given else ''})"
        verdict = "agrees with" if self.agrees else "differs from"
        if self.agrees_in:
            verdict = f"agrees with {self.method} in the dialect {self.agrees_in!r}, and differs from"
        lines = [f"{self.other} {verdict} {name} in {self.dtype}, {self._where()}."]
        if self.measured:
            more = f" ({len(self.measured) - MEASURED} more in refopt.verify.fingerprint)"
            lines += ["  Measured:", *(f"    {line}" for line in self.measured[:MEASURED])]
            lines[-1] += more if len(self.measured) > MEASURED else ""
        w = self.worst
        if w.agrees:
            lines.append(
                f"  Largest relative difference {w.error:.2g}; rounding explains {w.allowed:.2g} there"
                f" (measured on perturbed runs, {self.operations} operations a step)."
            )
        else:
            at = f"[{', '.join(map(str, w.index))}]" if w.index else ""
            at = " (its sum)" if w.index is None else at
            apart = (
                f"    {w.error:.3g} standard errors apart in location or spread; limit {w.allowed:.3g}."
                if math.isnan(w.ulps)
                else f"    relative error {w.error:.2g} ({w.ulps:.3g} ulp); rounding explains {w.allowed:.2g}."
            )
            lines += [
                f"  First at step {w.step}, leaf {w.leaf!r}{at}, tape {w.tape!r}, profile {w.profile!r}:",
                f"    theirs {w.theirs:.17g}",
                f"    ours   {w.ours:.17g}",
                apart,
                *([] if math.isnan(w.ulps) else [f"  {_growing(w)}"]),
            ]
            lines += [f"  {s}" for s in self._split()]
        lines += [f"  Its {k} {_state(v)}." for k, v in self.state.items()]
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)

    def _where(self) -> str:
        tapes = {f.tape for f in self.findings}
        profiles = list(dict.fromkeys(f.profile for f in self.findings))
        leaves = {f.leaf for f in self.findings}
        return (
            f"{self.steps} steps on {len(tapes)} tape{'s' * (len(tapes) > 1)} of {len(leaves)}"
            f" lea{'ves' if len(leaves) > 1 else 'f'} ({', '.join(profiles)})"
        )

    def _split(self) -> list[str]:
        """Say which tapes, profiles and leaves differ, where not all do."""
        out = []
        for what in ("profile", "tape", "leaf"):
            bad = dict.fromkeys(getattr(f, what) for f in self.findings if not f.agrees)
            good = [k for k in dict.fromkeys(getattr(f, what) for f in self.findings) if k not in bad]
            if good:
                out.append(f"By {what}: differs in {', '.join(bad)}; agrees in {', '.join(good)}.")
        return out

    def plot(self, path: str) -> None:
        """Write the relative error by step, one curve a tape and profile, to a .png, .pdf or .svg file.

        Parameters
        ----------
        path : str

        Raises
        ------
        MissingExtraError
            matplotlib is not installed.
        """
        from refopt.core.errors import missing_extra

        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise missing_extra("cli", "matplotlib") from None
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        axes = figure.subplots()
        curves: dict[tuple[str, str], np.ndarray] = {}
        for f in self.findings:
            key = (f.profile, f.tape)
            grown = f.growth
            curves[key] = np.maximum(curves[key], grown) if key in curves else grown
        for (profile, tape), curve in curves.items():
            axes.semilogy(np.arange(1, curve.size + 1), np.maximum(curve, 1e-18), label=f"{tape} ({profile})")
        axes.set(xlabel="step", ylabel="largest relative difference", title=f"{self.other} and {self.method}")
        axes.legend(fontsize=6, ncols=2)
        figure.savefig(path, dpi=150)


def _state(found: tuple[str, float]) -> str:
    slot, error = found
    if not slot:
        return "is none of the reference's state arrays"
    if error == 0.0:
        return f"is our {slot}, to the bit"
    return f"is our {slot} to {error:.2g}"


def _growing(f: Finding) -> str:
    """Say how the error grows after its first step."""
    first = f.step or 1
    tail = f.growth[first - 1 :]
    last = float(tail[-1])
    if tail.size < 8 or not np.all(np.isfinite(tail)) or tail[0] == 0:
        return f"After the last step the relative error is {last:.2g}."
    n = np.arange(1, tail.size + 1)
    power = float(np.polyfit(np.log(n), np.log(np.maximum(tail, 1e-300)), 1)[0])
    if power > 0.25:
        shape = f"grows about as the step to the power {power:.1f}"
    elif power < -0.25:
        shape = f"fades about as the step to the power {power:.1f}"
    else:
        shape = "stays of one size"
    return f"The error {shape}; after the last step it is {last:.2g}."


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """The answer of `diagnose`; ``str(diagnosis)`` is one sentence.

    Parameters
    ----------
    explained_by : tuple of str
        The dialect, switches (``"decay=coupled"``), numbers (``"eps=1e-07"``), deviations and edits of
        the reference's text (``"old -> new"``) that together reproduce the trajectory to rounding; ``("paper",)`` if nothing needs to be changed;
        empty if nothing that was tried does.
    other, method : str
    sentence : str
    also : tuple of tuple of str
        What explains it as well: these tapes cannot tell them apart.
    seen : tuple of str
        Releases known to have the fault.
    nearest : tuple of str
        The variant that comes nearest, explained or not.
    error : float
        The largest relative difference of the explanation, or of the nearest; of a method that draws, in
        standard errors.
    tried : int
        Variants looked at.
    """

    explained_by: tuple[str, ...]
    other: str
    method: str
    sentence: str
    also: tuple[tuple[str, ...], ...]
    seen: tuple[str, ...]
    nearest: tuple[str, ...]
    error: float
    tried: int

    def __str__(self) -> str:
        return self.sentence
