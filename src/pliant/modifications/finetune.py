"""Full fine-tuning at one learning rate, through the one training loop."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch

from pliant.data.tasks import EncodedSplit, EncodedTask
from pliant.modifications.variant import Variant
from pliant.training.decoder import Forward
from pliant.training.loop import Batch, Diverged, Optimisation, adamw, train
from pliant.training.schedules import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTune:
    """`steps` updates of a fresh AdamW on batches of `batch` examples of `task`; `strength` is the peak rate.

    The default is cosine to zero with 10 % warm-up and no weight decay. The order of the examples depends on the
    seed alone, so it is common to all checkpoints and rates.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    IDENTITY: ClassVar = frozenset({"task", "strength", "steps", "batch", "schedule", "optimisation"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()
    KIND: ClassVar = "fine-tune"

    task: str
    strength: float
    steps: int = 100
    batch: int = 16
    schedule: Schedule = field(default_factory=lambda: Schedule(kind="cosine", warmup_fraction=0.1))
    optimisation: Optimisation = field(default_factory=lambda: Optimisation(weight_decay=0.0))

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and self.strength >= 0):
            raise ValueError(f"learning rate must be a finite number >= 0, got {self.strength}")
        if self.steps < 1 or self.batch < 1:
            raise ValueError(f"steps and batch must be at least 1, got {self.steps} and {self.batch}")
        if self.schedule.kind == "wsd":
            raise ValueError("fine-tuning schedules are cosine, linear or constant; wsd is for ladders")

    @property
    def label(self) -> str:
        return f"fine-tune {self.task}"


def finetuned_variant(
    settings: FineTune, model: Any, task: EncodedTask, seed: int, forward: Forward
) -> Iterator[Variant]:
    """Fine-tune `model` in place and hand it over once. Rate 0 changes nothing and is not run."""
    if settings.strength == 0:
        yield Variant()
        return
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
        yield Variant(diverged=True, details={"diverged_at_step": error.step})
        return
    finite = all(bool(torch.isfinite(p).all()) for p in model.parameters())
    yield Variant(diverged=not finite, details={"train_loss_first": losses[0], "train_loss_last": losses[-1]})


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
