"""What makes two things the same: canonical JSON, digests, and which fields of a settings class count."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

SCHEMA_VERSION = 1
"""Raised when a release changes what a record means or which numbers it holds; CHANGELOG.md says which."""

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Settings(Protocol):
    """A frozen dataclass that declares each of its fields as identity or as runtime."""

    IDENTITY: ClassVar[frozenset[str]]
    RUNTIME: ClassVar[frozenset[str]]
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


def identity(settings: Settings) -> dict[str, Json]:
    """The fields of `settings` that change the numbers, by name, nested settings included.

    A field that is None is left out: a setting that is not used, or not there yet, moves no record.

    Raises:
        TypeError: a field is declared neither identity nor runtime, or both.
    """
    kind = type(settings)
    names = {field.name for field in dataclasses.fields(settings)}
    if names != kind.IDENTITY | kind.RUNTIME or kind.IDENTITY & kind.RUNTIME:
        undeclared = sorted(names ^ (kind.IDENTITY | kind.RUNTIME)) or sorted(kind.IDENTITY & kind.RUNTIME)
        raise TypeError(f"{kind.__name__}: declare each field once, as identity or as runtime: {undeclared}")
    values = {name: getattr(settings, name) for name in sorted(kind.IDENTITY)}
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: object) -> Json:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__, **identity(value)}  # type: ignore[arg-type]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} has no canonical form: {value!r}")


def canonical_json(value: Json) -> str:
    """JSON with sorted keys, no spaces, and non-finite floats as the strings "nan", "inf", "-inf"."""
    try:
        return _dumps(value)
    except ValueError:  # a float that is not finite: few records hold one, and looking for it costs most of the time
        return _dumps(_finite(value))


def _dumps(value: Json) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _finite(value: Json) -> Json:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


def digest(value: Json, length: int = 16) -> str:
    """The first `length` hex digits of the SHA-256 of the canonical JSON of `value`."""
    return digest_of_text(canonical_json(value), length)


def digest_of_text(canonical: str, length: int = 16) -> str:
    """`digest` of what has `canonical` as its canonical JSON."""
    return hashlib.sha256(canonical.encode()).hexdigest()[:length]
