"""What a study would take, before anything is fetched or listed: cells, downloads, disk, memory, accelerator hours."""

from collections.abc import Iterator
from dataclasses import dataclass

from pliant.data.corpora import corpus_source
from pliant.data.hub_text import HubText
from pliant.modifications.variant import LARGE_PARAMETERS
from pliant.records.identity import Json
from pliant.studies.memory import LOGIT_COPIES
from pliant.studies.recipes.accelerators import ACCELERATORS
from pliant.studies.recipes.sizes import PUBLIC_TEXTS
from pliant.studies.recipes.workload import BYTES_PER_TOKEN, Batch, Work, Workload, workloads
from pliant.studies.spec import SpecError, StudySpec

WEIGHT_BYTES, GRADIENT_BYTES, ADAMW_BYTES = 4, 4, 8
"""A parameter in fp32, its gradient, and the two moments of AdamW."""
ACTIVATION_BYTES = 34
"""A token, layer and unit of width in two-byte precision, attention scores not kept (Korthikanti et al.,
arXiv 2205.05198, equation 2); twice that in fp32."""
LAYER_INPUT_BYTES = 2
"""The same where only the input of each layer is kept, in two bytes."""
CHECKPOINTS_AT_ONCE = 2
"""Without --cache-cap: the one in use, and the next one on its way."""
PACKED_BYTES = 2
"""A token of packed text, for vocabularies up to 65,536."""
LAPTOP_FLOP = 1e16
"""A day on one core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes on the device while a trajectory's model trains, or is measured where nothing trains it."""

    weights: int
    gradients: int
    optimiser: int
    base_copy: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimiser + self.base_copy + self.activations + self.logits


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Of one study, by trajectory. Bytes of text are None where no table knows its size."""

    study: str
    trajectories: tuple[Workload, ...]
    memory: tuple[Memory, ...]
    text_download: int | None
    text_disk: int | None
    cache_cap: int | None

    @property
    def work(self) -> tuple[Work, ...]:
        return tuple(work for trajectory in self.trajectories for work in trajectory.work)

    @property
    def cells(self) -> int:
        return sum(sum(trajectory.cells.values()) for trajectory in self.trajectories)

    @property
    def at_most(self) -> bool:
        """Whether fewer checkpoints may be there than are counted."""
        return any(trajectory.at_most for trajectory in self.trajectories)

    @property
    def flop(self) -> float:
        return sum(work.flop for work in self.work)

    @property
    def hours(self) -> dict[str, float]:
        """By accelerator."""
        return {accelerator.name: accelerator.hours(self.work) for accelerator in ACCELERATORS}

    @property
    def memory_bytes(self) -> int:
        return max(memory.total for memory in self.memory)

    @property
    def weights_download(self) -> int:
        return sum(checkpoint_bytes(each) * each.checkpoints for each in self.trajectories if each.fetched)

    @property
    def weights_at_once(self) -> int:
        """The most that fetched weights take on the disk."""
        fetched = [each for each in self.trajectories if each.fetched and each.checkpoints]
        room = max((checkpoint_bytes(each) * min(CHECKPOINTS_AT_ONCE, each.checkpoints) for each in fetched), default=0)
        return room if self.cache_cap is None else min(room, self.cache_cap)

    @property
    def ladder_disk(self) -> int:
        """What the folder keeps of ladders: weights, and the optimiser where a run branches."""
        return sum(
            each.size.parameters * (WEIGHT_BYTES * each.weights_kept + ADAMW_BYTES * each.states_kept)
            for each in self.trajectories
        )

    @property
    def size_class(self) -> str:
        """ "laptop", the smallest accelerator by memory that holds it ("A100 80 GB"), or "no single GPU"."""
        if self.flop <= LAPTOP_FLOP:
            return "laptop"
        fitting = [each.name for each in ACCELERATORS if self.memory_bytes <= each.memory_bytes]
        return fitting[0] if fitting else "no single GPU"

    def to_json(self) -> Json:
        return {
            "study": self.study,
            "cells": self.cells,
            "at_most": self.at_most,
            "trajectories": [
                _trajectory_json(workload, memory)
                for workload, memory in zip(self.trajectories, self.memory, strict=True)
            ],
            "flop": self.flop,
            "accelerator_hours": {name: round(hours, 2) for name, hours in self.hours.items()},
            "memory_bytes": self.memory_bytes,
            "download_bytes": {"weights": self.weights_download, "text": self.text_download},
            "disk_bytes": {
                "weights_at_once": self.weights_at_once,
                "weights_if_kept": self.weights_download,
                "ladder": self.ladder_disk,
                "text": self.text_disk,
            },
            "size_class": self.size_class,
        }


def estimate(spec: StudySpec, *, cache_cap: int | None = None) -> Estimate:
    """What `spec` would take; neither the Hub nor a study folder is looked at.

    Raises:
        SpecError: something that only listing could tell, or a cap that does not hold one checkpoint.
    """
    found = workloads(spec)
    largest = max((checkpoint_bytes(each) for each in found if each.fetched), default=0)
    if cache_cap is not None and cache_cap < largest:
        raise SpecError(
            f"--cache-cap is {cache_cap / 1e9:.2f} GB, and one checkpoint takes {largest / 1e9:.2f} GB; "
            "give a larger --cache-cap"
        )
    download, disk = _text(spec, trained=any(not each.fetched for each in found))
    return Estimate(
        study=spec.study,
        trajectories=found,
        memory=tuple(_memory(each) for each in found),
        text_download=download,
        text_disk=disk,
        cache_cap=cache_cap,
    )


def checkpoint_bytes(workload: Workload) -> int:
    """Of one checkpoint's weights: as the table of public runs has it, else in fp32."""
    return workload.size.checkpoint_bytes or WEIGHT_BYTES * workload.size.parameters


def _memory(workload: Workload) -> Memory:
    """The largest of what any of its batches needs; where nothing is trained, of measuring."""
    parameters = workload.size.parameters
    base_copy = WEIGHT_BYTES * parameters if parameters < LARGE_PARAMETERS else 0
    needs = [_training(workload, batch, base_copy) for batch in workload.batches]
    measuring = Memory(
        weights=WEIGHT_BYTES * parameters, gradients=0, optimiser=0, base_copy=base_copy, activations=0, logits=0
    )
    return max(needs, key=lambda memory: memory.total, default=measuring)


def _training(workload: Workload, batch: Batch, base_copy: int) -> Memory:
    size = workload.size
    trained = 0 if batch.adapter else size.parameters
    wide = 2 if batch.precision == "float32" else 1
    unit = batch.tokens * size.width * wide
    activations = unit * ACTIVATION_BYTES * size.layers
    if batch.recomputed:
        activations = unit * (LAYER_INPUT_BYTES * size.layers + ACTIVATION_BYTES)
    return Memory(
        weights=WEIGHT_BYTES * size.parameters,
        gradients=GRADIENT_BYTES * trained,
        optimiser=ADAMW_BYTES * trained,
        base_copy=base_copy,
        activations=activations,
        logits=LOGIT_COPIES * 4 * size.vocabulary * batch.tokens,
    )


def _text(spec: StudySpec, *, trained: bool) -> tuple[int | None, int | None]:
    """Bytes downloaded and kept of the corpus; local and embedded text take none."""
    try:
        source = corpus_source(spec.corpus)
    except FileNotFoundError:  # a generated language
        return 0, 0
    if not isinstance(source, HubText):
        return 0, 0
    known = next(
        (t for t in PUBLIC_TEXTS if (t.dataset, t.name, t.split) == (source.dataset, source.name, source.split)), None
    )
    if known is None:
        return None, None
    share = min(1.0, source.documents / known.documents)
    stored = round(share * known.text_bytes)
    packed = stored // BYTES_PER_TOKEN * PACKED_BYTES if trained else 0
    return round(share * known.download_bytes), stored + packed


def _trajectory_json(workload: Workload, memory: Memory) -> Json:
    return {
        "name": workload.name,
        "parameters": workload.size.parameters,
        "checkpoints": workload.checkpoints,
        "at_most": workload.at_most,
        "cells": dict(workload.cells),
        "work": [
            {"phase": w.phase, "precision": w.precision, "tokens": w.tokens, "flop": w.flop} for w in workload.work
        ],
        "checkpoint_bytes": checkpoint_bytes(workload) if workload.fetched else None,
        "memory_bytes": dict(_memory_parts(memory)),
    }


def _memory_parts(memory: Memory) -> Iterator[tuple[str, int]]:
    for name in ("weights", "gradients", "optimiser", "base_copy", "activations", "logits", "total"):
        yield name, getattr(memory, name)
