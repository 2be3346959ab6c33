"""Multilayer perceptrons of any widths."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from refopt.core.arrays import Array
from refopt.core.errors import ArgumentError, ArgumentTypeError, ShapeError, nearest
from refopt.core.hyper import check_number
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.problems.data import DIGITS, class_indices, load, one_hot
from refopt.problems.network import ACTIVATIONS, GELU, HESSIAN_PRODUCT, LOSSES, Network


def _choice(value: Any, allowed: dict[str, Any], name: str) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise ArgumentError(
            f"{name}: wanted one of {', '.join(allowed)}, got {value!r}.{nearest(str(value), allowed)}"
        )


@register(
    "mlp",
    kind="problem",
    source=Source(
        key="rumelhart-1986-learning",
        authors="David E. Rumelhart, Geoffrey E. Hinton, Ronald J. Williams",
        title="Learning representations by back-propagating errors",
        venue="Nature 323, 533-536",
        doi="10.1038/323533a0",
    ),
    where="the layered network and its backward pass",
    also=(HESSIAN_PRODUCT, GELU, DIGITS),
)
class MLP(Network):
    """A multilayer perceptron with the parameters ``{"W1", "b1", "W2", "b2", ...}``, W (out, in).

    ``f = mean_i loss(z_i, y_i) + l2 ||x||^2 / 2`` with ``a_l = act(W_l a_{l-1} + b_l)`` and linear
    outputs z. The losses: ``"cross-entropy"``, ``log(sum_c exp(z_c)) - z_y``; ``"mse"``, half the sum of
    squares ``||z - y||^2 / 2`` (for labels, y is one-hot). As a composition: r = z for cross-entropy;
    r = (z - y) / sqrt(B) with phi(r) = ||r||^2 / 2 for "mse"; the l2 term is not in r (see
    `refopt.problems.network.Network`).

    Parameters
    ----------
    widths : tuple of int
        Of the hidden layers, from the inputs on; ``()`` is a linear model. Inputs and outputs have the
        data's widths.
    activation : {"tanh", "relu", "gelu"}
        ``"gelu"`` is the tanh form ``s (1 + tanh(sqrt(2/pi) (s + 0.044715 s^3))) / 2``, its derivatives
        exact. The derivative of ``"relu"`` at 0 is taken as 0, its second derivative as 0 everywhere.
    loss : {"cross-entropy", "mse"}
    data : str, path or pair (X, y)
        ``"digits"``, ``"breast-cancer"``, the path of a LIBSVM-format file (labels), arrays X (n, d) and
        y (labels of shape (n,) for cross-entropy; real targets of shape (n,) or (n, k) for "mse"), or
        ``"teacher"``: 200 standard normal inputs of 5 features and targets from a network of the same
        form with 3 outputs, of which the weights are drawn from `seed`; labels are drawn from its
        softmax.
    l2 : float
        Weight of the regulariser of all parameters, at least 0.
    n_examples : int, optional
        Use only the first ones of the data.
    seed : int
        Of the teacher and its data.

    Attributes
    ----------
    solution, optimum
        The teacher and 0 for ``data="teacher"``, ``loss="mse"`` and l2 = 0; otherwise None.

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError, NonFiniteError
        Bad data, widths, names or weights.
    MissingExtraError
        The data comes from scikit-learn and the extra ``data`` is not installed.

    Examples
    --------
    >>> from refopt.problems.mlp import MLP
    >>> p = MLP(widths=(4,), loss="mse", data="teacher", n_examples=10)
    >>> {name: a.shape for name, a in p.start().items()}
    {'W1': (4, 5), 'b1': (4,), 'W2': (3, 4), 'b2': (3,)}
    >>> float(p.value(p.solution)), p.least_squares
    (0.0, True)
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (32,),
        activation: str = "tanh",
        loss: str = "cross-entropy",
        data: Any = "digits",
        l2: float = 0.0,
        n_examples: int | None = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(widths, (tuple, list)):
            raise ArgumentTypeError(f"widths: wanted a tuple of integers, got {widths!r}")
        for i, width in enumerate(widths):
            check_number(width, "int [1, inf)", f"widths[{i}]")
        _choice(activation, ACTIVATIONS, "activation")
        _choice(loss, LOSSES, "loss")
        check_number(l2, "[0, inf)", "l2")
        check_number(seed, "int [0, 18446744073709551616)", "seed")
        self.activation = activation
        hidden = tuple(int(w) for w in widths)
        if isinstance(data, str) and data == "teacher":
            n_examples = 200 if n_examples is None else n_examples
            check_number(n_examples, "int [1, inf)", "n_examples")
            self._teach(hidden, loss, l2, n_examples, seed)
            return
        inputs, targets = load(data, n_examples)
        if loss == "cross-entropy" or isinstance(data, str):
            classes, index = class_indices(targets)
            targets = one_hot(index, len(classes))
        elif targets.ndim > 2 or targets.size == 0:
            raise ShapeError(f"data: wanted targets of shape (n,) or (n, k), got {targets.shape}")
        else:
            targets = targets.reshape(len(targets), -1)
        self._build(hidden, loss, l2, inputs, targets)

    def _build(
        self, hidden: tuple[int, ...], loss: str, l2: float, inputs: np.ndarray, targets: np.ndarray
    ) -> None:
        widths = (inputs.shape[1], *hidden, targets.shape[1])
        names = [(f"W{i}", f"b{i}") for i in range(1, len(widths))]
        self._set(names, widths, self.activation, loss, inputs, targets, l2)

    def _teach(self, hidden: tuple[int, ...], loss: str, l2: float, n: int, seed: int) -> None:
        rng = generator(seed, "problem")
        inputs = rng.standard_normal((n, 5))
        self._build(hidden, loss, l2, inputs, np.zeros((n, 3)))
        teacher = {k: rng.standard_normal(s) / math.sqrt(s[-1]) for k, s in self._shapes.items()}
        outputs = self.predict(teacher)
        self._build(hidden, loss, l2, inputs, outputs if loss == "mse" else self.loss.sample(outputs, rng))
        if self.least_squares:
            self.solution, self.optimum = {k: np.array(v) for k, v in teacher.items()}, 0.0

    def start(self, seed: int = 0) -> dict[str, Array]:
        """Return weights of variance 1 / inputs (2 / inputs for relu and gelu) and zero biases."""
        rng = generator(seed, "start")
        gain = 1.0 if self.activation == "tanh" else 2.0
        x = {}
        for (weight, bias), fan_in in zip(self.names, self.widths):
            x[weight] = rng.standard_normal(self._shapes[weight]) * math.sqrt(gain / fan_in)
            x[bias] = np.zeros(self._shapes[bias])
        return x
