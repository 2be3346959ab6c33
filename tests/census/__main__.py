"""Write docs/census.md: ``make census`` (LIBRARIES="torch optax:optax.sm3": this library and this class alone)."""

from __future__ import annotations

import datetime
import json
import os
import sys
import warnings
from pathlib import Path

from tests.census.classes import LIBRARIES, NAMESAKES, UNSEEN, classes, versions
from tests.census.making import SINGLE, ready
from tests.census.verdict import Verdict, judge

PAGE = Path(__file__).parents[2] / "docs" / "census.md"
KEPT = Path(__file__).parent / "census.json"

HEAD = """# A census of optimizers

Every optimizer class of {libraries} as installed was handed to the oracle by itself, without being told which method it is
(but those that wrap another, over SGD, that ask for more than a gradient, or that hold averages in another precision): `refopt.verify.diagnose(thing)`, 30 steps, effort {effort}. Made by `make census` on {date}.

A row says that it *agrees* with a method in a dialect over all tapes and profiles to rounding; that it *differs* from the
method that it is called after or nearest to, because of what then reproduces it to rounding, or as near as is said; that the difference is
*unexplained* (what was measured follows); that no method of its name is *registered* here; or that it *could not be run*
on gradients alone. What is a fault and what a choice is not for a table to say: docs/museum.md and the pages of the
methods have that.

Rows are the oracle's own words, and nobody has yet confirmed each by a plain transcription. A class that agrees with
another method than its name says does so under its defaults on these leaves (a Muon that hands every leaf to Adam, say).

"""
EFFORT = 1000


def main() -> None:
    """Judge all, keep the verdicts, write the page."""
    warnings.simplefilter("ignore")
    # In double precision a difference cannot hide in rounding, nor rounding look like one.
    os.environ |= {"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1"}
    kept = {tuple(k.split("|")): Verdict(**v) for k, v in _kept().items()}
    for asked in sys.argv[1:] or LIBRARIES:
        library, _, alone = asked.partition(":")
        kept = {k: v for k, v in kept.items() if k[0] != library or (alone and k[1] != alone)}
        for name, thing in classes(library):
            if alone and name != alone:
                continue
            if (library, name) in NAMESAKES:
                verdict = Verdict("not registered", NAMESAKES[library, name])
            elif (library, name) in UNSEEN:
                verdict = Verdict("not run", UNSEEN[library, name])
            else:
                made, told = ready(library, name, thing)
                verdict = judge(made, EFFORT, told, "float32" if (library, name) in SINGLE else "float64")
            kept[library, name] = verdict
            print(f"{library}:{name}: {verdict.outcome} {verdict.words}", flush=True)
        KEPT.write_text(json.dumps({"|".join(k): vars(v) for k, v in sorted(kept.items())}, indent=1) + "\n")
    found = versions()
    libraries = ", ".join(f"{k} {found[k]}" for k in LIBRARIES if any(key[0] == k for key in kept))
    text = HEAD.format(libraries=libraries, effort=EFFORT, date=datetime.datetime.now(datetime.UTC).date())
    outcomes = ("agrees", "differs", "unexplained", "not registered", "not run")
    text += "| library | " + " | ".join(outcomes) + " |\n|---|" + "---|" * len(outcomes) + "\n"
    for library in LIBRARIES:
        rows = {k[1]: v for k, v in kept.items() if k[0] == library}
        if rows:
            counts = (str(sum(v.outcome == o for v in rows.values())) for o in outcomes)
            text += f"| {library} | " + " | ".join(counts) + " |\n"
    for library in LIBRARIES:
        rows = {k[1]: v for k, v in kept.items() if k[0] == library}
        if rows:
            text += f"\n## {library} {found.get(library, '')}\n\n| class | outcome | what it is |\n|---|---|---|\n"
            text += "".join(f"| {name} | {v.outcome} | {v.words} |\n" for name, v in sorted(rows.items()))
    PAGE.write_text(text)


def _kept() -> dict[str, dict[str, str]]:
    return json.loads(KEPT.read_text()) if KEPT.exists() else {}


if __name__ == "__main__":
    main()
