"""The numerics plan of a new study: a thread a worker for tiny models, the accelerator or all cores for large ones."""

import json
import os
from dataclasses import replace

import torch

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.trajectory import Member
from pliant.modifications.variant import LARGE_PARAMETERS
from pliant.records.numerics import Numerics
from pliant.studies.members import Gathered, Members, described, parameters_of
from pliant.studies.memory import batch_that_fits, free_bytes
from pliant.studies.spec import SpecError, StudySpec, TrajectorySpec

TINY_PARAMETERS = 1_000_000
"""Below this an accelerator is idle between launches, and a second thread costs more than it does."""
USUAL_VOCABULARY = 50_304
DEFAULT_CONTEXT = 512
"""The window of held-out text for checkpoints from outside that can take as much."""


def choose_numerics(spec: StudySpec, gathered: Gathered) -> Numerics:
    """The plan that `spec` names, else one for the size of its models and this machine's devices and memory.

    Raises:
        SpecError: not even one window of text fits into memory beside the weights.
    """
    if "numerics" in spec.model_fields_set:
        return spec.numerics
    largest = max(_parameters(entry, spec, gathered) for entry in spec.trajectories)
    if largest < TINY_PARAMETERS:
        return spec.numerics
    if torch.cuda.is_available():
        chosen = replace(spec.numerics, device="cuda")
    elif torch.backends.mps.is_available():
        chosen = replace(spec.numerics, device="mps")
    else:
        chosen = replace(spec.numerics, threads=os.cpu_count() or 1)
    return replace(chosen, evaluation_batch_tokens=_batch_tokens(chosen, spec, gathered, largest))


def _batch_tokens(chosen: Numerics, spec: StudySpec, gathered: Gathered, parameters: int) -> int:
    """The plan's tokens of one forward pass, halved until they fit."""
    configs = [json.loads((described(m.members[0]) / "config.json").read_text("utf-8")) for m in gathered.values()]
    vocabulary = max((int(config.get("vocab_size") or 0) for config in configs), default=USUAL_VOCABULARY)
    free, window = free_bytes(chosen.device), spec.held_out.context or DEFAULT_CONTEXT
    weight_bytes = 4 * parameters * (1 if parameters >= LARGE_PARAMETERS else 2)
    wanted = chosen.evaluation_batch_tokens
    fits = batch_that_fits(wanted, window=window, vocabulary=vocabulary, weight_bytes=weight_bytes, free=free)
    if not fits:
        raise SpecError(
            f"{parameters / 1e9:.2f}B parameters in fp32 and a window of {window} tokens do not fit into the "
            f"{free / 1e9:.1f} GB that are free; use a machine with more memory, or set held_out.context lower"
        )
    return fits


def _parameters(entry: TrajectorySpec, spec: StudySpec, gathered: Gathered) -> int:
    if entry.ladder is not None:
        vocabulary = 256 if spec.tokenizer in (None, "bytes") else USUAL_VOCABULARY
        return entry.ladder.architecture.parameters(vocabulary)
    if entry.merge is not None:
        return 0  # as large as what it merges, which counts for itself
    members = gathered[entry.name]
    return max(_known(member, members) for member in members.members)


def _known(member: Member, members: Members) -> int:
    try:
        return parameters_of(member, members)
    except CheckpointError:  # damaged: refused, or listed as failed, when it is planned
        return 0
