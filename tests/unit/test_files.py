"""Files of others: bounded before they are unpacked, refused in one line."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import refopt
import scipy.io
import scipy.sparse
from refopt.core import checkpoint as ckpt
from refopt.core.errors import ArgumentError, CheckpointError
from refopt.core.files import MOST_TEXT, read_matrix_market


def test_matrix_market_of_a_system(tmp_path: Path) -> None:
    """Coordinate and array files, packed or not, are a solver's matrix by their path."""
    A, b = np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([1.0, 2.0])
    scipy.io.mmwrite(tmp_path / "sparse.mtx", scipy.sparse.csr_array(A))
    scipy.io.mmwrite(tmp_path / "dense.mtx", A)
    (tmp_path / "packed.mtx.gz").write_bytes(gzip.compress((tmp_path / "sparse.mtx").read_bytes()))
    assert scipy.sparse.issparse(read_matrix_market(tmp_path / "packed.mtx.gz"))
    for name in ("sparse.mtx", "dense.mtx", "packed.mtx.gz"):
        for method in ("cg", "pcg", "sor"):
            x = refopt.get(method)(tmp_path / name, b, rtol=1e-12).x
            np.testing.assert_allclose(A @ x, b, rtol=1e-10)


HEAD = "%%MatrixMarket matrix "


@pytest.mark.parametrize(
    "text",
    [
        "", "1 2 3\n", HEAD + "coordinate real general\n3000000000 3000000000 1\n1 1 1.0\n",
        HEAD + "coordinate real general\n3 3 1000000000000\n1 1 1.0\n",
        HEAD + "array real general\n1000000 1000000\n1.0\n",
        HEAD + "coordinate real general\n3 3 1\n9 9 1.0\n", HEAD + "coordinate real general\n3 3 2\n1 1 1.0\n",
    ],
)  # fmt: skip
def test_matrix_market_that_lies(text: str, tmp_path: Path) -> None:
    """No such file, sizes that it cannot hold, an index outside: typed, and nothing is laid out first."""
    (tmp_path / "a.mtx").write_text(text)
    with pytest.raises(ArgumentError, match="A: "):
        refopt.get("cg")(tmp_path / "a.mtx", np.ones(3))


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="A: cannot read"):
        refopt.get("cg")(tmp_path / "none.mtx", np.ones(3))


@pytest.mark.parametrize("pack", [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_a_bomb_is_not_unpacked(pack: tuple, tmp_path: Path) -> None:
    """What packs to a thousandth is no text of numbers."""
    path = tmp_path / f"a.svm{pack[0]}"
    path.write_bytes(pack[1](b" " * (2 * MOST_TEXT)))
    with pytest.raises(ArgumentError, match="unpacks to more than"):
        refopt.problem("logistic", data=path)


@pytest.mark.parametrize("line", ["1 2000000000:1\n", "1 1000000000000000000:1\n", "a b c\n"])
def test_libsvm_that_lies(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.svm").write_text("0 1:1\n" + line)
    with pytest.raises(ArgumentError, match=r"data: .*a\.svm"):
        refopt.problem("logistic", data=tmp_path / "a.svm")


def _quadratic(path: Path, **more: object) -> refopt.core.result.Result:
    return refopt.minimize(refopt.problem("quadratic", n=3), "momentum", steps=4, checkpoint=path, **more)


def test_checkpoints_leave_nothing_beside_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails or is interrupted removes its part; one of a process that was killed goes next time."""
    path = tmp_path / "run"
    (tmp_path / "run.999999999.tmp").write_bytes(b"of a process that is gone")
    (tmp_path / f"run.{os.getppid()}.tmp").write_bytes(b"of one that lives")
    _quadratic(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["run", "run.rows", f"run.{os.getppid()}.tmp"]
    )

    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):

        def fails(*args: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(ckpt.os, "replace", fails)
        with pytest.raises((CheckpointError, KeyboardInterrupt)):
            _quadratic(tmp_path / "other")
        assert not [p for p in tmp_path.iterdir() if p.name.startswith("other")]


def _forge(path: Path, change: dict[str, object] | bytes, compress: bool = False) -> None:
    """Write a checkpoint with a right checksum whose text, or one member, is another."""
    import hashlib

    with zipfile.ZipFile(io.BytesIO(path.read_bytes()[:-32])) as old:
        members = {n: old.read(n) for n in old.namelist()}
    if isinstance(change, bytes):
        members["a0.npy"] = change
    else:
        text = np.load(io.BytesIO(members["text.npy"])).tobytes()
        content = json.loads(text)
        pairs = dict(content["content"]["$dict"])
        content["content"]["$dict"] = [[k, v] for k, v in {**pairs, **change}.items() if v != "absent"]
        out = io.BytesIO()
        np.save(out, np.frombuffer(json.dumps(content).encode(), dtype=np.uint8))
        members["text.npy"] = out.getvalue()
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as new:
        for name, data in members.items():
            new.writestr(name, data)
    path.write_bytes(body.getvalue() + hashlib.sha256(body.getvalue()).digest())


def _huge() -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f8", "fortran_order": False, "shape": (2**50,)})
    return out.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        {"step": {"$float": "nan"}}, {"step": -1}, {"step": "absent"}, {"x": "absent"}, {"rows": "absent"},
        {"rows": 3}, {"calls": 3}, {"state": None}, {"seconds": "x"}, {"equivalents": {"$float": "inf"}},
        {"run": 3}, _huge(), b"\x00" * 100_000,
    ],
    ids=str,
)  # fmt: skip
def test_forged_checkpoints(change: dict[str, object] | bytes, tmp_path: Path) -> None:
    """Entries that are missing, of another kind or endless: one error, whatever the checksum says."""
    path = tmp_path / "run"
    _quadratic(path)
    _forge(path, change, compress=isinstance(change, bytes) and len(change) > 1000)
    with pytest.raises(CheckpointError):
        _quadratic(path, resume=True)
