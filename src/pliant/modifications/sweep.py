"""A sweep of learning rates on one checkpoint, its members trained side by side where that pays."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pliant.data.tasks import EncodedTask
from pliant.modifications.finetune import FineTune
from pliant.modifications.tuned import Tuned
from pliant.modifications.variant import Variant
from pliant.records.identity import Json
from pliant.records.numerics import Numerics
from pliant.training.by_kernel.layout import by_kernel
from pliant.training.stack import Trained, stacking_pays, train_stack
from pliant.training.task_batches import shuffled_batches


def in_one_sweep(first: FineTune, second: FineTune) -> bool:
    """Whether two fine-tunes differ in their learning rate alone."""
    return replace(first, strength=0.0) == replace(second, strength=0.0)


def sweeps_pay(settings: FineTune, model: Any, task: EncodedTask, numerics: Numerics) -> bool:
    """Whether `settings` is better run with the other rates of its sweep; rate 0 needs no run at all, packed rows
    go through transformers, one rate after the other, and so does a model that processes share."""
    split = task.splits["train"]
    if not settings.plain or settings.strength == 0 or split.segments is not None or numerics.shards is not None:
        return False
    if by_kernel(model, numerics):
        return True
    return numerics.sweep == "stacked" and stacking_pays(model, settings.batch * split.inputs.shape[1])


def train_sweep(
    settings: Sequence[FineTune], model: Any, task: EncodedTask, seed: int, numerics: Numerics
) -> list[Trained]:
    """Fine-tune a copy of `model` at the rate of each of `settings`, which differ in nothing else."""
    shared = settings[0]
    assert all(in_one_sweep(shared, other) for other in settings), "a sweep varies the rate alone"

    def at(peak: float) -> Callable[[int], float]:
        return lambda step: shared.schedule.learning_rate(peak, step, shared.steps)

    device = next(model.parameters()).device
    batches = shuffled_batches(task.splits["train"], shared.batch, seed, device)
    rates = [at(one.strength) for one in settings]
    if by_kernel(model, numerics):
        from pliant.training.by_kernel.learner import train_copies

        return train_copies(model, rates, shared.optimisation, batches, shared.steps)
    return train_stack(model, rates, shared.optimisation, batches, shared.steps)


def swept(trained: Trained) -> Tuned:
    """A copy of a sweep as if it had been trained alone."""
    if trained.diverged_at is not None:
        losses = trained.losses[: trained.diverged_at]
        details: dict[str, Json] = {"diverged_at_step": trained.diverged_at}
        return Tuned(variant=Variant(diverged=True, details=details, losses=losses), tensors=trained.tensors)
    details = {"train_loss_first": trained.losses[0], "train_loss_last": trained.losses[-1]}
    return Tuned(variant=Variant(details=details, losses=trained.losses), tensors=trained.tensors)
