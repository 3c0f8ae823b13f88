"""What each way of holding on to the base adds, against closed forms and other libraries."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import tiny
from pliant.modifications.regularise.divergence import divergence_from, frozen
from pliant.modifications.regularise.fisher import diagonal_fisher
from pliant.modifications.regularise.quadratic import half_squares
from pliant.modifications.regularise.replay import in_parts, text_batch, text_loss
from pliant.modifications.regularise.wise_ft import move_back
from pliant.modifications.variant import keep_base
from pliant.training.decoder import lean_logits, transformers_logits


def moved(model, seed=3, size=0.1):
    """`model` with noise added to each trained tensor, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return model


def gradients(model, loss):
    return dict(zip(dict(model.named_parameters()), torch.autograd.grad(loss, list(model.parameters())), strict=True))


@pytest.mark.parametrize("changes", [{}, {"tied": True}], ids=["untied", "tied"])
def test_the_anchor_is_half_the_squared_distance(changes):
    model = tiny.model(**changes)
    base = keep_base(model)
    moved(model)
    loss = half_squares(model, base)
    by_hand = 0.5 * sum(float(((p.detach() - base[n]) ** 2).double().sum()) for n, p in model.named_parameters())
    assert float(loss.detach()) == pytest.approx(by_hand, rel=1e-6)
    found = gradients(model, 0.3 * loss)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], 0.3 * (parameter.detach() - base[name]), rtol=1e-6, atol=0)


def test_the_weighted_one_is_what_autograd_makes_of_the_formula():
    model = tiny.model()
    base = keep_base(model)
    weights = {name: torch.rand(tensor.shape) for name, tensor in base.items()}
    moved(model)
    plain = 0.5 * torch.stack([(weights[n] * (p - base[n]) ** 2).sum() for n, p in model.named_parameters()]).sum()
    ours = half_squares(model, base, weights)
    torch.testing.assert_close(ours, plain)
    expected = gradients(model, plain)
    for name, gradient in gradients(model, ours).items():
        torch.testing.assert_close(gradient, expected[name])


def test_at_the_base_nothing_pulls():
    model = tiny.model()
    loss = half_squares(model, keep_base(model))
    assert float(loss.detach()) == 0
    assert all(not gradient.any() for gradient in gradients(model, loss).values())


@pytest.mark.parametrize("forward", [lean_logits, transformers_logits])
def test_divergence_is_that_of_torch(forward):
    model = tiny.model()
    base = frozen(model)
    moved(model)
    inputs = tiny.token_ids()
    ours = divergence_from(base, model, inputs, forward=forward)
    p, q = (forward(network, inputs).log_softmax(dim=-1) for network in (base, model))
    theirs = F.kl_div(q, p, log_target=True, reduction="sum") / inputs.numel()
    assert float(ours.detach()) > 0.01
    torch.testing.assert_close(ours, theirs)
    expected = gradients(model, theirs)
    for name, gradient in gradients(model, ours).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-7)


def test_the_divergence_of_the_base_from_itself_has_no_gradient_at_all():
    model = tiny.model()
    ours = divergence_from(frozen(model), model, tiny.token_ids(), forward=lean_logits)
    assert float(ours.detach()) == 0
    assert all(not gradient.any() for gradient in gradients(model, ours).values())


def test_the_frozen_base_stays_and_takes_no_gradient():
    model = tiny.model()
    base = frozen(model)
    before = tiny.weights_of(base)
    moved(model)
    divergence_from(base, model, tiny.token_ids(), forward=lean_logits).backward()
    assert tiny.same_bits(tiny.weights_of(base), before)
    assert all(parameter.grad is None for parameter in base.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


def exact_fisher(model, inputs):
    """Every label at every position in turn, weighted by its probability."""
    total = {name: torch.zeros(p.shape, dtype=torch.float64) for name, p in model.named_parameters()}
    for row, position in itertools.product(range(len(inputs)), range(inputs.shape[1])):
        logs = transformers_logits(model, inputs[row : row + 1])[0, position].log_softmax(dim=-1)
        for label in range(len(logs)):
            share = math.exp(float(logs[label].detach()))
            for name, gradient in zip(
                total, torch.autograd.grad(logs[label], list(model.parameters()), retain_graph=True), strict=True
            ):
                total[name] += share * gradient.double() ** 2
    return {name: tensor / inputs.numel() for name, tensor in total.items()}


def small_model():
    return moved(tiny.model(width=4, layers=1, heads=1, feed_forward=4, context=6), size=0.5)


def test_fisher_is_the_mean_over_every_label():
    model = small_model()
    inputs = tiny.token_ids(rows=1, length=4)
    expected = exact_fisher(model, inputs)
    found = diagonal_fisher(model, inputs.repeat(600, 1), forward=lean_logits)
    for name, tensor in expected.items():
        assert float(found[name].double().sum()) == pytest.approx(float(tensor.sum()), rel=0.15), name
    ours, exact = (torch.cat([t.double().flatten() for t in f.values()]) for f in (found, expected))
    assert float(torch.corrcoef(torch.stack([ours, exact]))[0, 1]) > 0.98


def test_fisher_of_a_token_without_weight_is_zero_and_the_labels_are_the_same_each_time():
    model = small_model()
    inputs = torch.tensor([[1, 2, 3, 4]])
    found = diagonal_fisher(model, inputs, forward=lean_logits)
    embedding = found["model.embed_tokens.weight"]
    assert embedding[1:5].any()
    assert not embedding[5:].any()
    assert not embedding[0].any()
    assert tiny.same_bits(found, diagonal_fisher(model, inputs, forward=lean_logits))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_half_squares_by_fisher_is_the_divergence_of_a_step_in_one_weight():
    model = small_model()
    inputs = tiny.token_ids(rows=2, length=4)
    base = keep_base(model)
    fisher = {name: tensor.float() for name, tensor in exact_fisher(model, inputs).items()}
    name = "lm_head.weight"
    place = int(fisher[name].argmax())
    start = frozen(model)
    with torch.no_grad():
        model.get_parameter(name).view(-1)[place] += 0.02
    measured = divergence_from(start.double(), model.double(), inputs, forward=lean_logits)
    assert float(half_squares(model.float(), base, fisher).detach()) == pytest.approx(
        float(measured.detach()), rel=0.02
    )


def test_replay_windows_are_fresh_at_each_step_and_the_loss_is_that_of_torch():
    source = tiny.stream()
    model = tiny.model()
    seen = [text_batch(source, 4, step, "cpu") for step in range(3)]
    np.testing.assert_array_equal(torch.cat([batch.inputs for batch in seen]).numpy(), source.windows(0, 12)[:, :-1])
    inputs, targets = seen[1].inputs, seen[1].targets
    torch.testing.assert_close(inputs[:, 1:], targets[:, :-1])
    expected = F.cross_entropy(transformers_logits(model, inputs).flatten(0, 1), targets.flatten())
    torch.testing.assert_close(text_loss(model, seen[1], forward=lean_logits), expected)


@pytest.mark.parametrize("amount", [0.0, 0.3, 1.0])
def test_wise_ft_is_a_point_on_the_line(amount):
    model = tiny.model()
    base = keep_base(model)
    tuned = tiny.weights_of(moved(model))
    move_back(model, base, amount)
    for name, tensor in tiny.weights_of(model).items():
        by_hand = ((1 - amount) * tuned[name].double().numpy() + amount * base[name].double().numpy()).astype("f4")
        np.testing.assert_array_equal(tensor.numpy(), by_hand)


@pytest.mark.parametrize("rows", [1, 3, 4, 5])
def test_a_loss_in_parts_is_the_loss_of_the_whole(rows):
    model = tiny.model()
    batch = text_batch(tiny.stream(), 5, 0, "cpu")
    whole = text_loss(model, batch, forward=lean_logits)
    parts = in_parts(lambda part: text_loss(model, part, forward=lean_logits), batch, rows)
    torch.testing.assert_close(parts, whole)
    expected = gradients(model, whole)
    for name, gradient in gradients(model, parts).items():
        torch.testing.assert_close(gradient, expected[name])
