"""Training all weights of a Llama or OLMo-2 on flat buffers: one of weights, one of gradients, two of moments."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.adamw import adamw as adamw_update

from pliant.records.numerics import Trainer
from pliant.training.compiler import compiled
from pliant.training.cross_entropy import IGNORED
from pliant.training.flat_passes import Passes, Tape, loss_and_gradient, parts_by
from pliant.training.flat_weights import FlatWeights, Shape, views
from pliant.training.loop import Batch

MOST_COMPILED_WHOLE = 2
"""Layers: a deeper model is compiled part by part, as the time to compile it whole grows with them."""

Core = Callable[..., Float[Tensor, ""]]
"""From weights, their cast, where the gradient goes, inputs, targets, shares, cos and sin to the loss."""


@final
class FlatTrainer:
    """Takes over the weights of `model` and the moments of `optimizer`, which go on showing their state.

    The updates are those of `optimizer`, torch's fused AdamW with decay of matrices and none of gains, and gradients
    are clipped by global norm. It is a `Learner` of `training.loop`.
    """

    def __init__(
        self,
        model: Any,
        optimizer: torch.optim.AdamW,
        kind: Trainer,
        *,
        clip_norm: float,
        micro_batch: int | None = None,
    ) -> None:
        self._flat, buffer = (flat := FlatWeights(model)), flat.buffer
        self._group, self._clip_norm, self._micro_batch = optimizer.param_groups, clip_norm, micro_batch
        self._gradient = torch.zeros_like(buffer)
        self._moments = torch.zeros_like(buffer), torch.zeros_like(buffer)
        self._steps = torch.zeros((), device=buffer.device), torch.zeros((), device=buffer.device)
        self._adopt(optimizer)
        product = torch.bfloat16 if kind == "compiled-bf16" else buffer.dtype
        self._cast = buffer if product == buffer.dtype else torch.empty_like(buffer, dtype=product)
        self._core = _core(flat.shape, kind, buffer.device.type, product)
        self._turns = lru_cache(maxsize=4)(flat.turns)

    @torch.no_grad()
    def gradient(self, batch: Batch, step: int) -> float:
        """The mean loss of `batch` in nats; its gradient is kept for `update`."""
        assert batch.segments is None, "packed rows are trained by autograd"
        if self._cast is not self._flat.buffer:
            self._cast.copy_(self._flat.buffer)
        if self._micro_batch is None:
            return self._loss(batch, (batch.targets != IGNORED).sum(), self._gradient)
        scored, value, part = (batch.targets != IGNORED).sum(), 0.0, torch.empty_like(self._gradient)
        self._gradient.zero_()
        for rows in batch.split(self._micro_batch):
            value += self._loss(rows, scored, part)
            self._gradient.add_(part)
        return value

    def _loss(self, batch: Batch, scored: Tensor, into: Float[Tensor, " parameters"]) -> float:
        weights, targets = self._flat.buffer, batch.targets.flatten()
        share = (targets != IGNORED).to(weights.dtype) / scored
        turns = self._turns(batch.inputs.shape[1])
        return float(self._core(weights, self._cast, into, batch.inputs, targets, share, *turns))

    @torch.no_grad()
    def update(self, learning_rate: float) -> bool:
        """One step of AdamW along the clipped gradient; False, and none is taken, where that is not finite."""
        norm = torch.linalg.vector_norm(self._gradient)
        if not torch.isfinite(norm):
            return False
        # the fused kernel divides by this scale as it reads the gradient: clipping costs no pass of its own
        scale = ((norm + 1e-6) / self._clip_norm).clamp_min(1.0)
        cut = [self._flat.decayed, len(self._gradient) - self._flat.decayed]
        buffers = (self._flat.buffer, self._gradient, *self._moments)
        parts = zip(*(torch.split(each, cut) for each in buffers), strict=True)
        for group, count, tensors in zip(self._group, self._steps, parts, strict=True):
            weights, gradient, first, second = ([tensor] for tensor in tensors)
            adamw_update(
                weights, gradient, first, second, [], [count], fused=True, grad_scale=scale,
                amsgrad=False, maximize=False, lr=learning_rate, beta1=group["betas"][0], beta2=group["betas"][1],
                weight_decay=group["weight_decay"], eps=group["eps"],
            )  # fmt: skip
        return True

    def _adopt(self, optimizer: torch.optim.AdamW) -> None:
        """Take the moments in; from now on the state that `optimizer` shows is views of ours."""
        first, second = (dict(_by_id(self._flat, moments)) for moments in self._moments)
        for parameter in self._flat.model.parameters():
            shown = {"step": self._steps[0], "exp_avg": first[id(parameter)], "exp_avg_sq": second[id(parameter)]}
            for name, before in optimizer.state[parameter].items():
                shown[name].copy_(before)
            optimizer.state[parameter] = shown
        self._steps[1].copy_(self._steps[0])


def _by_id(flat: FlatWeights, buffer: Float[Tensor, " parameters"]) -> list[tuple[int, Tensor]]:
    return [(id(parameter), place) for parameter, place in flat.pairs(buffer)]


@lru_cache(maxsize=64)
def _core(shape: Shape, kind: Trainer, device: str, product: torch.dtype) -> Core:
    """The passes of `kind`; one for all trainers of a shape, so that it is compiled once."""
    whole = kind != "flat" and device == "cpu" and shape.layers <= MOST_COMPILED_WHOLE
    passes = Passes(
        shape=shape,
        parts=parts_by(compiled if kind != "flat" and not whole else lambda part: part),
        attention="flash" if device == "cpu" else "autograd",
        product=product,
    )
    return _whole(passes) if whole else _piecewise(passes)


def _piecewise(passes: Passes) -> Core:
    def core(weights: Tensor, cast: Tensor, into: Tensor, inputs: Tensor, *rest: Tensor) -> Tensor:
        *scored, cosine, sine = rest
        places = views(passes.shape, into)
        tape = _tape(passes, weights, cast, places, (cosine, sine))
        loss = loss_and_gradient(tape, inputs, *scored)
        for name, place in places.items():
            if tape.gradients[name].data_ptr() != place.data_ptr():
                place.copy_(tape.gradients[name])
        return loss

    return core


def _whole(passes: Passes) -> Core:
    def alone(weights: Tensor, cast: Tensor, inputs: Tensor, *rest: Tensor) -> tuple[Tensor, list[Tensor]]:
        *scored, cosine, sine = rest
        tape = _tape(passes, weights, cast, None, (cosine, sine))
        loss = loss_and_gradient(tape, inputs, *scored)
        return loss, [tape.gradients[name].flatten() for name in tape.weights]

    made = compiled(alone)

    def core(weights: Tensor, cast: Tensor, into: Tensor, *rest: Tensor) -> Tensor:
        loss: Tensor
        loss, gradients = made(weights, cast, *rest)
        torch.cat(gradients, out=into)  # a graph that writes to views of one tensor copies all of it each time
        return loss

    return core


def _tape(passes: Passes, weights: Tensor, cast: Tensor, into: Any, turns: tuple[Tensor, Tensor]) -> Tape:
    return Tape(
        passes=passes,
        weights=views(passes.shape, weights),
        factors=views(passes.shape, cast),
        into=into,
        turns=turns,
        gradients={},
    )
