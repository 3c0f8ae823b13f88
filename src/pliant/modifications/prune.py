"""Magnitude pruning: the smallest weights set to zero."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pliant.checkpoints.weights import canonical_tensors
from pliant.modifications.tensors import matrices
from pliant.modifications.variant import Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """The share `strength` of the weights of smallest magnitude is set to zero, in each tensor or each output channel.

    Weights of two or more dimensions; `embeddings` True takes the input and output embeddings, too.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    IDENTITY: ClassVar = frozenset({"strength", "per", "embeddings"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()
    KIND: ClassVar = "prune"

    strength: float
    per: Literal["tensor", "channel"] = "tensor"
    embeddings: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and 0 <= self.strength <= 1):
            raise ValueError(f"the share of weights pruned must lie between 0 and 1, got {self.strength}")

    @property
    def label(self) -> str:
        return f"prune, magnitude per {self.per}" + (", embeddings too" if self.embeddings else "")


def pruned(weights: Float[Tensor, "*shape"], settings: Prune) -> Float[Tensor, "*shape"]:
    """The round(strength x n) weights of smallest |w| of each tensor (channel) zero, of equal ones the first."""
    rows = weights.reshape(1, -1) if settings.per == "tensor" else weights.reshape(weights.shape[0], -1)
    count = round(settings.strength * rows.shape[1])
    smallest = rows.abs().argsort(dim=1, stable=True)[:, :count]
    return rows.scatter(1, smallest, 0.0).reshape(weights.shape)


def pruned_variant(settings: Prune, model: Any, base: Mapping[str, Tensor]) -> Iterator[Variant]:
    """Put the pruned copy of `base` into `model`, once; share 0 leaves the weights untouched."""
    tensors = canonical_tensors(model)
    if settings.strength > 0:
        with torch.no_grad():
            for name in matrices(model, embeddings=settings.embeddings):
                tensors[name].copy_(pruned(base[name], settings))
    yield Variant()
