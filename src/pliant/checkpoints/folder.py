"""A checkpoint as a Hugging Face folder: written whole or not at all, opened with its defects named."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pliant.checkpoints.about import About, CheckpointError, read_about
from pliant.checkpoints.resident import Resident
from pliant.checkpoints.shards import ShardedWeights
from pliant.checkpoints.stored import StoredWeights
from pliant.checkpoints.weights import canonical_tensors, not_finite, stored_fingerprint
from pliant.records.parts import doomed_name, part_name

_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_SAFE = ("model.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """An opened checkpoint: the transformers model in fp32 and evaluation mode, its facts, its fingerprint.

    `stored` reads the trained tensors again, from files that stay open; None where they are not stored one for one.
    """

    model: Any
    about: About
    weights: str
    stored: StoredWeights | ShardedWeights | None = None


@contextmanager
def whole_folder(folder: Path, keep: Callable[[Path], bool] = lambda _: False) -> Iterator[Path]:
    """A temporary folder that becomes `folder` by one rename when the block ends without an error.

    The disk confirms it before: no power loss leaves half of it under that name. Where another process has made
    `folder` meanwhile and `keep` says so of it, that one stays: nobody who reads it ever misses it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary, doomed = folder.with_name(part_name()), folder.with_name(doomed_name())
    temporary.mkdir()
    try:
        yield temporary
        _confirm(temporary)
        try:
            os.replace(temporary, folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if not keep(folder):
                os.replace(folder, doomed)  # renamed before it is deleted: no half of it is ever taken for the whole
                os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(doomed, ignore_errors=True)


def _confirm(folder: Path) -> None:
    """Wait until the disk has the content of every file of `folder`."""
    for file in (path for path in folder.rglob("*") if path.is_file()):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def save_weights(model: Any, folder: Path) -> None:
    """Write config.json and model.safetensors: what `AutoModelForCausalLM.from_pretrained` needs."""
    from safetensors.torch import save_file

    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    tensors = {name: tensor.detach().contiguous() for name, tensor in canonical_tensors(model).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def open_checkpoint(
    folder: Path, *, allow_pickle: bool = False, trust_remote_code: bool = False, into: Resident | None = None
) -> Checkpoint:
    """Open any folder that `AutoModelForCausalLM.from_pretrained` opens, and check that it is whole.

    `into` holds one model: what it opened before must not be used any more. Same bits either way.

    Raises:
        CheckpointError: not a checkpoint; weights pickled, cut short, NaN or missing; shapes against the config; model
            code of the folder's own without `trust_remote_code`.
    """
    check_files(folder, allow_pickle=allow_pickle)
    weights = stored_fingerprint(folder)
    holder = Resident() if into is None else into
    loaded = holder.load(folder, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    for name in () if loaded.finite else not_finite(loaded.tensors):
        raise CheckpointError(
            f"{folder}: tensor {name} holds NaN or infinity; the checkpoint is damaged, fetch it again"
        )
    about = read_about(folder)
    check_written_for(folder, about, weights)
    return Checkpoint(model=loaded.model, about=about, weights=weights, stored=loaded.stored)


def check_written_for(folder: Path, about: About, weights: str) -> None:
    """The weights must be those that `pliant.json` was written for, where it names any.

    Raises:
        CheckpointError: they are others.
    """
    if about.weights not in (None, weights):
        raise CheckpointError(
            f"{folder}: the weights are not those that pliant.json was written for "
            f"({weights[:19]} found, {str(about.weights)[:19]} expected); restore the folder, or delete pliant.json"
        )


def check_files(folder: Path, *, allow_pickle: bool = False) -> None:
    """The checks that need no weights: the folder is there, has a config and safe weights."""
    if not folder.is_dir():
        raise CheckpointError(f"no checkpoint folder at {folder}; give a folder with config.json and model.safetensors")
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} has no config.json; expected a Hugging Face checkpoint folder")
    if any((folder / name).is_file() for name in _SAFE):
        return
    if any((folder / name).is_file() for name in _PICKLED):
        if not allow_pickle:
            raise CheckpointError(
                f"{folder} holds pickled weights, which can run code when opened; convert them to safetensors, "
                "or set allow_pickle: true if you trust their source"
            )
        return
    raise CheckpointError(f"{folder} has no model.safetensors; expected a Hugging Face checkpoint folder")
