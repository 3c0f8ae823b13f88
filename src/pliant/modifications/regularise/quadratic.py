"""Half a weighted squared distance from the base, its gradient made one tensor at a time."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pliant.checkpoints.weights import canonical_tensors


class _HalfSquares(torch.autograd.Function):
    """sum_i w_i (x_i - c_i)^2 / 2, gradient w (x - c).

    Autograd would keep every difference until backward, a copy of the model; here one tensor's is made when needed.
    """

    @staticmethod
    def forward(context: Any, tensor: Tensor, centre: Tensor, weight: Tensor) -> Tensor:
        context.save_for_backward(tensor, centre, weight)
        return 0.5 * (weight * (tensor - centre).square_()).sum()

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        tensor, centre, weight = context.saved_tensors
        return (tensor - centre).mul_(weight).mul_(gradients[0]), None, None


def half_squares(
    model: Any, base: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None = None
) -> Float[Tensor, ""]:
    """(1/2) sum_i w_i (theta_i - theta_0i)^2 over every trained tensor, theta_0 = `base`; w = 1 without `weights`."""
    one = torch.ones((), device=next(model.parameters()).device)
    terms = [
        _HalfSquares.apply(tensor, base[name], one if weights is None else weights[name])  # type: ignore[no-untyped-call]
        for name, tensor in canonical_tensors(model).items()
    ]
    return torch.stack(terms).sum()
