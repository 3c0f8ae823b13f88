"""Our cross-entropy against torch's own, value and gradient."""

import math

import pytest
import torch

from pliant.training.cross_entropy import IGNORED, cross_entropies, mean_cross_entropy


def logits_and_targets(scale=3.0, ignored=()):
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(3, 7, 11, generator=generator)
    targets = torch.randint(11, (3, 7), generator=generator)
    for row, position in ignored:
        targets[row, position] = IGNORED
    return logits, targets


def torch_loss(logits, targets):
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


@pytest.mark.parametrize("scale", [0.01, 3.0, 10.0])
@pytest.mark.parametrize("ignored", [(), [(0, 0), (2, 6)], [(row, t) for row in range(3) for t in range(1, 7)]])
def test_value_and_gradient_are_those_of_torch(scale, ignored):
    logits, targets = logits_and_targets(scale, ignored)
    ours, theirs = logits.clone().requires_grad_(), logits.double().requires_grad_()
    loss, expected = mean_cross_entropy(ours, targets), torch_loss(theirs, targets)
    (2 * loss).backward()
    (2 * expected).backward()
    assert loss.item() == pytest.approx(expected.item(), rel=2e-6)
    torch.testing.assert_close(ours.grad, theirs.grad.float(), rtol=1e-5, atol=1e-7)


def test_gradient_against_finite_differences():
    logits, targets = logits_and_targets(ignored=[(1, 3)])
    logits.requires_grad_()
    mean_cross_entropy(logits, targets).backward()
    along, step = logits.grad / logits.grad.norm(), 0.1
    with torch.no_grad():
        up, down = (cross_entropies(logits + sign * step * along, targets).double().sum() / 20 for sign in (1, -1))
    assert float((up - down) / (2 * step)) == pytest.approx(float(logits.grad.norm()), rel=1e-3)


def test_ignored_targets_have_no_loss_and_no_gradient():
    logits, targets = logits_and_targets(ignored=[(0, 0), (1, 1)])
    logits.requires_grad_()
    mean_cross_entropy(logits, targets).backward()
    assert not logits.grad[0, 0].any()
    assert not logits.grad[1, 1].any()
    losses = cross_entropies(logits.detach(), targets)
    assert losses[0, 0] == losses[1, 1] == 0
    assert (losses > 0).sum() == 19


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary():
    _, targets = logits_and_targets()
    assert mean_cross_entropy(torch.zeros(3, 7, 11), targets).item() == pytest.approx(math.log(11), rel=1e-6)
    assert cross_entropies(torch.zeros(3, 7, 11), targets).numpy() == pytest.approx(math.log(11), rel=1e-6)


def test_an_impossible_target_costs_a_finite_loss_and_not_a_number_stays_one():
    logits = torch.zeros(1, 1, 3)
    logits[0, 0, 0] = 1000.0
    targets = torch.tensor([[1]])
    assert mean_cross_entropy(logits, targets).item() == pytest.approx(-math.log(torch.finfo(torch.float32).tiny))
    assert math.isnan(mean_cross_entropy(logits * math.nan, targets).item())


def test_half_precision_logits_are_computed_in_fp32():
    logits, targets = logits_and_targets()
    half = logits.bfloat16()
    assert mean_cross_entropy(half, targets).item() == pytest.approx(torch_loss(half.float(), targets).item(), rel=2e-6)
