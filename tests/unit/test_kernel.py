"""The kernel against transformers, autograd and torch's AdamW."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pliant.checkpoints.architecture import Architecture, build_model
from pliant.checkpoints.weights import canonical_tensors, distance
from pliant.records.numerics import Numerics
from pliant.training.by_kernel import losses
from pliant.training.by_kernel.layout import Layout, kernel_fits
from pliant.training.by_kernel.learner import InPlace, KernelLearner, train_copies
from pliant.training.by_kernel.losses import kernel_losses
from pliant.training.by_kernel.probe import kernel_works
from pliant.training.cross_entropy import IGNORED, cross_entropies, mean_cross_entropy
from pliant.training.decoder import lean_logits, transformers_logits
from pliant.training.loop import Batch, Optimisation, adamw, take_steps, train
from pliant.training.state import load_state, save_snapshot
from pliant.training.target_losses import KernelForward, planned_forward, summed_gradient, target_losses

TINY = Architecture(width=8, layers=2, heads=2, feed_forward=16, context=32)
SHAPES = {
    "width 8": TINY,
    "one head": replace(TINY, heads=1),
    "tied": replace(TINY, tied=True),
    "width 32": Architecture(width=32, layers=3, heads=4, feed_forward=80, context=48),
    "width 64": Architecture(width=64, layers=1, heads=4, feed_forward=168, context=64),
}
VOCABULARY = 72
STEPS = 12
SETTINGS = Optimisation(weight_decay=0.1, clip_norm=0.5)


def tokens(rows: int, length: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = torch.randint(0, VOCABULARY, (rows, length + 1), generator=torch.Generator().manual_seed(seed))
    targets = drawn[:, 1:].clone()
    targets[:, :3] = IGNORED
    return drawn[:, :-1], targets


def batches() -> Iterator[Batch]:
    step = 0
    while True:
        yield Batch(*tokens(4, 21, seed=step))
        step += 1


def constant(rate: float):
    return lambda step: rate


def gradient(model, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[float, dict[str, np.ndarray]]:
    """The mean loss and its gradient by the kernel."""
    layout, tensors = Layout.of(model), canonical_tensors(model)
    weights = layout.flat(tensors)
    learner = KernelLearner(model, SETTINGS, weights=weights, first=weights * 0, second=weights * 0)
    loss = learner.gradient(Batch(inputs, targets), 0)
    return loss, layout.views(learner._gradient, tensors)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("length", [16, 21])
def test_loss_and_gradient_are_those_of_transformers(name: str, length: int) -> None:
    model = build_model(SHAPES[name], VOCABULARY, seed=1)
    inputs, targets = tokens(3, length)
    loss, found = gradient(model, inputs, targets)
    expected = mean_cross_entropy(transformers_logits(model, inputs), targets)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    for tensor, parameter in canonical_tensors(model).items():
        largest = parameter.grad.abs().max().item()
        assert largest > 0
        np.testing.assert_allclose(found[tensor], parameter.grad.numpy(), atol=5e-6 * largest, err_msg=tensor)


@pytest.mark.parametrize("name", SHAPES)
def test_each_loss_is_that_of_the_logits(name: str) -> None:
    model = build_model(SHAPES[name], VOCABULARY, seed=2)
    inputs, targets = tokens(5, 30)
    with torch.inference_mode():
        plain = cross_entropies(transformers_logits(model, inputs), targets)
        by_kernel = target_losses(planned_forward(model, Numerics(kernel="lanes")), model, inputs, targets)
    assert (by_kernel - plain).abs().max() < 1e-5
    assert (by_kernel[:, :3] == 0).all()


def test_the_gradient_of_the_summed_loss_is_that_of_autograd() -> None:
    model = build_model(TINY, VOCABULARY, seed=2)
    inputs, targets = tokens(5, 21)
    plain = summed_gradient(lean_logits, model, inputs, targets)
    by_kernel = summed_gradient(KernelForward(), model, inputs, targets)
    assert plain.keys() == by_kernel.keys() == canonical_tensors(model).keys()
    for name, gradient in plain.items():
        assert (by_kernel[name] - gradient).abs().max() < 5e-6 * gradient.abs().max()


def test_a_row_has_the_same_bits_whatever_is_beside_it() -> None:
    model = build_model(TINY, VOCABULARY, seed=2)
    inputs, targets = tokens(6, 32)
    together = kernel_losses(model, inputs, targets)
    assert torch.equal(together[4:5], kernel_losses(model, inputs[4:5], targets[4:5]))


def test_training_ends_where_the_training_loop_ends() -> None:
    plain, by_kernel = build_model(TINY, VOCABULARY, seed=1), build_model(TINY, VOCABULARY, seed=1)
    base = {name: tensor.detach().clone() for name, tensor in canonical_tensors(plain).items()}
    losses: list[float] = []
    optimizer = adamw(plain.parameters(), SETTINGS)
    how = {"start": 0, "stop": STEPS, "after_step": lambda step, loss: losses.append(loss)}
    train(plain, optimizer, batches(), constant(0.01), forward=lean_logits, clip_norm=SETTINGS.clip_norm, **how)
    by_loop, losses = losses, []
    ours = adamw(by_kernel.parameters(), SETTINGS)
    take_steps(InPlace(by_kernel, ours, SETTINGS), batches(), constant(0.01), **how)
    assert losses == pytest.approx(by_loop, rel=1e-5)
    ends = canonical_tensors(plain)
    assert distance(canonical_tensors(by_kernel), ends) < 1e-3 * distance(ends, base)
    state, theirs = ours.state[by_kernel.lm_head.weight], optimizer.state[plain.lm_head.weight]
    assert state["step"] == theirs["step"] == STEPS
    assert torch.allclose(state["exp_avg"], theirs["exp_avg"], rtol=1e-2, atol=1e-5)


def test_a_run_continued_from_a_snapshot_has_the_bits_of_one_that_was_not_stopped(tmp_path: Path) -> None:
    def steps(model, optimizer, start: int, stop: int) -> None:
        later = batches()
        for _ in range(start):
            next(later)
        take_steps(InPlace(model, optimizer, SETTINGS), later, constant(0.01), start=start, stop=stop)

    whole, first, second = (build_model(TINY, VOCABULARY, seed=1) for _ in range(3))
    steps(whole, adamw(whole.parameters(), SETTINGS), 0, STEPS)
    optimizer = adamw(first.parameters(), SETTINGS)
    steps(first, optimizer, 0, 5)
    save_snapshot(first, optimizer, 5, tmp_path)
    optimizer = adamw(second.parameters(), SETTINGS)
    load_state(second, optimizer, tmp_path / "step-000000005")
    steps(second, optimizer, 5, STEPS)
    for name, tensor in canonical_tensors(whole).items():
        assert torch.equal(tensor, canonical_tensors(second)[name])


def test_copies_end_where_each_would_alone_and_leave_the_model_as_it_is() -> None:
    model = build_model(TINY, VOCABULARY, seed=1)
    base = {name: tensor.detach().clone() for name, tensor in canonical_tensors(model).items()}
    rates = [constant(rate) for rate in (0.003, 0.03)]
    both = train_copies(model, rates, SETTINGS, batches(), STEPS)
    (alone,) = train_copies(model, rates[1:], SETTINGS, batches(), STEPS)
    assert all(torch.equal(tensor, both[1].tensors[name]) for name, tensor in alone.tensors.items())
    assert all(torch.equal(tensor, base[name]) for name, tensor in canonical_tensors(model).items())
    assert [len(one.losses) for one in both] == [STEPS, STEPS]
    in_place = build_model(TINY, VOCABULARY, seed=1)
    learner = InPlace(in_place, adamw(in_place.parameters(), SETTINGS), SETTINGS)
    take_steps(learner, batches(), rates[1], start=0, stop=STEPS)
    assert all(torch.equal(tensor, alone.tensors[name]) for name, tensor in canonical_tensors(in_place).items())


def test_divergence_is_told_with_its_step_and_leaves_the_weights_before_it() -> None:
    model = build_model(TINY, VOCABULARY, seed=1)
    (one,) = train_copies(model, [lambda step: 0.01 if step < 3 else 1e38], SETTINGS, batches(), STEPS)
    assert one.diverged_at is not None
    assert 3 < one.diverged_at < STEPS
    assert len(one.losses) == one.diverged_at + 1


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    model = build_model(TINY, VOCABULARY, seed=1)
    with torch.no_grad():
        model.model.norm.weight[0] = float("inf")
    layout = Layout.of(model)
    weights = layout.flat(canonical_tensors(model))
    learner = KernelLearner(
        model, SETTINGS, weights=weights, first=np.zeros_like(weights), second=np.zeros_like(weights)
    )
    before = weights.copy()
    assert not np.isfinite(learner.gradient(next(batches()), 0))
    assert not learner.update(0.1)
    np.testing.assert_array_equal(weights, before)


def test_a_token_outside_the_vocabulary_is_refused() -> None:
    model = build_model(TINY, VOCABULARY, seed=1)
    inputs, targets = tokens(2, 16)
    with pytest.raises(ValueError, match="token 72 is outside a vocabulary of 72; use the model's own tokenizer"):
        kernel_losses(model, inputs + 1 * (inputs == inputs.max()) * (VOCABULARY - inputs), targets)


def test_models_of_other_shapes_go_the_plain_way() -> None:
    def fitting(**changes) -> bool:
        return kernel_fits(build_model(replace(TINY, **changes), VOCABULARY, seed=1))

    assert fitting()
    assert not fitting(family="olmo2", initialisation="normal-0.02")
    assert not fitting(width=12, heads=3)
    assert not fitting(heads=4)
    assert not fitting(feed_forward=20)
    assert not kernel_fits(build_model(TINY, 70, seed=1))
    assert not kernel_fits(build_model(TINY, VOCABULARY, seed=1).bfloat16())
    model = build_model(TINY, VOCABULARY, seed=1)
    assert planned_forward(model, Numerics()) is lean_logits
    assert isinstance(planned_forward(model, Numerics(kernel="lanes")), KernelForward)


def test_the_exponential_is_right_to_rounding() -> None:
    """A model of one layer whose logits are what we choose: its losses are ln sum e^x - x."""
    model = build_model(replace(TINY, layers=1), VOCABULARY, seed=1)
    logits = np.linspace(-100, 60, VOCABULARY, dtype=np.float32)
    with torch.no_grad():
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.fill_(1.0)
        model.model.norm.weight.fill_(1.0)
        model.lm_head.weight.copy_(torch.from_numpy(logits / 8)[:, None].expand(-1, 8))
    targets = torch.arange(VOCABULARY)[:, None].expand(-1, 16).contiguous()
    losses = kernel_losses(model, torch.zeros_like(targets), targets)[:, 0].double().numpy()
    expected = np.logaddexp.reduce(logits.astype(np.float64)) - logits
    np.testing.assert_allclose(losses, expected, rtol=2e-6, atol=2e-5)


def test_the_kernel_works_here() -> None:
    assert kernel_works()


def test_a_kernel_that_fails_or_computes_something_else_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: object) -> torch.Tensor:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(losses, "kernel_losses", fails)
    with pytest.warns(UserWarning, match="computed by torch, which is slower: .* no locator available"):
        assert not kernel_works()
    monkeypatch.setattr(losses, "kernel_losses", lambda model, inputs, targets: torch.zeros(targets.shape))
    assert not kernel_works()
