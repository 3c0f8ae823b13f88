"""The one training loop: pre-training and every kind of fine-tuning go through it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pliant.training.cross_entropy import mean_cross_entropy
from pliant.training.decoder import Forward

Batch = tuple[Int[Tensor, "batch length"], Int[Tensor, "batch length"]]
"""Inputs and targets; targets[i, t] follows inputs[i, :t + 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimisation:
    """AdamW with decoupled weight decay on everything but gains and biases, gradients clipped by global norm."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    IDENTITY: ClassVar = frozenset({"weight_decay", "beta1", "beta2", "epsilon", "clip_norm"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()

    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay must be a finite number >= 0, got {self.weight_decay}")
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ValueError(f"betas must lie in [0, 1), got {self.beta1} and {self.beta2}")
        if not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be above 0 (.inf to switch clipping off), got {self.clip_norm}")


Objective = Callable[[Float[Tensor, ""], int], Float[Tensor, ""]]
"""From the mean loss of the batch of a step to what is minimised."""


class Diverged(ArithmeticError):
    """The loss or its gradient stopped being a finite number at `step`: a measurement, not a failure."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss or its gradient is not finite at step {step}")
        self.step = step


def adamw(model: Any, optimisation: Optimisation) -> torch.optim.AdamW:
    """A fresh optimiser over `model`; tensors of fewer than two dimensions are not decayed."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    kept = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": decayed, "weight_decay": optimisation.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=0.0,
        betas=(optimisation.beta1, optimisation.beta2),
        eps=optimisation.epsilon,
        fused=True,
    )


def train(
    model: Any,
    optimizer: torch.optim.AdamW,
    batches: Iterator[Batch],
    learning_rate: Callable[[int], float],
    *,
    forward: Forward,
    start: int,
    stop: int,
    clip_norm: float,
    objective: Objective = lambda loss, step: loss,
    after_step: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Take the updates `start` .. `stop - 1`, each on the next batch, in place.

    `after_step` is told the loss of the batch before its update, without what `objective` adds.

    Raises:
        Diverged: a loss or a gradient is NaN or infinite; the weights are left as they were before that update.
    """
    model.train()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for step in range(start, stop):
        inputs, targets = next(batches)
        loss = mean_cross_entropy(forward(model, inputs), targets)
        value = loss.item()
        if not math.isfinite(value):
            optimizer.zero_grad()
            raise Diverged(step)
        objective(loss, step).backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        if not math.isfinite(norm.item()):
            optimizer.zero_grad()
            raise Diverged(step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.step()
        optimizer.zero_grad()
        after_step(step, value)
    model.eval()
