"""The tensors of a second checkpoint, to be combined with a model of the same architecture."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from pliant.checkpoints.about import CheckpointError, read_about
from pliant.checkpoints.folder import check_files, check_written_for
from pliant.checkpoints.naming import stored_names
from pliant.checkpoints.stored import OpenFile
from pliant.checkpoints.weights import StoredTensor, canonical_tensors, not_finite, stored_fingerprint, stored_tensors


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
    check_files(folder)
    places = _places(folder, model)
    files = {file: OpenFile(file) for file in {place.file for place in places.values()}}
    for name, place in places.items():
        tensor = files[place.file].read(place)
        for damaged in not_finite({name: tensor}):
            raise CheckpointError(f"{folder}: tensor {damaged} holds NaN or infinity; fetch the checkpoint again")
        yield name, tensor


def _places(folder: Path, model: Any) -> dict[str, StoredTensor]:
    """Canonical name -> where it lies; what the class itself ignores on loading may be there, too."""
    stored = stored_tensors(folder)
    names = stored_names(model, stored)
    if names is None:
        absent = [name for name in canonical_tensors(model) if name not in stored]
        raise _differs(folder, f"{absent[0]} is not there" if absent else "its tensors are fused or split on loading")
    ignored = [re.compile(pattern) for pattern in getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()]
    unused = sorted(set(stored) - set(names.values()))
    if extra := [name for name in unused if not any(pattern.search(name) for pattern in ignored)]:
        raise _differs(folder, f"{extra[0]} is not expected")
    places = {name: stored[names[name]] for name in canonical_tensors(model)}
    for name, tensor in canonical_tensors(model).items():
        if places[name].shape != tuple(tensor.shape):
            raise _differs(folder, f"{name} has shape {places[name].shape} instead of {tuple(tensor.shape)}")
    return places


def _differs(folder: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{folder} does not hold the tensors of the checkpoint it is combined with ({what}); "
        "combine checkpoints of one architecture"
    )
