"""Pre-training text to look back at while fine-tuning, and the loss on it."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pliant.data.windows import WindowSource
from pliant.training.cross_entropy import mean_cross_entropy
from pliant.training.decoder import Forward
from pliant.training.loop import Batch


def text_batch(source: WindowSource, rows: int, step: int, device: torch.device | str) -> Batch:
    """The windows step x rows .. (step + 1) x rows - 1 of `source`: fresh ones at each step, a new order each epoch."""
    windows = torch.from_numpy(source.windows(step * rows, (step + 1) * rows)).to(device)
    return Batch(windows[:, :-1], windows[:, 1:])


def text_loss(model: Any, batch: Batch, *, forward: Forward) -> Float[Tensor, ""]:
    """Mean -ln p of the next token of pre-training text, in nats."""
    return mean_cross_entropy(forward(model, batch.inputs), batch.targets)


def in_parts(loss: Callable[[Batch], Tensor], batch: Batch, rows: int) -> Float[Tensor, ""]:
    """`loss`, a mean over the rows of `batch`, made `rows` rows at a time.

    The activations of one part at a time are held: each is computed again in the backward pass.
    """
    if rows >= len(batch.inputs):
        return loss(batch)
    total = torch.zeros((), device=batch.inputs.device)
    for part in batch.split(rows):
        share = len(part.inputs) / len(batch.inputs)
        total = total + share * checkpoint(loss, part, use_reentrant=False)
    return total
