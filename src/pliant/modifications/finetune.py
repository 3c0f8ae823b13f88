"""Full fine-tuning at one learning rate, through the one training loop."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pliant.data.tasks import EncodedSplit, EncodedTask
from pliant.data.windows import WindowSource
from pliant.modifications.adapters import LowRank
from pliant.modifications.regularise.method import Regulariser
from pliant.modifications.variant import Variant
from pliant.records.identity import Json
from pliant.training.decoder import Forward
from pliant.training.loop import Batch, Diverged, Optimisation, adamw, train
from pliant.training.schedules import Schedule

STEPS = 100
"""Of a fine-tune that says nothing else; labels name other numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTune:
    """`steps` updates of a fresh AdamW on batches of `batch` examples of `task`; `strength` is the peak rate.

    The default is cosine to zero with 10 % warm-up and no weight decay, all weights, fp32. The order of the examples
    depends on the seed alone, so it is common to all checkpoints, rates and methods. An `adapter` trains a few weights
    of its own instead; a `regulariser` holds on to the base.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    IDENTITY: ClassVar = frozenset(
        {"task", "strength", "steps", "batch", "schedule", "optimisation", "adapter", "regulariser"}
    )
    RUNTIME: ClassVar[frozenset[str]] = frozenset()
    KIND: ClassVar = "fine-tune"

    task: str
    strength: float
    steps: int = STEPS
    batch: int = 16
    schedule: Schedule = field(default_factory=lambda: Schedule(kind="cosine", warmup_fraction=0.1))
    optimisation: Optimisation = field(default_factory=lambda: Optimisation(weight_decay=0.0))
    adapter: LowRank | None = None
    regulariser: Regulariser | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and self.strength >= 0):
            raise ValueError(f"learning rate must be a finite number >= 0, got {self.strength}")
        if self.steps < 1 or self.batch < 1:
            raise ValueError(f"steps and batch must be at least 1, got {self.steps} and {self.batch}")
        if self.schedule.kind == "wsd":
            raise ValueError("fine-tuning schedules are cosine, linear or constant; wsd is for ladders")
        if self.adapter is not None and self.regulariser is not None:
            raise ValueError("an adapter and a regulariser are two methods; give each an entry of its own")

    @property
    def label(self) -> str:
        method = self.adapter or self.regulariser
        steps = f", {self.steps} steps" if self.steps != STEPS else ""
        return f"fine-tune {self.task}{steps}" + (f", {method.label}" if method is not None else "")

    @property
    def plain(self) -> bool:
        """Whether it is full fine-tuning on the task alone, which may be trained side by side."""
        return self.adapter is None and self.regulariser is None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ground:
    """What a fine-tune stands on: the task, the weights that it begins from, and pre-training text to look back at.

    The text is opened when it is first asked for; plain fine-tuning never reads it.
    """

    task: EncodedTask
    base: Mapping[str, Tensor]
    text: Callable[[int], WindowSource]
    forward: Forward


def finetuned_variant(settings: FineTune, model: Any, ground: Ground, seed: int) -> Iterator[Variant]:
    """Fine-tune `model` in place and hand it over once. Rate 0 changes nothing and is not run."""
    if settings.strength == 0:
        yield Variant()
        return
    task, forward = ground.task, ground.forward
    device = next(model.parameters()).device
    losses: list[float] = []
    try:
        train(
            model,
            adamw(model, settings.optimisation),
            shuffled_batches(task.splits["train"], settings.batch, seed, device),
            lambda step: settings.schedule.learning_rate(settings.strength, step, settings.steps),
            forward=forward,
            start=0,
            stop=settings.steps,
            clip_norm=settings.optimisation.clip_norm,
            after_step=lambda step, loss: losses.append(loss),
        )
    except Diverged as error:
        model.eval()
        yield Variant(diverged=True, details={"diverged_at_step": error.step}, losses=tuple(losses))
        return
    finite = all(bool(torch.isfinite(p).all()) for p in model.parameters())
    details: dict[str, Json] = {"train_loss_first": losses[0], "train_loss_last": losses[-1]}
    yield Variant(diverged=not finite, details=details, losses=tuple(losses))


def shuffled_batches(split: EncodedSplit, rows: int, seed: int, device: torch.device | str) -> Iterator[Batch]:
    """Endless batches: every epoch a new order, keyed by `seed` and the epoch."""
    epoch, order = 0, np.empty(0, dtype=np.int64)
    while True:
        while len(order) < rows:
            order = np.concatenate([order, np.random.default_rng([seed, epoch]).permutation(len(split))])
            epoch += 1
        chosen, order = order[:rows], order[rows:]
        yield (
            torch.from_numpy(split.inputs[chosen]).to(device),
            torch.from_numpy(split.targets[chosen]).to(device),
        )
