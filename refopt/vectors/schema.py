"""The part of JSON Schema that refopt's own schemas use, so that reading a file needs no package."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from refopt.core.errors import ArgumentError

_TYPES: Mapping[str, Any] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "null": type(None),
}  # fmt: skip


_KNOWN = {
    "$schema", "$id", "$defs", "$ref", "title", "description", "type", "const", "enum", "pattern", "minimum",
    "minItems", "items", "required", "properties", "propertyNames", "additionalProperties", "anyOf",
}  # fmt: skip


def fault(value: Any, schema: Mapping[str, Any]) -> str | None:
    """Return the first place where `value` does not fit `schema`, in words; None if it fits.

    Parameters
    ----------
    value
        As `json.loads` gives it.
    schema : dict
        JSON Schema 2020-12, of which the keywords used by refopt's schemas are known.

    Raises
    ------
    ArgumentError
        The schema has a keyword that is not known here.

    Examples
    --------
    >>> from refopt.vectors.schema import fault
    >>> fault({"steps": 0}, {"properties": {"steps": {"type": "integer", "minimum": 1}}})
    'steps: wanted at least 1, got 0'
    """
    return _fault(value, schema, schema, "")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fault(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> str | None:
    unknown = schema.keys() - _KNOWN
    if unknown:
        raise ArgumentError(f"schema: keyword {sorted(unknown)[0]!r} is not known here")
    if "$ref" in schema:
        return _fault(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, place)
    at = place or "the file"
    for check in (_plain, _object, _array):
        found = check(value, schema, root, place, at)
        if found:
            return found
    branches = schema.get("anyOf")
    if branches and all(_fault(value, b, root, place) for b in branches):
        return (
            f"{at}: {_shown(value)} is none of: {', '.join(b.get('title', 'another form') for b in branches)}"
        )
    return None


def _plain(value: Any, schema: Mapping[str, Any], root: Any, place: str, at: str) -> str | None:
    kind = schema.get("type")
    if kind is not None:
        wrong = not isinstance(value, _TYPES[kind]) or (kind == "integer" and isinstance(value, bool))
        if wrong:
            return f"{at}: wanted {kind}, got {_shown(value)}"
    if "const" in schema and value != schema["const"]:
        return f"{at}: wanted {schema['const']!r}, got {_shown(value)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{at}: wanted one of {schema['enum']}, got {_shown(value)}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return f"{at}: {_shown(value)} does not match {schema['pattern']}"
    if "minimum" in schema and value < schema["minimum"]:
        return f"{at}: wanted at least {schema['minimum']}, got {value}"
    return None


def _object(value: Any, schema: Mapping[str, Any], root: Any, place: str, at: str) -> str | None:
    if not isinstance(value, dict):
        return None
    for name in schema.get("required", ()):
        if name not in value:
            return f"{at}: {name!r} is missing"
    own, other = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name, item in value.items():
        inner = f"{place}.{name}" if place else name
        if "propertyNames" in schema and _fault(name, schema["propertyNames"], root, inner):
            return f"{at}: {name!r} cannot be a name here"
        if name not in own and other is False:
            return f"{at}: {name!r} is not a field of it"
        below = own.get(name, other)
        found = None if below is True else _fault(item, below, root, inner)
        if found:
            return found
    return None


def _array(value: Any, schema: Mapping[str, Any], root: Any, place: str, at: str) -> str | None:
    if not isinstance(value, list):
        return None
    if len(value) < schema.get("minItems", 0):
        return f"{at}: wanted at least {schema['minItems']} items, got {len(value)}"
    if "items" in schema:
        for i, item in enumerate(value):
            found = _fault(item, schema["items"], root, f"{place}[{i}]")
            if found:
                return found
    return None
