"""The file format of test vectors: hexadecimal floats in JSON, a schema, a checksum. docs/vectors.md."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources
import json
import math
import os
import pathlib
import re
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from refopt.core.arrays import is_array, to_numpy
from refopt.core.build import optimizer
from refopt.core.errors import ArgumentError, ArgumentTypeError, VectorsError
from refopt.core.method import Method
from refopt.vectors.schema import fault

FORMAT, VERSION = "refopt-vectors", 1


DTYPES = ("float64", "float32")


# What runs a rule and multiplies its rate is no hyperparameter of the file.
NOT_HYPER = ("engine", "schedule")


Leaves = dict[str, np.ndarray]


_NUMBER = re.compile(r"-?(0x[01](\.[0-9a-f]+)?p[+-][0-9]+|inf)|nan")


def hexadecimal(value: float) -> str:
    """Return a float as C99's ``%a`` prints it: exact, without trailing zeros.

    Examples
    --------
    >>> from refopt.vectors.format import hexadecimal
    >>> hexadecimal(0.75), hexadecimal(-0.0), hexadecimal(float("inf"))
    ('0x1.8p-1', '-0x0p+0', 'inf')
    """
    if not math.isfinite(value):
        return str(float(value))
    mantissa, exponent = float(value).hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{exponent}"


def encode_leaves(x: Leaves) -> dict[str, list[str]]:
    """Return named arrays as flat lists of hexadecimal floats, last axis fastest."""
    return {k: [hexadecimal(float(u)) for u in np.ravel(v)] for k, v in x.items()}


def decode(data: list[str], shape: Any, dtype: str, place: str) -> np.ndarray:
    """Return a flat list of hexadecimal floats as an array of `shape`.

    Raises
    ------
    VectorsError
        Their number does not fit the shape; a number that `dtype` cannot hold.
    """
    if len(data) != math.prod(shape):
        raise VectorsError(
            f"{place}: wanted {math.prod(shape)} numbers for shape {list(shape)}, got {len(data)}"
        )
    wide = np.array([float.fromhex(u) for u in data], dtype=np.float64)
    with np.errstate(over="ignore"):
        out = wide.astype(dtype)
    if not np.array_equal(out.astype(np.float64), wide, equal_nan=True):
        raise VectorsError(f"{place}: holds a number that {dtype} does not have")
    return out.reshape(shape)


def decode_leaves(x: Mapping[str, list[str]], shapes: Mapping[str, Any], dtype: str, place: str) -> Leaves:
    """Return named flat lists as arrays; see `decode`."""
    if x.keys() != shapes.keys():
        raise VectorsError(f"{place}: wanted the leaves {sorted(shapes)}, got {sorted(x)}")
    return {k: decode(x[k], shapes[k], dtype, f"{place}.{k}") for k in shapes}


def encode_state(value: Any) -> Any:
    """Return a state, or a part of one, as plain data."""
    if isinstance(value, Mapping):
        return {k: encode_state(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode_state(v) for v in value]
    if is_array(value):
        array = to_numpy(value)
        return {"shape": list(array.shape), "data": [hexadecimal(float(u)) for u in array.ravel()]}
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, (float, np.floating)):
        return hexadecimal(float(value))
    raise ArgumentError(f"state: an entry of type {type(value).__qualname__} cannot be written to a file")


def encode_setting(value: Any) -> Any:
    """Return a hyperparameter as plain data: numbers as hexadecimal floats, choices as they are."""
    if isinstance(value, Method):
        return {"method": value.registered_name, "hyper": encode_hyper(value)}
    if isinstance(value, (list, tuple)):
        return [encode_setting(v) for v in value]
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return hexadecimal(value)
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return value
    if callable(value):
        return {"function": f"{value.__module__}.{value.__qualname__}"}
    raise ArgumentError(f"hyperparameter: {value!r} cannot be written to a file")


def encode_hyper(method: Method) -> dict[str, Any]:
    """Return all hyperparameters of a method by name, except its engine and schedule."""
    fields = (f.name for f in dataclasses.fields(method))
    return {name: encode_setting(getattr(method, name)) for name in fields if name not in NOT_HYPER}


def decode_setting(value: Any, default: Any, place: str) -> Any:
    """Return a hyperparameter from plain data; `default` is the method's own, for its functions.

    Raises
    ------
    VectorsError
        A function that is not the method's own.
    """
    if isinstance(value, list):
        return tuple(decode_setting(v, None, place) for v in value)
    if isinstance(value, str):
        return float.fromhex(value) if _NUMBER.fullmatch(value) else value
    if not isinstance(value, dict):
        return value
    if "method" in value:
        other = optimizer(value["method"])
        return dataclasses.replace(other, **decode_hyper(value["hyper"], other, place))
    if not callable(default) or encode_setting(default) != value:
        raise VectorsError(f"{place}: {value['function']} is not what this refopt has there")
    return default


def decode_hyper(hyper: Mapping[str, Any], method: Method, place: str) -> dict[str, Any]:
    """Return hyperparameters by name, for `method`."""
    return {k: decode_setting(v, getattr(method, k, None), f"{place}.{k}") for k, v in hyper.items()}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the files, version 1."""
    text = importlib.resources.files("refopt.vectors").joinpath("vectors.schema.json").read_text("utf-8")
    return dict(json.loads(text))


def checksum(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a file's content but for its own ``sha256``, in hexadecimal.

    The content holds no JSON number but integers, so that sorted names and no spaces make one text of
    it in every language.
    """
    kept = {k: v for k, v in content.items() if k != "sha256"}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def to_text(content: Mapping[str, Any]) -> str:
    """Return the file's text: one line a field."""
    lines = (
        f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'), ensure_ascii=False)}"
        for k, v in content.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def save(content: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a file, whole or not at all.

    Raises
    ------
    VectorsError
        It cannot be written.
    """
    target = pathlib.Path(path)
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=target.parent, prefix=target.name, delete=False
        ) as f:
            f.write(to_text(content))
        os.chmod(f.name, 0o644)
        os.replace(f.name, target)
    except OSError as error:
        raise VectorsError(f"{path}: cannot be written ({error.strerror})") from None


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a file, and hold it to the schema and to its checksum.

    Raises
    ------
    ArgumentTypeError
        No path.
    VectorsError
        Missing, no JSON, not of the format (the field is named), or changed since it was written.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentTypeError(f"path: wanted a str or os.PathLike, got {type(path).__qualname__}")
    try:
        content = json.loads(pathlib.Path(path).read_bytes().decode("utf-8"))
    except OSError as error:
        raise VectorsError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise VectorsError(f"{path}: is not JSON ({error})") from None
    found = fault(content, schema())
    if found:
        raise VectorsError(f"{path}: {found}")
    if checksum(content) != content["sha256"]:
        raise VectorsError(
            f"{path}: sha256: the content's checksum is {checksum(content)}, the file says {content['sha256']}:"
            " it was changed since it was written"
        )
    return dict(content)
