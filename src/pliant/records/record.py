"""One evaluation of one cell: identity, weights and result; as a text that tells whether it was changed."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pliant.records.identity import SCHEMA_VERSION, Json, canonical_json, digest
from pliant.records.outside import clipped, is_text, parse_json

Status = Literal["ok", "diverged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measured value of one theta'.

    `blocks` holds the sum of each block of text (nats, or items correct) and `count` the tokens or items
    a block, so that `value == sum(blocks) / sum(count)` and intervals over blocks can be computed later; a block
    that was not evaluated has a count of 0. `linear` holds, for each block that was, what the change of the weights
    costs to first order, <theta' - theta, gradient of the block's sum>, where it was asked for.
    `draw` and `sign` name the copy of a noise cell (`sign` -1 is the antithetic partner); `tensor` one tensor of
    the model; None elsewhere.
    """

    metric: str
    value: float
    split: str | None = None
    draw: int | None = None
    sign: int | None = None
    tensor: str | None = None
    blocks: tuple[float, ...] = ()
    count: tuple[int, ...] = ()
    linear: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Json]:
        content: dict[str, Json] = {
            "metric": self.metric,
            "value": self.value,
            "split": self.split,
            "draw": self.draw,
            "sign": self.sign,
            "tensor": self.tensor,
            "blocks": list(self.blocks),
            "count": list(self.count),
        }
        return content | {"linear": list(self.linear)} if self.linear else content


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What `records/<cell>/<evaluation>.json` holds."""

    cell: dict[str, Json]
    evaluation: dict[str, Json]
    weights: str
    status: Status
    measurements: tuple[Measurement, ...]
    details: dict[str, Json]

    def to_json(self) -> dict[str, Json]:
        return {
            "schema": SCHEMA_VERSION,
            "cell": self.cell,
            "evaluation": self.evaluation,
            "weights": self.weights,
            "status": self.status,
            "result": {
                "measurements": [measurement.to_json() for measurement in self.measurements],
                "details": self.details,
            },
        }


def record_text(record: Record) -> str:
    """Canonical JSON with `checksum`, "sha256:" and the SHA-256 in hex of the same text without that field."""
    content = record.to_json()
    # in the order of the keys the checksum comes second, so the text is dumped once and put together around it
    head = f'{{"cell":{canonical_json(content.pop("cell"))},'
    rest = canonical_json(content)[1:]
    return f"{head}{_field(_checksum(head + rest))}{rest}"


def checked_record(text: str) -> dict[str, Any]:
    """The record in `text`, which is as it was written; those of releases without checksums pass unchecked.

    Raises:
        ValueError: cut short, changed, or no record.
    """
    text = text.strip()
    try:
        record: dict[str, Any] = parse_json(text)
        known = record.get("checksum")
        int(record["schema"])
        check_record(record)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"cut short, or something else: {error!r}" if text else "it is empty") from error
    if known is not None and known != _checksum(text.replace(_field(known), "", 1)):
        raise ValueError("it was changed after it was written: it does not match its checksum")
    return record


def is_whole(content: bytes) -> bool:
    """Whether `content` is a record as it was written, by its checksum alone, several times as fast as reading it.

    False also where that takes a closer look: of older releases, which have no checksum.
    """
    content = content.strip()
    found = _FIELD.search(content)
    if found is None:
        return False
    rest = hashlib.sha256(content[: found.start()])
    rest.update(content[found.end() :])
    return rest.hexdigest().encode() == found[1]


_FIELD = re.compile(rb'"checksum":"sha256:([0-9a-f]{64})",')


def place_of(record: dict[str, Any]) -> tuple[str, str]:
    """The names of the cell and the evaluation that `record` is of, from its own identity."""
    return digest(record["cell"]), digest(record["evaluation"], EVALUATION_DIGITS)


EVALUATION_DIGITS = 12
"""Digits in the name of an evaluation."""


def _checksum(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _field(checksum: str) -> str:
    return f'"checksum":"{checksum}",'


def check_record(record: Mapping[str, Any]) -> None:
    """That `record` holds what a table is made of, each value of its kind.

    Raises:
        ValueError: a value of another kind; it is named.
        KeyError, TypeError, AttributeError: it lacks a part, or a part has no such parts.
    """
    _expect("weights", record["weights"], is_text(record["weights"]), "text")
    _expect("status", record["status"], record["status"] in _STATUS, " or ".join(_STATUS))
    found = record["result"]["measurements"]
    _expect("measurements", found, isinstance(found, list), "a list")
    for one in found:
        _expect("value", one["value"], type(one["value"]) in _NUMBERS, "a number")
        for name in ("metric", "split", "tensor"):
            _expect(name, one.get(name, ""), (name != "metric" and one.get(name) is None) or is_text(one[name]), "text")
        for name in ("draw", "sign"):
            _expect(name, one.get(name), type(one.get(name)) in (int, type(None)), "a whole number")
        for name, kinds in _LISTS.items():
            numbers = one.get(name, []) if name == "linear" else one[name]
            _expect(name, numbers, isinstance(numbers, list) and kinds.issuperset(map(type, numbers)), "numbers")


_STATUS = get_args(Status)
_NUMBERS = frozenset((int, float, str))
"""Text is what canonical JSON writes for NaN and infinity; other text is found where it is turned into a number."""
_LISTS = {"blocks": _NUMBERS, "count": frozenset((int,)), "linear": _NUMBERS}


def _expect(name: str, value: object, is_right: bool, expected: str) -> None:
    if not is_right:
        raise ValueError(f"{name} is {clipped(value)}, expected {expected}")
