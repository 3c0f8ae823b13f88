"""Gradients added up over parts of a batch are those of the whole, whatever the parts and the objective."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from pliant.training.decoder import lean_logits
from pliant.training.loop import Batch, Diverged, Objective, Optimisation, adamw, the_loss, train

ROWS = 6


def batch() -> Batch:
    """Rows of very different numbers of scored targets, one row of none."""
    windows = tiny.token_ids(ROWS, 13)
    targets = windows[:, 1:].clone()
    for row, prompt in enumerate((0, 11, 12, 3, 10, 7)):
        targets[row, :prompt] = -100
    return Batch(windows[:, :-1], targets)


def gradient(micro_batch: int | None, objective: Objective = the_loss, model: Any = None) -> tuple[float, Tensor]:
    """The loss that is told and the gradient that the optimiser is given, not clipped."""
    model = model or tiny.model()
    optimizer, seen, losses = adamw(model.parameters(), Optimisation()), [], []
    optimizer.register_step_pre_hook(
        lambda *_: seen.append(torch.cat([p.grad.detach().flatten().clone() for p in model.parameters()]))
    )
    train(
        model,
        optimizer,
        itertools.repeat(batch()),
        lambda step: 0.0,
        forward=lean_logits,
        start=0,
        stop=1,
        clip_norm=float("inf"),
        micro_batch=micro_batch,
        objective=objective,
        after_step=lambda step, loss: losses.append(loss),
    )
    return losses[0], seen[0]


@pytest.mark.parametrize("micro_batch", [1, 2, 4, 5])
def test_the_gradient_is_that_of_the_mean_over_all_scored_targets(micro_batch: int) -> None:
    loss, whole = gradient(None)
    told, found = gradient(micro_batch)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-6 * float(whole.abs().max()))
    assert told == pytest.approx(loss, rel=1e-6)


def test_it_is_not_the_mean_of_the_means() -> None:
    """The rows of this batch are such that the well-known error is far from the tolerance above."""
    model, total = tiny.model(), torch.zeros(())
    for part in (part for part in batch().split(1) if (part.targets >= 0).any()):
        logits = lean_logits(model, part.inputs).flatten(0, 1)
        total = total + torch.nn.functional.cross_entropy(logits, part.targets.flatten()) / (ROWS - 1)
    wrong = torch.cat([g.flatten() for g in torch.autograd.grad(total, list(model.parameters()))])
    _, whole = gradient(None)
    assert float((wrong - whole).norm() / whole.norm()) > 0.1


def test_an_objective_counts_once_and_not_once_a_part() -> None:
    """Of the form of replay and of a penalty: a share of the loss, and a term of the weights alone."""
    found = []
    for micro_batch in (None, 1, 4):
        model = tiny.model()

        def objective(loss: Tensor, step: int, model: Any = model) -> Tensor:
            return 0.3 * loss + 0.01 * sum(p.square().sum() for p in model.parameters())

        found.append(gradient(micro_batch, objective, model)[1])
    whole, *parts = found
    for part in parts:
        torch.testing.assert_close(part, whole, rtol=0, atol=1e-6 * float(whole.abs().max()))
    _, plain = gradient(None)
    assert float((whole - plain).norm() / plain.norm()) > 0.1


def test_a_split_keeps_the_rows_and_their_segments() -> None:
    whole = Batch(*batch()[:2], torch.arange(12).repeat(ROWS, 1) // 5)
    parts = list(whole.split(4))
    assert [len(part.inputs) for part in parts] == [4, 2]
    for index in range(3):
        assert torch.equal(torch.cat([part[index] for part in parts]), whole[index])
    assert {part.segments for part in batch().split(4)} == {None}


def test_a_part_that_is_not_finite_is_divergence_and_leaves_the_weights() -> None:
    model = tiny.model()
    with torch.no_grad():
        model.model.embed_tokens.weight[int(batch().inputs[5, 0])] = float("nan")
    before = tiny.weights_of(model)
    with pytest.raises(Diverged, match="step 0"):
        gradient(1, model=model)
    for name, tensor in tiny.weights_of(model).items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)
    assert all(parameter.grad is None for parameter in model.parameters())
