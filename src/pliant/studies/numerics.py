"""The numerics plan of a new study: a thread a worker for tiny models, the accelerator for larger ones, else threads
as measured."""

import os
import sys
from dataclasses import replace

import torch

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.architecture import Architecture
from pliant.checkpoints.config import read_config
from pliant.checkpoints.trajectory import Member
from pliant.kernel.sources import kernel_name
from pliant.modifications.variant import LARGE_PARAMETERS
from pliant.records.numerics import Numerics
from pliant.studies.members import Gathered, Members, described, parameters_of
from pliant.studies.memory import batch_that_fits, free_bytes
from pliant.studies.probing import remembered
from pliant.studies.spec import SpecError, StudySpec, TrajectorySpec
from pliant.studies.threads import Shape, choose_threads
from pliant.training.by_kernel.layout import WIDEST
from pliant.training.by_kernel.probe import kernel_works
from pliant.training.compile_probe import compiling_works
from pliant.training.trainer_choice import choose_trainer, has_matrix_units

TINY_PARAMETERS = 1_000_000
"""Below this an accelerator is idle between launches, and a second thread costs more than it does: a training step
takes 1.9 to 12 times the processor time with two threads (5k to 0.6M parameters), so nothing is measured."""
USUAL_VOCABULARY = 50_304
DEFAULT_CONTEXT = 512
"""The window of held-out text for checkpoints from outside that can take as much."""


def choose_numerics(spec: StudySpec, gathered: Gathered) -> Numerics:
    """The plan that `spec` names, else one for the size of its models and this machine's devices and memory.

    The precision of evaluation alone names no plan; `auto` stays, for validation.py to decide.

    Raises:
        SpecError: not even one window of text fits into memory beside the weights.
    """
    if "numerics" in spec.model_fields_set and replace(spec.numerics, evaluation=None) != Numerics():
        return spec.numerics
    if "numerics" in spec.model_fields_set and spec.numerics.evaluation is None:
        return spec.numerics
    return _with_trainer(_for_size(spec, gathered), spec)


def _with_trainer(chosen: Numerics, spec: StudySpec) -> Numerics:
    """`chosen` with what ladders are pre-trained with, by the one with the most to do; on a GPU that is autograd."""
    ladders = [
        entry.ladder
        for entry in spec.trajectories
        if entry.ladder is not None and entry.ladder.recipe.precision is None  # which is autograd through transformers
        if chosen.kernel is None or entry.ladder.architecture.width > WIDEST
    ]
    if not ladders or chosen.device != "cpu":
        return chosen
    most = max(ladders, key=lambda ladder: max(ladder.budgets) * ladder.architecture.width * ladder.architecture.layers)
    trainer = choose_trainer(
        width=most.architecture.width,
        layers=most.architecture.layers,
        tokens=max(most.budgets),
        matrix_units=has_matrix_units(),
        compiling_works=lambda: bool(remembered("whether torch compiles", {"python": sys.version}, compiling_works)),
    )
    return replace(chosen, trainer=trainer)


def _for_size(spec: StudySpec, gathered: Gathered) -> Numerics:
    largest = max(_parameters(entry, spec, gathered) for entry in spec.trajectories)
    if largest < TINY_PARAMETERS:
        works = remembered("the kernel of tiny models", {"kernel": kernel_name()}, kernel_works)
        return replace(spec.numerics, kernel="lanes") if works else spec.numerics
    if torch.cuda.is_available():
        chosen = replace(spec.numerics, device="cuda")
    elif torch.backends.mps.is_available():
        chosen = replace(spec.numerics, device="mps")
    else:
        chosen = replace(spec.numerics, threads=_threads(spec, gathered, largest))
    return replace(chosen, evaluation_batch_tokens=_batch_tokens(chosen, spec, gathered, largest))


def _threads(spec: StudySpec, gathered: Gathered, largest: int) -> int:
    """As measured on the largest ladder, or on a Llama as large as the largest checkpoint; all cores for one worker
    where a second worker would mean a second copy of large weights."""
    if largest >= LARGE_PARAMETERS:
        return os.cpu_count() or 1
    streams = sum(len(entry.ladder.seeds) for entry in spec.trajectories if entry.ladder is not None)
    streams += sum(len(members.members) for members in gathered.values())
    ladders = [entry.ladder.architecture for entry in spec.trajectories if entry.ladder is not None]
    mine, theirs = _ladder_vocabulary(spec), _vocabulary(spec, gathered)
    for architecture in ladders:
        if architecture.parameters(mine) == largest:
            return choose_threads(Shape(architecture=architecture, vocabulary=mine, streams=streams))
    return choose_threads(Shape(architecture=_alike(largest, theirs), vocabulary=theirs, streams=streams))


def _alike(parameters: int, vocabulary: int) -> Architecture:
    """A Llama of about so many parameters: P = 12 l w^2 + 2 v w with l = w / 64, in heads of 64, as they are built."""
    width = 64
    while _llama(width + 64).parameters(vocabulary) <= parameters:
        width += 64
    return _llama(width)


def _llama(width: int) -> Architecture:
    return Architecture(
        width=width, layers=max(2, width // 64), heads=width // 64, feed_forward=width * 8 // 3, context=DEFAULT_CONTEXT
    )


def _batch_tokens(chosen: Numerics, spec: StudySpec, gathered: Gathered, parameters: int) -> int:
    """The plan's tokens of one forward pass, halved until they fit."""
    workers = max(1, (os.cpu_count() or 1) // chosen.threads) if chosen.device == "cpu" else 1
    free, window = free_bytes(chosen.device) // workers, spec.held_out.context or DEFAULT_CONTEXT
    vocabulary = _vocabulary(spec, gathered)
    weight_bytes = 4 * parameters * (1 if parameters >= LARGE_PARAMETERS else 2)
    wanted = chosen.evaluation_batch_tokens
    fits = batch_that_fits(wanted, window=window, vocabulary=vocabulary, weight_bytes=weight_bytes, free=free)
    if not fits:
        raise SpecError(
            f"{parameters / 1e9:.2f}B parameters in fp32 and a window of {window} tokens do not fit into the "
            f"{free / 1e9:.1f} GB that are free; use a machine with more memory, or set held_out.context lower"
        )
    return fits


def _vocabulary(spec: StudySpec, gathered: Gathered) -> int:
    """The largest of the checkpoints from outside."""
    configs = [read_config(described(m.members[0])) for m in gathered.values()]
    sizes = [size for config in configs if isinstance(size := config.get("vocab_size") or 0, int)]
    return max(sizes, default=USUAL_VOCABULARY)


def _ladder_vocabulary(spec: StudySpec) -> int:
    return 256 if spec.tokenizer in (None, "bytes") else USUAL_VOCABULARY


def _parameters(entry: TrajectorySpec, spec: StudySpec, gathered: Gathered) -> int:
    if entry.ladder is not None:
        return entry.ladder.architecture.parameters(_ladder_vocabulary(spec))
    if entry.merge is not None:
        return 0  # as large as what it merges, which counts for itself
    members = gathered[entry.name]
    return max(_known(member, members) for member in members.members)


def _known(member: Member, members: Members) -> int:
    try:
        return parameters_of(member, members)
    except CheckpointError:  # damaged: refused, or listed as failed, when it is planned
        return 0
