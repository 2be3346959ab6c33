"""The package: what an import costs, what it needs, and that everything is in it."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import textwrap
import tomllib

import numpy as np
import pytest
import refopt

ROOT = pathlib.Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# Makes the optional packages impossible to import, as on a machine without any extra.
CORE_ONLY = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"numba", "cupy", "sklearn", "rich", "matplotlib", "torch", "jax"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CORE_ONLY + textwrap.dedent(code)], capture_output=True, text=True, check=False
    )


def test_import_loads_nothing_heavy() -> None:
    """`import refopt` alone imports neither NumPy nor SciPy: its modules load when they are used."""
    done = _python("""
        import refopt
        print([m for m in ("numpy", "scipy", "array_api_compat") if m in sys.modules])
        refopt.minimize
        print([m for m in ("scipy.sparse", "scipy.optimize", "scipy.stats") if m in sys.modules])
    """)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"], done.stderr


def test_core_needs_no_extra() -> None:
    """The quadratic, Adam, the registry and the error for each missing extra."""
    done = _python("""
        import refopt
        print(refopt.minimize(refopt.problem("quadratic"), "adam").status)
        print(len(refopt.methods()) > 20)
        for call in (
            lambda: refopt.optimizer("adam", engine="numba").update,
            lambda: refopt.minimize(refopt.problem("quadratic"), "adam", engine="numba"),
            lambda: refopt.minimize(refopt.problem("quadratic"), "adam", engine="cupy"),
            lambda: refopt.problem("logistic"),
            lambda: refopt.minimize(refopt.problem("quadratic"), "adam", progress=True),
            lambda: refopt.from_torch(lambda x: x),
            lambda: refopt.from_jax(lambda x: x),
        ):
            try:
                call()
                print("no error")
            except refopt.errors.RefoptError as error:
                print(type(error).__name__, str(error))
        from refopt.cli import main
        print(main(["list"]), main(["list", "--json"]) if False else "")
    """)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["steps", "True"], done.stderr
    extras = [re.search(r"MissingExtraError.*refopt\[(\w+)\]", line) for line in lines[3:9]]
    assert [e and e.group(1) for e in extras] == ["numba", "cupy", "data", "cli", "parity", "parity"], lines
    assert "refopt[cli]" in done.stderr
    assert lines[9].startswith("2")


def test_every_package_is_listed() -> None:
    """setuptools cannot find packages in a mapped folder, so they are listed; nothing may be forgotten."""
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "refopt").rglob("__init__.py")} | {
        "refopt." + ".".join(p.parent.relative_to(ROOT).parts)
        for p in (ROOT / "problems").rglob("__init__.py")
    }
    assert listed == found
    assert (ROOT / "refopt" / "py.typed").is_file()


def test_version_is_from_one_place() -> None:
    """pyproject.toml's, through the installed metadata."""
    assert refopt.__version__ == PROJECT["project"]["version"]
    assert f"version: {refopt.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_required_dependencies() -> None:
    """Three, no more."""
    names = {re.match(r"[\w-]+", d).group() for d in PROJECT["project"]["dependencies"]}  # type: ignore[union-attr]
    assert names == {"numpy", "scipy", "array-api-compat"}


def test_public_names() -> None:
    """The names that others rely on."""
    for name in (
        "minimize", "problem", "optimizer", "methods", "get", "bibliography", "from_functions", "from_torch", "from_jax",
        "scipy_method", "errors", "problems",
    ):  # fmt: skip
        assert getattr(refopt, name) is not None
    from refopt import driver

    assert refopt.minimize is driver.minimize


def test_contributing_example() -> None:
    """The method that CONTRIBUTING shows is a file of the house, under 45 lines, and works on both engines."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)  # type: ignore[union-attr]
    assert len(code.splitlines()) < 45
    assert code == (ROOT / "refopt/optimizers/first_order/sign.py").read_text(encoding="utf-8")
    x, g = np.array([1.0, -1.0, 2.0]), np.array([0.3, -2.0, 0.0])
    for engine in ("array", "numba"):
        o = refopt.optimizer("sign-sgd", lr=0.5, engine=engine)
        np.testing.assert_array_equal(o.update(x, g, o.init(x))[0], [0.5, -0.5, 2.0])


def test_readme_example(capsys: pytest.CaptureFixture[str]) -> None:
    """README's Python runs."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[:2]  # the third has a user's own functions
    exec(compile("\n".join(blocks), "README.md", "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out
    assert "mine is adam with eps inside the root, beside the corrected average" in printed
    for line in (
        "Where gradients are of size 1e-8, steps grow as their scale to the power 1; the reference 0.2455.",
        "First at step 1, leaf 'vector'[5], tape 'random'",
        "theirs 0.00674024012953",
        "ours   0.0209247511673",
    ):
        assert line in printed
        assert line in text
