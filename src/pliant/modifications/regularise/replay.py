"""Pre-training text to look back at while fine-tuning, and the loss on it."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pliant.data.windows import WindowSource
from pliant.training.cross_entropy import mean_cross_entropy
from pliant.training.decoder import Forward
from pliant.training.loop import Batch


def text_batch(source: WindowSource, rows: int, step: int, device: torch.device | str) -> Batch:
    """The windows step x rows .. (step + 1) x rows - 1 of `source`: fresh ones at each step, a new order each epoch."""
    windows = torch.from_numpy(source.windows(step * rows, (step + 1) * rows)).to(device)
    return windows[:, :-1], windows[:, 1:]


def text_loss(model: Any, batch: Batch, *, forward: Forward) -> Float[Tensor, ""]:
    """Mean -ln p of the next token of pre-training text, in nats."""
    inputs, targets = batch
    return mean_cross_entropy(forward(model, inputs), targets)
