"""The rows of a run's history beside its checkpoint: each is written once, so that checkpoints cost linear time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
from typing import Any

import numpy as np

from refopt.core.errors import CheckpointError

MAGIC = b"refopt-rows-1\n"


class RowsFile:
    """Rows that will not change any more, appended to ``PATH.rows``; how many of them count stands in the checkpoint.

    A kill may leave more than the checkpoint counts, or half a row: they are cut off before the next ones are written. What
    a checkpoint counts is never written over.

    Parameters
    ----------
    path : path
        The checkpoint's.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(f"{os.fspath(path)}.rows")
        self._needed = False  # a checkpoint counts on the file
        self._forget()

    def _forget(self) -> None:
        # How many rows count, and their checksum: one attribute, which no interrupt can tear.
        self._kept = 0, hashlib.sha256()
        self._size: int | None = None  # as this process left the file; None while it writes
        self._ours = False  # it was begun here

    def keep(self, rows: list[list[float]], count: int) -> dict[str, Any]:
        """Have the first `count` of `rows` in the file and return what the checkpoint says of them.

        Raises
        ------
        CheckpointError
            The place cannot be written, or another file or process is in the way.
        """
        before, digest = self._kept
        if count < before:
            # An interrupted checkpoint wrote more than is to be counted now.
            self._kept = count, hashlib.sha256(_bytes(rows[:count]))
        elif count > before:
            new, digest = _bytes(rows[before:count]), digest.copy()
            self._append(new, 8 * before * len(rows[0]))
            digest.update(new)
            self._kept = count, digest
        return {"count": count, "digest": self._kept[1].hexdigest()}

    def needed(self) -> None:
        """Take note that a checkpoint counts on the file."""
        self._needed = True

    def drop(self) -> None:
        """Remove what was written, where no checkpoint counts on it."""
        if self._ours and not self._needed:
            with contextlib.suppress(OSError):
                self.path.unlink()
            self._forget()

    def read(self, mark: dict[str, Any], columns: int) -> list[list[float]]:
        """Return the rows that a checkpoint counts; further ones are appended behind them.

        Raises
        ------
        CheckpointError
            The file is missing, shorter or another one.
        """
        size = 8 * columns * mark["count"]
        data = b""
        if size:
            try:
                with open(self.path, "rb") as f:
                    found = f.read(len(MAGIC)), f.read(size)
            except OSError as error:
                raise CheckpointError(f"checkpoint: cannot read {self.path}: {error.strerror}") from None
            if found[0] != MAGIC or len(found[1]) != size:
                raise CheckpointError(
                    f"checkpoint: {self.path} does not hold the {mark['count']} rows of history that belong to it"
                )
            data = found[1]
        digest = hashlib.sha256(data)
        if digest.hexdigest() != mark["digest"]:
            raise CheckpointError(
                f"checkpoint: {self.path} is of another run or damaged (its checksum is wrong)"
            )
        self._kept, self._needed = (mark["count"], digest), True
        return np.frombuffer(data, dtype="<f8").reshape(-1, columns).tolist()

    def _append(self, data: bytes, before: int) -> None:
        """Write `data` behind the first `before` bytes of rows."""
        start = len(MAGIC) + before if before else 0
        data = data if before else MAGIC + data
        try:
            with open(self.path, "r+b" if self.path.exists() else "w+b") as f:
                there = f.seek(0, os.SEEK_END)
                f.seek(0)
                if f.read(len(MAGIC)) != MAGIC[:there]:
                    raise CheckpointError(
                        f"checkpoint: {self.path} is in the way; it is no history of refopt's"
                    )
                if there < start or self._size not in (None, there):
                    raise CheckpointError(f"checkpoint: {self.path} was changed by another process")
                self._size, self._ours = None, self._ours or not before
                f.seek(start)
                f.truncate()
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
                self._size = start + len(data)
        except OSError as error:
            raise CheckpointError(f"checkpoint: cannot write {self.path}: {error.strerror}") from None


def _bytes(rows: list[list[float]]) -> bytes:
    return np.array(rows, dtype="<f8").tobytes()
