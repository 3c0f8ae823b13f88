"""Which stored tensor fills which tensor of a model, where each fills one as it is."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def stored_names(model: Any, stored: Iterable[str]) -> dict[str, str] | None:
    """For each parameter and persistent buffer of `model` the name under which it is stored, by transformers' rules.

    The rules are those of `from_pretrained`: renaming of older layouts, the base model's prefix added or taken away.
    A tied tensor goes by its first name. Stored names that fill nothing are left out. None where the tensors are not
    taken one for one: fused or split on loading, quantised, tied by the config and stored twice, or not stored at all.
    """
    tensors: dict[str, Tensor] = model.state_dict(keep_vars=True)
    if getattr(model, "hf_quantizer", None) is not None or not all(map(_in_fp32, tensors.values())):
        return None
    filled = _targets(model, stored, tensors)
    if filled is None or any(pair <= filled.keys() for pair in _tied_by_config(model)):
        return None
    first = _first_names(model)
    names = {first[id(tensors[target])]: name for target, name in filled.items()}
    complete = len(names) == len(filled) and names.keys() == {first[id(tensor)] for tensor in tensors.values()}
    return names if complete else None


def _in_fp32(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 or not tensor.is_floating_point()


def _targets(model: Any, stored: Iterable[str], tensors: dict[str, Tensor]) -> dict[str, str] | None:
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    transforms = get_model_conversion_mapping(model)
    renamings = [entry for entry in transforms if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in transforms if isinstance(entry, WeightConverter)]
    filled: dict[str, str] = {}
    for name in stored:
        target, converted = rename_source_key(name, renamings, converters, model.base_model_prefix, tensors)
        if target not in tensors and name in tensors:  # as on loading: a name that is right is not renamed
            target, converted = rename_source_key(name, [], [], model.base_model_prefix, tensors)
        if converted is not None or target in filled:
            return None
        if target in tensors:
            filled[target] = name
    return filled


def _tied_by_config(model: Any) -> list[set[str]]:
    """Pairs of names that the config ties; where both are stored, loading ties them only if they are equal."""
    tied = model.get_expanded_tied_weights_keys(all_submodels=True)
    return [{target, source} for target, source in tied.items()]


def _first_names(model: Any) -> dict[int, str]:
    return {id(tensor): name for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
