"""How far the predictions of the model in training are from those of its base."""

import copy
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pliant.training.decoder import Forward


def frozen(model: Any) -> Any:
    """A copy of `model` that stays as it is, without dropout: 4 bytes a parameter in fp32 beside the one in training.

    Keeping the base's predictions instead would take 4 bytes x vocabulary for each token of each step.
    """
    return copy.deepcopy(model).eval().requires_grad_(False)


def divergence_from(
    base: Any, model: Any, inputs: Int[Tensor, "rows length"], *, forward: Forward
) -> Float[Tensor, ""]:
    """KL(p || q) = sum_v p(v) (ln p(v) - ln q(v)) of the next token, p of `base`, q of `model`; nats a token."""
    with torch.no_grad():
        p = forward(base, inputs).float().log_softmax(dim=-1)
    q = forward(model, inputs).float().log_softmax(dim=-1)
    return (p.exp() * (p - q)).sum(dim=-1).mean()
