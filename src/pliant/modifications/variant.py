"""One theta' of a cell, and how the base is kept and put back."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pliant.checkpoints.shards import ShardedWeights
from pliant.checkpoints.stored import StoredWeights
from pliant.checkpoints.weights import canonical_tensors
from pliant.records.identity import Json
from pliant.records.subset import Subset

LARGE_PARAMETERS = 100_000_000
"""From here on (0.4 GB in fp32) a second copy of the weights is not held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Which copy the model holds now. `diverged` copies have no measurements but their status.

    `losses` is the task loss of each step's batch before its update, where theta' was trained. `subset` is the part of
    the held-out text that it is measured on, None for all of it; `linear` what it costs there to first order, in
    nats a block.
    """

    draw: int | None = None
    sign: int | None = None
    diverged: bool = False
    details: dict[str, Json] | None = None
    losses: tuple[float, ...] = ()
    subset: Subset | None = None
    linear: tuple[float, ...] = ()


def keep_base(model: Any, stored: StoredWeights | ShardedWeights | None = None) -> Mapping[str, Tensor]:
    """Every trained tensor as it is now: a copy, or for a large model what is `stored`, read whenever it is asked for.

    `stored` is what `model` was opened from, unmodified since.
    """
    if stored is not None and is_large(model):
        return replace(stored, device=next(model.parameters()).device) if isinstance(stored, StoredWeights) else stored
    return {name: tensor.detach().clone() for name, tensor in canonical_tensors(model).items()}


def is_large(model: Any) -> bool:
    """Whether a second copy of `model` in memory costs more than reading its weights, or drawing its noise, again."""
    parameters: int = sum(tensor.numel() for tensor in model.parameters())
    return parameters >= LARGE_PARAMETERS


def restore(model: Any, base: Mapping[str, Tensor]) -> None:
    """Put the kept tensors back, bit for bit."""
    with torch.no_grad():
        for name, tensor in canonical_tensors(model).items():
            tensor.copy_(base[name])
