"""The diagonal of the Fisher information of a model's next-token predictions."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pliant.checkpoints.weights import canonical_tensors
from pliant.training.decoder import Forward

SEED = 0
"""Of the labels that are sampled: the same for every checkpoint."""


def diagonal_fisher(model: Any, inputs: Int[Tensor, "rows length"], *, forward: Forward) -> dict[str, Tensor]:
    """F_i = E_x E_{y ~ p(. | x)} [(d ln p(y | x) / d theta_i)^2] per predicted token, by trained tensor; in nats.

    The true Fisher information, not the empirical one (Kunstner et al., arXiv 1905.12558): at each position of a
    window one label is sampled from the model itself, not read from the text. Their scores have mean zero and are
    independent given the text, so the squared gradient of a window's sum has the sum of the tokens' Fisher
    information as its mean; one backward pass a window. To second order in a step d,
    KL(p_theta || p_theta+d) = (1/2) sum_ij F_ij d_i d_j nats a token, of which the diagonal is kept.

    It leaves the weights alone, holds one number a parameter and needs a gradient beside it.
    """
    tensors = canonical_tensors(model)
    sums = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    generator = torch.Generator().manual_seed(SEED)
    for row in inputs:
        score = _score(forward(model, row[None])[0].float(), generator)
        gradients = torch.autograd.grad(score, list(tensors.values()), materialize_grads=True)
        for total, gradient in zip(sums.values(), gradients, strict=True):
            total.addcmul_(gradient, gradient)
    return {name: total.div_(inputs.numel()) for name, total in sums.items()}


def _score(logits: Float[Tensor, "length vocabulary"], generator: torch.Generator) -> Float[Tensor, ""]:
    """sum_t ln p_t(y_t), each y_t drawn from p_t."""
    logs = logits.log_softmax(dim=-1)
    drawn = torch.multinomial(logs.detach().exp().cpu(), 1, generator=generator).to(logits.device)
    return logs.gather(-1, drawn).sum()
