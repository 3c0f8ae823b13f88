"""The decoder blocks of a model and their linear layers, in whatever class they are."""

from typing import Any

from torch import nn


def decoder_blocks(model: Any) -> list[nn.Module]:
    """The first list of modules that is as long as the model is deep; empty where there is none."""
    depth = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return list(module)
    return []


def linear_layers(module: nn.Module) -> dict[str, nn.Module]:
    """The linear layers in `module` by name; those of GPT-2 keep their matrix as inputs x outputs."""
    from transformers.pytorch_utils import Conv1D

    return {name: layer for name, layer in module.named_modules() if isinstance(layer, (nn.Linear, Conv1D))}


def block_layers(model: Any) -> dict[str, nn.Module]:
    """The linear layers of the decoder blocks by their names in `model`: no embeddings, no output head."""
    inside = {layer for block in decoder_blocks(model) for layer in linear_layers(block).values()}
    return {name: layer for name, layer in linear_layers(model).items() if layer in inside}
