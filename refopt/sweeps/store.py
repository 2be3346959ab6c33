"""A sweep's file: SQLite, written by one process, readable while it is written."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import pathlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from refopt.core.arguments import check_path
from refopt.core.errors import StoreError
from refopt.sweeps.specification import Job
from refopt.sweeps.work import CRASHED, Outcome

# "refo", so that no other program's database is taken for one.
APPLICATION, FORMAT = 0x7265666F, 1

# `asked` says what the sweeps on this file wanted, in their order and under which labels; `runs` what came of it.
TABLES = (
    """CREATE TABLE asked(
    key TEXT NOT NULL, method TEXT NOT NULL, problem TEXT NOT NULL, specification TEXT NOT NULL,
    PRIMARY KEY (key, method, problem))""",
    """CREATE TABLE runs(
    key TEXT PRIMARY KEY NOT NULL, status TEXT NOT NULL, message TEXT NOT NULL, fun REAL, nit INTEGER NOT NULL,
    gradient_equivalents REAL NOT NULL, seconds REAL NOT NULL, calls TEXT NOT NULL, met INTEGER,
    columns TEXT NOT NULL, history BLOB NOT NULL)""",
)
READ = """
SELECT asked.key, method, problem, specification, status, message, fun, nit, gradient_equivalents, seconds, calls, met,
       columns, history
FROM asked JOIN runs ON runs.key = asked.key ORDER BY asked.rowid
"""


class Store:
    """The open file.

    Parameters
    ----------
    path : path or None
        None: in memory. A file that is not there is made, unless `existing`.
    existing : bool
        Only read.

    Raises
    ------
    StoreError
        It is no sweep's file, or of another format, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str] | None, *, existing: bool = False) -> None:
        self.path = ":memory:" if path is None else os.path.abspath(_place(path, existing))
        # A reader without the right to write beside the file takes it as it stands.
        fixed = existing and not os.access(os.path.dirname(self.path), os.W_OK)
        where = f"{pathlib.Path(self.path).as_uri()}?immutable=1" if fixed else self.path
        with self._told():
            # Transactions are begun and ended by hand; a reader elsewhere may hold the file for a moment.
            self.base = sqlite3.connect(where, timeout=60, isolation_level=None, uri=fixed)
            try:
                self._prepare(existing)
            except BaseException:
                self.base.close()
                raise

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(
                f"store: {self.path} is no file of a sweep, or cannot be used ({error})"
            ) from None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it, or none: a process that is killed inside leaves nothing of it."""
        with self._told():
            self.base.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self.base.execute("ROLLBACK")
                raise
            self.base.execute("COMMIT")

    def _prepare(self, existing: bool) -> None:
        if not existing and self._marks() == (0, 0, 0):
            self.base.execute("PRAGMA journal_mode = WAL")
            with self._transaction():
                if self._marks() == (0, 0, 0):  # and no other sweep has made it meanwhile
                    for statement in TABLES:
                        self.base.execute(statement)
                    self.base.execute(f"PRAGMA application_id = {APPLICATION}")
                    self.base.execute(f"PRAGMA user_version = {FORMAT}")
        application, version, _ = self._marks()
        if application != APPLICATION or version != FORMAT:
            raise StoreError(
                f"store: {self.path} is no file of a sweep in format {FORMAT} (its application is {application:#x}, its"
                f" format {version})"
            )
        if not existing:
            # In WAL a kill loses nothing that was committed; a power cut may lose the last rows, which are then run again.
            self.base.execute("PRAGMA synchronous = NORMAL")

    def _marks(self) -> tuple[int, int, int]:
        """Return whose file it is, its format, and how many tables and indices it has."""
        asked = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        application, version, tables = (int(self.base.execute(q).fetchone()[0]) for q in asked)
        return application, version, tables

    def close(self) -> None:
        """Close the file."""
        self.base.close()

    def ask(self, jobs: Iterable[Job]) -> set[str]:
        """Write down what is wanted; return the keys that are done. What crashed is not."""
        with self._transaction():
            self.base.executemany(
                "INSERT OR IGNORE INTO asked VALUES (?, ?, ?, ?)",
                ((j.key, j.method, j.problem.label, j.text) for j in jobs),
            )
            done = self.base.execute("SELECT key FROM runs WHERE status != ?", (CRASHED,)).fetchall()
        return {key for (key,) in done}

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Write finished runs, all or none. Of two sweeps that made one run at the same time, the first counts."""
        with self._transaction():
            for outcome in outcomes:
                self.base.execute("DELETE FROM runs WHERE key = ? AND status = ?", (outcome.key, CRASHED))
                self.base.execute(
                    f"INSERT OR IGNORE INTO runs VALUES ({', '.join('?' * 11)})", _packed(outcome)
                )

    def read(self) -> tuple[list[dict[str, Any]], int]:
        """Return the finished runs, in the order in which they were asked for, and how many are not finished."""
        with self._told():
            self.base.execute("BEGIN")  # what a running sweep adds meanwhile is not seen
            found = self.base.execute(READ)
            names = [d[0] for d in found.description]
            rows = [_unpacked(dict(zip(names, row))) for row in found]
            asked = int(self.base.execute("SELECT count(*) FROM asked").fetchone()[0])
            self.base.execute("COMMIT")
        return rows, asked - len(rows)


def _place(path: str | os.PathLike[str], existing: bool) -> str:
    if not existing:
        return check_path(path, "store", StoreError)
    if not isinstance(path, (str, os.PathLike)) or not os.path.isfile(path):
        raise StoreError(f"store: wanted the path of a sweep's file, got {path!r}, where there is none")
    return os.fspath(path)


def _packed(o: Outcome) -> tuple[Any, ...]:
    body = io.BytesIO()
    np.save(body, np.stack(list(o.history.values())) if o.history else np.zeros((0, 0)), allow_pickle=False)
    fun = None if math.isnan(o.fun) else o.fun
    met = None if o.met is None else int(o.met)
    return (o.key, o.status, o.message, fun, o.nit, o.gradient_equivalents, o.seconds, json.dumps(dict(o.calls)), met,
            json.dumps(list(o.history)), body.getvalue())  # fmt: skip


def _unpacked(row: dict[str, Any]) -> dict[str, Any]:
    specification: Mapping[str, Any] = json.loads(row["specification"])
    names, values = json.loads(row.pop("columns")), np.load(io.BytesIO(row["history"]), allow_pickle=False)
    values.flags.writeable = False
    return {
        **row,
        "specification": specification,
        "settings": specification["settings"],
        "seed": specification["seed"],
        "fun": math.nan if row["fun"] is None else row["fun"],
        "calls": json.loads(row["calls"]),
        "met": None if row["met"] is None else bool(row["met"]),
        "history": dict(zip(names, values)),
    }
