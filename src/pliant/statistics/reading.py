"""Rows of a study's table as typed readings, gathered into series over budgets."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One measured value of one theta' and where it is recorded. Losses are nats per token.

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
    count: tuple[int, ...] = ()
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


_NAMES = frozenset(field.name for field in fields(Reading))


def reading(row: Mapping[str, Any]) -> Reading:
    """One row of the table; keys that are not its fields are left out, absent ones keep their default."""
    return Reading(**{n: v for n, v in row.items() if n in _NAMES and (v is not None or n in _OPTIONAL)})


_OPTIONAL = frozenset(field.name for field in fields(Reading) if field.default is None)


def readings(rows: Iterable[Mapping[str, Any]]) -> tuple[Reading, ...]:
    """Every row as a reading, in order."""
    return tuple(reading(row) for row in rows)
