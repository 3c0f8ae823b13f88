"""The forward pass of a Llama model on its own parameters, with a third of the operations.

transformers computes queries, keys and values one by one, turns each by its own rotation, and checks masks on every
call; at a few thousand parameters that dispatch is most of the time. Here projections that read the same input are
one product and the rotation is applied to queries and keys together. The logits are those of transformers up to
fp32 rounding (a test holds them to it), and the parameters are the model's, so nothing is converted.
"""

import inspect
from functools import lru_cache
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

SAME = 1e-4
"""Of the largest logit: fp32 rounding is far below, a token too many far above."""


LAYER = (
    "input_layernorm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "post_attention_layernorm",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
"""The weights of a layer of a Llama, in the order in which they are used."""


class Forward(Protocol):
    """From a model and input ids to the logits after each of them; a segment of a packed row sees only itself."""

    def __call__(
        self, model: Any, inputs: Int[Tensor, "batch length"], segments: Int[Tensor, "batch length"] | None = None
    ) -> Float[Tensor, "batch length vocabulary"]: ...


def choose_forward(model: Any, kind: Literal["lean", "transformers"]) -> Forward:
    """`lean_logits` where the plan says lean and the model is one it computes, else the model's own."""
    return lean_logits if kind == "lean" and fits(model) else transformers_logits


def transformers_logits(
    model: Any, inputs: Int[Tensor, "batch length"], segments: Int[Tensor, "batch length"] | None = None
) -> Float[Tensor, "batch length vocabulary"]:
    """The logits as transformers computes them: the plain path, to which the lean one is held.

    Positions that begin again within a row are how transformers is told of packed rows; from these it makes the mask
    that its attention, sliding windows included, takes.
    """
    packed = {} if segments is None else {"position_ids": packed_positions(segments)}
    logits: Tensor = model(input_ids=inputs, use_cache=False, **packed).logits
    return logits


def packed_positions(segments: Int[Tensor, "batch length"]) -> Int[Tensor, "batch length"]:
    """0, 1, 2, ... within each run of equal segment numbers."""
    index = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return index - (index * begins).cummax(dim=1).values


def keeps_segments_apart(model: Any, row: Int[Tensor, "1 length"]) -> bool:
    """Whether the second half of `row`, packed behind the first, has the logits that it has alone.

    Not every class has: some number positions themselves, some make a mask of their own, recurrent ones carry state.
    """
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return False
    index = torch.arange(row.shape[1], device=row.device).expand_as(row)
    half = row.shape[1] // 2
    with torch.inference_mode():
        alone = transformers_logits(model, row[:, half:])
        packed = transformers_logits(model, row, (index >= half).int())[:, half:]
    return bool((packed - alone).abs().max() <= SAME * alone.abs().max())


def fits(model: Any) -> bool:
    """Whether `lean_logits` computes this model.

    That is a Llama without biases, dropout, scaled rotations, grouped heads or heads of a size of their own.
    """
    config = model.config
    return bool(
        type(model).__name__ == "LlamaForCausalLM"
        and not config.attention_bias
        and not config.mlp_bias
        and config.hidden_act == "silu"
        and config.num_key_value_heads == config.num_attention_heads
        and config.head_dim * config.num_attention_heads == config.hidden_size
        and not config.attention_dropout
        and model.model.rotary_emb.rope_type == "default"
    )


def lean_logits(
    model: Any, inputs: Int[Tensor, "batch length"], segments: Int[Tensor, "batch length"] | None = None
) -> Float[Tensor, "batch length vocabulary"]:
    """The logits after each input token; packed rows go through transformers."""
    if segments is not None:
        return transformers_logits(model, inputs, segments)
    heads = model.config.num_attention_heads
    epsilon = model.config.rms_norm_eps
    hidden = F.embedding(inputs, model.model.embed_tokens.weight)
    cosine, sine = rotation(model, inputs.shape[1])
    for layer in model.model.layers:
        normed = _rms_norm(hidden, layer.input_layernorm.weight, epsilon)
        hidden = hidden + _attention(layer.self_attn, normed, heads, cosine, sine)
        normed = _rms_norm(hidden, layer.post_attention_layernorm.weight, epsilon)
        hidden = hidden + _feed_forward(layer.mlp, normed)
    logits: Tensor = F.linear(_rms_norm(hidden, model.model.norm.weight, epsilon), model.lm_head.weight)
    return logits


def _rms_norm(hidden: Tensor, gain: Tensor, epsilon: float) -> Tensor:
    return F.rms_norm(hidden, gain.shape, gain, epsilon)


def _attention(module: Any, normed: Tensor, heads: int, cosine: Tensor, sine: Tensor) -> Tensor:
    batch, length, width = normed.shape
    weight = torch.cat([module.q_proj.weight, module.k_proj.weight, module.v_proj.weight])
    joint = F.linear(normed, weight).view(batch, length, 3 * heads, width // heads).transpose(1, 2)
    turned, values = joint[:, : 2 * heads], joint[:, 2 * heads :]
    half = width // heads // 2
    turned = torch.addcmul(turned * cosine, turned.roll(half, dims=-1), sine)
    queries, keys = turned[:, :heads], turned[:, heads:]
    mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
    return F.linear(mixed.transpose(1, 2).reshape(batch, length, width), module.o_proj.weight)


def _feed_forward(module: Any, normed: Tensor) -> Tensor:
    gate, up = F.linear(normed, torch.cat([module.gate_proj.weight, module.up_proj.weight])).chunk(2, dim=-1)
    return F.linear(F.silu(gate) * up, module.down_proj.weight)


def rotation(model: Any, length: int) -> tuple[Tensor, Tensor]:
    """cos and signed sin of a model's rotary embedding, (length, head size)."""
    frequencies = model.model.rotary_emb.inv_freq
    return _tables(tuple(frequencies.tolist()), length, str(frequencies.device))


@lru_cache(maxsize=8)
def _tables(frequencies: tuple[float, ...], length: int, device: str) -> tuple[Tensor, Tensor]:
    """cos and signed sin, (length, head size): x cos + roll(x, half) sin turns each half-split pair."""
    with torch.inference_mode(False):
        angles = torch.outer(torch.arange(length, dtype=torch.float32), torch.tensor(frequencies))
        cosine = torch.cat([angles.cos(), angles.cos()], dim=-1)
        sine = torch.cat([-angles.sin(), angles.sin()], dim=-1)
        return cosine.to(device), sine.to(device)
