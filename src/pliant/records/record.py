"""One evaluation of one cell: identity, weights and result."""

from dataclasses import dataclass
from typing import Literal

from pliant.records.identity import SCHEMA_VERSION, Json

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
