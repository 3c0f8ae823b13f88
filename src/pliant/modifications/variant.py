"""One theta' of a cell, and how the base is kept and put back."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pliant.checkpoints.weights import canonical_tensors
from pliant.records.identity import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Which copy the model holds now. `diverged` copies have no measurements but their status."""

    draw: int | None = None
    sign: int | None = None
    diverged: bool = False
    details: dict[str, Json] | None = None


def keep_base(model: Any) -> dict[str, Tensor]:
    """A copy of every trained tensor."""
    return {name: tensor.detach().clone() for name, tensor in canonical_tensors(model).items()}


@contextmanager
def base_in_place(model: Any, base: dict[str, Tensor]) -> Iterator[None]:
    """The model holds the base while the block runs, and what it held before afterwards, bit for bit."""
    held = keep_base(model)
    restore(model, base)
    try:
        yield
    finally:
        restore(model, held)


def restore(model: Any, base: dict[str, Tensor]) -> None:
    """Put the kept tensors back, bit for bit."""
    with torch.no_grad():
        for name, tensor in canonical_tensors(model).items():
            tensor.copy_(base[name])
