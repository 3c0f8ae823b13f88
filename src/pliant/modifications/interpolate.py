"""Interpolation between two checkpoints: a point on the straight line from one to another."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from pliant.checkpoints.weights import canonical_tensors
from pliant.modifications.variant import Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpolate:
    """theta' = (1 - a) theta + a theta_other with a = `strength`: 0 is theta, 1 the other, both bit for bit.

    `partner` is the name by which the study calls the other: of a checkpoint, or first, last, previous. It is part of
    identity, as it tells one curve from another; the other's weights are added to the cell's identity by the plan.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    IDENTITY: ClassVar = frozenset({"strength", "partner"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()
    KIND: ClassVar = "interpolate"

    strength: float
    partner: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and 0 <= self.strength <= 1):
            raise ValueError(f"the weight of the other checkpoint must lie between 0 and 1, got {self.strength}")

    @property
    def label(self) -> str:
        return f"interpolate with {self.partner}"


def between(one: Float[Tensor, "*shape"], other: Float[Tensor, "*shape"], weight: float) -> Float[Tensor, "*shape"]:
    """(1 - weight) one + weight other, computed in fp64 and rounded once; the ends are copies."""
    if weight in (0.0, 1.0):
        return other if weight else one
    return ((1.0 - weight) * one.double() + weight * other.double()).to(one.dtype)


def interpolated_variant(
    settings: Interpolate,
    model: Any,
    base: Mapping[str, Tensor],
    other: Iterable[tuple[str, Tensor]],
    partner_weights: str,
) -> Iterator[Variant]:
    """Put the interpolated weights into `model`, once; `other` gives the partner's tensors by canonical name.

    They are taken one at a time, so that no second model is held. Weight 0 leaves the weights untouched.
    """
    tensors = canonical_tensors(model)
    if settings.strength > 0:
        with torch.no_grad():
            for name, theirs in other:
                ours = base[name]
                tensors[name].copy_(between(ours.cpu(), theirs.to(ours.dtype), settings.strength))
    yield Variant(details={"partner_weights": partner_weights})
