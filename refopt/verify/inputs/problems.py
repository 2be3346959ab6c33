"""Courses: small real problems on which both sides of a comparison are asked for what their method needs.

A tape of gradients is enough where no point feeds back into what a method is given. SVRG asks for one
batch's gradient at two points, SAM at a point that it makes itself, Levenberg-Marquardt for residuals
and a Jacobian, K-FAC for layers. For these there is a course: a problem, a start, and the batch of every
step. Both sides ask the same problem, each at its own points, and get answers of the same bits for the
same point, the same batches, and the same labels where labels are drawn.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.build import problem as build
from refopt.core.build import problems_with
from refopt.core.errors import ArgumentError, CapabilityError
from refopt.core.oracle import Oracle
from refopt.core.problem import CAPABILITIES, Layer, offers
from refopt.core.rng import generator
from refopt.core.sampling import Sampler
from refopt.verify.inputs.tapes import Tape, rounded_to_float32
from refopt.verify.sides.queries import labels
from refopt.verify.sides.side import Leaves

# Answers and arguments (beside the point) that are like the point.
LIKE_X = (
    "grad", "vjp", "hvp", "prox", "project", "example_prox", "constraint_vjp", "constraint_hvp", "term_grad", "gram",
    "sample_grad",
)  # fmt: skip

# The same, with a first axis more.
ROWS_LIKE_X = ("example_grads", "jacobian")


TAKE_X = ("jvp", "hvp", "directional", "third", "sample_grad")


# The examples of a course, and of a batch: any smaller power of two divides it, as VRGD's groups must.
EXAMPLES, BATCH = 48, 8


# How far the start is moved off the problem's own.
MOVED = 0.3


@dataclass(frozen=True)
class Course(Tape):
    """A problem, a start and the batches of all steps; the gradients of a tape are zeros here.

    Parameters
    ----------
    problem : object
        With the capabilities of `refopt.core.problem`.
    batch_size : int or None
        Examples a step, drawn as `refopt.minimize` draws them; None: all.
    seed : int
        Of batches, labels and the methods' draws.
    flat : bool
        All parameters are one vector, the leaf ``"x"``.
    """

    problem: Any = None
    batch_size: int | None = None
    seed: int = 0
    flat: bool = False
    inner: Any = field(default=None, repr=False)

    def idle(self) -> Leaves:
        """Return False throughout: no rule is undefined for want of a gradient."""
        return {k: np.zeros((len(self), *v.shape), dtype=bool) for k, v in self.x0.items()}

    def for_problem(self, x: Any) -> Any:
        """Return a point, direction or the like as the problem has it, in float64."""
        named = {k: np.asarray(v, dtype=np.float64) for k, v in params.leaves(x).items()}
        if self.flat:
            (vector,) = named.values()
            return params.unflatten(vector, self.inner)
        return named if isinstance(self.inner, dict) else next(iter(named.values()))

    def for_method(self, answer: Any, x: Any) -> Any:
        """Return the problem's `answer` in the form of the point `x` that was asked about."""
        if self.flat:
            answer = params.flatten(answer)
        named = answer if isinstance(answer, dict) else {"x": answer}
        return dict(named) if isinstance(x, dict) else next(iter(named.values()))


def course(
    problem: Any,
    steps: int = 50,
    *,
    batch_size: int | None = None,
    flat: bool = False,
    seed: int = 0,
    name: str | None = None,
) -> Course:
    """Return a course on a problem.

    Parameters
    ----------
    problem : object
        With ``start(seed)`` and what the method asks for (NumPy arrays): a problem of the zoo.
    steps : int, range [1, inf)
    batch_size : int or None
        None: every step sees all examples.
    flat : bool
        Hand the parameters over as one vector.
    seed : int
    name : str, optional
        In reports; by default the problem's.

    Raises
    ------
    ArgumentError
        A batch size that the problem does not have.
    """
    n = getattr(problem, "n_examples", None)
    if batch_size is not None and (n is None or not 1 <= batch_size <= n):
        raise ArgumentError(f"batch_size: wanted one in [1, {n}], the problem's examples, got {batch_size}")
    rng = generator(seed, "tape", 6500)
    # A start at zero is a special point of many problems.
    inner = params.map_leaves(
        lambda v: rounded_to_float32(np.asarray(v) + MOVED * rng.standard_normal(np.shape(v))),
        problem.start(seed),
    )
    if flat:
        x0 = {"x": params.flatten(inner)}
    else:
        x0 = dict(inner) if isinstance(inner, dict) else {"x": inner}
    label = name or getattr(type(problem), "registered_name", "") or type(problem).__name__
    none = {k: np.zeros_like(v) for k, v in x0.items()}
    return Course(label, x0, (none,) * steps, problem, batch_size, seed, flat, inner)


@functools.cache
def _zoo(kind: str, seed: int) -> tuple[tuple[Any, int | None, str], ...]:
    """Return problems of one kind with the size of a batch and a name."""
    rng = generator(seed, "tape", 6000)
    inputs = rng.standard_normal((EXAMPLES, 5)) * np.array([1.0, 0.5, 2.0, 1.0, 0.2])
    labels = (inputs @ rng.standard_normal(5) + rng.standard_normal(EXAMPLES) > 0).astype(int)
    classes = rng.integers(0, 3, EXAMPLES)
    network = {"widths": (4,), "data": (inputs, classes)}
    if kind == "objectives":
        return ((build("two-quadratics"), None, "two-quadratics"),)
    if kind == "project":
        return (
            (build("adam-counterexample"), BATCH, "interval-batches"),
            (build("poincare-tree"), None, "ball"),
        )
    if kind == "layers":
        return (
            (build("mlp", **network, l2=1e-2), BATCH, "mlp-batches"),
            (build("mlp", widths=(4,), loss="mse", data="teacher", n_examples=EXAMPLES), None, "mlp-squares"),
        )
    if kind == "residual":
        return (
            (build("mlp", widths=(3,), loss="mse", data="teacher", n_examples=EXAMPLES), None, "mlp-squares"),
            (build("matrix-sensing", n=5, rank=2, noise=0.01), None, "matrix-sensing"),
        )
    if kind == "prox":
        problem = build("logistic", data=(inputs, labels), l1=0.02, l2=0.01)
        return (problem, None, "lasso"), (problem, BATCH, "lasso-batches")
    return (
        (build("logistic", data=(inputs, labels), l2=0.05), BATCH, "logistic-batches"),
        (build("mlp", **network, l2=1e-2), BATCH, "mlp-batches"),
        (build("mlp", **network, l2=1e-2), None, "mlp"),
    )


def courses(
    needs: tuple[str, ...],
    steps: int = 50,
    *,
    seed: int = 0,
    flat: bool = False,
    own: tuple[str, Mapping[str, Any]] | None = None,
) -> list[Course]:
    """Return courses for a method with these needs.

    Parameters
    ----------
    needs : tuple of str
        As registered, of `refopt.core.problem.CAPABILITIES`.
    steps : int
    seed : int
    flat : bool
        As of `course`.
    own : (str, dict), optional
        A problem of the zoo and its parameters, which the method names itself. Where no problem made here will do it is
        taken, or else the first one that offers what is needed.

    Raises
    ------
    CapabilityError
        No problem here offers all of the needs.
    """
    kind = next((k for k in ("objectives", "project", "layers", "residual", "prox") if k in needs), "grad")
    # With its gradient by the residual a method may want rows of single examples, which its own problem has.
    made = () if own and "loss_gradient" in needs else _zoo(kind, seed)
    found = [
        course(p, steps, batch_size=size, flat=flat, seed=seed, name=name)
        for p, size, name in made
        if all(offers(p, n) for n in needs)
    ]
    if not found:
        name, arguments = own or (next(iter(problems_with(needs)), ""), {})
        if name and all(offers(problem := build(name, **arguments), n) for n in needs):
            found = [course(problem, steps, flat=flat, seed=seed, name=name)]
    if not found:
        raise CapabilityError(f"no problem of the oracle offers all of {', '.join(needs)}")
    return found


class Served:
    """The problem of a course as one side sees it: points and answers in the course's form.

    Answers are computed in float64. Labels are drawn by the step alone, whatever was drawn before.
    """

    def __init__(self, of: Course, step: int, noise: Callable[[Any], Any] | None = None) -> None:
        self._course, self._step = of, step
        self._noise = noise or (lambda value: value)

    @property
    def label_seed(self) -> int:
        """What the labels of a step are drawn by, beside the step."""
        return self._course.seed

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        member = getattr(self._course.problem, name)
        if name not in CAPABILITIES or not callable(member):
            return member

        def ask(x: Any, *rest: Any, **options: Any) -> Any:
            given = self._course.for_problem(x)
            if name in TAKE_X:
                rest = (self._course.for_problem(rest[0]), *rest[1:])
            elif name == "constraint_hvp":
                rest = (rest[0], self._course.for_problem(rest[1]))
            if name == "layers" and options.get("rng") is not None:
                options["rng"] = labels(self._course.seed, self._step)
            with np.errstate(all="ignore"):
                answer = member(given, *rest, **options)
            if name in LIKE_X:
                answer = self._course.for_method(answer, x)
            elif name == "bounds":
                return tuple(self._course.for_method(bound, x) for bound in answer)
            elif name in ROWS_LIKE_X and self._course.flat:
                n = len(next(iter(params.leaves(answer).values())))
                answer = np.concatenate([v.reshape(n, -1) for v in params.leaves(answer).values()], axis=1)
            if name in ROWS_LIKE_X and isinstance(x, dict) and not isinstance(answer, dict):
                answer = {"x": answer}
            return self._rounded(answer)

        return ask

    def _rounded(self, answer: Any) -> Any:
        if isinstance(answer, list):
            return [
                replace(a, inputs=self._noise(a.inputs), output_grads=self._noise(a.output_grads))
                if isinstance(a, Layer)
                else self._noise(a)
                for a in answer
            ]
        return self._noise(answer)


class Asked(Oracle):
    """An oracle that never stops a run: a gradient that is not finite is a difference like any other."""

    def grad(self, x: Any) -> Any:
        """Return the gradient of f at x; nothing is remembered, since a side may write into its point."""
        return self._ask("grad", x)

    def value_and_grad(self, x: Any) -> tuple[float, Any]:
        """Return f(x) and its gradient, each asked for by itself: the point's form is handed over."""
        return self.value(x), self.grad(x)

    def _with_batch(self, batch: np.ndarray | None) -> Oracle:
        other = copy.copy(self)
        other.sampler, other.batch = None, batch
        other._rng = self.rng
        other._share = 1.0 if batch is None else batch.size / self.n_examples
        return other


def oracle(of: Course, step: int, noise: Callable[[Any], Any] | None = None) -> Asked:
    """Return the oracle of step 1, 2, … of a course."""
    n = getattr(of.problem, "n_examples", None)
    sampler = None if of.batch_size is None else Sampler(n or 1, of.batch_size, "shuffle", of.seed)
    made = Asked(Served(of, step, noise), of.seed, sampler)
    made.begin(step)
    return made


class Asking:
    """A method that asks, as one that is driven along a tape: the course's problem answers."""

    def __init__(self, method: Any, of: Course) -> None:
        self.method, self.course = method, of
        # The place on the course and the rounding of answers, set by who follows it.
        self.now = 0
        self.noise: Callable[[Any], Any] | None = None

    def at_leaf(self, leaf: str | None) -> Asking:
        """Return a copy: the form of the point tells how it is handed over."""
        return copy.copy(self)

    def init(self, x: Any) -> Any:
        """Return the method's state."""
        return self.method.init(x)

    def update(self, x: Any, grad: Any, s: Any) -> Any:
        """Make the method's step; `grad` is not looked at."""
        return self.method.step(x, s, oracle(self.course, self.now + 1, self.noise))
