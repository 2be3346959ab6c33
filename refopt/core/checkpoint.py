"""Checkpoints: a NumPy archive of arrays and one JSON text. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pathlib
import tempfile
import zipfile
from typing import Any

import numpy as np

from refopt.core.arrays import is_array, like, to_numpy
from refopt.core.errors import CheckpointError

FORMAT = "refopt-checkpoint-1"


def _pack(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Replace every array inside `value` by a reference into `arrays`."""
    if is_array(value):
        name = f"a{len(arrays)}"
        arrays[name] = to_numpy(value)
        return {"$array": name}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        return {"$dict": [[k, _pack(v, arrays)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"$tuple" if isinstance(value, tuple) else "$list": [_pack(v, arrays) for v in value]}
    if isinstance(value, float):
        return {"$float": value.hex()}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise CheckpointError(f"checkpoint: a state holds {type(value).__qualname__}, which cannot be stored")


def _unpack(value: Any, arrays: dict[str, np.ndarray], reference: Any) -> Any:
    if isinstance(value, dict):
        ((tag, body),) = value.items()
        if tag == "$array":
            stored = arrays[body]
            if reference is None or stored.dtype.kind != "f":
                return stored
            return like(stored, reference, dtype=_same_dtype(stored, reference))
        if tag == "$dict":
            return {k: _unpack(v, arrays, reference) for k, v in body}
        if tag == "$tuple":
            return tuple(_unpack(v, arrays, reference) for v in body)
        if tag == "$list":
            return [_unpack(v, arrays, reference) for v in body]
        return float.fromhex(body)
    return value


def _same_dtype(stored: np.ndarray, reference: Any) -> Any:
    from refopt.core.arrays import namespace

    return getattr(namespace(reference), stored.dtype.name)


def save(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Write `content` (nested dicts, lists, numbers, strings, arrays) so that a kill at any moment
    leaves either the old file or the new one.

    Raises
    ------
    CheckpointError
        Something in it cannot be stored, or the place cannot be written.
    """
    path = pathlib.Path(path)
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps({"format": FORMAT, "content": _pack(content, arrays)})
    body = io.BytesIO()
    arrays["text"] = np.frombuffer(text.encode(), dtype=np.uint8)
    np.savez(body, **arrays)  # type: ignore[arg-type]
    data = body.getvalue()
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, suffix=".tmp", delete=False) as f:
            f.write(data)
            f.write(hashlib.sha256(data).digest())
            f.flush()
            os.fsync(f.fileno())
        os.replace(f.name, path)
    except OSError as error:
        raise CheckpointError(f"checkpoint: cannot write {path}: {error.strerror}") from None


def load(path: str | os.PathLike[str], reference: Any = None) -> dict[str, Any]:
    """Read what `save` wrote.

    Parameters
    ----------
    path : path
    reference : array, optional
        Floating-point arrays come back in its library and device; NumPy without it.

    Raises
    ------
    CheckpointError
        Missing, truncated, or not a checkpoint of refopt.
    """
    path = pathlib.Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"checkpoint: cannot read {path}: {error.strerror}") from None
    body, digest = data[:-32], data[-32:]
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(
            f"checkpoint: {path} is truncated, damaged or not a checkpoint of refopt (its checksum is wrong)"
        )
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            arrays = {k: archive[k] for k in archive.files}
        header = json.loads(bytes(arrays.pop("text")).decode())
        if header["format"] != FORMAT:
            raise CheckpointError(f"checkpoint: {path} has format {header['format']!r}, wanted {FORMAT!r}")
        content: dict[str, Any] = _unpack(header["content"], arrays, reference)
    except (ValueError, KeyError, zipfile.BadZipFile, OSError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"checkpoint: {path} is not a checkpoint of refopt ({error})") from None
    return content
