"""Rows of a study's table as typed readings, gathered into series over budgets."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from pliant.records.rows import Found, Row, Rows


class Reading(NamedTuple):
    """One measured value of one theta' and where it is recorded. Losses are nats per token.

    A study has them by the hundred thousand, and a tuple of names is made several times as fast as a class of slots.
    `method` and `amount` say how a fine-tune held on to the base ("anchor", 0.1) or what it trained instead of all
    weights ("LoRA rank 8", no amount); None for plain fine-tuning. `task_epochs` is how often it saw its task.
    """

    study: str
    trajectory: str = ""
    checkpoint: str = ""
    tokens: int | None = None
    parameters: int | None = None
    tokens_per_parameter: float | None = None
    pretraining_seed: int | None = None
    annealed: bool | None = None
    line: str | None = None
    pretraining_learning_rate: float | None = None
    epochs: float | None = None
    bytes_per_token: float | None = None
    modification: str = "none"
    label: str = "none"
    scaling: str | None = None
    embeddings: bool | None = None
    task: str | None = None
    steps: int | None = None
    method: str | None = None
    amount: float | None = None
    task_epochs: float | None = None
    strength: float = 0.0
    seed: int = 0
    evaluation: str = ""
    metric: str = ""
    split: str | None = None
    value: float = math.nan
    draw: int | None = None
    sign: int | None = None
    blocks: Sequence[float] = ()
    count: tuple[int, ...] = ()  # type: ignore[assignment]  # the tokens of each block; tuples can count otherwise
    linear: Sequence[float] = ()
    tensor: str | None = None
    status: str = "ok"
    cell: str = ""
    record: str = ""
    weights: str = ""

    @property
    def run(self) -> int:
        """The pre-training seed; 0 where it is not known."""
        return self.pretraining_seed or 0

    @property
    def members(self) -> str:
        """Which members of the trajectory it belongs to: "annealed", "undecayed trunk", or "" for one line of all."""
        if self.line is not None:
            return self.line
        return {True: "annealed", False: "undecayed trunk", None: ""}[self.annealed]

    @property
    def usable(self) -> bool:
        return self.status == "ok" and math.isfinite(self.value)


_PLACES = {name: place for place, name in enumerate(Reading._fields)}
_DEFAULTS = tuple(Reading._field_defaults.get(name) for name in Reading._fields)


def reading(row: Mapping[str, Any]) -> Reading:
    """One row of the table; keys that are not its fields are left out, absent ones keep their default."""
    return Reading(**{n: v for n, v in row.items() if n in _PLACES and (v is not None or n in _OPTIONAL)})


_OPTIONAL = frozenset(name for name, default in Reading._field_defaults.items() if default is None)


def readings(rows: Iterable[Mapping[str, Any]]) -> tuple[Reading, ...]:
    """Every row as a reading, in order."""
    if isinstance(rows, Rows):
        return tuple(_of_records(rows.records))
    return tuple(reading(row) for row in rows)


def reading_fields(*names: str) -> Callable[[Reading], tuple[Any, ...]]:
    """What takes those fields out of a reading, quickly."""
    return itemgetter(*map(_PLACES.__getitem__, names))


def _of_records(records: Iterable[Found]) -> Iterator[Reading]:
    """The same of many rows at once: what rows share is looked up once."""
    parts: dict[int, list[tuple[int, Any]]] = {}
    columns: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for record in records:
        common = list(_DEFAULTS)
        for part in record.shared:
            if id(part) not in parts:
                parts[id(part)] = list(_fields(part))
            for place, one in parts[id(part)]:
                common[place] = one
        for place, one in zip(_OWN, record.own().values(), strict=True):
            common[place] = one
        if record.names not in columns:
            columns[record.names] = [(_PLACES[n], at) for at, n in enumerate(record.names) if n in _PLACES]
        for values in record.values:
            fields = common.copy()
            for place, at in columns[record.names]:
                fields[place] = value if (value := values[at]) is not None else _DEFAULTS[place]
            yield tuple.__new__(Reading, fields)


_OWN = tuple(map(Reading._fields.index, ("cell", "record", "weights", "status")))
"""The places of what `Found.own` names, in its order."""


def _fields(row: Row) -> Iterator[tuple[int, Any]]:
    """The places of what `row` knows of a reading, and its values there."""
    for name, value in row.items():
        if (place := _PLACES.get(name)) is not None:
            yield place, value if value is not None else _DEFAULTS[place]
