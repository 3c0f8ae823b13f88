"""Part of the way back from the fine-tuned weights to the base."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pliant.checkpoints.weights import canonical_tensors
from pliant.modifications.interpolate import between


def move_back(model: Any, base: Mapping[str, Tensor], amount: float) -> None:
    """theta := (1 - amount) theta + amount theta_0 in place, theta_0 = `base`; the ends bit for bit."""
    if amount == 0:
        return
    with torch.no_grad():
        for name, tensor in canonical_tensors(model).items():
            tensor.copy_(between(tensor.cpu(), base[name].cpu(), amount))
