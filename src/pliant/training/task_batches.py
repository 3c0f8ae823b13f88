"""The rows of a task as batches: shuffled without end for training, or in order for a loss."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from pliant.data.tasks import IGNORED, EncodedSplit
from pliant.training.cross_entropy import cross_entropies
from pliant.training.decoder import Forward
from pliant.training.loop import Batch


def shuffled_batches(split: EncodedSplit, rows: int, seed: int, device: torch.device | str) -> Iterator[Batch]:
    """Endless batches: every epoch a new order, keyed by `seed` and the epoch."""
    epoch, order = 0, np.empty(0, dtype=np.int64)
    while True:
        while len(order) < rows:
            order = np.concatenate([order, np.random.default_rng([seed, epoch]).permutation(len(split))])
            epoch += 1
        chosen, order = order[:rows], order[rows:]
        yield _batch(split, chosen, device)


def mean_loss(model: Any, split: EncodedSplit, forward: Forward, rows: int) -> float:
    """The mean over the scored targets of `split` of -ln p(target), in nats; `rows` rows a forward pass."""
    device, training, total = next(model.parameters()).device, model.training, 0.0
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(split), rows):
            batch = _batch(split, np.arange(start, min(start + rows, len(split))), device)
            logits = forward(model, batch.inputs, batch.segments)
            total += cross_entropies(logits, batch.targets).double().sum().item()
    model.train(training)
    return total / int((split.targets != IGNORED).sum())


def _batch(split: EncodedSplit, chosen: Int[np.ndarray, " rows"], device: torch.device | str) -> Batch:
    return Batch(
        torch.from_numpy(split.inputs[chosen]).to(device),
        torch.from_numpy(split.targets[chosen]).to(device),
        None if split.segments is None else torch.from_numpy(split.segments[chosen]).to(device),
    )
