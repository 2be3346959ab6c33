"""The command line: list, show, run, compare, sweep, curvature, verify, vectors, bench."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from typing import Any

from refopt.core.errors import RefoptError, plain


def _parser() -> argparse.ArgumentParser:
    from refopt import __version__

    parser = argparse.ArgumentParser(
        prog="refopt",
        allow_abbrev=False,
        description="What optimizers, curvature, matrix functions and solvers exactly compute.",
    )
    parser.add_argument("--version", action="version", version=f"refopt {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="every registered name")
    listing.add_argument("--kind", help="only one kind: optimizer, matfun, problem, ...")
    listing.add_argument("--needs", metavar="NAMES", help="methods that need no more than these: grad,hvp")
    listing.add_argument(
        "--memory", type=int, metavar="N", help="at most N copies of the parameters in the state"
    )
    listing.add_argument(
        "--elementwise", action="store_true", help="rules in which no element looks at another"
    )
    listing.add_argument("--matrix", action="store_true", help="optimizers of which that is not so")
    listing.add_argument("--no-rate", action="store_true", help="optimizers without a learning rate")
    listing.add_argument("--query", metavar="WORDS", help="by words of the documentation, the nearest first")
    listing.add_argument("--json", action="store_true", help="as JSON on standard output")

    show = commands.add_parser("show", help="formula, hyperparameters, source, needs, dialects, evidence")
    show.add_argument("name")
    show.add_argument("--code", action="store_true", help="the rule's own text")
    show.add_argument("--json", action="store_true", help="as JSON on standard output")

    evidence = commands.add_parser(
        "evidence", help="run a method's evidence under every small edit of its rule (in a checkout)"
    )
    evidence.add_argument("names", nargs="+", metavar="NAME")

    run = commands.add_parser(
        "run",
        help="run a method on a problem",
        epilog="Further options are the method's hyperparameters (--lr 0.1) and the problem's parameters"
        " (--problem.n 50).",
    )
    run.add_argument("method")
    run.add_argument("problem")

    compare = commands.add_parser(
        "compare",
        help="several methods on one problem, by what they asked for",
        epilog="Further options are hyperparameters, of all methods (--seed 1 --lr 0.1) or of one (--adam.lr 0.01),"
        " and the problem's parameters (--problem.n 50).",
    )
    compare.add_argument("methods", nargs="+", metavar="METHOD")
    compare.add_argument("--problem", required=True, help="a problem of the zoo")
    compare.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="N runs of each, of seeds from --seed on"
    )
    compare.add_argument("--jobs", type=int, default=1, metavar="J", help="in J processes")
    compare.add_argument(
        "--validation",
        type=float,
        metavar="SHARE",
        help="keep so many of the examples out, and record on them",
    )
    for command in (run, compare):
        command.add_argument(
            "--steps", type=int, help="at most this many steps (default 1000, or unlimited with --budget)"
        )
        command.add_argument("--budget", type=float, metavar="G", help="at most so many gradient equivalents")
        command.add_argument("--batch-size", type=int, metavar="B", help="examples a step (default: all)")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--dtype", choices=("float32", "float64"), default="float64")
        command.add_argument("--plot", metavar="FILE", help="write the curves there (.png, .pdf, .svg)")
        command.add_argument("--json", action="store_true", help="the result as JSON on standard output")
        command.add_argument(
            "--no-progress", action="store_true", help="no progress bar (none is shown off a terminal)"
        )

    sweep = commands.add_parser(
        "sweep",
        help="many runs from a TOML file, kept in a store; or what a store says",
        epilog="The file has methods, problems, seeds, grids, store, jobs, target and a table budget with the arguments of"
        " refopt.minimize. The same call again goes on where it was.",
    )
    sweep.add_argument("file", help="a TOML file; or the store of a sweep, to see what is in it")
    sweep.add_argument(
        "--store", metavar="FILE", help="in place of the file's own (default runs.sqlite, here)"
    )
    sweep.add_argument("--jobs", type=int, metavar="J", help="in J processes (default: a process a core)")
    sweep.add_argument("--tolerance", type=float, metavar="T", help="of the performance profiles")
    sweep.add_argument("--curves", metavar="FILE", help="write the curves there (.png, .pdf, .svg)")
    sweep.add_argument("--profile", metavar="FILE", help="write the performance profiles there")
    sweep.add_argument("--best", metavar="FILE", help="write the objective by --setting there")
    sweep.add_argument("--setting", default="lr", help="of --best (default lr)")
    sweep.add_argument("--json", action="store_true", help="rows, best points and profiles as JSON")
    sweep.add_argument("--no-progress", action="store_true", help="no line of progress (none off a terminal)")

    curvature = commands.add_parser(
        "curvature",
        help="Hessian, Gauss-Newton, Fisher ... of a problem at its start: order, trace, eigenvalues",
        epilog="Further options are the curvature's own (--samples 4) and the problem's parameters (--problem.n 50).",
    )
    curvature.add_argument("name", help="a name of kind curvature, such as ggn")
    curvature.add_argument("problem")
    curvature.add_argument("--batch-size", type=int, metavar="B", help="the first B examples (default: all)")
    curvature.add_argument("--seed", type=int, default=0, help="of the start and of what is drawn")
    curvature.add_argument("--spectrum", action="store_true", help="draw the density of eigenvalues")
    curvature.add_argument("--plot", metavar="FILE", help="write the density there (.png, .pdf, .svg)")
    curvature.add_argument("--json", action="store_true", help="as JSON on standard output")

    bench = commands.add_parser(
        "bench",
        help="time a method's step by engine, here and now",
        epilog="Further options are the method's hyperparameters (--weight-decay 0.1).",
    )
    bench.add_argument("name", help="an optimizer or wrapper")
    bench.add_argument("--shapes", metavar="SHAPES", help="such as 1000,256x256 (default: three sizes)")
    bench.add_argument("--dtype", choices=("float32", "float64"), help="default: both")
    bench.add_argument("--engine", help="only one: numpy, numba, torch, cupy")
    bench.add_argument("--seconds", type=float, default=0.3, help="how long each is timed (default 0.3)")
    bench.add_argument("--json", action="store_true", help="as JSON on standard output")
    run.add_argument("--checkpoint", metavar="FILE", help="write the run there")
    run.add_argument("--resume", action="store_true", help="go on from the checkpoint, if it exists")

    verify = commands.add_parser(
        "verify",
        help="hold another implementation against the reference, and say why it differs",
        epilog="Further options are hyperparameters by the reference's names (--lr 1e-2), and the other side's"
        " own keywords (--other.nesterov True).",
    )
    verify.add_argument(
        "other", help="module:name, file.py:name, or the command line of a program that speaks the protocol"
    )
    verify.add_argument(
        "name",
        nargs="?",
        help="a registered name, such as adamw (default: whichever it is, or is nearest to)",
    )
    verify.add_argument("--dialect", help="the dialect to hold it to (default: whichever explains it)")
    verify.add_argument(
        "--steps",
        type=int,
        help="steps to compare (default: 100); of a schedule or function, its own number of steps",
    )
    verify.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    verify.add_argument("--seed", type=int, default=0)
    verify.add_argument("--effort", type=int, help="variants for the search (default: about a minute's)")
    verify.add_argument("--patience", type=float, help="seconds after which the search stops (default: none)")
    verify.add_argument(
        "--plot", metavar="FILE", help="write the errors by step there (.png, .pdf, .svg); not of functions"
    )
    verify.add_argument("--json", action="store_true", help="the answer as JSON on standard output")

    from refopt.cli import vectors

    vectors.add_to(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Default: those of the process.

    Returns
    -------
    int
        0; 1 if a run diverged; 2 for bad usage or output that cannot be written, 130 after Ctrl-C, with
        one line on standard error.
    """
    _writable()
    try:
        options, rest = _parser().parse_known_args(arguments)
        status = _dispatch(options, rest)
        sys.stdout.flush()
        return status
    except RefoptError as error:
        return _told(str(error), 2)
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        _drop_output()
        return 0
    except KeyboardInterrupt:
        return _told("interrupted", 130)
    except MemoryError as error:
        return _told(f"out of memory{f': {error}' if str(error) else ''}", 2)
    except OSError as error:
        # A full disk behind standard output; what it still holds cannot be written either.
        _drop_output()
        return _told(f"cannot write the output: {error.strerror or error}", 2)


def _writable() -> None:
    """See to it that whatever is printed can be: a closed stream swallows, a narrow encoding gets escapes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (as long as the process)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Let the interpreter's last flush of standard output go nowhere."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(text: str, status: int) -> int:
    """Print one line on standard error, without the control characters of who was quoted."""
    with contextlib.suppress(OSError):
        print(f"refopt: {plain(text)}", file=sys.stderr)
    return status


def _dispatch(options: Any, rest: list[str]) -> int:
    from refopt.cli import catalogue, runs, vectors
    from refopt.core.errors import ArgumentError

    if options.command in ("list", "show", "evidence", "vectors", "sweep") and rest:
        raise ArgumentError(f"unknown option {rest[0]}; see refopt {options.command} --help")
    if options.command == "list":
        return catalogue.list_methods(
            options.kind, options.json, needs=options.needs, memory=options.memory, query=options.query,
            elementwise=options.elementwise, matrix=options.matrix, no_rate=options.no_rate,
        )  # fmt: skip
    if options.command == "show":
        return catalogue.show(options.name, options.json, options.code)
    if options.command == "evidence":
        return catalogue.evidence(options.names)
    if options.command == "vectors":
        return vectors.run(options)
    if options.command == "sweep":
        from refopt.cli import sweep

        return sweep.sweep(options)
    if options.command == "run":
        return runs.run(options, rest)
    if options.command == "verify":
        from refopt.cli.verify import verify

        return verify(options, rest)
    if options.command == "curvature":
        from refopt.cli import curvature

        return curvature.show(options, *runs.parts(rest, options.name))
    if options.command == "bench":
        from refopt.cli import bench

        return bench.bench(options, rest, runs.hyperparameters(rest, options.name))
    return runs.compare(options, rest)


if __name__ == "__main__":
    sys.exit(main())
