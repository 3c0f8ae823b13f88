"""Copies trained side by side: each as if it were alone, and as the one training loop would have it."""

from collections.abc import Iterator

import pytest
import torch

from pliant.checkpoints.architecture import Architecture, build_model
from pliant.checkpoints.weights import distance
from pliant.training.cross_entropy import IGNORED
from pliant.training.decoder import lean_logits
from pliant.training.loop import Batch, Optimisation, adamw, train
from pliant.training.stack import MOST_TOKENS, Trained, stacking_pays, train_stack

SHAPE = Architecture(width=8, layers=2, heads=2, feed_forward=16, context=16)
VOCABULARY = 32
RATES = (0.003, 0.01, 0.03, 0.1)
STEPS = 12
SETTINGS = Optimisation(weight_decay=0.1, clip_norm=0.5)


def batches() -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(3)
    while True:
        tokens = torch.randint(0, VOCABULARY, (4, 17), generator=generator)
        targets = tokens[:, 1:].clone()
        targets[:, :3] = IGNORED
        yield Batch(tokens[:, :-1], targets)


def stack(rates: tuple[float, ...]) -> list[Trained]:
    model = build_model(SHAPE, VOCABULARY, seed=1)
    return train_stack(model, [lambda step, rate=rate: rate for rate in rates], SETTINGS, batches(), STEPS)


def same(first: Trained, second: Trained) -> bool:
    return all(torch.equal(tensor, second.tensors[name]) for name, tensor in first.tensors.items())


def test_every_copy_ends_where_the_training_loop_takes_it_alone() -> None:
    for rate, trained in zip(RATES, stack(RATES), strict=True):
        model = build_model(SHAPE, VOCABULARY, seed=1)
        losses: list[float] = []
        train(
            model,
            adamw(model.parameters(), SETTINGS),
            batches(),
            lambda step, rate=rate: rate,
            forward=lean_logits,
            start=0,
            stop=STEPS,
            clip_norm=SETTINGS.clip_norm,
            after_step=lambda step, loss: losses.append(loss),  # noqa: B023 - called before the next turn
        )
        assert trained.losses == pytest.approx(losses, rel=1e-5)
        ends = {name: parameter.detach() for name, parameter in model.named_parameters()}
        moved = distance(ends, dict(build_model(SHAPE, VOCABULARY, seed=1).named_parameters()))
        assert distance(trained.tensors, ends) < 1e-3 * moved  # rounding, which AdamW magnifies where gradients vanish


@pytest.mark.parametrize("some", [(0.01,), (0.01, 0.1), (0.1, 0.03, 0.01)])
def test_the_bits_of_a_copy_do_not_depend_on_the_others(some: tuple[float, ...]) -> None:
    together = dict(zip(RATES, stack(RATES), strict=True))
    for rate, alone in zip(some, stack(some), strict=True):
        assert same(alone, together[rate])


def test_a_copy_that_diverges_is_told_and_leaves_the_others_alone() -> None:
    wild = stack((0.01, 1e30))
    assert wild[1].diverged_at is not None
    assert wild[0].diverged_at is None
    assert same(wild[0], stack((0.01,))[0])
    assert all(bool(torch.isfinite(tensor).all()) for tensor in wild[0].tensors.values())


def test_the_model_itself_is_left_alone() -> None:
    model = build_model(SHAPE, VOCABULARY, seed=1)
    before = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    train_stack(model, [lambda step: 0.1], SETTINGS, batches(), 2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.named_parameters())


def test_stacking_is_for_narrow_models_and_small_batches() -> None:
    model = build_model(SHAPE, VOCABULARY, seed=1)
    assert stacking_pays(model, MOST_TOKENS)
    assert not stacking_pays(model, MOST_TOKENS + 1)
    wide = Architecture(width=64, layers=1, heads=2, feed_forward=16, context=16)
    assert not stacking_pays(build_model(wide, VOCABULARY, seed=1), 64)
    other = Architecture(family="olmo2", width=8, layers=1, heads=2, feed_forward=16, context=16)
    assert not stacking_pays(build_model(other, VOCABULARY, seed=1), 64)
