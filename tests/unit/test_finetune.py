"""Fine-tuning: a rate of zero is nothing, the order of examples is the seed's, divergence is a result."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

import tiny
from pliant.checkpoints.folder import save_weights
from pliant.checkpoints.weights import stored_fingerprint
from pliant.modifications.finetune import FineTune, finetuned_variant
from pliant.modifications.ground import Ground
from pliant.modifications.variant import Variant, keep_base, restore
from pliant.training.decoder import choose_forward
from pliant.training.schedules import Schedule
from pliant.training.task_batches import shuffled_batches


def finetune(model, strength, seed=0, task=None, **changes):
    settings = FineTune(**({"task": "random", "strength": strength, "steps": 8, "batch": 4} | changes))
    source = tiny.stream()
    ground = Ground(
        task=task or tiny.task(),
        base=keep_base(model),
        text=lambda seed: source,
        forward=choose_forward(model, "lean"),
    )
    return list(finetuned_variant(settings, model, ground, seed))


def fingerprint(model, folder):
    folder.mkdir()
    save_weights(model, folder)
    return stored_fingerprint(folder)


def test_rate_zero_changes_nothing(tmp_path):
    model = tiny.model()
    before = fingerprint(model, tmp_path / "before")
    assert finetune(model, 0.0) == [Variant()]
    assert fingerprint(model, tmp_path / "after") == before
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("family", ["llama", "olmo2"])
def test_a_rate_above_zero_learns_and_is_undone(family):
    model = tiny.model(family=family)
    before, base = tiny.weights_of(model), keep_base(model)
    (variant,) = finetune(model, 0.01, steps=60, batch=10)
    assert not variant.diverged
    assert variant.details["train_loss_last"] < variant.details["train_loss_first"]
    assert not model.training
    assert not any(torch.equal(tensor, before[name]) for name, tensor in tiny.weights_of(model).items())
    restore(model, base)
    assert tiny.same_bits(tiny.weights_of(model), before)


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    models = [tiny.model() for _ in range(3)]
    for model, seed in zip(models, (5, 5, 6), strict=True):
        finetune(model, 0.01, seed=seed)
    first, again, other = map(tiny.weights_of, models)
    assert tiny.same_bits(first, again)
    assert not tiny.same_bits(first, other)


def test_a_second_fine_tuning_from_the_base_begins_afresh():
    model = tiny.model()
    base = keep_base(model)
    finetune(model, 0.01)
    once = tiny.weights_of(model)
    restore(model, base)
    finetune(model, 0.01)  # no moments are left over from the first
    assert tiny.same_bits(tiny.weights_of(model), once)


def test_no_decay_by_default():
    settings = FineTune(task="t", strength=0.1)
    assert settings.optimisation.weight_decay == 0
    assert (settings.schedule.kind, settings.schedule.warmup_fraction) == ("cosine", 0.1)


def orders(seed, rows=4, count=30, length=10):
    split = tiny.split(length)
    lookup = {tuple(row): index for index, row in enumerate(split.inputs)}
    stream = itertools.islice(shuffled_batches(split, rows, seed, "cpu"), count)
    return [[lookup[tuple(row)] for row in inputs.tolist()] for inputs, *_ in stream]


def test_every_example_is_seen_once_an_epoch():
    seen = list(itertools.chain.from_iterable(orders(seed=0)))
    epochs = [seen[start : start + 10] for start in range(0, 120, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 10


def test_the_order_depends_on_the_seed_alone():
    assert orders(0) == orders(0)
    assert orders(0) != orders(1)
    flat = [list(itertools.chain.from_iterable(orders(0, rows=rows, count=60 // rows))) for rows in (4, 10, 20)]
    assert flat[0] == flat[1] == flat[2]


def test_inputs_and_targets_stay_together():
    split = tiny.split(10)
    for inputs, targets, _ in itertools.islice(shuffled_batches(split, 3, 0, "cpu"), 10):
        np.testing.assert_array_equal(inputs[:, 1:].numpy(), targets[:, :-1].numpy())


@pytest.mark.parametrize("rate", [1e10, 1e30])
def test_an_absurd_rate_is_a_result(rate):
    model = tiny.model()
    base = keep_base(model)
    (variant,) = finetune(model, rate)
    assert variant.diverged
    assert variant.details["diverged_at_step"] >= 1
    assert not model.training
    restore(model, base)
    assert tiny.same_bits(tiny.weights_of(model), base)


def test_weights_spoilt_by_the_last_update_have_diverged():
    (variant,) = finetune(tiny.model(), 3e38, steps=1, schedule=Schedule(kind="constant"))
    assert variant.diverged


def test_only_scored_targets_teach():
    split = tiny.split(20, prompt=6)
    other = dataclasses.replace(split, targets=np.where(split.targets == -100, -100, split.targets))
    hidden = split.targets.copy()
    hidden[:, :6] = 3
    taught = dataclasses.replace(split, targets=hidden)
    found = []
    for train in (split, other, taught):
        model = tiny.model()
        finetune(model, 0.01, task=dataclasses.replace(tiny.task(), splits={"train": train}))
        found.append(tiny.weights_of(model))
    assert tiny.same_bits(found[0], found[1])
    assert not tiny.same_bits(found[0], found[2])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"strength": -0.1}, "learning rate must be a finite number >= 0, got -0.1"),
        ({"strength": math.nan}, "learning rate must be a finite number >= 0, got nan"),
        ({"strength": 0.1, "steps": 0}, "steps and batch must be at least 1, got 0 and 16"),
        ({"strength": 0.1, "schedule": Schedule(kind="wsd")}, "wsd is for ladders"),
    ],
)
def test_refused_settings(settings, says):
    with pytest.raises(ValueError, match=says):
        FineTune(task="t", **settings)
