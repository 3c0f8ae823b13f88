"""A checkpoint as a Hugging Face folder: written whole or not at all, opened with its defects named."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pliant.checkpoints.about import About, CheckpointError, read_about
from pliant.checkpoints.weights import canonical_tensors, not_finite, stored_fingerprint

_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_SAFE = ("model.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """An opened checkpoint: the transformers model in fp32 and evaluation mode, its facts, its fingerprint."""

    model: Any
    about: About
    weights: str


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` by one rename when the block ends without an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary, doomed = (folder.parent / f".part-{uuid.uuid4().hex}" for _ in range(2))
    temporary.mkdir()
    try:
        yield temporary
        if folder.exists():
            os.replace(folder, doomed)  # renamed before it is deleted: no half of it is ever taken for the whole
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(doomed, ignore_errors=True)


def save_weights(model: Any, folder: Path) -> None:
    """Write config.json and model.safetensors: what `AutoModelForCausalLM.from_pretrained` needs."""
    from safetensors.torch import save_file

    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    tensors = {name: tensor.detach().contiguous() for name, tensor in canonical_tensors(model).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def open_checkpoint(folder: Path, *, allow_pickle: bool = False) -> Checkpoint:
    """Open any folder that `AutoModelForCausalLM.from_pretrained` opens, and check that it is whole.

    Raises:
        CheckpointError: not a checkpoint; weights pickled, cut short, NaN or missing; shapes against the config.
    """
    check_files(folder, allow_pickle=allow_pickle)
    weights = stored_fingerprint(folder)
    model = _from_pretrained(folder, allow_pickle)
    model.eval()
    tensors = canonical_tensors(model)
    for name in not_finite(tensors):
        raise CheckpointError(
            f"{folder}: tensor {name} holds NaN or infinity; the checkpoint is damaged, fetch it again"
        )
    about = read_about(folder)
    check_written_for(folder, about, weights)
    return Checkpoint(model=model, about=about, weights=weights)


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


def _from_pretrained(folder: Path, allow_pickle: bool) -> Any:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        with _quiet():
            model, found = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=None if allow_pickle else True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                output_loading_info=True,
                local_files_only=True,
            )
    except SafetensorError as error:
        raise CheckpointError(
            f"{folder}: model.safetensors is damaged or cut short ({error}); fetch it again"
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{folder} does not open as a causal language model ({first}); mend its config.json, or fetch it again"
        ) from error
    wrong = [f"{name} is missing" for name in sorted(found["missing_keys"])]
    wrong += [f"{name} is not expected" for name in sorted(found["unexpected_keys"])]
    wrong += [
        f"{name} has shape {tuple(stored)} instead of {tuple(expected)}"
        for name, stored, expected in sorted(found["mismatched_keys"])
    ]
    if wrong:
        raise CheckpointError(
            f"{folder}: config.json and the tensors disagree ({wrong[0]}{_and_more(wrong)}); "
            "the folder mixes two models, fetch it again"
        )
    return model


def _and_more(wrong: list[str]) -> str:
    return f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bar and loading report: what is wrong becomes one line of ours."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
