"""Activation-aware pruning (Wanda): the weights that matter least to their layer's output set to zero."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.blocks import decoder_blocks
from pliant.modifications.blocks import linear_layers
from pliant.modifications.variant import Variant

PASSES = 3
"""Forward passes over the calibration tokens: what blocks are called with, input norms, and outputs once pruned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanda:
    """The share `strength` of each output row with the smallest |W_ij| ||X_j||_2 is set to zero.

    X_j is input feature j of that layer over `calibration_tokens` tokens of training text. The linear layers of the
    decoder blocks are pruned, as in the paper: not the embeddings and not the output head.
    Source: Sun et al., arXiv 2306.11695.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    IDENTITY: ClassVar = frozenset({"strength", "calibration_tokens"})
    RUNTIME: ClassVar[frozenset[str]] = frozenset()
    KIND: ClassVar = "prune"

    strength: float
    calibration_tokens: int = 8192

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and 0 <= self.strength <= 1):
            raise ValueError(f"the share of weights pruned must lie between 0 and 1, got {self.strength}")
        if self.calibration_tokens < 1:
            raise ValueError(f"calibration_tokens must be at least 1, got {self.calibration_tokens}")

    @property
    def label(self) -> str:
        return f"prune, wanda on {self.calibration_tokens:,} tokens"


def wanda_pruned(
    weights: Float[Tensor, "outputs inputs"], input_norms: Float[Tensor, " inputs"], share: float
) -> Float[Tensor, "outputs inputs"]:
    """The round(share x inputs) weights of smallest |W_ij| ||X_j|| of each row zero, of equal ones the first."""
    count = round(share * weights.shape[1])
    smallest = (weights.abs() * input_norms).argsort(dim=1, stable=True)[:, :count]
    return weights.scatter(1, smallest, 0.0)


def wanda_variant(
    settings: Wanda, model: Any, calibration: Int[Tensor, "rows length"], batch_tokens: int
) -> Iterator[Variant]:
    """Prune `model` in place, block after block; share 0 leaves the weights untouched.

    As in the paper's own procedure, the input norms of a block are measured with all blocks before it pruned and
    the block itself whole.

    Raises:
        CheckpointError: a class whose decoder blocks are not found, or hold matrices that are no linear layers.
    """
    if settings.strength > 0:
        blocks = _blocks(model)
        layers = [_linear_layers(model, block) for block in blocks]
        with torch.no_grad():
            inputs = [_block_inputs(model, blocks, batch) for batch in _batches(calibration, batch_tokens)]
            hidden = [seen[0][0][0] for seen in inputs]
            for index, block in enumerate(blocks):
                rest = [(seen[index][0][1:], seen[index][1]) for seen in inputs]
                found = _input_norms(block, layers[index], hidden, rest)
                for name, layer in layers[index].items():
                    _prune(layer, found[name], settings.strength)
                hidden = _through(block, hidden, rest)
    yield Variant()


_Call = tuple[tuple[Any, ...], dict[str, Any]]
"""The arguments with which a block was called, by place and by name; the first is its hidden input."""


def _blocks(model: Any) -> list[nn.Module]:
    found = decoder_blocks(model)
    if not found:
        depth = model.config.get_text_config().num_hidden_layers
        raise CheckpointError(
            f"wanda finds no list of {depth} decoder blocks in {type(model).__name__}; prune by magnitude"
        )
    return found


def _linear_layers(model: Any, block: nn.Module) -> dict[str, nn.Module]:
    """The linear layers of a block by name, which must own all of its matrices."""
    layers = linear_layers(block)
    owned = {id(layer.weight) for layer in layers.values()}
    for name, tensor in block.named_parameters():
        if tensor.ndim >= 2 and id(tensor) not in owned:
            raise CheckpointError(
                f"wanda prunes linear layers, and {name} of {type(model).__name__} is none; prune by magnitude"
            )
    return layers


def _batches(windows: Int[Tensor, "rows length"], batch_tokens: int) -> Sequence[Int[Tensor, "some length"]]:
    return torch.split(windows, max(1, batch_tokens // windows.shape[1]))


def _block_inputs(model: Any, blocks: Sequence[nn.Module], windows: Int[Tensor, "rows length"]) -> list[_Call]:
    """How each block is called on `windows`: masks and rotations do not depend on the weights, so they serve later.

    Only the first block's hidden input is kept; those of the others change as blocks are pruned.
    """
    calls: list[_Call] = []

    def note(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        if not given:
            raise CheckpointError(
                f"wanda cannot follow how {type(model).__name__} calls its blocks; prune by magnitude"
            )
        calls.append((given if not calls else (None, *given[1:]), named))

    with ExitStack() as hooks:
        for block in blocks:
            hooks.callback(block.register_forward_pre_hook(note, with_kwargs=True).remove)
        model.base_model(input_ids=windows, use_cache=False)
    return calls


def _input_norms(
    block: nn.Module, layers: dict[str, nn.Module], hidden: Sequence[Tensor], rest: Sequence[_Call]
) -> dict[str, Float[Tensor, " inputs"]]:
    """||X_j||_2 of each input feature of each layer: squares summed in fp32 within a batch, in fp64 over batches."""
    squares: dict[str, Tensor] = {}

    def observer(name: str) -> Any:
        def note(_: nn.Module, given: tuple[Any, ...]) -> None:
            seen = given[0].float().square().sum(dim=tuple(range(given[0].ndim - 1))).cpu().double()
            squares[name] = squares.get(name, 0.0) + seen

        return note

    with ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.callback(layer.register_forward_pre_hook(observer(name)).remove)
        _through(block, hidden, rest)
    return {name: total.sqrt().float() for name, total in squares.items()}


def _through(block: nn.Module, hidden: Sequence[Tensor], rest: Sequence[_Call]) -> list[Tensor]:
    outputs = [block(one, *given, **named) for one, (given, named) in zip(hidden, rest, strict=True)]
    return [output[0] if isinstance(output, tuple) else output for output in outputs]


def _prune(layer: Any, input_norms: Float[Tensor, " inputs"], share: float) -> None:
    """A Conv1D (GPT-2) keeps its matrix as inputs x outputs, a Linear as outputs x inputs."""
    rows = layer.weight if isinstance(layer, nn.Linear) else layer.weight.T
    rows.copy_(wanda_pruned(rows, input_norms.to(rows.device), share))
