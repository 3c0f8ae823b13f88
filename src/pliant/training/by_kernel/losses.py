"""Losses by the kernel."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pliant.checkpoints.weights import canonical_tensors
from pliant.kernel.llama import run
from pliant.training.by_kernel.batch import Rows
from pliant.training.by_kernel.layout import Layout, angles

_NOTHING = np.zeros(0, dtype=np.float32)


def kernel_gradient(
    model: Any, inputs: Int[Tensor, "batch length"], targets: Int[Tensor, "batch length"]
) -> dict[str, Float[Tensor, "..."]]:
    """The gradient of the summed loss by each trained tensor."""
    tensors, layout = canonical_tensors(model), Layout.of(model)
    rows = Rows.of(inputs, targets, model.config.vocab_size)
    losses, gradient = np.empty(rows.tokens.shape, dtype=np.float32), np.zeros(layout.size, dtype=np.float32)
    how = (layout.where, layout.shape, layout.epsilon, *angles(model, rows.tokens.shape[1]))
    run(layout.flat(tensors), gradient, *how, rows.tokens, rows.targets, np.float32(1), losses, True)
    return {name: torch.from_numpy(view) for name, view in layout.views(gradient, tensors).items()}


def kernel_losses(
    model: Any, inputs: Int[Tensor, "batch length"], targets: Int[Tensor, "batch length"]
) -> Float[Tensor, "batch length"]:
    """`cross_entropies` of the logits of `model`; 0 where the target is ignored."""
    layout, rows = Layout.of(model), Rows.of(inputs, targets, model.config.vocab_size)
    losses = np.empty(rows.tokens.shape, dtype=np.float32)
    how = (layout.where, layout.shape, layout.epsilon, *angles(model, rows.tokens.shape[1]))
    weights = layout.flat(canonical_tensors(model))
    run(weights, _NOTHING, *how, rows.tokens, rows.targets, np.float32(0), losses, False)
    return torch.from_numpy(losses[:, : rows.length])
