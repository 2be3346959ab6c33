"""The reference of what is public: every function and class that users call, hold or subclass, from its docstring."""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from prose import inline, prose, sections
from refopt.cli import _parser
from refopt.core.problem import CAPABILITIES
from refopt.core.registry import Entry
from rst import code_block, escaped, heading, literal, table

# One name between single backticks.
_NAME = re.compile(r"(?<!`)`(\w+)`(?!`)")


@dataclass(frozen=True)
class Part:
    """One page of the reference.

    Attributes
    ----------
    file, title, lead : str
    paths : tuple of str
        Where each object is imported from; ``Class:member,member`` shows these members alone, ``Class:`` none.
    kinds : tuple of str
        Registered names of these kinds are listed, each with its page.
    """

    file: str
    title: str
    lead: str
    paths: tuple[str, ...]
    kinds: tuple[str, ...] = ()


PARTS = (
    Part("running", "Running and building", "From a name to an object, and from an object to a run.", (
        "refopt.minimize", "refopt.optimizer", "refopt.problem", "refopt.schedule", "refopt.methods", "refopt.get",
        "refopt.bibliography", "refopt.core.result.Result", "refopt.core.registry.Entry", "refopt.core.registry.Source",
        "refopt.core.registry.Dialect", "refopt.core.registry.Evidence",
    )),
    Part("libraries", "With other libraries", "Problems from functions, torch, JAX and data; methods in torch's, optax's and SciPy's form.", (
        "refopt.from_functions", "refopt.from_torch", "refopt.from_jax", "refopt.as_torch", "refopt.as_optax", "refopt.scipy_method",
        "refopt.adapters.functions.FunctionProblem:",
    )),
    Part("verify", "Comparing and diagnosing", "How it is used, with examples: :doc:`/verify`, :doc:`/vectors` and :doc:`/precision`.", (
        "refopt.verify.compare", "refopt.verify.diagnose", "refopt.verify.fingerprint", "refopt.verify.program_side",
        "refopt.verify.precision", "refopt.verify.make_vectors", "refopt.verify.write_vectors", "refopt.verify.check_vectors",
        "refopt.verify.pytest_plugin.hold", "refopt.verify.Report", "refopt.verify.Diagnosis", "refopt.verify.Fingerprint",
        "refopt.verify.Tape", "refopt.verify.report.Finding", "refopt.verify.function_report.FunctionReport",
        "refopt.verify.function_report.FunctionDiagnosis", "refopt.verify.function_report.Answer", "refopt.verify.sides.side.Side:",
        "refopt.precision.rounding_errors.Precision", "refopt.precision.rounding_errors.Error", "refopt.vectors.exact_runs.Mismatch",
        "refopt.verify.variants.deviation.Deviation",
    )),
    Part("sweeps", "Sweeps", "How it is used, with examples: :doc:`/sweeps`.", (
        "refopt.sweep", "refopt.Sweep", "refopt.sweeps.figures.Row", "refopt.sweeps.figures.Best", "refopt.sweeps.figures.Point",
        "refopt.sweeps.figures.Profile", "refopt.sweeps.figures.Curves", "refopt.sweeps.figures.Curve", "refopt.sweeps.Serial",
    )),
    Part("curvature", "Curvature", "``refopt.curvature(name, problem, x)`` is the function below; each name's page has its own options.", (
        "refopt.curvature.base.curvature", "refopt.curvature.base.Curvature",
    ), ("curvature",)),
    Part("manifolds", "Manifolds", "Euclidean space, sphere, Stiefel, Grassmann, positive definite matrices, Poincaré ball, hyperboloid, products.", (
        "refopt.manifold", "refopt.manifolds.base.Manifold", "refopt.manifolds.euclidean.Euclidean:", "refopt.manifolds.sphere.Sphere:",
        "refopt.manifolds.stiefel.Stiefel:", "refopt.manifolds.grassmann.Grassmann:", "refopt.manifolds.spd.SPD:",
        "refopt.manifolds.poincare_ball.PoincareBall:", "refopt.manifolds.hyperboloid.Hyperboloid:", "refopt.manifolds.product.Product:",
    )),
    Part("problems", "Problems", "What a problem may offer, and what the zoo's have in common; the :doc:`gallery </gallery>` shows each.", (
        "refopt.core.problem.Problem", "refopt.core.problem.Layer", "refopt.core.problem.Rollouts", "refopt.core.problem.offers",
        "refopt.core.problem.offered", "refopt.core.build.problems_with", "refopt.core.objective.objective",
    ), ("problem",)),
    Part("functions", "Functions of matrices, solvers, transport, aggregators", "Plain functions on the arrays of any library."
         " ``refopt.get(name)`` returns each; its page has the arguments. A value that is not finite, a wrong shape or dtype is an"
         " error that says so.", (
        "refopt.core.result.LinearResult", "refopt.core.result.TransportResult", "refopt.linear.preconditioners.jacobi",
        "refopt.linear.preconditioners.ssor", "refopt.linear.preconditioners.ic0", "refopt.linear.preconditioners.amg",
        "refopt.linear.preconditioners.Preconditioner", "refopt.linear.preconditioners.Factored:apply",
        "refopt.linear.preconditioners.Multigrid:", "refopt.transport.problem.PointCloud", "refopt.transport.problem.BlockedPlan",
    ), ("matfun", "solver", "transport", "aggregator", "diagnostic")),
    Part("extending", "Writing a method", "What a registration is made of; the whole of it is in CONTRIBUTING.md.", (
        "refopt.core.registry.register", "refopt.core.registry.dialect", "refopt.core.registry.entry", "refopt.core.hyper.hyper",
        "refopt.core.method.Method:init,step,update", "refopt.core.method.GradientMethod:update", "refopt.core.method.LeafRule:",
        "refopt.core.method.Elementwise:", "refopt.core.oracle.Oracle:", "refopt.wrappers.base.Wrapper:",
        "refopt.wrappers.base.AfterStep:start,after", "refopt.estimators.base.Estimator:estimate,moments",
        "refopt.bilevel.base.Bilevel:", "refopt.schedules.base.Schedule:at", "refopt.core.cost.Cost:",
    )),
    Part("errors", "Errors", "Every error that is raised on purpose names the argument, what came and what is wanted.", (
        "refopt.errors.RefoptError", "refopt.errors.ArgumentError", "refopt.errors.ArgumentTypeError", "refopt.errors.ShapeError",
        "refopt.errors.DtypeError", "refopt.errors.NonFiniteError", "refopt.errors.UnknownNameError",
        "refopt.errors.HyperparameterError", "refopt.errors.CapabilityError", "refopt.errors.ConvergenceError",
        "refopt.errors.CheckpointError", "refopt.errors.StoreError", "refopt.errors.ExecutorError", "refopt.errors.VectorsError",
        "refopt.errors.ProgramError", "refopt.errors.MissingExtraError",
    )),
)  # fmt: skip


def found(path: str) -> Any:
    """Return the object that a path names."""
    module, _, name = path.partition(":")[0].rpartition(".")
    return getattr(importlib.import_module(module), name)


def members(path: str) -> list[str]:
    """Return the methods of a class that its page shows."""
    obj, _, own = path.partition(":")
    cls = found(obj)
    if not inspect.isclass(cls):
        return []
    if ":" in path:
        return [name for name in own.split(",") if name]
    return [
        name
        for name, value in vars(cls).items()
        if not name.startswith("_")
        and isinstance(value, (classmethod, staticmethod, property, FunctionType))
        and value.__doc__
    ]


def objects() -> Iterator[tuple[str, Any]]:
    """Give every object and shown member of the reference, by its path."""
    for part in PARTS:
        for path in part.paths:
            obj = found(path)
            yield path.partition(":")[0], obj
            for name in members(path):
                yield f"{path.partition(':')[0]}.{name}", inspect.getattr_static(obj, name)


def first_line(obj: Any) -> str:
    """Return what an object is, in a line."""
    return inline(" ".join(sections(inspect.getdoc(obj) or "")[""].partition("\n\n")[0].split()))


def directive(path: str) -> list[str]:
    """Return what has Sphinx read a docstring."""
    obj = path.partition(":")[0]
    if not inspect.isclass(found(path)):
        return [f".. autofunction:: {obj}", ""]
    shown = members(path)
    lines = [f".. autoclass:: {obj}", *([f"   :members: {', '.join(shown)}"] if shown else [])]
    if issubclass(found(path), Exception):
        lines.append("   :show-inheritance:")
    return [*lines, ""]


def listed(paths: tuple[str, ...]) -> list[str]:
    """Return a table of objects with what they are."""
    rows = [(f":py:obj:`{p.partition(':')[0]}`", first_line(found(p))) for p in paths]
    return table(("name", "what it is"), rows, "40 60", "paths")


def registered(kind: str, methods: list[Entry]) -> list[str]:
    """Return a table of the registered names of one kind."""
    rows = [
        (f":doc:`{m.name} </methods/{m.name}>`", literal(f"{m.obj.__module__}.{m.obj.__qualname__}"), inline(m.summary))
        for m in methods
        if m.kind == kind
    ]  # fmt: skip
    return [
        *heading(f"Registered: {kind}"),
        *table(("name", "where", "what it is"), rows, "20 35 45", "paths"),
    ]


def page(part: Part, methods: list[Entry]) -> str:
    """Return one page of the reference."""
    lines = [*heading(part.title, "="), part.lead, ""]
    if part.file == "problems":
        rows = [(literal(form), escaped(says)) for form, says in CAPABILITIES.values()]
        lines += [*heading("Capabilities"), "A problem is any object that has some of these, all exact; ``batch`` holds the indices of"
                  " examples, or is None for all of them.", "", *table(("member", "what it returns"), rows, "40 60", "paths")]  # fmt: skip
        lines += heading("Classes and functions")
    for path in part.paths:
        lines += directive(path)
    for kind in part.kinds:
        lines += registered(kind, methods)
    return "\n".join(lines)


def commands() -> str:
    """Return the page of the command line, in the words of its own help."""
    parser = _parser()
    (choices,) = (a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    lines = [*heading("Command line", "="), "``refopt COMMAND``, or ``python -m refopt COMMAND``.", ""]
    for name, command in choices.items():
        # The help of a terminal of this width, wherever the build runs.
        command.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=88)
        lines += [*heading(f"refopt {name}"), *code_block(command.format_help(), "text")]
    lines += [*heading("pytest"), "``pytest --refopt`` runs the tests that take the fixture ``refopt_oracle``, which is"
              " :py:obj:`refopt.verify.pytest_plugin.hold`.", ""]  # fmt: skip
    return "\n".join(lines)


def index() -> str:
    """Return the page that lists all of it."""
    lines = [*heading("API reference", "="), "Everything public. Registered names (:doc:`optimizers and the others </kinds/index>`)"
             " have pages of their own, with their hyperparameters or arguments.", ""]  # fmt: skip
    for part in PARTS:
        lines += [*heading(part.title), *listed(part.paths)]
        if part.kinds:
            places = ", ".join(f":doc:`/kinds/{k}`" for k in part.kinds)
            lines += [f"Registered names: {places}.", ""]
    lines += [*heading("Command line"), ":doc:`commands`, and the options of the pytest plugin.", ""]
    names = [*(p.file for p in PARTS), "commands"]
    return "\n".join([*lines, ".. toctree::", "   :hidden:", "", *(f"   {n}" for n in names), ""])


def texts(methods: list[Entry]) -> dict[str, str]:
    """Return all pages by their files."""
    pages = {f"api/{part.file}.rst": page(part, methods) for part in PARTS}
    return {"api/index.rst": index(), "api/commands.rst": commands(), **pages}


def own_words(lines: list[str], obj: Any) -> None:
    """Make code, in place, of a callable's own parameters: `problem` of `refopt.minimize` is not `refopt.problem`."""
    try:
        names = set(inspect.signature(obj).parameters)
    except (TypeError, ValueError):
        return
    for i, line in enumerate(lines):
        lines[i] = _NAME.sub(lambda m: f"``{m[1]}``" if m[1] in names else m[0], line)


def whole(lines: list[str]) -> None:
    """Typeset the formulas of a docstring, in place."""
    doc = sections("\n".join(lines))
    kept = [prose(doc[""]), ""]
    for name, text in doc.items():
        if name:
            words = text if name == "Examples" else inline(text.rstrip())
            kept += [name, "-" * len(name), words, ""]
    lines[:] = "\n".join(kept).splitlines()
