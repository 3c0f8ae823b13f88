"""Losses of targets without the logits, where the kernel computes the model."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from pliant.records.numerics import Numerics
from pliant.training.by_kernel.layout import kernel_fits
from pliant.training.cross_entropy import cross_entropies
from pliant.training.decoder import Forward, choose_forward, lean_logits


@dataclass(frozen=True, slots=True)
class KernelForward:
    """`lean_logits` for whoever asks for logits; `target_losses` needs none."""

    def __call__(
        self, model: Any, inputs: Int[Tensor, "batch length"], segments: Int[Tensor, "batch length"] | None = None
    ) -> Float[Tensor, "batch length vocabulary"]:
        return lean_logits(model, inputs, segments)


def planned_forward(model: Any, numerics: Numerics) -> Forward:
    """What the numerics plan evaluates `model` with."""
    if numerics.kernel == "lanes" and kernel_fits(model):
        return KernelForward()
    return choose_forward(model, numerics.forward)


def target_losses(
    forward: Forward, model: Any, inputs: Int[Tensor, "batch length"], targets: Int[Tensor, "batch length"]
) -> Float[Tensor, "batch length"]:
    """-ln p(target) of each target in nats; 0 where the target is ignored. For evaluation."""
    if isinstance(forward, KernelForward):
        from pliant.training.by_kernel.losses import kernel_losses

        return kernel_losses(model, inputs, targets)
    return cross_entropies(forward(model, inputs), targets)
