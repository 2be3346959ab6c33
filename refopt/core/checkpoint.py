"""Checkpoints: a NumPy archive of arrays and one JSON text. Nothing is ever unpickled."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import io
import json
import math
import os
import pathlib
import zipfile
from typing import Any

import numpy as np

from refopt.core.arrays import is_array, like, to_numpy
from refopt.core.errors import CheckpointError

FORMAT = "refopt-checkpoint-2"
# All rows of the history stand in the file itself.
FIRST = "refopt-checkpoint-1"


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
        _replace(path, data + hashlib.sha256(data).digest())
    except OSError as error:
        raise CheckpointError(f"checkpoint: cannot write {path}: {error.strerror}") from None


def _replace(path: pathlib.Path, data: bytes) -> None:
    """Write `data` beside `path` and rename it; nothing stays beside it, but for a kill, and that goes next time."""
    for stale in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
        # Of a process that is gone: two that share a checkpoint must not take each other's.
        if not _lives(stale.suffixes[-2][1:]):
            stale.unlink(missing_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def _lives(process: str) -> bool:
    """Tell whether a process may still be there."""
    if not process.isdecimal() or os.name != "posix":
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _check_sizes(body: bytes) -> None:
    """Raise unless the members are stored, as `save` writes them, so that nothing unpacks to more than the file."""
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        for member in archive.infolist():
            if member.file_size > len(body) or member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(
                    f"{member.filename} claims {member.file_size} bytes of a file of {len(body)}"
                )
            with archive.open(member) as f:
                version = np.lib.format.read_magic(f)
                read = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = read(f)
            if math.prod(shape) * dtype.itemsize > member.file_size:
                raise ValueError(f"{member.filename} claims shape {shape}, more than it holds")


def check_run(content: Any) -> None:
    """Raise unless a run can be gone on with from what was loaded.

    Raises
    ------
    CheckpointError
    """
    for key, kind in (("run", dict), ("state", dict), ("step", int), ("calls", dict)):
        if not isinstance(content.get(key), kind) or isinstance(content.get(key), bool):
            raise CheckpointError(f"checkpoint: its {key!r} is {content.get(key)!r}")
    mark = content.get("kept")
    if mark is not None or content.get("format") != FIRST:
        whole = (
            isinstance(mark, dict) and type(mark.get("count")) is int and isinstance(mark.get("digest"), str)
        )
        if not whole or mark["count"] < 0:
            raise CheckpointError(f"checkpoint: its 'kept' is {mark!r}")
    for key in ("equivalents", "seconds"):
        if not isinstance(content.get(key), float) or not math.isfinite(content[key]):
            raise CheckpointError(f"checkpoint: its {key!r} is {content.get(key)!r}")
    if content["step"] < 0 or "x" not in content or np.ndim(content.get("rows")) != 2:
        raise CheckpointError("checkpoint: its step, its point or its history is none")


def load(path: str | os.PathLike[str], reference: Any = None) -> dict[str, Any]:
    """Read what `save` wrote; the entry ``format`` says by which version.

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
        _check_sizes(body)
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            arrays = {k: archive[k] for k in archive.files}
        header = json.loads(bytes(arrays.pop("text")).decode())
        if header["format"] not in (FORMAT, FIRST):
            raise CheckpointError(f"checkpoint: {path} has format {header['format']!r}, wanted {FORMAT!r}")
        content: dict[str, Any] = _unpack(header["content"], arrays, reference)
        content["format"] = header["format"]
    except CheckpointError:
        raise
    except Exception as error:  # a forged file may raise whatever its parts' readers raise
        raise CheckpointError(f"checkpoint: {path} is not a checkpoint of refopt ({error})") from None
    return content
