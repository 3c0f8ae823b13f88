"""The training loop against a plain one over transformers' own loss, and what it promises about weights."""

import copy
import math

import pytest
import torch

import tiny
from pliant.checkpoints.folder import save_weights
from pliant.training.decoder import choose_forward, lean_logits, transformers_logits
from pliant.training.loop import Batch, Diverged, Optimisation, adamw, train
from pliant.training.state import load_state, save_optimizer


def run(model, optimisation, steps=10, rate=1e-3, start=0, optimizer=None, **changes):
    optimizer = optimizer or adamw(model.parameters(), optimisation)
    stream = tiny.batches()
    for _ in range(start):
        next(stream)
    settings = {"forward": choose_forward(model, "lean"), "clip_norm": optimisation.clip_norm} | changes
    train(model, optimizer, stream, lambda step: rate * (step + 1) / 10, start=start, stop=steps, **settings)
    return optimizer


def plain_loop(model, steps, decay, clip=1.0):
    """AdamW as its documentation has it, on the loss of the transformers model."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95), foreach=False, fused=False)
    stream = tiny.batches()
    for step in range(steps):
        inputs, targets, _ = next(stream)
        windows = torch.cat([inputs, targets[:, -1:]], dim=1)
        model(input_ids=windows, labels=windows).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (step + 1) / 10
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("changes", [{}, {"tied": True}, {"family": "olmo2"}], ids=["llama", "tied", "olmo2"])
def test_ends_where_a_plain_loop_ends(changes, decay):
    ours, plain = tiny.model(**changes), tiny.model(**changes)
    before = tiny.weights_of(ours)
    run(ours, Optimisation(weight_decay=decay))
    plain_loop(plain, 10, decay)
    for name, tensor in tiny.weights_of(plain).items():
        assert float((tensor - before[name]).abs().max()) > 1e-3, f"{name} did not learn"
        torch.testing.assert_close(ours.get_parameter(name).detach(), tensor, rtol=0, atol=1e-6, msg=name)


def test_lean_and_transformers_forward_train_alike():
    lean, plain = tiny.model(), tiny.model()
    run(lean, Optimisation(), forward=lean_logits)
    run(plain, Optimisation(), forward=transformers_logits)
    for name, tensor in tiny.weights_of(plain).items():
        torch.testing.assert_close(lean.get_parameter(name).detach(), tensor, rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize("family", ["llama", "olmo2"])
def test_decay_shrinks_matrices_and_leaves_gains(family):
    decayed, kept = tiny.model(family=family), tiny.model(family=family)
    before = tiny.weights_of(kept)
    for model, decay in ((decayed, 0.5), (kept, 0.0)):
        run(model, Optimisation(weight_decay=decay), steps=1, rate=0.1)
    for name, tensor in tiny.weights_of(kept).items():
        found = decayed.get_parameter(name).detach()
        if tensor.ndim == 1:
            assert torch.equal(found, tensor), name
        else:
            torch.testing.assert_close(found, tensor - 0.01 * 0.5 * before[name], rtol=0, atol=1e-6, msg=name)


def test_gradients_are_clipped_by_their_global_norm():
    norms = {}
    for clip in (math.inf, 1e-3):
        model = tiny.model()
        optimizer = adamw(model.parameters(), Optimisation())
        optimizer.register_step_pre_hook(
            lambda *_, clip=clip, model=model: norms.update(
                {clip: torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item()}
            )
        )
        run(model, Optimisation(clip_norm=clip), steps=1, optimizer=optimizer)
    assert norms[math.inf] > 0.1
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-3)


def test_same_seed_same_bits():
    first, second = tiny.model(), tiny.model()
    for model in (first, second):
        run(model, Optimisation())
    assert tiny.same_bits(tiny.weights_of(first), tiny.weights_of(second))


def test_losses_are_reported_step_by_step_and_fall():
    model, seen = tiny.model(), []
    window = tiny.token_ids(4, 13)
    batch = Batch(window[:, :-1], window[:, 1:])
    optimizer = adamw(model.parameters(), Optimisation())
    settings = {"forward": lean_logits, "start": 5, "stop": 45, "clip_norm": 1.0}
    train(model, optimizer, iter([batch] * 40), lambda step: 0.01, after_step=lambda *a: seen.append(a), **settings)
    assert [step for step, _ in seen] == list(range(5, 45))
    assert seen[-1][1] < seen[0][1] / 2
    assert not model.training


@pytest.mark.parametrize("rate", [1e10, 1e30])
@pytest.mark.parametrize("family", ["llama", "olmo2"])
def test_divergence_is_raised_and_weights_stay_finite(family, rate):
    model = tiny.model(family=family)
    with pytest.raises(Diverged, match=r"the loss or its gradient is not finite at step [1-9]") as raised:
        run(model, Optimisation(weight_decay=0.0), rate=rate)
    assert 1 <= raised.value.step < 10
    assert all(torch.isfinite(tensor).all() for tensor in tiny.weights_of(model).values())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_divergence_at_once_changes_nothing():
    model = tiny.model()
    with torch.no_grad():
        model.lm_head.weight[0, 0] = math.nan
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(Diverged) as raised:
        run(model, Optimisation())
    assert raised.value.step == 0
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("changes", [{}, {"tied": True}, {"family": "olmo2"}], ids=["llama", "tied", "olmo2"])
def test_saved_state_continues_with_the_same_bits(changes, tmp_path):
    whole, half, resumed = (tiny.model(**changes) for _ in range(3))
    at_end = run(whole, Optimisation(), steps=10)
    at_half = run(half, Optimisation(), steps=4)
    save_weights(half, tmp_path)
    save_optimizer(half, at_half, tmp_path)
    optimizer = adamw(resumed.parameters(), Optimisation())
    load_state(resumed, optimizer, tmp_path)
    run(resumed, Optimisation(), steps=10, start=4, optimizer=optimizer)
    assert tiny.same_bits(tiny.weights_of(whole), tiny.weights_of(resumed))
    for ours, theirs in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert tiny.same_bits(at_end.state[ours], optimizer.state[theirs])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"weight_decay": -0.1}, "weight_decay must be a finite number >= 0, got -0.1"),
        ({"weight_decay": math.nan}, "weight_decay must be a finite number >= 0, got nan"),
        ({"beta2": 1.0}, r"betas must lie in \[0, 1\), got 0.9 and 1.0"),
        ({"clip_norm": 0.0}, "clip_norm must be above 0"),
    ],
)
def test_refused_settings(settings, says):
    with pytest.raises(ValueError, match=says):
        Optimisation(**settings)


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_a_failure_midway_leaves_no_gradient_to_the_next_training(micro_batch):
    once, again = tiny.model(), tiny.model()
    calls = 0

    def failing(loss, step):
        nonlocal calls
        calls += 1
        if calls > 1:
            loss.backward(retain_graph=True)
            raise MemoryError("in the middle of a backward pass")
        return loss

    before = tiny.weights_of(again)
    with pytest.raises(MemoryError):
        run(again, Optimisation(), objective=failing, micro_batch=micro_batch)
    assert not again.training
    assert all(parameter.grad is None for parameter in again.parameters())
    with torch.no_grad():
        for name, tensor in before.items():
            again.get_parameter(name).copy_(tensor)
    run(once, Optimisation())
    run(again, Optimisation())
    for name, tensor in tiny.weights_of(once).items():
        assert torch.equal(tiny.weights_of(again)[name], tensor), name
