"""The decoder blocks of a model, in whatever class they are."""

from typing import Any

from torch import nn


def decoder_blocks(model: Any) -> list[nn.Module]:
    """The first list of modules that is as long as the model is deep; empty where there is none."""
    depth = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return list(module)
    return []
