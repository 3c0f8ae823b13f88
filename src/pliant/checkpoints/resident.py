"""One model in memory that takes the weights of checkpoint after checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from pliant.checkpoints.config import check_config
from pliant.checkpoints.frame import Frame, frame_of
from pliant.checkpoints.naming import stored_names
from pliant.checkpoints.pretrained import from_pretrained, unfilled
from pliant.checkpoints.stored import StoredWeights, open_stored
from pliant.checkpoints.weights import (
    StoredTensor,
    all_finite,
    canonical_tensors,
    in_safetensors,
    modules_of,
    stored_tensors,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loaded:
    """A model, its trained tensors and, where they are taken from the files one for one, these as stored.

    `finite` says that no number is NaN or infinite; where it is not set, that was not seen while they were read.
    """

    model: Any
    tensors: Mapping[str, Tensor]
    stored: StoredWeights | None
    finite: bool = False


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
        check_config(folder, tensors, trust_remote_code=trust_remote_code)
        frame = frame_of(folder, tensors, trusted=trust_remote_code)
        built, self._built = self._built, None  # held again when it is whole: a failure midway leaves half of each
        if built is None or built.frame != frame or not _derived_as_built(built):
            built = None  # let go before another is built: never two models
            built = _unfilled(folder, frame, tensors) if frame is not None else None
        if built is not None:
            trained = canonical_tensors(built.model)
            stored, finite = _read(built, trained, folder, tensors)
        else:
            model = from_pretrained(folder, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
            names = stored_names(model, tensors) if frame is not None else None
            if frame is None or names is None:
                return Loaded(model=model, tensors=canonical_tensors(model), stored=None)
            built = _built(model, frame, names)
            trained, stored, finite = canonical_tensors(model), _open(built, tensors), False
        self._built = built
        places = {name: stored.places[name] for name in trained}
        return Loaded(model=built.model, tensors=trained, stored=replace(stored, places=places), finite=finite)

    def release(self) -> None:
        """Let the model go."""
        self._built = None


def _unfilled(folder: Path, frame: Frame, tensors: Mapping[str, StoredTensor]) -> _Built | None:
    """A model to read `tensors` into; None where that is not all there is to opening `folder`, or they do not fit."""
    model = unfilled(folder)
    if model is None:
        return None
    names = stored_names(model, tensors)
    if names is None or set(names.values()) != tensors.keys():
        return None
    shapes = {
        **{name: p.shape for name, p in model.named_parameters()},
        **{n: b.shape for n, b in model.named_buffers()},
    }
    if any(tuple(shapes[name]) != tensors[source].shape for name, source in names.items()):
        return None
    return _built(model, frame, names)


def _built(model: Any, frame: Frame, names: Mapping[str, str]) -> _Built:
    derived = {name: buffer.clone() for name, buffer in _derived(model).items()}
    return _Built(
        model=model, frame=frame, names=names, derived=derived, attention=str(model.config._attn_implementation)
    )


def _derived_as_built(built: _Built) -> bool:
    """Whether what the config determines is as it was: some rotary embeddings stretch when they meet a long text."""
    now = _derived(built.model)
    return now.keys() == built.derived.keys() and all(
        torch.equal(now[name].cpu(), buffer) for name, buffer in built.derived.items()
    )


def _derived(model: Any) -> dict[str, Tensor]:
    """The buffers that no file holds."""
    return {
        prefix + name: buffer
        for prefix, module in modules_of(model)
        for name, buffer in module._buffers.items()
        if buffer is not None and name in module._non_persistent_buffers_set
    }


def _open(built: _Built, tensors: Mapping[str, StoredTensor]) -> StoredWeights:
    return open_stored({name: tensors[source] for name, source in built.names.items()})


def _read(
    built: _Built, trained: Mapping[str, Tensor], folder: Path, tensors: Mapping[str, StoredTensor]
) -> tuple[StoredWeights, bool]:
    model, stored, sums = built.model, _open(built, tensors), list[Tensor]()
    filled = trained if trained.keys() >= stored.keys() else {**trained, **dict(model.named_buffers())}
    with torch.no_grad():
        for name in stored:
            stored.fill(name, filled[name])
            if filled[name].is_floating_point():
                sums.append(filled[name].sum())  # now, while it is in the cache
    for parameter in trained.values():
        parameter.grad = None
        parameter.requires_grad_(True)
    if any(module.training for _, module in modules_of(model)):
        model.eval()
    if model.config._attn_implementation != built.attention:
        model.set_attn_implementation(built.attention)
    model.config.name_or_path = model.name_or_path = str(folder)
    return stored, all_finite(sums)
