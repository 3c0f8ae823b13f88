"""The one training loop: pre-training and every kind of fine-tuning go through it."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pliant.training.cross_entropy import IGNORED, mean_cross_entropy
from pliant.training.decoder import Forward


class Batch(NamedTuple):
    """Inputs and targets; targets[i, t] follows inputs[i, :t + 1], of a packed row those of the same segment."""

    inputs: Int[Tensor, "batch length"]
    targets: Int[Tensor, "batch length"]
    segments: Int[Tensor, "batch length"] | None = None

    def split(self, rows: int) -> Iterator["Batch"]:
        """Its rows in order, `rows` at a time."""
        for start in range(0, len(self.inputs), rows):
            part = slice(start, start + rows)
            yield Batch(self.inputs[part], self.targets[part], None if self.segments is None else self.segments[part])


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


def the_loss(loss: Float[Tensor, ""], step: int) -> Float[Tensor, ""]:
    """The objective of plain training."""
    return loss


def never(step: int) -> bool:
    """Train to the last step."""
    return False


class Diverged(ArithmeticError):
    """The loss or its gradient stopped being a finite number at `step`: a measurement, not a failure."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss or its gradient is not finite at step {step}")
        self.step = step


def adamw(parameters: Iterable[Tensor], optimisation: Optimisation) -> torch.optim.AdamW:
    """A fresh optimiser over `parameters`; tensors of fewer than two dimensions are not decayed."""
    trained = list(parameters)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": optimisation.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
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
    micro_batch: int | None = None,
    objective: Objective = the_loss,
    after_step: Callable[[int, float], None] = lambda step, loss: None,
    finished: Callable[[int], bool] = never,
    learner_of: "Callable[..., Learner] | None" = None,
) -> None:
    """Take the updates `start` .. `stop - 1`, each on the next batch, in place, until one has `finished`.

    With `micro_batch` a forward pass takes that many rows, and their gradients add up to that of the whole batch.
    `after_step` is told the loss of the batch before its update, without what `objective` adds. `learner_of` makes the
    learner where that is not AutogradLearner. However it ends, `model` is ready to evaluate and holds no gradients.

    Raises:
        Diverged: a loss or a gradient is NaN or infinite; the weights are left as they were before that update.
    """
    model.train()
    try:
        learner = (learner_of or AutogradLearner)(
            model, optimizer, forward, clip_norm=clip_norm, micro_batch=micro_batch, objective=objective
        )
        take_steps(learner, batches, learning_rate, start=start, stop=stop, after_step=after_step, finished=finished)
    finally:  # one model serves many trainings: a gradient left behind would join the first step of the next
        optimizer.zero_grad()
        model.eval()


class Learner(Protocol):
    """What a step asks for, one after the other."""

    def gradient(self, batch: Batch, step: int) -> float:
        """The mean loss of `batch`; its gradient, where that is finite, is kept for `update`."""

    def update(self, learning_rate: float) -> bool:
        """Take the step; False, and the weights are as they were, where the gradient is not finite."""


def take_steps(
    learner: Learner,
    batches: Iterator[Batch],
    learning_rate: Callable[[int], float],
    *,
    start: int,
    stop: int,
    after_step: Callable[[int, float], None] = lambda step, loss: None,
    finished: Callable[[int], bool] = never,
) -> None:
    """The loop of `train`, whatever computes the gradients and takes the steps.

    Raises:
        Diverged: as `train`.
    """
    for step in range(start, stop):
        value = learner.gradient(next(batches), step)
        if not math.isfinite(value) or not learner.update(learning_rate(step)):
            raise Diverged(step)
        after_step(step, value)
        if finished(step):
            break


@final
class AutogradLearner:
    """Gradients by autograd through any forward pass, updates by the optimiser itself."""

    def __init__(
        self,
        model: Any,
        optimizer: torch.optim.AdamW,
        forward: Forward,
        *,
        clip_norm: float,
        micro_batch: int | None = None,
        objective: Objective = the_loss,
    ) -> None:
        self._model, self._optimizer, self._forward, self._objective = model, optimizer, forward, objective
        self._clip_norm, self._micro_batch = clip_norm, micro_batch
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def gradient(self, batch: Batch, step: int) -> float:
        if self._micro_batch is None:
            return _backward(self._model, batch, self._forward, self._objective, step)
        parts = list(batch.split(self._micro_batch))
        return _backward_in_parts(self._model, parts, self._forward, self._objective, step, self._parameters)

    def update(self, learning_rate: float) -> bool:
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
        if not math.isfinite(norm.item()):
            return False
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad()
        return True


def _backward(model: Any, batch: Batch, forward: Forward, objective: Objective, step: int) -> float:
    """The mean loss of `batch`, the gradient of the objective left with the weights if that is finite."""
    loss = mean_cross_entropy(forward(model, batch.inputs, batch.segments), batch.targets)
    value = loss.item()
    if math.isfinite(value):
        objective(loss, step).backward()  # type: ignore[no-untyped-call]
    return value


def _backward_in_parts(
    model: Any,
    parts: Sequence[Batch],
    forward: Forward,
    objective: Objective,
    step: int,
    parameters: Sequence[Tensor],
) -> float:
    """The same, one part of the batch after the other: loss = sum_i (n_i / n) loss_i over the n_i scored targets of
    each, which is not the mean of their means.

    The objective f(loss, theta) is taken once, of the whole: its gradient is df/dloss x that of the parts + df/dtheta.
    """
    scored = [int((part.targets != IGNORED).sum()) for part in parts]
    value = 0.0
    for part, count in zip(parts, scored, strict=True):
        if count:
            loss = mean_cross_entropy(forward(model, part.inputs, part.segments), part.targets)
            loss = loss * (count / sum(scored))
            value += loss.item()
            loss.backward()  # type: ignore[no-untyped-call]
    if math.isfinite(value):
        whole = torch.tensor(value, device=parts[0].inputs.device, requires_grad=True)
        total = objective(whole, step)
        (factor,) = torch.autograd.grad(total, whole, retain_graph=True)
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(factor)
        total.backward()  # type: ignore[no-untyped-call]
    return value
