"""Round-to-nearest quantisation of the weights, kept in floating point: what few bits a weight would lose."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pliant.checkpoints.weights import canonical_tensors
from pliant.modifications.tensors import matrices
from pliant.modifications.variant import Variant

Granularity = Literal["tensor", "channel", "group"]
FEWEST_BITS, MOST_BITS = 2, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantise:
    """`bits` a weight, symmetric about zero, one scale for each whole tensor, output channel, or `group` of inputs.

    Weights of two or more dimensions; `embeddings` True takes the input and output embeddings, too. The strength is
    the step over the largest weight of a scale, 1 / (2^(bits-1) - 1): 0.0079 for 8 bits, 1 for 2.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    IDENTITY: ClassVar = frozenset({"bits", "per", "group", "embeddings"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()
    KIND: ClassVar = "quantise"

    bits: int
    per: Granularity = "channel"
    group: int = 128
    embeddings: bool = False

    def __post_init__(self) -> None:
        if not FEWEST_BITS <= self.bits <= MOST_BITS:
            raise ValueError(f"bits must be {FEWEST_BITS} to {MOST_BITS}, got {self.bits}")
        if self.group < 1:
            raise ValueError(f"group must be at least 1 weight, got {self.group}")

    @property
    def strength(self) -> float:
        return 1.0 / float(2 ** (self.bits - 1) - 1)

    @property
    def label(self) -> str:
        per = f"groups of {self.group}" if self.per == "group" else f"per {self.per}"
        return f"quantise, {per}" + (", embeddings too" if self.embeddings else "")


def quantised(weights: Float[Tensor, "*shape"], settings: Quantise) -> Float[Tensor, "*shape"]:
    """q x scale with L = 2^(bits-1) - 1, scale = (largest |w|) / L and q = round(w / scale) in -L ... L.

    Half-way cases round to even. A tensor (channel, group) of zeros stays zero. In groups, the last of a channel may be
    shorter.
    """
    levels = 2 ** (settings.bits - 1) - 1
    rows = weights.reshape(1, -1) if settings.per == "tensor" else weights.reshape(weights.shape[0], -1)
    pieces = torch.split(rows, settings.group, dim=1) if settings.per == "group" else (rows,)
    return torch.cat([_rounded(piece, levels) for piece in pieces], dim=1).reshape(weights.shape)


def _rounded(rows: Float[Tensor, "rows n"], levels: int) -> Float[Tensor, "rows n"]:
    scale = rows.abs().amax(dim=1, keepdim=True) / levels
    safe = torch.where(scale > 0, scale, torch.ones_like(scale))
    return (rows / safe).round().clamp(-levels, levels) * scale


def quantised_variant(settings: Quantise, model: Any, base: Mapping[str, Tensor]) -> Iterator[Variant]:
    """Put the quantised copy of `base` into `model`, once; `restore` puts the base back, bit for bit."""
    tensors = canonical_tensors(model)
    with torch.no_grad():
        for name in matrices(model, embeddings=settings.embeddings):
            tensors[name].copy_(quantised(base[name], settings))
    yield Variant()
