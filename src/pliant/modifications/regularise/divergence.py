"""How far the predictions of the model in training are from those of its base."""

import copy
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pliant.training.decoder import Forward


class _MeanDivergence(torch.autograd.Function):
    """d KL(p || q) / d logits of q = (q - p) / n: exactly 0 where q is p.

    Autograd's own has rounding there, which AdamW would magnify to whole steps of weights with no other gradient.
    """

    @staticmethod
    def forward(context: Any, base: Tensor, logits: Tensor) -> Tensor:
        log_p, log_q = base.float().log_softmax(dim=-1), logits.float().log_softmax(dim=-1)
        p = log_p.exp()
        context.save_for_backward((log_q.exp() - p).to(logits.dtype))
        return (p * (log_p - log_q)).sum(dim=-1).mean()

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        (difference,) = context.saved_tensors
        return None, difference * (gradients[0] / difference[..., 0].numel())


def frozen(model: Any) -> Any:
    """A copy of `model` that stays as it is, without dropout: 4 bytes a parameter in fp32 beside the one in training.

    Keeping the base's predictions instead would take 4 bytes x vocabulary for each token of each step.
    """
    return copy.deepcopy(model).eval().requires_grad_(False)


def divergence_from(
    base: Any, model: Any, inputs: Int[Tensor, "rows length"], *, forward: Forward
) -> Float[Tensor, ""]:
    """KL(p || q) = sum_v p(v) (ln p(v) - ln q(v)) of the next token, p of `base`, q of `model`; mean nats a token."""
    with torch.no_grad():
        known = forward(base, inputs)
    divergence: Tensor = _MeanDivergence.apply(known, forward(model, inputs))  # type: ignore[no-untyped-call]
    return divergence
