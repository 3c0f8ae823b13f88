"""One model in memory that takes the weights of checkpoint after checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from pliant.checkpoints.frame import Frame, frame_of
from pliant.checkpoints.naming import stored_names
from pliant.checkpoints.pretrained import from_pretrained
from pliant.checkpoints.stored import StoredWeights, open_stored
from pliant.checkpoints.weights import StoredTensor, canonical_tensors, in_safetensors, stored_tensors


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loaded:
    """A model and, where its tensors are taken from the files one for one, its trained tensors as stored."""

    model: Any
    stored: StoredWeights | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Built:
    """A model as transformers built it: its frame, the stored name of each tensor, and what no file holds."""

    model: Any
    frame: Frame
    names: Mapping[str, str]
    derived: Mapping[str, Tensor]
    attention: str


@final
class Resident:
    """Holds the model of the last checkpoint, and reads the next one into it where that has the same frame.

    A model handed out before is then the model of the next checkpoint: one `Resident` serves one checkpoint at a time.
    """

    def __init__(self) -> None:
        self._built: _Built | None = None

    def load(self, folder: Path, *, allow_pickle: bool, trust_remote_code: bool) -> Loaded:
        """The model of `folder`, bit for bit as `from_pretrained` gives it in fp32, ready to evaluate.

        The tensors are read one at a time into the model that is there; another frame builds a new one, after the old
        one is let go. Memory: the model and its largest tensor, where the caller keeps no older model.

        Raises:
            CheckpointError: the folder is damaged, or no causal language model. The next load builds anew.
        """
        tensors = stored_tensors(folder) if in_safetensors(folder) else {}
        frame = frame_of(folder, tensors, trusted=trust_remote_code)
        built, self._built = self._built, None  # held again when it is whole: a failure midway leaves half of each
        if built is not None and built.frame == frame and _derived_as_built(built):
            _read(built, folder, tensors)
        else:
            built = None  # let go before another is built: never two models
            model = from_pretrained(folder, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
            names = stored_names(model, tensors) if frame is not None else None
            if frame is None or names is None:
                return Loaded(model=model, stored=None)
            built = _built(model, frame, names)
        self._built = built
        trained = {name: tensors[built.names[name]] for name in canonical_tensors(built.model)}
        return Loaded(model=built.model, stored=open_stored(trained))

    def release(self) -> None:
        """Let the model go."""
        self._built = None


def _built(model: Any, frame: Frame, names: Mapping[str, str]) -> _Built:
    derived = {name: buffer.clone() for name, buffer in model.named_non_persistent_buffers()}
    return _Built(
        model=model, frame=frame, names=names, derived=derived, attention=str(model.config._attn_implementation)
    )


def _derived_as_built(built: _Built) -> bool:
    """Whether what the config determines is as it was: some rotary embeddings stretch when they meet a long text."""
    now = dict(built.model.named_non_persistent_buffers())
    return now.keys() == built.derived.keys() and all(
        torch.equal(now[name].cpu(), buffer) for name, buffer in built.derived.items()
    )


def _read(built: _Built, folder: Path, tensors: Mapping[str, StoredTensor]) -> None:
    model = built.model
    stored = open_stored({name: tensors[source] for name, source in built.names.items()})
    filled: dict[str, Tensor] = model.state_dict()
    for name in stored:
        stored.fill(name, filled[name])
    for parameter in model.parameters():
        parameter.grad = None
        parameter.requires_grad_(True)
    model.eval()
    model.set_attn_implementation(built.attention)
    model.config.name_or_path = model.name_or_path = str(folder)
