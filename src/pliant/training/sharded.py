"""Training and evaluation of a model that several processes share: each takes its part of the rows (FSDP2)."""

import math
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor

from pliant.training.cross_entropy import IGNORED, cross_entropies, mean_cross_entropy
from pliant.training.decoder import Forward, transformers_logits
from pliant.training.loop import Batch, Objective, the_loss


@dataclass(frozen=True, slots=True)
class SharedRows:
    """transformers' forward pass of a shared model: all processes call it together, each on rows of its own.

    Whoever asks for logits gets those of the rows it gave; `target_losses` shares out the rows that all were given.
    """

    def __call__(
        self, model: Any, inputs: Int[Tensor, "batch length"], segments: Int[Tensor, "batch length"] | None = None
    ) -> Float[Tensor, "batch length vocabulary"]:
        return transformers_logits(model, inputs, segments)


def shared_losses(
    model: Any, inputs: Int[Tensor, "batch length"], targets: Int[Tensor, "batch length"]
) -> Float[Tensor, "batch length"]:
    """-ln p(target) of each target in nats, 0 where it is ignored, in fp64: of all rows, given to all processes.

    A process without a row computes the first one for nothing, since none can be gathered without the others.
    """
    mine = _part_of(len(inputs))
    own = mine if mine.stop > mine.start else slice(0, 1)
    losses = cross_entropies(transformers_logits(model, inputs[own]), targets[own])
    whole = torch.zeros(targets.shape, dtype=torch.float64, device=targets.device)
    if mine.stop > mine.start:
        whole[mine] = losses.double()
    dist.all_reduce(whole)
    return whole


@final
class ShardedLearner:
    """AutogradLearner over processes: the gradient of the batch's mean loss, each from its rows of it."""

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
        assert objective is the_loss, "regularisers are refused when the study is planned"
        self._model, self._optimizer, self._forward = model, optimizer, forward
        self._clip_norm, self._micro_batch = clip_norm, micro_batch
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def gradient(self, batch: Batch, step: int) -> float:
        """loss = sum over processes of (n_p / n) loss_p over the n_p scored targets of each; `micro_batch` rows of a
        process at a time. The model adds the gradients of all processes up."""
        total = int((batch.targets != IGNORED).sum())
        value = torch.zeros((), dtype=torch.float64, device=batch.inputs.device)
        mine = rows_of_rank(batch)
        for part in mine.split(self._micro_batch or len(mine.inputs)):
            count = int((part.targets != IGNORED).sum())
            logits = self._forward(self._model, part.inputs, part.segments)
            # without a target there is no loss to speak of, yet the others wait for a gradient
            loss = mean_cross_entropy(logits, part.targets) * (count / total) if count else logits.sum() * 0.0
            loss.backward()  # type: ignore[no-untyped-call]
            value += loss.detach()
        dist.all_reduce(value)
        return float(value)

    def update(self, learning_rate: float) -> bool:
        """The norm is that of the whole gradient."""
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
        if not math.isfinite(float(norm.full_tensor())):  # type: ignore[attr-defined]
            return False
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad()
        return True


def _part_of(rows: int) -> slice:
    """The part of so many rows that this process computes; the parts differ by one at most."""
    rank, processes = dist.get_rank(), dist.get_world_size()
    return slice(rank * rows // processes, (rank + 1) * rows // processes)


def rows_of_rank(batch: Batch) -> Batch:
    """Its rows for this process, as many as any other takes: one short is made up for by a row without targets."""
    mine, rows = _part_of(len(batch.inputs)), -(-len(batch.inputs) // dist.get_world_size())
    index = [*range(mine.start, mine.stop), 0][:rows]
    targets = batch.targets[index]
    targets[mine.stop - mine.start :] = IGNORED
    return Batch(batch.inputs[index], targets, None if batch.segments is None else batch.segments[index])
