"""Stopping when a held-out loss no longer falls, and going back to where it was lowest."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pliant.records.identity import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyStop:
    """The validation loss of the task every `every` updates and after the last; `patience` of them in a row that are
    no new lowest end the training. The weights are those of the lowest."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    IDENTITY: ClassVar = frozenset({"every", "patience"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()

    every: int
    patience: int

    def __post_init__(self) -> None:
        if self.every < 1 or self.patience < 1:
            raise ValueError(f"stop_early: every and patience must be at least 1, got {self.every} and {self.patience}")

    @property
    def label(self) -> str:
        return f"stop early {self.every} x {self.patience}"


class Lowest:
    """Watches `validation_loss` over a run of `steps` updates and holds a copy of `parameters` where it was lowest."""

    def __init__(
        self, settings: EarlyStop, steps: int, parameters: Sequence[Tensor], validation_loss: Callable[[], float]
    ) -> None:
        self._settings, self._steps = settings, steps
        self._parameters, self._validation_loss = parameters, validation_loss
        self._best: list[Tensor] = []
        self._losses: dict[int, float] = {}
        self._kept, self._lowest = 0, math.nan

    def __call__(self, step: int) -> bool:
        """Whether the training has finished with update `step`."""
        done = step + 1
        if done % self._settings.every and done != self._steps:
            return False
        loss = self._validation_loss()
        if math.isnan(self._lowest) or loss < self._lowest:
            self._kept, self._lowest = done, loss
            self._best = [parameter.detach().clone() for parameter in self._parameters]
        self._losses[done] = loss
        since = sum(evaluated > self._kept for evaluated in self._losses)
        return since >= self._settings.patience

    def restore(self) -> dict[str, Json]:
        """Put the best weights back; which they are, and every evaluation by the number of updates before it."""
        with torch.no_grad():
            for parameter, best in zip(self._parameters, self._best, strict=True):
                parameter.copy_(best)
        return {
            "updates_kept": self._kept,
            "validation_losses": {str(done): loss for done, loss in self._losses.items()},
        }
