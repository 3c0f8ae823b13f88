"""The linear layers of the decoder blocks of a model, in whatever class they are."""

from typing import Any

from torch import nn

from pliant.checkpoints.blocks import decoder_blocks


def linear_layers(module: nn.Module) -> dict[str, nn.Module]:
    """The linear layers in `module` by name; those of GPT-2 keep their matrix as inputs x outputs."""
    from transformers.pytorch_utils import Conv1D

    return {name: layer for name, layer in module.named_modules() if isinstance(layer, (nn.Linear, Conv1D))}


def block_layers(model: Any) -> dict[str, nn.Module]:
    """The linear layers of the decoder blocks by their names in `model`: no embeddings, no output head."""
    inside = {layer for block in decoder_blocks(model) for layer in linear_layers(block).values()}
    return {name: layer for name, layer in linear_layers(model).items() if layer in inside}
