"""The numerics plan of a new study: a thread a worker for tiny models, the accelerator or all cores for large ones."""

import os
from dataclasses import replace

import torch

from pliant.checkpoints.weights import stored_parameters
from pliant.records.numerics import Numerics
from pliant.studies.spec import StudySpec, TrajectorySpec
from pliant.studies.subjects import members_of

TINY_PARAMETERS = 1_000_000
"""Below this an accelerator is idle between launches, and a second thread costs more than it does."""
USUAL_VOCABULARY = 50_304


def choose_numerics(spec: StudySpec) -> Numerics:
    """The plan that `spec` names, else one for the size of its models and this machine's devices."""
    if "numerics" in spec.model_fields_set or max(_parameters(t, spec) for t in spec.trajectories) < TINY_PARAMETERS:
        return spec.numerics
    if torch.cuda.is_available():
        return replace(spec.numerics, device="cuda")
    if torch.backends.mps.is_available():
        return replace(spec.numerics, device="mps")
    return replace(spec.numerics, threads=os.cpu_count() or 1)


def _parameters(entry: TrajectorySpec, spec: StudySpec) -> int:
    if entry.ladder is not None:
        vocabulary = 256 if spec.tokenizer in (None, "bytes") else USUAL_VOCABULARY
        return entry.ladder.architecture.parameters(vocabulary)
    if entry.merge is not None:
        return 0  # as large as what it merges, which counts for itself
    return max(stored_parameters(member.folder) for member in members_of(entry))
