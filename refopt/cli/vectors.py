"""``refopt vectors write`` and ``refopt vectors check``."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

from refopt.core.errors import ArgumentError, VectorsError


def add_to(commands: Any) -> None:
    """Add the command to the parser's."""
    vectors = commands.add_parser("vectors", help="write test vectors, or check files of them")
    actions = vectors.add_subparsers(dest="action", required=True, metavar="ACTION")
    write = actions.add_parser("write", help="write a method's exact run, in hexadecimal floats")
    write.add_argument("method", nargs="?", help="an optimizer that needs gradients alone")
    write.add_argument("--dialect", help="whose choices (default: paper)")
    write.add_argument("--all", action="store_true", help="every method and dialect, a file each")
    write.add_argument(
        "-o", "--output", metavar="PATH", help="the file (default: standard output), or the folder for --all"
    )
    check = actions.add_parser(
        "check",
        help="run refopt on files of test vectors and compare",
        epilog="Exit status: 0 all agree, 1 some differ, 2 some cannot be read or were changed.",
    )
    check.add_argument("files", nargs="+", metavar="FILE")


def run(options: Any) -> int:
    """Run the action that was asked for."""
    return _check(options.files) if options.action == "check" else _write(options)


def _write(options: Any) -> int:
    from refopt.vectors.exact_runs import make_vectors, write_vectors
    from refopt.vectors.format import to_text

    if options.all:
        if options.method or options.dialect:
            raise ArgumentError("--all: writes every method and dialect; it takes neither of them")
        return _write_all(options.output)
    if not options.method:
        raise ArgumentError("method: wanted the name of an optimizer, or --all")
    dialect = options.dialect or "paper"
    if options.output in (None, "-"):
        sys.stdout.write(to_text(make_vectors(options.method, dialect=dialect)))
    else:
        write_vectors(options.method, options.output, dialect=dialect)
    return 0


def _write_all(folder: str | None) -> int:
    from refopt.vectors.exact_runs import released, write_vectors

    if folder is None:
        raise ArgumentError("-o: wanted the folder to write to")
    place = pathlib.Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(f"-o: {folder} cannot be made ({error.strerror})") from None
    size = 0
    names = released()
    for name, dialect in names:
        path = place / f"{name}.{dialect}.json"
        write_vectors(name, path, dialect=dialect)
        size += path.stat().st_size
    print(f"{len(names)} files, {size / 1e6:.2f} MB, in {folder}")
    return 0


def _check(files: list[str]) -> int:
    from refopt.vectors.exact_runs import check_vectors

    status = 0
    for path in files:
        try:
            found = check_vectors(path)
        except VectorsError as error:
            print(f"refopt: {error}", file=sys.stderr)
            status = 2
            continue
        for mismatch in found:
            print(f"{path}: {mismatch}")
            status = max(status, 1)
        if not found:
            print(f"{path}: agrees")
    return status
