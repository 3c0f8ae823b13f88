"""Causal attention and its gradient, in the way that is quickest for its size and device."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Way = Literal["flash", "products", "autograd"]
"""`flash`: torch's kernel for the CPU, forward and backward; `products`: batched products with the probabilities kept,
in any precision; `autograd`: scaled_dot_product_attention of whatever device it is."""

Heads = Float[Tensor, "batch heads length size"]


def attend(queries: Heads, keys: Heads, values: Heads, way: Way) -> tuple[Heads, tuple[Any, ...]]:
    """softmax(q k' / sqrt(size)) v over the past, and what `attend_back` takes."""
    if way == "products":
        probabilities = _probabilities(queries, keys)
        return probabilities @ values, (queries, keys, values, probabilities)
    if way == "flash":
        mixed, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(queries, keys, values, 0.0, True)
        return mixed, (queries, keys, values, mixed, sums)
    first, second, third = leaves = [part.detach().requires_grad_() for part in (queries, keys, values)]
    with torch.enable_grad():
        mixed = F.scaled_dot_product_attention(first, second, third, is_causal=True)
    return mixed.detach(), (leaves, mixed)


def attend_back(gradient: Heads, kept: tuple[Any, ...], way: Way) -> tuple[Heads, Heads, Heads]:
    """The gradients of queries, keys and values."""
    if way == "products":
        return _products_back(gradient, *kept)
    if way == "flash":
        back = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        of_queries, of_keys, of_values = back(gradient, *kept, 0.0, True)
        return of_queries, of_keys, of_values
    leaves, mixed = kept
    of_queries, of_keys, of_values = torch.autograd.grad(mixed, leaves, gradient)
    return of_queries, of_keys, of_values


def _probabilities(queries: Heads, keys: Heads) -> Float[Tensor, "batch heads length length"]:
    length, size = queries.shape[-2:]
    scores = (queries @ keys.transpose(-1, -2)) * size**-0.5
    future = torch.ones(length, length, dtype=torch.bool, device=queries.device).triu(1)
    return torch.softmax(scores.masked_fill(future, float("-inf")), dim=-1)


def _products_back(
    gradient: Heads, queries: Heads, keys: Heads, values: Heads, probabilities: Tensor
) -> tuple[Heads, Heads, Heads]:
    """With p the probabilities and s the scores: ds = p (dp - sum(dp p)) / sqrt(size)."""
    of_values = probabilities.transpose(-1, -2) @ gradient
    of_probabilities = gradient @ values.transpose(-1, -2)
    along = (of_probabilities * probabilities).sum(dim=-1, keepdim=True)
    of_scores = probabilities * (of_probabilities - along) * queries.shape[-1] ** -0.5
    return of_scores @ keys, of_scores.transpose(-1, -2) @ queries, of_values
