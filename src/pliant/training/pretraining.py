"""Pre-training a ladder: runs of one recipe at growing budgets, which share what their schedules share.

A run is cut into segments. Under warmup-stable-decay and constant schedules all budgets walk one trunk; each
annealed member is the trunk up to its branch point and then its own decay, bit for bit the run that a single
loop from step 0 would make (a test says so).
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from pliant.checkpoints.about import About
from pliant.checkpoints.architecture import Architecture, build_model, init_stds
from pliant.checkpoints.folder import save_weights, whole_folder
from pliant.checkpoints.weights import canonical_tensors, norms, stored_fingerprint
from pliant.data.tokenizers import Tokenizer
from pliant.data.windows import WindowSource
from pliant.records.numerics import Numerics
from pliant.training.decoder import transformers_logits
from pliant.training.loop import AutogradLearner, Batch, Diverged, Learner, Optimisation, adamw, take_steps
from pliant.training.precision import Precision, in_precision
from pliant.training.schedules import Schedule
from pliant.training.state import OPTIMIZER_FILE, latest_snapshot, load_state, save_optimizer, save_snapshot
from pliant.training.trainer_choice import learner_of

Progress = Callable[[float, Mapping[str, float]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a ladder is pre-trained, budget and seed apart. `batch_windows` windows of the model's context a step.

    `precision` is that of the forward pass (fp32 unless given); `micro_batch` windows go through it at a time, with
    the gradient of the whole batch up to rounding.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    IDENTITY: ClassVar = frozenset(
        {"learning_rate", "batch_windows", "schedule", "optimisation", "precision", "micro_batch"}
    )
    RUNTIME: ClassVar[frozenset[str]] = frozenset()

    learning_rate: float
    batch_windows: int = 32
    schedule: Schedule = field(default_factory=lambda: Schedule(warmup_steps=20))
    optimisation: Optimisation = field(default_factory=Optimisation)
    precision: Precision | None = None
    micro_batch: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate must be a finite number above 0, got {self.learning_rate}")
        if self.batch_windows < 1:
            raise ValueError(f"batch_windows must be at least 1, got {self.batch_windows}")
        if self.micro_batch is not None and not 1 <= self.micro_batch < self.batch_windows:
            raise ValueError(
                f"micro_batch must be from 1 to {self.batch_windows - 1}, below batch_windows {self.batch_windows}, "
                f"got {self.micro_batch}; leave it out to take a batch at once"
            )

    def steps(self, tokens: int, context: int) -> int:
        """The whole number of updates nearest to a budget of `tokens`."""
        return max(1, round(tokens / (self.batch_windows * context)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Updates `start` .. `stop - 1` of a run of `total` steps; `total` None is the trunk."""

    start: int
    stop: int
    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything about one seed of a ladder that its segments share."""

    architecture: Architecture
    vocabulary_size: int
    recipe: Recipe
    recipe_digest: str
    seed: int
    numerics: Numerics
    bytes_per_token: float | None


def run_segment(
    run: Run,
    segment: Segment,
    source: WindowSource,
    tokenizer: Tokenizer,
    *,
    begin_from: Path | None,
    out: Path,
    scratch: Path,
    keep_optimizer: bool,
    snapshot_seconds: float,
    progress: Progress,
) -> None:
    """Train `segment`, from the trunk state `begin_from` or from initialisation, and write the checkpoint `out`.

    A snapshot goes to `scratch` every `snapshot_seconds`; a killed call, made again, continues from the last one.
    """
    model = build_model(run.architecture, run.vocabulary_size, run.seed)
    model.set_attn_implementation(run.numerics.attention)
    model.to(run.numerics.device)
    optimizer = adamw(model.parameters(), run.recipe.optimisation)
    start = segment.start
    if (snapshot := latest_snapshot(scratch)) is not None:
        start, begin_from = snapshot
    if begin_from is not None:
        load_state(model, optimizer, begin_from)
    watch = _Watch(segment, run.recipe.batch_windows * run.architecture.context, start, progress)
    last_saved = time.monotonic()

    def after_step(step: int, loss: float) -> None:
        nonlocal last_saved
        watch(step, loss)
        if time.monotonic() - last_saved >= snapshot_seconds and step + 1 < segment.stop:
            save_snapshot(model, optimizer, step + 1, scratch)
            last_saved = time.monotonic()

    rate = run.recipe.learning_rate
    try:
        take_steps(
            _learner(run, model, optimizer),
            _batches(source, run.recipe.batch_windows, start, run.numerics.device),
            lambda step: run.recipe.schedule.learning_rate(rate, step, segment.total),
            start=start,
            stop=segment.stop,
            after_step=after_step,
        )
    except Diverged as error:
        raise ValueError(
            f"pre-training diverged at step {error.step} (learning rate {rate:g}); give a lower learning_rate"
        ) from error
    with whole_folder(out, keep=lambda there: not keep_optimizer or state_is_whole(there)) as part:
        save_weights(model, part)
        tokenizer.save(part)
        if keep_optimizer:
            save_optimizer(model, optimizer, part)
        _about(run, segment, source, model, stored_fingerprint(part)).write(part)
    shutil.rmtree(scratch, ignore_errors=True)


def _learner(run: Run, model: Any, optimizer: torch.optim.AdamW) -> Learner:
    """What the numerics plan trains with; in a precision that the recipe names, autograd through transformers."""
    recipe, micro_batch = run.recipe, run.recipe.micro_batch
    if recipe.precision is None:
        return learner_of(run.numerics, model, optimizer, recipe.optimisation, micro_batch=micro_batch)
    forward = in_precision(transformers_logits, recipe.precision, torch.device(run.numerics.device))
    return AutogradLearner(model, optimizer, forward, clip_norm=recipe.optimisation.clip_norm, micro_batch=micro_batch)


def _about(run: Run, segment: Segment, source: WindowSource, model: Any, weights: str) -> About:
    tensors = canonical_tensors(model)
    windows = segment.stop * run.recipe.batch_windows
    per_epoch = source.windows_per_epoch
    return About(
        tokens=windows * run.architecture.context,
        step=segment.stop,
        learning_rate=run.recipe.schedule.learning_rate(run.recipe.learning_rate, segment.stop - 1, segment.total),
        annealed=segment.total is not None and run.recipe.schedule.kind != "constant",
        epochs=windows / per_epoch if per_epoch else 0.0,
        seed=run.seed,
        recipe=run.recipe_digest,
        data=source.fingerprint,
        bytes_per_token=run.bytes_per_token,
        weights=weights,
        init_stds=init_stds(run.architecture, tensors),
        norms=norms(tensors),
    )


def _batches(source: WindowSource, rows: int, start: int, device: str) -> Iterator[Batch]:
    step = start
    while True:
        windows = torch.from_numpy(source.windows(step * rows, (step + 1) * rows)).to(device)
        yield Batch(windows[:, :-1], windows[:, 1:])
        step += 1


class _Watch:
    """Passes on the share done, the loss (smoothed over about twenty steps) and tokens per second."""

    def __init__(self, segment: Segment, tokens_per_step: int, start: int, progress: Progress) -> None:
        self._segment, self._tokens, self._progress = segment, tokens_per_step, progress
        self._begun, self._start = time.monotonic(), start
        self._loss: float | None = None

    def __call__(self, step: int, loss: float) -> None:
        self._loss = loss if self._loss is None else 0.95 * self._loss + 0.05 * loss
        if step % 10:
            return
        elapsed = max(time.monotonic() - self._begun, 1e-9)
        share = (step + 1 - self._segment.start) / (self._segment.stop - self._segment.start)
        speed = (step + 1 - self._start) * self._tokens / elapsed
        self._progress(share, {"loss": self._loss, "tokens_per_second": speed})


def state_is_whole(folder: Path) -> bool:
    """Whether `folder` holds a trunk state from which a segment can begin."""
    return (folder / OPTIMIZER_FILE).is_file()
