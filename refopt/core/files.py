"""Files of others: what they declare is bounded before anything is unpacked or laid out."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from typing import Any

import numpy as np

from refopt.core.errors import ArgumentError

# A gigabyte of doubles; text of numbers packs to about a tenth.
MOST_NUMBERS, MOST_TEXT, MOST_RATIO = 1 << 27, 1 << 24, 100
# The shortest entry of a text file: a digit and what parts it from the next.
SHORTEST = 2


def unpacked_size(path: str, name: str) -> int:
    """Return the size of a file's text; a compressed one is unpacked once, piece by piece, and not kept.

    Raises
    ------
    ArgumentError
        It cannot be read, or unpacks to far more than text of numbers does.
    """
    try:
        size = os.path.getsize(path)
        opener: Any = {".gz": gzip.open, ".bz2": bz2.open}.get(os.path.splitext(path)[1])
        if opener is None:
            return size
        most, seen = max(MOST_TEXT, MOST_RATIO * size), 0
        with opener(path, "rb") as f:
            while part := f.read(1 << 20):
                seen += len(part)
                if seen > most:
                    raise ArgumentError(f"{name}: {path} unpacks to more than {most} bytes")
        return seen
    except (OSError, EOFError, zlib.error) as error:
        raise ArgumentError(f"{name}: cannot read {path} ({error})") from None


def read_matrix_market(path: str | os.PathLike[str], name: str = "path") -> Any:
    """Read a Matrix Market file: sparse files as CSR, dense ones as an array, in floating point.

    Parameters
    ----------
    path : path
        An ``.mtx`` file, compressed or not, as `scipy.io.mmread` reads them.
    name : str
        The argument, for errors.

    Returns
    -------
    scipy.sparse.csr_array or array
        Integer and pattern files become float64 (pattern entries are 1).

    Raises
    ------
    ArgumentError
        It cannot be read, is no such file, or declares more than it can hold.

    Examples
    --------
    >>> import tempfile, numpy as np, scipy.io, scipy.sparse
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     scipy.io.mmwrite(folder + "/p.mtx", scipy.sparse.csr_array(np.diag([1.0, 2.0])))
    ...     print(read_matrix_market(folder + "/p.mtx").toarray())
    [[1. 0.]
     [0. 2.]]
    """
    import scipy.io
    import scipy.sparse

    path = os.fspath(path)
    size = unpacked_size(path, name)
    try:
        rows, columns, entries, form, *_ = scipy.io.mminfo(path)
        if max(rows, columns) > MOST_NUMBERS or SHORTEST * entries > size:
            raise ArgumentError(
                f"{name}: {path} declares {rows} x {columns} with {entries} entries in {size} bytes of text"
            )
        matrix = scipy.io.mmread(path, spmatrix=False)
    except ArgumentError:
        raise
    except (ValueError, OverflowError, OSError, EOFError, TypeError) as error:
        raise ArgumentError(f"{name}: {path} is no Matrix Market file ({error})") from None
    if matrix.dtype.kind not in "fc":
        matrix = matrix.astype(np.float64)
    return scipy.sparse.csr_array(matrix) if form == "coordinate" else matrix
