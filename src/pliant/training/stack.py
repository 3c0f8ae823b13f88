"""Several copies of one small model trained at once, each at its own learning rate, on the same batches.

At a few thousand parameters a step costs the dispatch of its operations, not their arithmetic; with K copies side by
side one operation serves all of them. Every copy is computed by itself: its bits do not depend on the others (a test
says so), and up to rounding it ends where `training.loop.train` would have taken it alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pliant.checkpoints.weights import canonical_tensors
from pliant.training.cross_entropy import mean_cross_entropies
from pliant.training.decoder import LAYER, fits, rotation
from pliant.training.loop import Batch, Optimisation

WIDEST = 32
MOST_TOKENS = 512
"""Stacking pays up to this width and this many tokens a step and copy; beyond, arithmetic dominates (measured)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """One copy at the end: its tensors by name, its loss at each step, and the step at which it diverged, if it did."""

    tensors: dict[str, Tensor]
    losses: tuple[float, ...]
    diverged_at: int | None


def stacking_pays(model: Any, tokens: int) -> bool:
    """Whether copies of `model` are better trained together, at `tokens` tokens a step."""
    config = model.config
    return fits(model) and not config.tie_word_embeddings and config.hidden_size <= WIDEST and tokens <= MOST_TOKENS


def train_stack(
    model: Any,
    rates: Sequence[Callable[[int], float]],
    optimisation: Optimisation,
    batches: Iterator[Batch],
    steps: int,
) -> list[Trained]:
    """Train a copy of `model` for each of `rates` (step -> learning rate); `model` itself is left alone.

    A copy whose loss stops being finite keeps the weights it had and stays out of the rest.
    """
    layout = _Layout(model)
    weights = layout.flat(model).repeat(len(rates), 1).requires_grad_()
    first, second = torch.zeros_like(weights), torch.zeros_like(weights)
    decay = optimisation.weight_decay * layout.decayed.to(weights.device)
    history: list[list[float]] = []
    diverged: list[int | None] = [None] * len(rates)
    for step in range(steps):
        inputs, targets, _ = next(batches)
        losses = mean_cross_entropies(stacked_logits(model, layout.views(weights), inputs), targets)
        (gradient,) = torch.autograd.grad(losses.sum(), weights)
        history.append(losses.tolist())
        norms = gradient.norm(dim=1)
        alive = torch.isfinite(losses.detach()) & torch.isfinite(norms)
        for copy in (~alive).nonzero().flatten().tolist():
            diverged[copy] = step if diverged[copy] is None else diverged[copy]
        rate = torch.tensor([[at(step)] for at in rates], device=weights.device)
        with torch.no_grad():
            clipped = gradient * (optimisation.clip_norm / (norms + 1e-6)).clamp(max=1.0)[:, None]
            _adamw(weights, clipped, first, second, rate, decay, step, optimisation, alive)
    finals = layout.views(weights.detach())
    return [
        Trained(
            tensors={name: stacked[copy].clone() for name, stacked in finals.items()},
            losses=tuple(row[copy] for row in history),
            diverged_at=diverged[copy],
        )
        for copy in range(len(rates))
    ]


class _Layout:
    """Where each tensor of a model lies in one flat row."""

    def __init__(self, model: Any) -> None:
        tensors = canonical_tensors(model)
        self.shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        self.sizes = [tensor.numel() for tensor in tensors.values()]
        self.decayed = torch.cat([torch.full((t.numel(),), float(t.ndim >= 2)) for t in tensors.values()])

    def flat(self, model: Any) -> Float[Tensor, " parameters"]:
        return torch.cat([tensor.detach().flatten() for tensor in canonical_tensors(model).values()])

    def views(self, rows: Float[Tensor, "copies parameters"]) -> dict[str, Tensor]:
        parts = torch.split(rows, self.sizes, dim=1)
        return {
            name: part.view(len(rows), *shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


def _adamw(
    weights: Float[Tensor, "copies parameters"],
    gradient: Float[Tensor, "copies parameters"],
    first: Float[Tensor, "copies parameters"],
    second: Float[Tensor, "copies parameters"],
    rate: Float[Tensor, "copies 1"],
    decay: Float[Tensor, " parameters"],
    step: int,
    optimisation: Optimisation,
    alive: Bool[Tensor, " copies"],
) -> None:
    """One AdamW update in place (Loshchilov and Hutter, arXiv 1711.05101), copies that are not `alive` left out."""
    gradient = torch.where(alive[:, None], gradient, torch.zeros_like(gradient))
    rate = rate * alive[:, None]
    first.lerp_(gradient, 1 - optimisation.beta1)
    second.mul_(optimisation.beta2).addcmul_(gradient, gradient, value=1 - optimisation.beta2)
    scale = (1 - optimisation.beta2 ** (step + 1)) ** 0.5
    moved = first / (second.sqrt() / scale + optimisation.epsilon)
    weights.mul_(1 - rate * decay)
    weights.sub_(rate / (1 - optimisation.beta1 ** (step + 1)) * moved)


def stacked_logits(
    model: Any, weights: dict[str, Tensor], inputs: Int[Tensor, "batch length"]
) -> Float[Tensor, "copies positions vocabulary"]:
    """`lean_logits` of every copy: the same operations with a leading axis for the copies."""
    config = model.config
    copies, width = weights["model.embed_tokens.weight"].shape[0], config.hidden_size
    batch, length = inputs.shape
    offsets = torch.arange(copies, device=inputs.device)[:, None] * config.vocab_size
    table = weights["model.embed_tokens.weight"].reshape(-1, width)
    hidden = F.embedding(offsets + inputs.flatten(), table)
    cosine, sine = rotation(model, length)
    for number in range(config.num_hidden_layers):
        layer = {name: weights[f"model.layers.{number}.{name}.weight"] for name in LAYER}
        normed = _rms_norm(hidden, layer["input_layernorm"], config.rms_norm_eps)
        hidden = hidden + _attention(layer, normed, (batch, length), config.num_attention_heads, cosine, sine)
        normed = _rms_norm(hidden, layer["post_attention_layernorm"], config.rms_norm_eps)
        joint = torch.cat([layer["mlp.gate_proj"], layer["mlp.up_proj"]], dim=1)
        gate, up = _linear(normed, joint).chunk(2, dim=-1)
        hidden = hidden + _linear(F.silu(gate) * up, layer["mlp.down_proj"])
    return _linear(_rms_norm(hidden, weights["model.norm.weight"], config.rms_norm_eps), weights["lm_head.weight"])


def _linear(hidden: Float[Tensor, "copies n d"], weight: Float[Tensor, "copies o d"]) -> Float[Tensor, "copies n o"]:
    return torch.bmm(hidden, weight.transpose(1, 2))


def _rms_norm(hidden: Float[Tensor, "copies n d"], gain: Float[Tensor, "copies d"], epsilon: float) -> Tensor:
    scale = hidden.square().mean(dim=-1, keepdim=True).add(epsilon).rsqrt()
    normed: Tensor = hidden * scale * gain[:, None]
    return normed


def _attention(
    layer: dict[str, Tensor], normed: Tensor, shape: tuple[int, int], heads: int, cosine: Tensor, sine: Tensor
) -> Tensor:
    copies, _, width = normed.shape
    batch, length = shape
    weight = torch.cat([layer["self_attn.q_proj"], layer["self_attn.k_proj"], layer["self_attn.v_proj"]], dim=1)
    joint = _linear(normed, weight).view(copies * batch, length, 3 * heads, width // heads).transpose(1, 2)
    turned, values = joint[:, : 2 * heads], joint[:, 2 * heads :]
    turned = torch.addcmul(turned * cosine, turned.roll(width // heads // 2, dims=-1), sine)
    mixed = F.scaled_dot_product_attention(turned[:, :heads], turned[:, heads:], values, is_causal=True)
    return _linear(mixed.transpose(1, 2).reshape(copies, batch * length, width), layer["self_attn.o_proj"])
