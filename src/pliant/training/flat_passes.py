"""The loss of a batch and its gradient, by hand: no graph is recorded, and each gradient is written where it lies.

With `product` bfloat16 the matrix products are in it and everything between them in the weights' own precision.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from pliant.training import flat_parts
from pliant.training.flat_attention import Way, attend, attend_back
from pliant.training.flat_weights import Shape

LOGITS_AT_ONCE = 2**24
"""Numbers: 64 MiB of fp32 logits are held at a time."""

Rows = Float[Tensor, "tokens width"]
Places = Mapping[str, Tensor]
"""Matrices and gains by the names that `flat_weights.views` gives them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The functions of flat_parts, each as it is or compiled."""

    norm: Any
    norm_back: Any
    read_after: Any
    read_after_back: Any
    add_normed: Any
    add_normed_back: Any
    split_heads: Any
    join_heads: Any
    normed_heads: Any
    normed_heads_back: Any
    gate: Any
    gate_back: Any
    losses_of: Any


def parts_by(made: Callable[[Any], Any]) -> Parts:
    """Each part as `made` makes it."""
    return Parts(**{name: made(getattr(flat_parts, name)) for name in Parts.__dataclass_fields__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """How a decoder of `shape` is gone through."""

    shape: Shape
    parts: Parts
    attention: Way
    product: torch.dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class Tape:
    """What the passes over one batch share. `factors` are the matrices in the precision of the products; `into` is
    where gradients are written that are products; `gradients` takes them all."""

    passes: Passes
    weights: Places
    factors: Places
    into: Places | None
    turns: tuple[Float[Tensor, "length half"], Float[Tensor, "length half"]]
    gradients: dict[str, Tensor]

    def through(self, name: str, read: Float[Tensor, "tokens reads"]) -> Float[Tensor, "tokens makes"]:
        """read W'."""
        return read @ self.factors[name].t()

    def back(
        self, name: str, gradient: Float[Tensor, "tokens makes"], read: Float[Tensor, "tokens reads"]
    ) -> Float[Tensor, "tokens reads"]:
        """gradient W; that of W, gradient' read, is noted."""
        self.note(name, gradient.t(), read)
        return gradient @ self.factors[name]

    def note(self, name: str, left: Tensor, right: Tensor) -> None:
        """left right is the gradient of the matrix `name`, or one more part of it."""
        place = None if self.into is None else self.into[name]
        if name in self.gradients:
            self.gradients[name].add_(left @ right)
        elif place is None:
            self.gradients[name] = (left @ right).to(self.weights[name].dtype)
        elif place.dtype == left.dtype:
            self.gradients[name] = torch.mm(left, right, out=place)
        else:
            self.gradients[name] = place.copy_(left @ right)


def loss_and_gradient(
    tape: Tape, inputs: Int[Tensor, "batch length"], targets: Int[Tensor, " tokens"], share: Float[Tensor, " tokens"]
) -> Float[Tensor, ""]:
    """sum of share x -ln p(target) over the targets; its gradient is left in `tape`."""
    stream = F.embedding(inputs.flatten(), tape.weights["embed"])
    forward, backward = (_olmo2, _olmo2_back) if tape.passes.shape.post_norm else (_llama, _llama_back)
    read, kept = forward(tape, stream)
    loss, of_read = _head(tape, read, targets, share)
    _embedding_back(tape, inputs.flatten(), backward(tape, of_read, kept))
    return loss


def logits(tape: Tape, inputs: Int[Tensor, "batch length"]) -> Float[Tensor, "tokens vocabulary"]:
    """The logits after each token."""
    forward = _olmo2 if tape.passes.shape.post_norm else _llama
    read, _ = forward(tape, F.embedding(inputs.flatten(), tape.weights["embed"]))
    return tape.through(_head_of(tape), read)


def _embedding_back(tape: Tape, inputs: Int[Tensor, " tokens"], gradient: Rows) -> None:
    table = torch.ops.aten.embedding_dense_backward(gradient, inputs, tape.passes.shape.vocabulary, -1, False)
    tied = tape.gradients.get("embed")
    tape.gradients["embed"] = table if tied is None else tied.add_(table)


def _llama(tape: Tape, stream: Rows) -> tuple[Rows, list[Any]]:
    """What the head reads, and what the way back takes: each part of a block reads the norm of the stream."""
    parts, weights, epsilon = tape.passes.parts, tape.weights, tape.passes.shape.epsilon
    names = _names(tape.passes.shape)
    read, root = parts.norm(stream, weights[names[0] + "_norm"], epsilon, tape.passes.product)
    kept = []
    for name, behind in zip(names, [*names[1:], ""], strict=True):
        added, own = _PARTS[_kind(name)](tape, name, read)
        kept.append((stream, root, read, own))
        stream, read, root = parts.read_after(stream, added, weights[behind + "_norm" if behind else "norm"], epsilon)
    return read, [*kept, (stream, root, None, None)]


def _llama_back(tape: Tape, of_read: Rows, kept: list[Any]) -> Rows:
    parts, weights = tape.passes.parts, tape.weights
    stream, root, _, _ = kept[-1]
    of_stream = torch.zeros_like(stream)
    gain = "norm"
    for name, before in zip(reversed(_names(tape.passes.shape)), reversed(kept[:-1]), strict=True):
        of_stream, of_added, tape.gradients[gain] = parts.read_after_back(
            of_read, of_stream, stream, root, weights[gain]
        )
        stream, root, read, own = before
        of_read, gain = _PARTS_BACK[_kind(name)](tape, name, of_added, read, own), name + "_norm"
    total: Rows
    total, _, tape.gradients[gain] = parts.read_after_back(of_read, of_stream, stream, root, weights[gain])
    return total


def _olmo2(tape: Tape, stream: Rows) -> tuple[Rows, list[Any]]:
    """The same for OLMo-2, where each part of a block reads the stream and the norm is of what it adds."""
    parts, weights, epsilon, product = tape.passes.parts, tape.weights, tape.passes.shape.epsilon, tape.passes.product
    read, kept = stream.to(product), []
    for name in _names(tape.passes.shape):
        added, own = _PARTS[_kind(name)](tape, name, read)
        behind, reads, root = parts.add_normed(stream, added, weights[name + "_norm"], epsilon)
        kept.append((added, root, read, own))
        stream, read = behind, reads
    read, root = parts.norm(stream, weights["norm"], epsilon, product)
    return read, [*kept, (stream, root, None, None)]


def _olmo2_back(tape: Tape, of_read: Rows, kept: list[Any]) -> Rows:
    parts, weights = tape.passes.parts, tape.weights
    stream, root, _, _ = kept[-1]
    of_stream, tape.gradients["norm"] = parts.norm_back(of_read, stream, root, weights["norm"])
    of_read = torch.zeros_like(of_read)
    for name, (added, root, read, own) in zip(reversed(_names(tape.passes.shape)), reversed(kept[:-1]), strict=True):
        gain = name + "_norm"
        of_stream, of_added, tape.gradients[gain] = parts.add_normed_back(
            of_read, of_stream, added, root, weights[gain]
        )
        of_read = _PARTS_BACK[_kind(name)](tape, name, of_added, read, own)
    total: Rows = of_stream + of_read
    return total


def _attention(tape: Tape, name: str, read: Rows) -> tuple[Rows, tuple[Any, ...]]:
    passes, layer = tape.passes, _layer(name)
    joint = tape.through(layer + ".qkv", read)
    if passes.shape.post_norm:
        gains = tape.weights[layer + ".q_norm"], tape.weights[layer + ".k_norm"]
        *heads, first, second = passes.parts.normed_heads(joint, *gains, *tape.turns, passes.shape.epsilon)
        roots = (first, second)
    else:
        heads, roots = passes.parts.split_heads(joint, *tape.turns), None
    queries, keys, values = heads
    mixed, kept = attend(queries, keys, values, passes.attention)
    rows = mixed.transpose(1, 2).reshape(len(read), -1).to(passes.product)
    return tape.through(layer + ".o", rows), (kept, rows, joint, roots)


def _attention_back(tape: Tape, name: str, gradient: Rows, read: Rows, own: tuple[Any, ...]) -> Rows:
    passes, layer = tape.passes, _layer(name)
    kept, rows, joint, roots = own
    of_rows = tape.back(layer + ".o", gradient, rows).to(tape.turns[0].dtype)
    length, heads = len(tape.turns[0]), passes.shape.heads
    of_mixed = of_rows.view(-1, length, heads, passes.shape.width // heads).transpose(1, 2)
    split = attend_back(of_mixed, kept, passes.attention)
    if roots is None:
        of_joint = passes.parts.join_heads(*split, *tape.turns, passes.product)
    else:
        gains = tape.weights[layer + ".q_norm"], tape.weights[layer + ".k_norm"]
        of_joint, of_query_gain, of_key_gain = passes.parts.normed_heads_back(*split, joint, roots, gains, *tape.turns)
        tape.gradients[layer + ".q_norm"], tape.gradients[layer + ".k_norm"] = of_query_gain, of_key_gain
    return tape.back(layer + ".qkv", of_joint, read)


def _feed_forward(tape: Tape, name: str, read: Rows) -> tuple[Rows, tuple[Any, ...]]:
    joint = tape.through(_layer(name) + ".gate_up", read)
    hidden = tape.passes.parts.gate(joint, tape.turns[0].dtype)
    return tape.through(_layer(name) + ".down", hidden), (joint, hidden)


def _feed_forward_back(tape: Tape, name: str, gradient: Rows, read: Rows, own: tuple[Any, ...]) -> Rows:
    joint, hidden = own
    of_hidden = tape.back(_layer(name) + ".down", gradient, hidden)
    of_joint = tape.passes.parts.gate_back(of_hidden, joint, tape.turns[0].dtype)
    return tape.back(_layer(name) + ".gate_up", of_joint, read)


_PARTS = {"attention": _attention, "feed_forward": _feed_forward}
_PARTS_BACK = {"attention": _attention_back, "feed_forward": _feed_forward_back}


def _names(shape: Shape) -> list[str]:
    return [f"{n}.{kind}" for n in range(shape.layers) for kind in _PARTS]


def _layer(name: str) -> str:
    return name.split(".")[0]


def _kind(name: str) -> str:
    return name.split(".")[1]


def _head_of(tape: Tape) -> str:
    return "embed" if tape.passes.shape.tied else "head"


def _head(
    tape: Tape, read: Rows, targets: Int[Tensor, " tokens"], share: Float[Tensor, " tokens"]
) -> tuple[Float[Tensor, ""], Rows]:
    """The loss and the gradient of `read`, some rows at a time: never the logits of all where those are many."""
    at_once = max(1, LOGITS_AT_ONCE // tape.passes.shape.vocabulary)
    loss, gradients, name = torch.zeros_like(share[0]), [], _head_of(tape)
    for start in range(0, len(read), at_once):
        rows = slice(start, start + at_once)
        part, of_logits = tape.passes.parts.losses_of(tape.through(name, read[rows]), targets[rows], share[rows])
        gradients.append(tape.back(name, of_logits, read[rows]))
        loss = loss + part
    return loss, torch.cat(gradients) if len(gradients) > 1 else gradients[0]
