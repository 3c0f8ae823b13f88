"""All weights of a model in one buffer, of which the parameters of its transformers class are views.

Nothing is converted: the class computes, is evaluated and saved from the same memory that training changes, and
projections that read the same input (queries, keys and values; gate and up) lie side by side, so that they are one
matrix.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from pliant.training.decoder import rotation

CLASSES = {"LlamaForCausalLM": False, "Olmo2ForCausalLM": True}
"""The classes, and whether they norm what a block adds (and queries and keys) instead of what it reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the passes through a decoder are determined by; `post_norm` is OLMo-2."""

    width: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    epsilon: float
    post_norm: bool
    tied: bool

    def matrices(self) -> dict[str, tuple[int, int]]:
        """(rows, columns) of each matrix, joint ones as one, by a name of our own."""
        width, hidden = self.width, self.feed_forward
        block = {
            "qkv": (3 * width, width),
            "o": (width, width),
            "gate_up": (2 * hidden, width),
            "down": (width, hidden),
        }
        found = {"embed": (self.vocabulary, width)}
        found |= {f"{n}.{name}": size for n in range(self.layers) for name, size in block.items()}
        return found if self.tied else found | {"head": (self.vocabulary, width)}

    def gains(self) -> list[str]:
        """The names of the gains, `width` numbers each."""
        block = ["attention_norm", "feed_forward_norm"] + (["q_norm", "k_norm"] if self.post_norm else [])
        return [f"{n}.{name}" for n in range(self.layers) for name in block] + ["norm"]


def flattens(model: Any) -> bool:
    """Whether `model` is one that `FlatWeights` takes.

    That is a Llama or OLMo-2 without biases, dropout, scaled rotations, grouped heads or heads of a size of their own.
    """
    if type(model).__name__ not in CLASSES:
        return False
    config = model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return bool(
        not config.attention_bias
        and not getattr(config, "mlp_bias", False)
        and config.hidden_act == "silu"
        and config.num_key_value_heads == config.num_attention_heads
        and head * config.num_attention_heads == config.hidden_size
        and not config.attention_dropout
        and model.model.rotary_emb.rope_type == "default"
    )


@final
class FlatWeights:
    """Takes over the parameters of `model` (one that `flattens`): they become views of `buffer`.

    Matrices come first, gains after them, so that the first `decayed` numbers are those with weight decay.
    """

    def __init__(self, model: Any) -> None:
        config = model.config
        self.model = model
        self.shape = Shape(
            width=config.hidden_size,
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            feed_forward=config.intermediate_size,
            vocabulary=config.vocab_size,
            epsilon=config.rms_norm_eps,
            post_norm=CLASSES[type(model).__name__],
            tied=model.lm_head.weight is model.model.embed_tokens.weight,
        )
        self.decayed = sum(rows * columns for rows, columns in self.shape.matrices().values())
        first = next(model.parameters())
        size = self.decayed + self.shape.width * len(self.shape.gains())
        self.buffer: Float[Tensor, " parameters"] = torch.empty(size, dtype=first.dtype, device=first.device)
        for parameter, view in self.pairs(self.buffer):
            view.copy_(parameter.detach())
            parameter.data = view

    def pairs(self, flat: Float[Tensor, " parameters"]) -> Iterator[tuple[Tensor, Tensor]]:
        """Each parameter of the model and its place in `flat`, a buffer laid out like this one."""
        places = views(self.shape, flat)
        for name, parts in _parameters(self.model, self.shape):
            rows = torch.split(places[name], [len(part) for part in parts])
            yield from zip(parts, rows, strict=True)

    def turns(self, length: int) -> tuple[Float[Tensor, "length half"], Float[Tensor, "length half"]]:
        """cos and sin of the angles of positions 0 .. length - 1."""
        cosine, sine = rotation(self.model, length)
        half = cosine.shape[1] // 2
        return cosine[:, :half].to(self.buffer.dtype), sine[:, half:].to(self.buffer.dtype)


def views(shape: Shape, flat: Float[Tensor, " parameters"]) -> dict[str, Tensor]:
    """The matrices and gains of `shape` in `flat`, by name."""
    found, start = {}, 0
    for name, (rows, columns) in shape.matrices().items():
        found[name] = flat[start : start + rows * columns].view(rows, columns)
        start += rows * columns
    for name in shape.gains():
        found[name] = flat[start : start + shape.width]
        start += shape.width
    return found


def _parameters(model: Any, shape: Shape) -> Iterator[tuple[str, list[Tensor]]]:
    """The parameters that lie in each matrix and gain, from its first row on."""
    yield "embed", [model.model.embed_tokens.weight]
    for n, layer in enumerate(model.model.layers):
        attention, mlp = layer.self_attn, layer.mlp
        yield f"{n}.qkv", [attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]
        yield f"{n}.o", [attention.o_proj.weight]
        yield f"{n}.gate_up", [mlp.gate_proj.weight, mlp.up_proj.weight]
        yield f"{n}.down", [mlp.down_proj.weight]
        if shape.post_norm:
            yield f"{n}.attention_norm", [layer.post_attention_layernorm.weight]
            yield f"{n}.feed_forward_norm", [layer.post_feedforward_layernorm.weight]
            yield f"{n}.q_norm", [attention.q_norm.weight]
            yield f"{n}.k_norm", [attention.k_norm.weight]
        else:
            yield f"{n}.attention_norm", [layer.input_layernorm.weight]
            yield f"{n}.feed_forward_norm", [layer.post_attention_layernorm.weight]
    yield "norm", [model.model.norm.weight]
    if not shape.tied:
        yield "head", [model.lm_head.weight]
