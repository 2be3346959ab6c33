"""One parity case: what refopt computes beside what an independent implementation computes.

A file in ``tests/parity/peers/``, or a method's test file, defines ``CASES``. Everything else follows from that list:
``make record`` runs each peer with seed 0 and stores its arrays in ``tests/parity/tapes/``;
``make test`` holds refopt to the stored arrays (no peer installed); ``make parity`` runs the peers
live, on the tape's inputs and on fresh ones.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import pathlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Arrays = dict[str, np.ndarray]
TAPES = pathlib.Path(__file__).parent / "tapes"


@dataclass(frozen=True)
class Case:
    """A comparison of one method (and dialect) with one peer.

    Parameters
    ----------
    method : str
        The registered name.
    label : str
        Distinguishes cases of one method: ``"torch-decay"``.
    peer : str
        The distribution that provides the peer (``"torch"``), as pip names it, or
        ``"owner/repo@commit"`` for recorded runs of code that is not on a package index.
    ours, theirs : callable
        Take a seed, return named NumPy arrays of equal names and shapes. ``theirs`` imports its
        library inside; None for a repository's code (tape only).
    rtol, atol : float
        Per array: ``|ours - theirs| <= atol + rtol * max|theirs|``. State what limits a bound
        above 1e-12 in `why`.
    says : str
        What was compared, over how many steps, and how closely: the sentence that `refopt show` prints.
    shows : tuple of str
        Further names that it is evidence for.
    """

    method: str
    label: str
    peer: str
    ours: Callable[[int], Arrays]
    theirs: Callable[[int], Arrays] | None
    rtol: float = 1e-12
    atol: float = 0.0
    why: str = ""
    says: str = ""
    shows: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rtol > 1e-12 and not self.why:
            raise ValueError(f"{self.id}: a tolerance above 1e-12 needs its reason in `why`")
        if not self.says:
            raise ValueError(f"{self.id}: wanted a sentence in `says`: what was compared, and how closely")

    @property
    def id(self) -> str:
        return f"{self.method}-{self.label}"


def all_cases() -> list[Case]:
    """Collect ``CASES`` of every peers file, and of the methods' test files that have them."""
    tests = pathlib.Path(__file__).parents[1]
    names = [f"tests.parity.peers.{p.stem}" for p in sorted((tests / "parity/peers").glob("[!_]*.py"))]
    for path in sorted((tests / "methods").glob("test_*.py")):
        if "\nCASES = [" in path.read_text(encoding="utf-8"):
            names.append(f"tests.methods.{path.stem}")
    found: list[Case] = []
    for name in names:
        found += importlib.import_module(name).CASES
    ids = [c.id for c in found]
    assert len(ids) == len(set(ids)), sorted(i for i in ids if ids.count(i) > 1)
    return found


def assert_close(ours: Arrays, theirs: Arrays, case: Case) -> None:
    """Compare array by array, relative to the largest entry of the peer's array."""
    assert ours.keys() == theirs.keys()
    for name, want in theirs.items():
        got = np.asarray(ours[name])
        assert got.shape == want.shape, f"{case.id}: {name}: shape {got.shape}, the peer's {want.shape}"
        scale = float(np.max(np.abs(want))) if want.size else 0.0
        gap = float(np.max(np.abs(got - want))) if want.size else 0.0
        assert gap <= case.atol + case.rtol * scale, (
            f"{case.id}: {name}: differs by {gap:.3g} of {scale:.3g} (rtol {case.rtol:.1g}, atol {case.atol:.1g})"
        )


def tape_path(case: Case) -> pathlib.Path:
    return TAPES / f"{case.id}.npz"


def record(case: Case, arrays: Arrays, version: str) -> None:
    """Store the peer's arrays with its version; the same arrays give the same file."""
    header = {"peer": case.peer, "version": version, "seed": 0}
    text = np.frombuffer(json.dumps(header, sort_keys=True).encode(), dtype=np.uint8)
    np.savez_compressed(tape_path(case), header=text, **arrays)


def read(case: Case) -> tuple[dict[str, str], Arrays]:
    """Read a tape: its header and the peer's arrays."""
    with np.load(tape_path(case), allow_pickle=False) as data:
        header = json.loads(bytes(data["header"]).decode())
        return header, {k: data[k] for k in data.files if k != "header"}


def installed_version(peer: str) -> str | None:
    """The peer's installed version, or None."""
    try:
        return importlib.metadata.version(peer)
    except importlib.metadata.PackageNotFoundError:
        return None


def digest(arrays: Arrays) -> str:
    """A short checksum of named arrays, for messages."""
    h = hashlib.sha256()
    for name in sorted(arrays):
        h.update(name.encode())
        h.update(np.ascontiguousarray(arrays[name]).tobytes())
    return h.hexdigest()[:12]
