"""Losses of targets without the logits, where the kernel computes the model or processes share it."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pliant.checkpoints.weights import canonical_tensors
from pliant.records.numerics import Numerics
from pliant.training.by_kernel.layout import by_kernel
from pliant.training.cross_entropy import cross_entropies
from pliant.training.decoder import Forward, choose_forward, lean_logits
from pliant.training.sharded import SharedRows, shared_losses


@dataclass(frozen=True, slots=True)
class KernelForward:
    """`lean_logits` for whoever asks for logits; `target_losses` needs none."""

    def __call__(
        self, model: Any, inputs: Int[Tensor, "batch length"], segments: Int[Tensor, "batch length"] | None = None
    ) -> Float[Tensor, "batch length vocabulary"]:
        return lean_logits(model, inputs, segments)


def planned_forward(model: Any, numerics: Numerics) -> Forward:
    """What the numerics plan evaluates `model` with."""
    if numerics.shards is not None:
        return SharedRows()
    if by_kernel(model, numerics):
        return KernelForward()
    return choose_forward(model, numerics.forward)


def target_losses(
    forward: Forward, model: Any, inputs: Int[Tensor, "batch length"], targets: Int[Tensor, "batch length"]
) -> Float[Tensor, "batch length"]:
    """-ln p(target) of each target in nats; 0 where the target is ignored. For evaluation."""
    if isinstance(forward, KernelForward):
        from pliant.training.by_kernel.losses import kernel_losses

        return kernel_losses(model, inputs, targets)
    if isinstance(forward, SharedRows):
        return shared_losses(model, inputs, targets)
    return cross_entropies(forward(model, inputs), targets)


def summed_gradient(
    forward: Forward, model: Any, inputs: Int[Tensor, "batch length"], targets: Int[Tensor, "batch length"]
) -> dict[str, Float[Tensor, "..."]]:
    """d (sum of `target_losses`) / d theta, by trained tensor."""
    if isinstance(forward, KernelForward):
        from pliant.training.by_kernel.losses import kernel_gradient

        return kernel_gradient(model, inputs, targets)
    tensors = canonical_tensors(model)
    loss = cross_entropies(forward(model, inputs), targets).sum()
    return dict(zip(tensors, torch.autograd.grad(loss, list(tensors.values()), materialize_grads=True), strict=True))
