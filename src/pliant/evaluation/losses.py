"""Losses on held-out text and on tasks, with the sums of each block of text kept."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from pliant.data.tasks import EncodedSplit
from pliant.records.record import Measurement
from pliant.records.subset import Subset
from pliant.training.cross_entropy import IGNORED, cross_entropies
from pliant.training.decoder import Forward

BLOCK_ROWS = 16
"""Rows of one block: intervals over text resample blocks, so a block must be long enough to be one sample."""


def loss_measurement(
    model: Any,
    split: EncodedSplit,
    *,
    forward: Forward,
    name: str,
    batch_tokens: int,
    draw: int | None,
    sign: int | None,
    subset: Subset | None = None,
    linear: tuple[float, ...] = (),
) -> Measurement:
    """Mean cross-entropy over the scored targets: sum of nats / number of targets, in nats per token.

    With `subset` over its blocks alone: the others have a sum and a count of 0. `linear` is the first-order cost of
    each block, kept beside the sums of the blocks that are evaluated.
    """
    starts = block_starts(split)
    if subset is None:
        sums, counts = _row_sums(model, split, forward, batch_tokens)
        return _measurement("loss_nats", name, sums, counts, draw, sign, starts, linear)
    chosen = subset.blocks(len(starts))
    edges = [*starts, len(split)]
    rows = [row for block in chosen for row in range(edges[block], edges[block + 1])]
    sums, counts = np.zeros(len(split)), np.zeros(len(split), dtype=np.int64)
    sums[rows], counts[rows] = _row_sums(model, some_rows(split, rows), forward, batch_tokens)
    kept = tuple(cost if block in chosen else 0.0 for block, cost in enumerate(linear))
    return _measurement("loss_nats", name, sums, counts, draw, sign, starts, kept)


def block_starts(split: EncodedSplit) -> Int[np.ndarray, " blocks"]:
    """The first row of each block whose losses are summed."""
    return np.arange(0, len(split), BLOCK_ROWS) if split.block_starts is None else split.block_starts


def some_rows(split: EncodedSplit, rows: Iterable[int]) -> EncodedSplit:
    """Those `rows` alone, without blocks or segments."""
    chosen = list(rows)
    return EncodedSplit(inputs=split.inputs[chosen], targets=split.targets[chosen])


def accuracy_measurement(
    model: Any,
    split: EncodedSplit,
    label_tokens: tuple[int, ...],
    *,
    forward: Forward,
    name: str,
    batch_tokens: int,
) -> Measurement:
    """Share of examples whose label token has the largest logit among the label tokens, at the first scored target."""
    with torch.inference_mode():
        correct = np.concatenate(
            [
                _correct(forward(model, inputs), targets, label_tokens)
                for inputs, targets in batches(split, batch_tokens, model)
            ]
        )
    return _measurement("accuracy", name, correct, np.ones(len(correct), dtype=np.int64), None, None)


def _row_sums(
    model: Any, split: EncodedSplit, forward: Forward, batch_tokens: int
) -> tuple[Float[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
    sums = []
    with torch.inference_mode():
        for inputs, targets in batches(split, batch_tokens, model):
            sums.append(cross_entropies(forward(model, inputs), targets).double().sum(dim=1).cpu().numpy())
    return np.concatenate(sums), (split.targets != IGNORED).sum(axis=1)


def _correct(
    logits: Float[torch.Tensor, "b t v"], targets: Int[torch.Tensor, "b t"], label_tokens: tuple[int, ...]
) -> Float[np.ndarray, " b"]:
    first = (targets != IGNORED).int().argmax(dim=1)
    rows = torch.arange(len(targets), device=targets.device)
    labels = torch.tensor(label_tokens, device=targets.device)
    guess = labels[logits[rows, first][:, labels].argmax(dim=1)]
    return (guess == targets[rows, first]).double().cpu().numpy()


def batches(
    split: EncodedSplit, batch_tokens: int, model: Any
) -> Iterator[tuple[Int[torch.Tensor, "b t"], Int[torch.Tensor, "b t"]]]:
    """Inputs and targets of at most `batch_tokens` tokens (a row at least) at a time, on the model's device."""
    device = next(model.parameters()).device
    rows = max(1, batch_tokens // split.inputs.shape[1])
    for start in range(0, len(split), rows):
        yield (
            torch.from_numpy(split.inputs[start : start + rows]).to(device),
            torch.from_numpy(split.targets[start : start + rows]).to(device),
        )


def _measurement(
    metric: str,
    split: str,
    sums: Float[np.ndarray, " rows"],
    counts: Int[np.ndarray, " rows"],
    draw: int | None,
    sign: int | None,
    starts: Int[np.ndarray, " blocks"] | None = None,
    linear: tuple[float, ...] = (),
) -> Measurement:
    edges = np.arange(0, len(sums), BLOCK_ROWS) if starts is None else starts
    blocks = np.add.reduceat(sums, edges)
    count = np.add.reduceat(counts, edges)
    return Measurement(
        metric=metric,
        split=split,
        value=math.fsum(blocks) / int(count.sum()),
        blocks=tuple(float(block) for block in blocks),
        count=tuple(int(number) for number in count),
        draw=draw,
        sign=sign,
        linear=linear,
    )
