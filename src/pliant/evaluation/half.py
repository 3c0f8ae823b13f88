"""Evaluation with the matrix products of linear layers in bfloat16, everything else in fp32."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@contextmanager
def products_in_bfloat16(model: Any) -> Iterator[None]:
    """Within, every linear layer of `model` (the head too) multiplies in bfloat16 and answers in fp32.

    Its weights are rounded once, on entry: the model must not change within. Residual stream, norms, attention and
    cross-entropy stay in fp32; autocast would have attention in bfloat16 and round the weights for every batch.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    try:
        for layer in layers:
            layer.__dict__["forward"] = _halved(layer)  # goes before that of the class
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def _halved(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    weight = layer.weight.detach().to(torch.bfloat16)
    bias = None if layer.bias is None else layer.bias.detach().to(torch.bfloat16)
    return lambda inputs: F.linear(inputs.to(torch.bfloat16), weight, bias).float()
