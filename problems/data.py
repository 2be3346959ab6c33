"""The data sets that problems run on, read once and kept."""

from __future__ import annotations

import functools
import importlib
import math
import os
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from refopt.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    NonFiniteError,
    RefoptError,
    ShapeError,
    missing_extra,
    nearest,
)
from refopt.core.files import MOST_NUMBERS, unpacked_size
from refopt.core.registry import Source
from refopt.problems import blocks
from refopt.problems.common import frozen

BREAST_CANCER = Source(
    key="street-1993-nuclear",
    authors="W. Nick Street, William H. Wolberg, Olvi L. Mangasarian",
    title="Nuclear feature extraction for breast tumor diagnosis",
    venue="Proc. SPIE 1905, 861-870",
    doi="10.1117/12.148698",
)
DIGITS = Source(
    key="alpaydin-1998-digits",
    authors="Ethem Alpaydin, Cenk Kaynak",
    title="Optical Recognition of Handwritten Digits",
    venue="UCI Machine Learning Repository",
    doi="10.24432/C50P49",
)
DIABETES = Source(
    key="efron-2004-lars",
    authors="Bradley Efron, Trevor Hastie, Iain Johnstone, Robert Tibshirani",
    title="Least Angle Regression",
    venue="The Annals of Statistics 32(2), 407-499",
    doi="10.1214/009053604000000067",
)


def _datasets() -> Any:
    try:
        return importlib.import_module("sklearn.datasets")
    except ImportError:
        raise missing_extra("data", "scikit-learn") from None


def _keep(inputs: Any, targets: Any) -> tuple[Any, np.ndarray]:
    inputs, targets = frozen(inputs), np.array(targets)
    targets.flags.writeable = False
    return inputs, targets


@functools.cache
def _breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    bunch = _datasets().load_breast_cancer()
    return _keep(_standardised(bunch.data), bunch.target)


@functools.cache
def _diabetes() -> tuple[np.ndarray, np.ndarray]:
    bunch = _datasets().load_diabetes(scaled=False)
    return _keep(_standardised(bunch.data), _standardised(bunch.target))


def _standardised(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(axis=0)) / values.std(axis=0)


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    bunch = _datasets().load_digits()
    return _keep(bunch.data / 16, bunch.target)


@functools.lru_cache(maxsize=4)
def _libsvm(path: str, modified: float) -> tuple[Any, np.ndarray]:
    unpacked_size(path, "data")
    try:
        inputs, targets = _datasets().load_svmlight_file(path)
    except (ValueError, OverflowError, OSError, EOFError) as error:
        raise ArgumentError(f"data: {path} is not a LIBSVM-format file ({error})") from None
    if inputs.shape[1] > MOST_FEATURES:
        raise ArgumentError(
            f"data: {path} has {inputs.shape[1]} features, which is more than {MOST_FEATURES}; one of its indices may be wrong"
        )
    return _keep(inputs, targets)


def _dense(inputs: Any) -> np.ndarray:
    """Return sparse inputs as an array, where that is not too large."""
    if math.prod(inputs.shape) > MOST_NUMBERS:
        raise ArgumentError(
            f"data: {inputs.shape[0]} examples of {inputs.shape[1]} features are more than {MOST_NUMBERS} numbers, and this"
            " problem takes no sparse data; one of a file's indices may be wrong"
        )
    return frozen(inputs.toarray())


# Of a file: an index of more is a mistake or an attack, and x alone would take a gigabyte.
MOST_FEATURES = 10**8
NAMED = {"breast-cancer": _breast_cancer, "diabetes": _diabetes, "digits": _digits}


def load(
    data: Any, n_examples: int | None = None, *, sparse: bool = False, in_blocks: bool = False
) -> tuple[Any, Any]:
    """Return inputs (n, d) and targets (n, ...) of a data set.

    Parameters
    ----------
    data : str, path or pair of arrays
        ``"breast-cancer"`` (569 x 30, every feature shifted and scaled to mean 0 and variance 1),
        ``"digits"`` (1797 x 64, pixels divided by 16), ``"diabetes"`` (442 x 10, features and target of mean 0 and
        variance 1), as bundled with scikit-learn; the path of a LIBSVM-format file; or ``(X, y)``. Files and arrays are
        used as they are.
    n_examples : int, optional
        Keep the first `n_examples` alone.
    sparse : bool
        Leave a SciPy sparse X, or a file of which less than a quarter is not zero, as it is, in CSR.
    in_blocks : bool
        Take Dask arrays, which stay in blocks.

    Returns
    -------
    inputs : array, scipy.sparse.csr_array or dask.array.Array
    targets : array or dask.array.Array
        Both read-only.

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError, NonFiniteError
    MissingExtraError
        scikit-learn is not installed (extra ``data``).
    """
    if isinstance(data, str) and data in NAMED:
        inputs, targets = NAMED[data]()
    elif isinstance(data, (str, os.PathLike)):
        path = os.path.abspath(data)
        if not os.path.isfile(path):
            raise ArgumentError(
                f"data: {os.fspath(data)!r} is neither a data set ({', '.join(NAMED)}) nor a file."
                f"{nearest(str(data), NAMED)}"
            )
        inputs, targets = _libsvm(path, os.path.getmtime(path))
    elif isinstance(data, (tuple, list)) and len(data) == 2:
        try:
            keep = blocks.taken if any(map(blocks.is_blocks, data)) else _keep
            inputs, targets = keep(*data)
        except RefoptError:
            raise
        except (TypeError, ValueError) as error:
            raise ArgumentTypeError(f"data: (X, y) cannot be read as arrays ({error})") from None
    else:
        raise ArgumentTypeError(f"data: wanted a name, a path or (X, y), got {type(data).__qualname__}")
    if inputs.ndim != 2 or 0 in inputs.shape or targets.shape[:1] != inputs.shape[:1]:
        raise ShapeError(
            f"data: wanted X of shape (n, d) and y of n entries, got {inputs.shape} and {targets.shape}"
        )
    if targets.dtype.kind not in "biuf":
        raise ArgumentTypeError(f"data: wanted numbers as y, got dtype {targets.dtype}")
    held = inputs.data if scipy.sparse.issparse(inputs) else inputs
    if blocks.is_blocks(inputs):
        if not in_blocks:
            raise ArgumentTypeError("data: this problem takes no Dask arrays; logistic and softmax do")
        blocks.check_finite(inputs, targets)
    elif not (np.isfinite(held).all() and np.isfinite(targets).all()):
        raise NonFiniteError("data: contains NaN or infinity")
    if n_examples is not None:
        if isinstance(n_examples, bool) or not isinstance(n_examples, (int, np.integer)):
            raise ArgumentTypeError(f"n_examples: wanted an integer, got {n_examples!r}")
        if not 1 <= n_examples <= inputs.shape[0]:
            raise ArgumentError(f"n_examples: wanted a value in [1, {inputs.shape[0]}], got {n_examples}")
        inputs, targets = inputs[:n_examples], targets[:n_examples]
    if scipy.sparse.issparse(inputs):
        from_file = not isinstance(data, (tuple, list))
        if not sparse or (from_file and len(held) > math.prod(inputs.shape) / 4):
            return _dense(inputs), targets
    return inputs, targets


def with_intercept(inputs: Any) -> Any:
    """Return inputs with a last feature of constant 1."""
    if blocks.is_blocks(inputs):
        return blocks.with_intercept(inputs)
    ones = np.ones((inputs.shape[0], 1))
    if scipy.sparse.issparse(inputs):
        return scipy.sparse.csr_array(scipy.sparse.hstack([inputs, ones], format="csr"))
    return np.concatenate([inputs, ones], axis=1)


def class_indices(targets: Any) -> tuple[np.ndarray, Any]:
    """Return the sorted classes and each target's index among them.

    Raises
    ------
    ArgumentError, ShapeError
        Not one label an example, or fewer than two classes.
    """
    if targets.ndim != 1:
        raise ShapeError(f"data: wanted one class label an example, got targets of shape {targets.shape}")
    if blocks.is_blocks(targets):
        classes, index = blocks.class_indices(targets)
    else:
        classes, index = np.unique(targets, return_inverse=True)
    if len(classes) < 2:
        raise ArgumentError(f"data: wanted at least two classes, got {len(classes)}")
    return classes, index


def one_hot(index: Any, classes: int) -> Any:
    """Return rows with a single 1 at `index`."""
    if blocks.is_blocks(index):
        return blocks.one_hot(index, classes)
    return np.eye(classes)[index]


def top_eigenvalue(inputs: Any) -> float:
    """Return the largest eigenvalue of ``X^T X / n``; of sparse X and of blocks by Lanczos, to rounding."""
    n = inputs.shape[0]
    if blocks.is_blocks(inputs):
        return blocks.top_singular_value(inputs) ** 2 / n
    if scipy.sparse.issparse(inputs) and min(inputs.shape) > 2:
        start = np.ones(min(inputs.shape))
        return float(scipy.sparse.linalg.svds(inputs, 1, v0=start, return_singular_vectors=False)[0]) ** 2 / n
    dense = inputs.toarray() if scipy.sparse.issparse(inputs) else inputs
    return float(np.linalg.norm(dense, 2)) ** 2 / n
