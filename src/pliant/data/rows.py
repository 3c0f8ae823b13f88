"""Examples as rows of one length: cut where they are too long, one a row or several that do not see each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

from pliant.data.chat import Scored
from pliant.data.tasks import IGNORED, EncodedSplit

Lost = Literal["prompt", "response"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """One example of at most `context` predictions; `targets` is IGNORED where nothing is scored.

    `lost` is what did not fit: the beginning of the prompt (with earlier turns), or the end of the last response.
    """

    inputs: Int[np.ndarray, " length"]
    targets: Int[np.ndarray, " length"]
    lost: Lost | None

    def __len__(self) -> int:
        return len(self.inputs)


def fitted(example: Scored, context: int, beginning: tuple[int, ...]) -> Fitted:
    """The example in a row of `context`: its last response with as much before it as there is room for, or as much of
    that response as fits after one token of the prompt. `beginning` stays in front where it was there."""
    ids, scored = example.ids, example.scored
    end = int(np.flatnonzero(scored)[-1]) + 1
    ids, scored = ids[:end], scored[:end]
    lost: Lost | None = None
    if end > context + 1:
        head = len(beginning) if tuple(ids[: len(beginning)]) == beginning else 0
        room = context + 1 - head
        start = end - int(np.argmin(scored[::-1])) if not scored.all() else 0
        if end - start <= (room if head else room - 1):  # the first token of all cannot be predicted
            lost, first, stop = "prompt", end - room, end
        else:
            lost, first = "response", max(head, start - 1)
            stop = first + room
        kept = np.r_[0:head, first:stop]
        ids, scored = ids[kept], scored[kept]
    return Fitted(inputs=ids[:-1], targets=np.where(scored, ids, IGNORED)[1:], lost=lost)


def one_a_row(examples: Sequence[Fitted], context: int) -> EncodedSplit:
    """Each example in its own row, padded behind."""
    inputs = np.zeros((len(examples), context), dtype=np.int64)
    targets = np.full((len(examples), context), IGNORED, dtype=np.int64)
    for row, example in enumerate(examples):
        inputs[row, : len(example)] = example.inputs
        targets[row, : len(example)] = example.targets
    return EncodedSplit(inputs=inputs, targets=targets)


def packed(examples: Sequence[Fitted], context: int) -> EncodedSplit:
    """Each example, in order, in the first row that has room for it; its segment tells it from its neighbours.

    An example's targets end with its own last token, so none is predicted across two of them.
    """
    rows = _first_fit([len(example) for example in examples], context)
    inputs = np.zeros((max(rows) + 1, context), dtype=np.int64)
    targets = np.full_like(inputs, IGNORED)
    segments = np.zeros_like(inputs)
    used, count = np.zeros(len(inputs), dtype=np.int64), np.zeros(len(inputs), dtype=np.int64)
    for row, example in zip(rows, examples, strict=True):
        here = slice(used[row], used[row] + len(example))
        inputs[row, here], targets[row, here], segments[row, here] = example.inputs, example.targets, count[row]
        used[row] += len(example)
        count[row] += 1
    padding = np.arange(context) >= used[:, None]
    segments[padding] = np.broadcast_to(count[:, None], segments.shape)[padding]
    return EncodedSplit(inputs=inputs, targets=targets, segments=segments)


def _first_fit(sizes: Sequence[int], capacity: int) -> list[int]:
    """The row of each size, by the rule above."""
    room = np.full(len(sizes), capacity, dtype=np.int64)
    opened = 1
    rows = []
    for size in sizes:
        row = int(np.argmax(room[:opened] >= size)) if (room[:opened] >= size).any() else opened
        opened = max(opened, row + 1)
        room[row] -= size
        rows.append(row)
    return rows
