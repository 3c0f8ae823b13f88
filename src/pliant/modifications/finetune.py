"""Full fine-tuning at one learning rate, through the one training loop."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from pliant.checkpoints.shards import is_sharded
from pliant.checkpoints.weights import whole
from pliant.data.tasks import EncodedTask
from pliant.modifications.adapters import LowRank, adapted
from pliant.modifications.ground import Ground
from pliant.modifications.regularise.hold import hold
from pliant.modifications.regularise.method import ProbeFirst, Regulariser, WiseFT
from pliant.modifications.regularise.probe_first import after, check_probe
from pliant.modifications.regularise.wise_ft import move_back
from pliant.modifications.variant import Variant
from pliant.records.identity import Json
from pliant.training.decoder import Forward, keeps_segments_apart, transformers_logits
from pliant.training.early_stop import EarlyStop, Lowest
from pliant.training.loop import Batch, Diverged, Objective, Optimisation, adamw, never, the_loss, train
from pliant.training.precision import Precision, in_precision
from pliant.training.recomputation import recomputed
from pliant.training.schedules import Schedule
from pliant.training.sharded import ShardedLearner
from pliant.training.task_batches import mean_loss, shuffled_batches

STEPS = 100
"""Of a fine-tune that says nothing else; labels name other numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTune:
    """`steps` updates of a fresh AdamW on batches of `batch` examples of `task`; `strength` is the peak rate.

    The default is cosine to zero with 10 % warm-up and no weight decay, all weights, fp32. The order of the examples
    depends on the seed alone, so it is common to all checkpoints, rates and methods. An `adapter` trains a few weights
    of its own instead; a `regulariser` holds on to the base. `precision` is that of the forward pass; `micro_batch`
    examples go through it at a time, with the gradient of the whole batch up to rounding. `epochs` is what `steps` were
    asked for as, and names them.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    IDENTITY: ClassVar = frozenset(
        {
            "task",
            "strength",
            "steps",
            "batch",
            "schedule",
            "optimisation",
            "adapter",
            "regulariser",
            "precision",
            "micro_batch",
            "stop_early",
        }
    )
    RUNTIME: ClassVar = frozenset({"epochs", "gradient_checkpointing"})
    KIND: ClassVar = "fine-tune"

    task: str
    strength: float
    steps: int = STEPS
    batch: int = 16
    schedule: Schedule = field(default_factory=lambda: Schedule(kind="cosine", warmup_fraction=0.1))
    optimisation: Optimisation = field(default_factory=lambda: Optimisation(weight_decay=0.0))
    adapter: LowRank | None = None
    regulariser: Regulariser | None = None
    precision: Precision | None = None
    micro_batch: int | None = None
    stop_early: EarlyStop | None = None
    epochs: float | None = None
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and self.strength >= 0):
            raise ValueError(f"learning rate must be a finite number >= 0, got {self.strength}")
        if self.steps < 1 or self.batch < 1:
            raise ValueError(f"steps and batch must be at least 1, got {self.steps} and {self.batch}")
        if self.schedule.kind == "wsd":
            raise ValueError("fine-tuning schedules are cosine, linear or constant; wsd is for ladders")
        if self.adapter is not None and self.regulariser is not None:
            raise ValueError("an adapter and a regulariser are two methods; give each an entry of its own")
        if self.micro_batch is not None and not 1 <= self.micro_batch < self.batch:
            raise ValueError(
                f"micro_batch must be from 1 to {self.batch - 1}, below the batch of {self.batch}, "
                f"got {self.micro_batch}; leave it out to take a batch at once"
            )
        if self.stop_early is not None and self.stop_early.every >= self.steps:
            raise ValueError(
                f"stop_early evaluates every {self.stop_early.every} updates, and there are {self.steps}: "
                "it has no effect; lower every, or leave stop_early out"
            )
        if (
            isinstance(self.regulariser, ProbeFirst)
            and self.regulariser.amount
            and not self.regulariser.steps(self.steps)
        ):
            raise ValueError(
                f"probe_first {self.regulariser.amount:g} of {self.steps} steps is less than one step; give at least "
                f"{1 / self.steps:.2g}, or 0 for plain fine-tuning"
            )

    @property
    def label(self) -> str:
        method = self.adapter or self.regulariser
        parts = [
            f"fine-tune {self.task}",
            self.length,
            "bf16" if self.precision is not None else "",
            self.stop_early.label if self.stop_early is not None else "",
            method.label if method is not None else "",
        ]
        return ", ".join(part for part in parts if part)

    @property
    def length(self) -> str:
        """ "3 epochs" or "30 steps", as it was asked for; nothing for the default."""
        if self.epochs is not None:
            return "1 epoch" if self.epochs == 1 else f"{self.epochs:g} epochs"
        return f"{self.steps} steps" if self.steps != STEPS else ""

    @property
    def trained(self) -> "FineTune":
        """The fine-tune as it is trained: several share a training if they differ in what is done after it."""
        return replace(self, regulariser=None) if isinstance(self.regulariser, WiseFT) else self

    @property
    def method(self) -> str | None:
        """What it does that plain fine-tuning does not, without its amount: "anchor", "LoRA rank 8"."""
        if self.regulariser is not None:
            return self.regulariser.NAME
        return self.adapter.label if self.adapter is not None else None

    @property
    def plain(self) -> bool:
        """Whether it is full fine-tuning on the task alone, in fp32, a batch at once and to its end: such may be
        trained side by side."""
        unusual = (self.adapter, self.regulariser, self.precision, self.micro_batch, self.stop_early)
        return all(setting is None for setting in unusual)


def finetuned_variant(settings: FineTune, model: Any, ground: Ground, seed: int) -> Iterator[Variant]:
    """Fine-tune `model` in place and hand it over once. Rate 0 changes nothing and is not run.

    Raises:
        ValueError: the device, the model or the task does not do what `settings` ask of it, or the model's class cannot
            keep the segments of packed rows apart.
    """
    if settings.strength == 0:
        yield Variant()
        return
    _check_packing(model, ground.task)
    if settings.adapter is not None:
        yield _adapted_variant(settings, settings.adapter, model, ground, seed)
    elif isinstance(settings.regulariser, ProbeFirst):
        yield _probed(settings, settings.regulariser, model, ground, seed)
    else:
        yield finish(_held(settings, model, ground, seed), settings, model, ground.base)


def finish(variant: Variant, settings: FineTune, model: Any, base: Mapping[str, Tensor]) -> Variant:
    """What `settings` do to the weights of `model` once they are trained."""
    if isinstance(settings.regulariser, WiseFT) and not variant.diverged:
        move_back(model, base, settings.regulariser.amount)
    return variant


def _held(settings: FineTune, model: Any, ground: Ground, seed: int) -> Variant:
    """All weights trained at once, with what a regulariser adds to the loss."""
    forward = forward_of(settings, ground, next(model.parameters()).device)
    rows, part = settings.batch, settings.micro_batch or settings.batch
    held = hold(settings.regulariser, model, ground, forward=forward, rows=rows, part=part, seed=seed)
    everything = list(model.parameters())
    if held is None:
        return trained_variant(settings, model, ground, seed, everything)
    variant = trained_variant(settings, model, ground, seed, everything, held.objective)
    return replace(variant, details={**(variant.details or {}), **held.details})


def _probed(settings: FineTune, probe: ProbeFirst, model: Any, ground: Ground, seed: int) -> Variant:
    """The output head trained alone, then everything."""
    check_probe(model, ground.task)
    batches = _batches(settings, model, ground, seed)
    steps = probe.steps(settings.steps)
    if not steps:
        return trained_variant(settings, model, ground, seed, list(model.parameters()))
    alone = replace(settings, steps=steps, regulariser=None, stop_early=None)
    head = list(model.get_output_embeddings().parameters())
    first = trained_variant(alone, model, ground, seed, head, batches=batches)
    if first.diverged:
        return first
    return after(first, trained_variant(settings, model, ground, seed, list(model.parameters()), batches=batches))


def _adapted_variant(settings: FineTune, adapter: LowRank, model: Any, ground: Ground, seed: int) -> Variant:
    """Train `adapter` alone and merge it. Only transformers' own forward pass meets the adapter."""
    through = replace(ground, forward=transformers_logits)
    with adapted(model, adapter, seed) as parameters:
        variant = trained_variant(settings, model, through, seed, parameters)
    finite = all(bool(torch.isfinite(p).all()) for p in model.parameters())
    details = {**(variant.details or {}), "trained_parameters": sum(p.numel() for p in parameters)}
    return replace(variant, diverged=variant.diverged or not finite, details=details)


def _check_packing(model: Any, task: EncodedTask) -> None:
    train = task.splits["train"]
    row = torch.from_numpy(train.inputs[:1]).to(next(model.parameters()).device)
    if train.segments is not None and not keeps_segments_apart(model, row):
        raise ValueError(
            f"{type(model).__name__} does not keep examples apart that are packed into one row; set pack: false "
            f"for the task {task.name}"
        )


def trained_variant(
    settings: FineTune,
    model: Any,
    ground: Ground,
    seed: int,
    parameters: Sequence[Tensor],
    objective: Objective = the_loss,
    batches: Iterator[Batch] | None = None,
) -> Variant:
    """Train `parameters` of `model`, and no others, in place as `settings` say, and tell what came of it. `batches` go
    on where another training stopped; without them they begin as `seed` orders them.

    Raises:
        ValueError: the device, or the model's class, does not do what `settings` ask of it.
    """
    losses: list[float] = []
    try:
        with _alone(model, parameters), _dropout(model, seed), recomputed(model, settings.gradient_checkpointing):
            details = _train(
                settings,
                model,
                ground,
                parameters,
                objective,
                batches or _batches(settings, model, ground, seed),
                losses,
            )
    except Diverged as error:
        return Variant(diverged=True, details={"diverged_at_step": error.step}, losses=tuple(losses))
    finite = all(int(whole(torch.isfinite(p).sum())) == p.numel() for p in parameters)
    return Variant(diverged=not finite, details=details, losses=tuple(losses))


def _train(
    settings: FineTune,
    model: Any,
    ground: Ground,
    parameters: Sequence[Tensor],
    objective: Objective,
    batches: Iterator[Batch],
    losses: list[float],
) -> dict[str, Json]:
    """Train; `losses` takes the loss of each step. What there is to tell of it."""
    forward = forward_of(settings, ground, next(model.parameters()).device)
    lowest = _lowest(settings, model, ground, parameters, forward)
    train(
        model,
        adamw(parameters, settings.optimisation),
        batches,
        lambda step: settings.schedule.learning_rate(settings.strength, step, settings.steps),
        forward=forward,
        start=0,
        stop=settings.steps,
        clip_norm=settings.optimisation.clip_norm,
        micro_batch=settings.micro_batch,
        objective=objective,
        after_step=lambda step, loss: losses.append(loss),
        finished=lowest or never,
        learner_of=ShardedLearner if is_sharded(model) else None,
    )
    details: dict[str, Json] = {"train_loss_first": losses[0], "train_loss_last": losses[-1]}
    return details if lowest is None else {**details, **lowest.restore()}


def _batches(settings: FineTune, model: Any, ground: Ground, seed: int) -> Iterator[Batch]:
    return shuffled_batches(ground.task.splits["train"], settings.batch, seed, next(model.parameters()).device)


def forward_of(settings: FineTune, ground: Ground, device: torch.device) -> Forward:
    """The forward pass of `ground`; in another precision it is transformers' own.

    Raises:
        ValueError: `device` does not compute in that precision.
    """
    if settings.precision is None:
        return ground.forward
    return in_precision(transformers_logits, settings.precision, device)


def _lowest(
    settings: FineTune, model: Any, ground: Ground, parameters: Sequence[Tensor], forward: Forward
) -> Lowest | None:
    if settings.stop_early is None:
        return None
    split, rows = ground.task.splits["validation"], settings.micro_batch or settings.batch
    return Lowest(settings.stop_early, settings.steps, parameters, lambda: mean_loss(model, split, forward, rows))


@contextmanager
def _dropout(model: Any, seed: int) -> Iterator[None]:
    """Within, what a class with dropout leaves out is the seed's, whatever this process drew before."""
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def _alone(model: Any, parameters: Sequence[Tensor]) -> Iterator[None]:
    """Within, `parameters` are the only ones of `model` that get a gradient."""
    chosen, others = {id(p) for p in parameters}, [p for p in model.parameters() if p.requires_grad]
    others = [p for p in others if id(p) not in chosen]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)
