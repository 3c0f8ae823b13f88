"""What came of a fine-tune, kept outside of the model, so that several cells can start from one training."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pliant.checkpoints.weights import canonical_tensors
from pliant.modifications.finetune import FineTune, finish
from pliant.modifications.variant import Variant


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tuned:
    """The fine-tuned tensors by name and what there is to tell of them."""

    variant: Variant
    tensors: Mapping[str, Tensor]


def keep_tuned(variant: Variant, model: Any) -> Tuned:
    """`variant` as `model` holds it now, 4 bytes a parameter in main memory."""
    tensors = {name: tensor.detach().to("cpu", copy=True) for name, tensor in canonical_tensors(model).items()}
    return Tuned(variant=variant, tensors=tensors)


def tuned_variant(tuned: Tuned, settings: FineTune, model: Any, base: Mapping[str, Tensor]) -> Iterator[Variant]:
    """Put the fine-tuned tensors into `model`, do what `settings` do after training, and hand it over once."""
    if not tuned.variant.diverged:
        with torch.no_grad():
            for name, tensor in canonical_tensors(model).items():
                tensor.copy_(tuned.tensors[name])
    yield finish(tuned.variant, settings, model, base)
