"""Mixed precision: the forward pass in bfloat16 where that is safe, weights, gradients and optimiser in fp32."""

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pliant.training.decoder import Forward

Precision = Literal["bfloat16"]


def in_precision(forward: Forward, precision: Precision, device: torch.device) -> Forward:
    """`forward` under torch.autocast, which has products in `precision` and keeps sums and norms in fp32.

    Raises:
        ValueError: `device` does not compute in `precision`.
    """
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ValueError(
            f"precision: {precision} is not supported by {torch.cuda.get_device_name(device)}; leave precision out"
        )
    dtype = getattr(torch, precision)

    def logits(
        model: Any, inputs: Int[Tensor, "batch length"], segments: Int[Tensor, "batch length"] | None = None
    ) -> Float[Tensor, "batch length vocabulary"]:
        with torch.autocast(device.type, dtype=dtype):
            return forward(model, inputs, segments)

    return logits
