"""The old releases themselves, from the package index, against the reference: `make museum`.

Every release has an environment of its own under .venv-museum, with nothing but the release in it: what
it needs besides comes from the parity environment, in which this is run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

from tests.museum.exhibits import EXHIBITS
from tests.museum.readers import READERS

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".venv-museum"
# What a release imports and the parity environment does not have.
ALSO = {"torch-optimizer==0.3.0": ("pytorch-ranger==0.1.1",)}
STEPS = 24
# The release in which the rule is computed in float32 whatever it is given.
SINGLE = ("lion-coupled-decay",)
# Where the library's own form differs from the exhibit's, or shows more: (dialect, diagnosis, given).
OWN: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "adam-eps-before-correction": (
        "torch",
        # Keras's dialect is Adam with eps there.
        ("keras", "counter-twice-odd", "decay=coupled"),
        {"shapes": {"vector": (7,)}},
    ),
    "adam-eps-subtracted": ("torch", ("eps-subtracted",), {}),
    "muon-branches-swapped": ("torch", ("torch", "scale=match-rms"), {"weight_decay": 0.0}),
    "lars-begun-twice": ("kozistr", ("kozistr", "buffer-starts-at-gradient", "ratio-without-decay"), {}),
    "diffgrad-friction-dropped": ("kozistr", ("kozistr", "friction-dropped"), {}),
}
# What is left to say of the release with the fix.
LEFT = {"prodigy-counted-twice": ("counter-while-idle",)}
# Caught, but not explained: what the reference has no name for. docs/museum.md says what it is.
MISSED = ("diffgrad-friction-dropped",)


def environment(release: str) -> Path:
    """Return the Python of the release's environment, made where it is not there yet."""
    if release.startswith("optax"):
        return Path(sys.executable)
    home = HOME / release.replace("==", "-")
    python = home / "bin" / "python"
    if not (home / ".done").exists():
        venv.create(home, with_pip=False, clear=True)
        command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
        subprocess.run([*command, release, *ALSO.get(release, ())], check=True)
        own = home / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        shared = sysconfig.get_path("purelib")
        (own / "shared.pth").write_text(f"import site; site.addsitedir({shared!r})\n")
        (home / ".done").touch()
    return python


def look(name: str) -> dict[str, Any]:
    """Compare and diagnose, in the release's environment."""
    import refopt

    e = next(e for e in EXHIBITS if e.id == name)
    it = READERS[name]()
    dtype = "float32" if name in SINGLE else "float64"
    dialect, _, more = OWN.get(name, (e.dialect, (), {}))
    given = {**e.given, **more}
    report = refopt.verify.compare(it, e.method, dialect=dialect, steps=STEPS, dtype=dtype, **given)
    why = refopt.verify.diagnose(it, e.method, steps=STEPS, dtype=dtype, **given)
    return {"agrees": report.agrees, "explained_by": list(why.explained_by), "sentence": str(why)}


def run(name: str, release: str) -> dict[str, Any]:
    """Look at one release; ``error`` says why that cannot be."""
    try:
        python = environment(release)
        command = [str(python), "-W", "ignore", "-m", "tests.museum.releases", "--one", name]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "TORCHDYNAMO_DISABLE": "1"}, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        if done.returncode:
            return {"error": done.stderr.strip().splitlines()[-1]}
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return answer
    except (subprocess.SubprocessError, OSError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def table(only: list[str] | None) -> bool:
    """Print one line an exhibit; return whether every release that ran was judged right."""
    print("| exhibit | release | caught | diagnosis | right | first release without it agrees |")
    print("|---|---|---|---|---|---|")
    good = True
    for e in EXHIBITS:
        if only and e.id not in only:
            continue
        if e.id not in READERS:
            print(f"| {e.id} | {e.release} | not run: {e.why_not} | | | |", flush=True)
            continue
        old = run(e.id, e.release)
        if "error" in old:
            print(f"| {e.id} | {e.release} | not run: {old['error']} | | | |", flush=True)
            good = False
            continue
        right = set(old["explained_by"]) == set(OWN[e.id][1] if e.id in OWN else e.diagnosis)
        caught = not old["agrees"]
        if e.fixed:
            new = run(e.id, e.fixed)
            after = new.get("error") or ("yes" if new["agrees"] else f"no: {', '.join(new['explained_by'])}")
            left = tuple(new.get("explained_by", ())) == LEFT.get(e.id)
            good &= bool(new.get("agrees")) or left or e.id in MISSED
        else:
            after = "none yet"
        named = ", ".join(old["explained_by"]) or "none"
        words = ("yes" if caught else "no", named, "yes" if right else "no")
        print(
            f"| {e.id} | {e.release} | {words[0]} | {words[1]} | {words[2]} | {e.fixed and e.fixed + ': '}{after} |",
            flush=True,
        )
        good &= caught and (right or e.id in MISSED)
    return good


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", help="an exhibit's id, in its release's environment")
    parser.add_argument("--only", nargs="*", help="exhibits' ids; default: all")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(look(args.one)))
        return 0
    return 0 if table(args.only) else 1


if __name__ == "__main__":
    sys.exit(main())
