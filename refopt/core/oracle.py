"""The only window of a method onto a problem: it counts what is asked and knows the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.core.answers import (
    a_kind_of,
    as_array,
    as_x,
    bound,
    finite_number,
    linear_layers,
    number,
    pair,
    several,
    stack_of,
)  # fmt: skip
from refopt.core.arrays import Array
from refopt.core.counts import COST, Counts
from refopt.core.errors import ShapeError
from refopt.core.params import Params, leaves, size
from refopt.core.problem import Layer, Rollouts
from refopt.core.rng import generator
from refopt.core.sampling import Sampler


class Oracle:
    """A problem at one step: every call is counted and uses the step's batch.

    Parameters
    ----------
    problem : object
        Anything with the capabilities that will be asked.
    seed : int
        Of the method's random numbers.
    sampler : Sampler, optional
        None: every call looks at all examples.

    Attributes
    ----------
    step : int
        The step being made, from 1.
    batch : array of int or None
    counts : Counts
    """

    def __init__(self, problem: Any, seed: int = 0, sampler: Sampler | None = None) -> None:
        self.problem, self.seed, self.sampler = problem, seed, sampler
        self.step = 0
        self.counts = Counts()
        self.batch: np.ndarray | None = None
        self._share = 1.0
        self._memo: tuple[Params, Params] | None = None
        self._rng: np.random.Generator | None = None
        self._rows: tuple[int, ...] | None = None  # the residual's shape, once it is known
        # f (None if not asked for) and gradient where the step starts: what its row of the history costs nothing for.
        self.seen: tuple[float | None, Params | None] | None = None
        self._at: Params | None = None
        self._both = hasattr(problem, "value_and_grad")

    def begin(self, step: int, x: Params | None = None) -> None:
        """Move to `step`, which starts at `x`: draw its batch and reset its random numbers."""
        self.step, self._rng, self.seen, self._at = step, None, None, x
        if self.sampler is not None:
            self.batch, self._memo, self._rows = self.sampler.draw(step), None, None
            self._share = self.batch.size / self.sampler.n

    @property
    def rng(self) -> np.random.Generator:
        """The method's random numbers of this step: the same for every engine and after a resume."""
        if self._rng is None:
            self._rng = generator(self.seed, "method", self.step)
        return self._rng

    @property
    def n_examples(self) -> int:
        """The number of examples of the sum, 1 for a problem without."""
        return getattr(self.problem, "n_examples", None) or 1

    @property
    def full(self) -> Oracle:
        """The same problem on all examples, counted together with this oracle."""
        if self.batch is None:
            return self
        return self._with_batch(None)

    def on(self, batch: np.ndarray) -> Oracle:
        """Return the same problem on the examples `batch`, counted together with this oracle."""
        return self._with_batch(batch)

    def enlarged(self, size: int) -> Oracle:
        """Return the problem on `size` examples: the step's batch, or its first, and others drawn without replacement."""
        n, batch = self.n_examples, self.batch
        if size >= n:
            return self.full
        if batch is None:
            return self.on(self.rng.choice(n, size=size, replace=False))
        if size <= batch.size:
            return self if size == batch.size else self.on(batch[:size])
        others = np.setdiff1d(np.arange(n), batch)
        more = self.rng.choice(others, size=size - batch.size, replace=False)
        return self.on(np.concatenate([batch, more]))

    def draw(self, size: int) -> np.ndarray:
        """Return `size` independent example indices from this step's random numbers."""
        return self.rng.integers(0, self.n_examples, size=size)

    def example(self) -> np.ndarray:
        """Return the index of one example: the batch's, drawn from this step's numbers where it has several."""
        batch = np.arange(self.n_examples) if self.batch is None else self.batch
        return batch if batch.size == 1 else self.rng.choice(batch, size=1)

    def _with_batch(self, batch: np.ndarray | None) -> Oracle:
        other = Oracle(self.problem, self.seed)
        other.step, other.counts, other.batch = self.step, self.counts, batch
        other._rng = self.rng
        other._share = 1.0 if batch is None else batch.size / self.n_examples
        return other

    def forget(self) -> None:
        """Drop the remembered gradient (its point's memory may be reused)."""
        self._memo = None

    def _ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        self.counts.add(name, self._share)
        member = getattr(self.problem, name)
        if self.batch is None:
            return member(*args, **kwargs)
        return member(*args, batch=self.batch, **kwargs)

    def value(self, x: Params) -> float:
        """Return f(x), which may be NaN or infinite."""
        f = number(self._ask("value", x), "value(x)")
        if x is self._at and self.seen is None:
            self.seen = f, None
        return f

    def grad(self, x: Params) -> Params:
        """Return the gradient of f at x; asked twice at the same object x, it is computed once."""
        if self._memo is not None and self._memo[0] is x:
            return self._memo[1]
        if self._both:
            return self._value_and_grad(x)[1]
        g = as_x(self._ask("grad", x), x, "grad")
        self._memo = (x, g)
        self._see(x, None, g)
        return g

    def _see(self, x: Params, f: float | None, g: Params) -> None:
        if x is self._at and (self.seen is None or self.seen[1] is None):
            self.seen = (f if self.seen is None else self.seen[0]), g

    def _value_and_grad(self, x: Params) -> tuple[float, Params]:
        """Return both for the price of the gradient."""
        self.counts.add("grad", self._share)
        batch = {} if self.batch is None else {"batch": self.batch}
        f, g = pair(self.problem.value_and_grad(x, **batch), "value_and_grad(x)")
        f, g = number(f, "value_and_grad(x)[0]"), as_x(g, x, "the gradient of value_and_grad(x)")
        self._memo = (x, g)
        self._see(x, f, g)
        return f, g

    def value_and_grad(self, x: Params) -> tuple[float, Params]:
        """Return f(x) and its gradient, counted as one gradient where the problem gives both at once."""
        if self._memo is None or self._memo[0] is not x:
            if self._both:
                return self._value_and_grad(x)
            self.grad(x)
        return self.value(x), self.grad(x)

    def directional(self, x: Params, v: Params) -> float:
        """Return the derivative of f at x along v."""
        return finite_number(self._ask("directional", x, v), "directional(x, v)")

    def hvp(self, x: Params, v: Params) -> Params:
        """Return the Hessian of f at x times v."""
        return as_x(self._ask("hvp", x, v), x, "hvp(x, v)")

    def third(self, x: Params, v: Params) -> float:
        """Return the third derivative of f at x along v, v and v."""
        return finite_number(self._ask("third", x, v), "third(x, v)")

    def rollouts(self, x: Params, n: int | None) -> Rollouts:
        """Return n trajectories drawn from the policy x, or all of them for None."""
        return a_kind_of(
            Rollouts, self._ask("rollouts", x, n=n, rng=None if n is None else self.rng), "rollouts(x, n)"
        )

    def example_grads(self, x: Params) -> Params:
        """Return the gradient of each example of the batch, on a new first axis."""
        count = getattr(self.problem, "n_examples", None) if self.batch is None else len(self.batch)
        return stack_of(self._ask("example_grads", x), x, "example_grads(x)", count)

    def residual(self, x: Params) -> Array:
        """Return r(x) of f = phi(r(x))."""
        r = as_array(self._ask("residual", x), "residual(x)", self._rows)
        self._rows = tuple(r.shape)
        return r

    def jvp(self, x: Params, v: Params) -> Array:
        """Return the Jacobian of r at x times v."""
        return as_array(self._ask("jvp", x, v), "jvp(x, v)", self._rows)

    def vjp(self, x: Params, u: Array) -> Params:
        """Return the transposed Jacobian of r at x times u."""
        return as_x(self._ask("vjp", x, u), x, "vjp(x, u)")

    def loss_gradient(self, x: Params) -> Array:
        """Return the gradient of phi at r(x)."""
        return as_array(self._ask("loss_gradient", x), "loss_gradient(x)", self._rows)

    def loss_hessian(self, x: Params, u: Array) -> Array:
        """Return the Hessian of phi at r(x) times u."""
        return as_array(self._ask("loss_hessian", x, u), "loss_hessian(x, u)", tuple(u.shape))

    def ggn(self, x: Params, v: Params) -> Params:
        """Return the generalized Gauss-Newton matrix J^T H_phi J times v."""
        return self.vjp(x, self.loss_hessian(x, self.jvp(x, v)))

    def layers(self, x: Params, *, sample: bool, positions: bool = False) -> list[Layer]:
        """Return the linear layers' inputs and output gradients.

        Parameters
        ----------
        x : array or dict of arrays
        sample : bool
            Labels from the model.
        positions : bool
            The caller takes layers that an example uses at several positions; otherwise they are refused.
        """
        found = self._ask("layers", x, rng=self.rng if sample else None)
        return linear_layers(found, "layers(x)", positions)

    def sample_grad(self, x: Params, d: Params) -> Params:
        """Return the gradient of the function of a draw, at the draw d."""
        self.counts.add("sample_grad", 1.0)
        return as_x(self.problem.sample_grad(x, d), x, "sample_grad(x, d)")

    def slopes(self, x: Params) -> list[Array]:
        """Return the activation's derivatives at the hidden layers' outputs."""
        return [
            as_array(a, f"slopes(x)[{i}]")
            for i, a in enumerate(a_kind_of(list, self._ask("slopes", x), "slopes(x)"))
        ]

    def penalty(self, x: Params) -> float:
        """Return the nonsmooth part g(x)."""
        self.counts.add("penalty", 0.0)
        return number(self.problem.penalty(x), "penalty(x)")

    def prox(self, x: Params, step: float) -> Params:
        """Return the proximal point of g with step size `step`."""
        self.counts.add("prox", 0.0)
        return as_x(self.problem.prox(x, step), x, "prox(x, step)")

    def example_prox(self, x: Params, step: float) -> Params:
        """Return the proximal point of one `example` of the batch."""
        self.counts.add("example_prox", 1.0 / self.n_examples)
        return as_x(self.problem.example_prox(x, step, batch=self.example()), x, "example_prox(x, step)")

    def project(self, x: Params) -> Params:
        """Return the feasible point nearest to x."""
        self.counts.add("project", 0.0)
        return as_x(self.problem.project(x), x, "project(x)")

    def bounds(self, x: Params) -> tuple[Params, Params]:
        """Return the least and the largest values that x may have."""
        self.counts.add("bounds", 0.0)
        lower, upper = pair(self.problem.bounds(x), "bounds(x)", "the least and the largest values")
        return bound(lower, x, "bounds(x)[0]"), bound(upper, x, "bounds(x)[1]")

    def gram(self, x: Params) -> Params:
        """Return the Gram matrix times x."""
        self.counts.add("gram", 1.0)
        return as_x(self.problem.gram(x), x, "gram(x)")

    def term_weights(self, x: Params) -> Array:
        """Return each example's shares of its terms."""
        return as_array(self._ask("term_weights", x), "term_weights(x)")

    def term_grad(self, x: Params, weights: Array) -> Params:
        """Return the terms' gradients under given weights."""
        return as_x(self._ask("term_grad", x, weights), x, "term_grad(x, weights)")

    def fraction(self, x: Params) -> tuple[float, float, float]:
        """Return f, h and g of the objective (f + h) / g."""
        self.counts.add("fraction", 1.0)
        answer = several(self.problem.fraction(x), "fraction(x)", 3, "f, h and g of (f + h) / g")
        f, h, g = (finite_number(part, f"fraction(x)[{i}]") for i, part in enumerate(answer))
        return f, h, g

    def coordinate_slope(self, x: Params, i: int) -> tuple[float, float]:
        """Return the derivative of the numerator's smooth part by entry i, and the bound of its second one."""
        self.counts.add("coordinate_slope", 1.0 / size(x))
        slope, bend = pair(
            self.problem.coordinate_slope(x, i), "coordinate_slope(x, i)", "a derivative and a bound"
        )
        return finite_number(slope, "coordinate_slope(x, i)[0]"), finite_number(
            bend, "coordinate_slope(x, i)[1]"
        )

    def coordinate_prox(self, x: Params, i: int, slope: float, curvature: float, level: float) -> float:
        """Return the best move of entry i."""
        self.counts.add("coordinate_prox", 0.0)
        return finite_number(
            self.problem.coordinate_prox(x, i, slope, curvature, level), "coordinate_prox(x, i, ...)"
        )

    def objectives(self, x: Params) -> Array:
        """Return the values of the objectives, an array of shape (m,)."""
        values = as_array(self._ask("objectives", x), "objectives(x)")
        if values.ndim != 1:
            raise ShapeError(f"objectives(x): wanted shape (m,), got {tuple(values.shape)}")
        self.counts.equivalents += COST["objectives"] * self._share * (values.shape[0] - 1)
        return values

    def jacobian(self, x: Params) -> Params:
        """Return the gradients of the objectives, on a new first axis."""
        rows = stack_of(self._ask("jacobian", x), x, "jacobian(x)", None)
        m = next(iter(leaves(rows).values())).shape[0]
        self.counts.equivalents += COST["jacobian"] * self._share * (m - 1)
        return rows

    def upper_value(self, x: Params) -> float:
        """Return F of both players."""
        return number(self._ask("upper_value", x), "upper_value(x)")

    def upper_grad(self, x: Params) -> Params:
        """Return the gradient of F by both players."""
        return as_x(self._ask("upper_grad", x), x, "upper_grad(x)")

    def lower_value(self, x: Params) -> float:
        """Return f of both players."""
        return number(self._ask("lower_value", x), "lower_value(x)")

    def lower_grad(self, x: Params) -> Params:
        """Return the gradient of f by both players."""
        return as_x(self._ask("lower_grad", x), x, "lower_grad(x)")

    def lower_hvp(self, x: Params, v: Array) -> Array:
        """Return the Hessian of f by the lower player times v."""
        return as_x(self._ask("lower_hvp", x, v), x["lower"], "lower_hvp(x, v)")

    def lower_mixed(self, x: Params, v: Array) -> Array:
        """Return the derivative by the upper player of v times the gradient of f by the lower one."""
        return as_x(self._ask("lower_mixed", x, v), x["upper"], "lower_mixed(x, v)")

    def upper_hvp(self, x: Params, v: Array) -> Array:
        """Return the Hessian of F by the lower player times v."""
        return as_x(self._ask("upper_hvp", x, v), x["lower"], "upper_hvp(x, v)")

    def upper_mixed(self, x: Params, v: Array) -> Array:
        """Return the derivative by the upper player of v times the gradient of F by the lower one."""
        return as_x(self._ask("upper_mixed", x, v), x["upper"], "upper_mixed(x, v)")

    def constraint(self, x: Params) -> Array:
        """Return what must be at most 0."""
        self.counts.add("constraint", 0.0)
        return as_array(self.problem.constraint(x), "constraint(x)")

    def constraint_vjp(self, x: Params, u: Array) -> Params:
        """Return the transposed Jacobian of the constraint times u."""
        self.counts.add("constraint_vjp", 0.0)
        return as_x(self.problem.constraint_vjp(x, u), x, "constraint_vjp(x, u)")

    def constraint_hvp(self, x: Params, u: Array, v: Params) -> Params:
        """Return the Hessian of the product of the constraint with u, times v."""
        self.counts.add("constraint_hvp", 0.0)
        return as_x(self.problem.constraint_hvp(x, u, v), x, "constraint_hvp(x, u, v)")


class GradientsAt(Oracle):
    """An oracle for wrappers: `grad` calls the wrapper's function; everything else goes to the inner oracle.

    Parameters
    ----------
    inner : Oracle
    replaced : callable
        ``replaced(oracle, x)`` returns the gradient to use, made of calls of `oracle`, which is
        `inner` on the batch that is asked about.
    """

    def __init__(self, inner: Oracle, replaced: Callable[[Oracle, Params], Params]) -> None:
        self.__dict__.update(inner.__dict__)
        self._inner, self._replaced = inner, replaced

    def grad(self, x: Params) -> Params:
        """Return the replaced gradient at x."""
        return self._replaced(self._inner, x)

    def value_and_grad(self, x: Params) -> tuple[float, Params]:
        """Return f(x) and the replaced gradient."""
        return self.value(x), self.grad(x)

    def _with_batch(self, batch: np.ndarray | None) -> Oracle:
        return GradientsAt(self._inner._with_batch(batch), self._replaced)
