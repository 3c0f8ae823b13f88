"""Stopping early: when it does, which weights stay, and what is told of it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch

import tiny
from pliant.data.tasks import EncodedTask
from pliant.modifications.finetune import FineTune, Ground, finetuned_variant
from pliant.modifications.sweep import sweeps_pay
from pliant.modifications.variant import Variant, keep_base
from pliant.records.identity import identity
from pliant.records.numerics import Numerics
from pliant.training.decoder import lean_logits
from pliant.training.early_stop import EarlyStop, Lowest
from pliant.training.schedules import Schedule
from pliant.training.task_batches import mean_loss

STOP = EarlyStop(every=5, patience=2)
LONG = {"task": "t", "strength": 0.02, "steps": 200, "batch": 6, "schedule": Schedule(kind="constant")}


def task() -> EncodedTask:
    """Few rows to learn by heart, validation of other ones: its loss falls little, then rises."""
    splits = {"train": tiny.split(6), "validation": tiny.split(10, seed=1)}
    return EncodedTask(name="t", fingerprint="f", splits=splits, label_tokens=(), truncated=0)


def tuned(model: Any, **changes: Any) -> Variant:
    settings = FineTune(**{**LONG, **changes})
    ground = Ground(task=task(), base=keep_base(model), text=lambda seed: tiny.stream(), forward=lean_logits)
    (variant,) = finetuned_variant(settings, model, ground, 0)
    return variant


def test_it_stops_and_the_weights_are_those_of_the_lowest_evaluation() -> None:
    stopped, model = tiny.model(), tiny.model()
    variant = tuned(stopped, stop_early=STOP)
    losses = {int(done): loss for done, loss in variant.details["validation_losses"].items()}
    kept = variant.details["updates_kept"]
    assert list(losses) == list(range(5, kept + 11, 5))
    assert len(variant.losses) == kept + 10 < 200
    assert losses[kept] == min(losses.values())
    tuned(model, steps=kept)
    assert tiny.same_bits(tiny.weights_of(stopped), tiny.weights_of(model))
    assert mean_loss(stopped, task().splits["validation"], lean_logits, 3) == pytest.approx(losses[kept], rel=1e-6)
    assert not stopped.training


def test_a_run_to_its_end_goes_back_to_its_lowest_too() -> None:
    model = tiny.model()
    variant = tuned(model, steps=43, stop_early=EarlyStop(every=5, patience=100))
    losses = {int(done): loss for done, loss in variant.details["validation_losses"].items()}
    assert list(losses) == [5, 10, 15, 20, 25, 30, 35, 40, 43]
    assert variant.details["updates_kept"] == min(losses, key=losses.__getitem__) < 43
    assert mean_loss(model, task().splits["validation"], lean_logits, 10) == pytest.approx(min(losses.values()))


def watched(losses: Sequence[float], patience: int) -> tuple[int, dict[str, Any], float]:
    """The evaluations made, what is told, and the weight that stays, which counts the updates."""
    weight, left = torch.zeros(1), iter(losses)
    lowest = Lowest(EarlyStop(every=1, patience=patience), len(losses), [weight], lambda: next(left))
    for step in range(len(losses)):
        weight += 1
        if lowest(step):
            break
    told = lowest.restore()
    return step + 1, told, weight.item()


@pytest.mark.parametrize(
    ("losses", "patience", "made", "kept"),
    [
        ([3, 2, 1], 1, 3, 3),
        ([3, 2, 2.5, 1], 1, 3, 2),
        ([3, 2, 2.5, 1, 1.5], 2, 5, 4),
        ([3, 2, 2, 2, 1], 2, 4, 2),
        ([1, 2, 3, 4], 3, 4, 1),
        ([float("nan"), 2, 3], 1, 3, 2),
        ([2, float("nan"), 1], 1, 2, 1),
    ],
)
def test_patience_is_counted_in_evaluations_without_a_new_lowest(
    losses: list[float], patience: int, made: int, kept: int
) -> None:
    found, told, weight = watched(losses, patience)
    assert (found, told["updates_kept"], weight) == (made, kept, kept)
    assert len(told["validation_losses"]) == made


def test_divergence_is_still_a_result() -> None:
    variant = tuned(tiny.model(), strength=1e30, stop_early=STOP)
    assert variant.diverged
    assert "diverged_at_step" in variant.details


def test_it_has_a_name_and_an_identity_of_its_own_and_is_trained_alone() -> None:
    plain = FineTune(**LONG)
    stopping = dataclasses.replace(plain, stop_early=STOP)
    assert (plain.label, stopping.label) == ("fine-tune t, 200 steps", "fine-tune t, 200 steps, stop early 5 x 2")
    assert identity(stopping) == identity(plain) | {"stop_early": {"type": "EarlyStop", "every": 5, "patience": 2}}
    assert sweeps_pay(plain, tiny.model(), task(), Numerics())
    assert not sweeps_pay(stopping, tiny.model(), task(), Numerics())


@pytest.mark.parametrize(
    ("every", "patience", "says"),
    [
        (0, 1, "every and patience must be at least 1, got 0 and 1"),
        (1, 0, "every and patience must be at least 1, got 1 and 0"),
        (200, 1, "stop_early evaluates every 200 updates, and there are 200: it has no effect; lower every"),
    ],
)
def test_what_can_have_no_effect_is_refused(every: int, patience: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        FineTune(**LONG, stop_early=EarlyStop(every=every, patience=patience))
