"""What pre-training is computed with, by the size of the model, the length of the run and what this machine does."""

from collections.abc import Callable
from typing import Any

import torch

from pliant.records.numerics import Trainer
from pliant.training.decoder import choose_forward
from pliant.training.flat_trainer import FlatTrainer
from pliant.training.flat_weights import flattens
from pliant.training.loop import AutogradLearner, Learner

COMPILE_SECONDS = 60.0
"""What compiling costs a process, on one core."""
"""One core's rate of floating-point operations in training, of which compiling saves about a third: an order."""


def choose_trainer() -> Trainer | None:
    return None


def learner_of(
    trainer: Trainer | None,
    model: Any,
    optimizer: torch.optim.AdamW,
    *,
    forward: str,
    clip_norm: float,
    micro_batch: int | None = None,
) -> Learner:
    """What takes the steps of pre-training `model` under a numerics plan with `trainer`."""
    if trainer is not None and flattens(model):
        return FlatTrainer(model, optimizer, trainer, clip_norm=clip_norm, micro_batch=micro_batch)
    return AutogradLearner(model, optimizer, choose_forward(model, forward), clip_norm=clip_norm, micro_batch=micro_batch)
