"""What a fine-tune stands on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pliant.data.tasks import EncodedTask
from pliant.data.windows import WindowSource
from pliant.modifications.regularise.fisher import diagonal_fisher
from pliant.training.decoder import Forward


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ground:
    """The task, the weights that a fine-tune begins from, and pre-training text to look back at.

    The text is opened when it is first asked for; plain fine-tuning never reads it. `fishers` holds the Fisher
    information of the base by the tokens it was estimated on, once it was asked for.
    """

    task: EncodedTask
    base: Mapping[str, Tensor]
    text: Callable[[int], WindowSource]
    forward: Forward
    fishers: dict[int, Mapping[str, Tensor]] = field(default_factory=dict)

    def fisher(self, model: Any, tokens: int) -> Mapping[str, Tensor]:
        """That of `model`, which holds the base, on the first windows of text in the order of seed 0."""
        if tokens not in self.fishers:
            source = self.text(0)
            context = source.windows(0, 1).shape[1] - 1
            inputs = torch.from_numpy(source.windows(0, max(1, tokens // context))[:, :-1])
            self.fishers[tokens] = diagonal_fisher(model, inputs.to(model.device), forward=self.forward)
        return self.fishers[tokens]
