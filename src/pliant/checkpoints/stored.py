"""Tensors read from a checkpoint's files one at a time, by the names that a model of its class gives them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from pliant.checkpoints.about import CheckpointError, read_about
from pliant.checkpoints.folder import check_files, check_written_for
from pliant.checkpoints.weights import (
    StoredTensor,
    canonical_tensors,
    not_finite,
    stored_fingerprint,
    stored_tensors,
)


def known_weights(folder: Path) -> str:
    """The fingerprint of the weights in `folder`, checked against its pliant.json.

    Raises:
        CheckpointError: no safetensors there, or not the weights that pliant.json was written for.
    """
    check_files(folder)
    weights = stored_fingerprint(folder)
    check_written_for(folder, read_about(folder), weights)
    return weights


def read_canonical(folder: Path, model: Any) -> Iterator[tuple[str, Tensor]]:
    """Each trained tensor of `model` as `folder` stores it, by canonical name, in the dtype of the file.

    Raises:
        CheckpointError: no safetensors there, other names or shapes than the model's, NaN or infinity.
    """
    from safetensors import safe_open

    check_files(folder)
    for name, (stored_name, place) in _matched(folder, model).items():
        with safe_open(place.file, framework="pt") as file:
            tensor: Tensor = file.get_tensor(stored_name)
        for damaged in not_finite({name: tensor}):
            raise CheckpointError(f"{folder}: tensor {damaged} holds NaN or infinity; fetch the checkpoint again")
        yield name, tensor


def _matched(folder: Path, model: Any) -> dict[str, tuple[str, StoredTensor]]:
    """canonical name -> (stored name, where); stored names may have or lack the class's prefix, or be a tied one."""
    stored, found_at = stored_tensors(folder), {}
    for name, names in _spellings(model).items():
        found = [spelt for spelt in names if spelt in stored]
        if not found:
            raise _differs(folder, f"{name} is not there")
        expected = tuple(canonical_tensors(model)[name].shape)
        if stored[found[0]].shape != expected:
            raise _differs(folder, f"{name} has shape {stored[found[0]].shape} instead of {expected}")
        found_at[name] = (found[0], stored[found[0]])
    known = {spelt for names in _spellings(model).values() for spelt in names} | set(model.state_dict())
    ignored = [re.compile(pattern) for pattern in getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()]
    extra = [n for n in sorted(set(stored) - known) if not any(pattern.search(n) for pattern in ignored)]
    if extra:
        raise _differs(folder, f"{extra[0]} is not expected")
    return found_at


def _spellings(model: Any) -> dict[str, list[str]]:
    """The names under which each trained tensor may be stored, its own first."""
    prefix = f"{model.base_model_prefix}."
    names: dict[int, list[str]] = {}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(tensor), []).append(name)
    return {
        name: [spelt for alias in names[id(tensor)] for spelt in (alias, alias.removeprefix(prefix), prefix + alias)]
        for name, tensor in canonical_tensors(model).items()
    }


def _differs(folder: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{folder} does not hold the tensors of the checkpoint it is combined with ({what}); "
        "combine checkpoints of one architecture"
    )
