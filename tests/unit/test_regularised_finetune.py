"""Fine-tuning that holds on to the base: strength zero is plain, steps are those of the formula, more holds more."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

import tiny
from pliant.checkpoints.weights import distance
from pliant.data.tasks import TaskError
from pliant.modifications.finetune import FineTune, finetuned_variant
from pliant.modifications.ground import Ground
from pliant.modifications.regularise.method import (
    Anchor,
    Divergence,
    ElasticWeights,
    ProbeFirst,
    Replay,
    WiseFT,
)
from pliant.modifications.regularise.probe_first import after
from pliant.modifications.variant import Variant, keep_base
from pliant.training.decoder import choose_forward
from pliant.training.loop import Optimisation
from pliant.training.schedules import Schedule
from pliant.training.task_batches import shuffled_batches

METHODS = [Anchor, ElasticWeights, Replay, Divergence, WiseFT, ProbeFirst]
EVERYWHERE = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
STEPS, RATE, ROWS = 6, 0.01, 4
ROBUST = Optimisation(weight_decay=0.0, epsilon=1e-4)
"""So that rounding in weights with hardly a gradient is not magnified to whole steps."""


def made(method, amount):
    return method(amount=amount, tokens=240) if method is ElasticWeights else method(amount=amount)


def labelled():
    return dataclasses.replace(tiny.task(), label_tokens=(1, 2))


def ground(model, task=None):
    source = tiny.stream()
    return Ground(
        task=task or labelled(),
        base=keep_base(model),
        text=lambda seed: dataclasses.replace(source, seed=seed),
        forward=choose_forward(model, "lean"),
    )


def tune(regulariser, model=None, task=None, seed=2, **changes):
    """The variant, the model and its base."""
    model = model or tiny.model()
    settings = {"task": "random", "strength": RATE, "steps": STEPS, "batch": ROWS} | changes
    stands = ground(model, task)
    (variant,) = finetuned_variant(FineTune(**settings, regulariser=regulariser), model, stands, seed)
    return variant, model, stands.base


@EVERYWHERE
@pytest.mark.parametrize("changes", [{}, {"micro_batch": 3}], ids=["whole", "parts"])
def test_strength_zero_is_plain_fine_tuning_bit_for_bit(method, changes):
    plain, by_itself, base = tune(None, **changes)
    held, model, _ = tune(made(method, 0.0), **changes)
    assert held.losses == plain.losses
    assert held.details.items() >= plain.details.items()
    assert tiny.same_bits(tiny.weights_of(model), tiny.weights_of(by_itself))
    assert distance(tiny.weights_of(model), base) > 0


@EVERYWHERE
def test_a_strength_changes_the_weights_and_the_same_seed_repeats_them(method):
    _, plain, _ = tune(None)
    _, one, _ = tune(made(method, 0.5))
    _, again, _ = tune(made(method, 0.5))
    assert not tiny.same_bits(tiny.weights_of(one), tiny.weights_of(plain))
    assert tiny.same_bits(tiny.weights_of(one), tiny.weights_of(again))
    assert not one.training
    assert all(p.grad is None and p.requires_grad for p in one.parameters())


@pytest.mark.parametrize("method", [Anchor, ElasticWeights, Divergence, WiseFT], ids=lambda method: method.__name__)
def test_a_larger_amount_moves_less(method):
    amounts = (0.0, 0.2, 0.5, 0.9) if method is WiseFT else (0.0, 1.0, 10.0, 100.0)
    moved = [tune(made(method, amount), steps=20) for amount in amounts]
    lengths = [distance(tiny.weights_of(model), base) for _, model, base in moved]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] < 0.9 * lengths[0]


def by_hand(model, penalty, steps=STEPS, parameters=None, start=0, rate=lambda step: RATE):
    """AdamW as its documentation has it on the loss of the transformers model and a `penalty` written out."""
    parameters = parameters or list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1.0, betas=(0.9, 0.95), eps=1e-4, weight_decay=0.0, foreach=False)
    stream = shuffled_batches(labelled().splits["train"], ROWS, 2, "cpu")
    for _ in range(start):
        next(stream)
    for step in range(steps):
        batch = next(stream)
        loss = F.cross_entropy(model(input_ids=batch.inputs).logits.flatten(0, 1), batch.targets.flatten())
        penalty(loss, step).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.param_groups[0]["lr"] = rate(step)
        optimizer.step()
        model.zero_grad()


def close(model, other):
    base = tiny.weights_of(tiny.model())
    for name, tensor in tiny.weights_of(other).items():
        assert not torch.equal(tensor, base[name]), f"{name} did not learn"
        torch.testing.assert_close(model.get_parameter(name).detach(), tensor, rtol=0, atol=1e-5, msg=name)


def text(step, seed=2):
    windows = torch.from_numpy(dataclasses.replace(tiny.stream(), seed=seed).windows(step * ROWS, (step + 1) * ROWS))
    return windows[:, :-1], windows[:, 1:]


CONSTANT = Schedule(kind="constant")


def test_the_anchor_is_in_the_loss():
    plain = tiny.model()
    base = tiny.weights_of(plain)
    by_hand(plain, lambda loss, step: loss + 1.5 * sum(((p - base[n]) ** 2).sum() for n, p in plain.named_parameters()))
    variant, model, _ = tune(Anchor(amount=3.0), schedule=CONSTANT, optimisation=ROBUST)
    close(model, plain)
    assert variant.details["half_squared_distance_last"] > 0


def test_replay_weighs_the_two_losses():
    plain = tiny.model()

    def mixed(loss, step):
        inputs, targets = text(step)
        return 0.75 * loss + 0.25 * F.cross_entropy(plain(input_ids=inputs).logits.flatten(0, 1), targets.flatten())

    by_hand(plain, mixed)
    variant, model, _ = tune(Replay(amount=0.25), schedule=CONSTANT, optimisation=ROBUST)
    close(model, plain)
    assert variant.losses[0] == pytest.approx(tune(None)[0].losses[0])
    assert 3 < variant.details["replay_loss_nats_last"] < 5


def test_all_replay_is_training_on_text_alone():
    plain, never_seen = tiny.model(), labelled()
    by_hand(plain, lambda loss, step: F.cross_entropy(plain(input_ids=text(step)[0]).logits.mT, text(step)[1]))
    splits = {**never_seen.splits, "train": tiny.split(50, seed=99)}
    _, model, _ = tune(
        Replay(amount=1.0), schedule=CONSTANT, optimisation=ROBUST, task=dataclasses.replace(never_seen, splits=splits)
    )
    close(model, plain)


def test_the_divergence_is_from_the_base_on_text():
    plain, base = tiny.model(), tiny.model()

    def held(loss, step):
        inputs, _ = text(step)
        p, q = (network(input_ids=inputs).logits.log_softmax(dim=-1) for network in (base, plain))
        return loss + 4.0 * F.kl_div(q, p.detach(), log_target=True, reduction="sum") / inputs.numel()

    by_hand(plain, held)
    variant, model, _ = tune(Divergence(amount=4.0), schedule=CONSTANT, optimisation=ROBUST)
    close(model, plain)
    assert 0 < variant.details["divergence_nats_last"] < 1


@pytest.mark.parametrize("method", [Replay, Divergence], ids=lambda method: method.__name__)
def test_text_goes_through_in_parts_with_the_batch(method):
    _, whole, _ = tune(made(method, 0.5), optimisation=ROBUST)
    _, parts, _ = tune(made(method, 0.5), micro_batch=3, optimisation=ROBUST)
    for name, tensor in tiny.weights_of(whole).items():
        torch.testing.assert_close(parts.get_parameter(name).detach(), tensor, rtol=0, atol=1e-5, msg=name)


def test_elastic_weights_read_one_fisher_information_per_checkpoint():
    model = tiny.model()
    stands, before = ground(model), tiny.weights_of(model)
    one = stands.fisher(model, 100)
    assert stands.fisher(model, 100) is one
    assert not tiny.same_bits(one, stands.fisher(model, 200))
    assert tiny.same_bits(tiny.weights_of(model), before)
    variant, _, _ = tune(made(ElasticWeights, 1.0))
    assert 0 < variant.details["fisher_distance_nats_last"] < 1


@pytest.mark.parametrize("amount", [0.4, 1.0])
def test_wise_ft_goes_back_on_the_line_after_plain_fine_tuning(amount):
    plain, tuned, base = tune(None)
    variant, model, _ = tune(WiseFT(amount=amount))
    assert (variant.losses, variant.details) == (plain.losses, plain.details)
    for name, tensor in tiny.weights_of(model).items():
        line = (1 - amount) * tuned.get_parameter(name).detach().double() + amount * base[name].double()
        assert torch.equal(tensor, line.float()), name


def test_the_head_trains_alone_first_and_the_batches_go_on():
    plain = tiny.model()
    schedule = Schedule(kind="linear", warmup_fraction=0.1)
    probe = 3
    by_hand(
        plain,
        lambda loss, step: loss,
        probe,
        list(plain.lm_head.parameters()),
        rate=lambda step: schedule.learning_rate(RATE, step, probe),
    )
    after_probe = tiny.weights_of(plain)
    untouched = {n: t for n, t in tiny.weights_of(tiny.model()).items() if n != "lm_head.weight"}
    assert tiny.same_bits({n: after_probe[n] for n in untouched}, untouched)
    by_hand(plain, lambda loss, step: loss, start=probe, rate=lambda step: schedule.learning_rate(RATE, step, STEPS))
    variant, model, _ = tune(ProbeFirst(amount=0.5), schedule=schedule, optimisation=ROBUST)
    close(model, plain)
    assert len(variant.losses) == probe + STEPS
    assert variant.details["probe_steps"] == probe
    assert variant.details["train_loss_first"] == variant.losses[0]


@pytest.mark.parametrize(("rate", "steps"), [(1e30, 6), (3e38, 1)])
def test_a_probe_that_diverges_is_a_result(rate, steps):
    variant, model, _ = tune(ProbeFirst(amount=1.0), strength=rate, steps=steps, schedule=CONSTANT, optimisation=ROBUST)
    assert variant.diverged
    assert len(variant.losses) == variant.details.get("diverged_at_step", 1)
    assert all(parameter.requires_grad for parameter in model.parameters())


@EVERYWHERE
def test_a_training_that_diverges_is_a_result(method):
    variant, model, _ = tune(made(method, 0.5), strength=1e30)
    assert variant.diverged
    assert not model.training


def test_a_divergence_after_the_probe_counts_its_steps():
    probe = Variant(losses=(3.0, 2.0), details={"train_loss_first": 3.0, "train_loss_last": 2.0})
    lost = Variant(diverged=True, losses=(2.0, 9.0, 99.0), details={"diverged_at_step": 3})
    whole = after(probe, lost)
    assert whole.diverged
    assert whole.losses == (3.0, 2.0, 2.0, 9.0, 99.0)
    assert whole.details == {"diverged_at_step": 5, "probe_steps": 2}


@EVERYWHERE
def test_rate_zero_changes_nothing(method):
    variant, model, base = tune(made(method, 0.5), strength=0.0)
    assert variant.losses == ()
    assert tiny.same_bits(tiny.weights_of(model), dict(base))


def test_probing_first_needs_labels_and_a_head_of_its_own():
    with pytest.raises(TaskError, match="probe_first is for classification, and task random has no labels"):
        tune(ProbeFirst(amount=1.0), task=tiny.task())
    with pytest.raises(TaskError, match="the head is the token embeddings \\(tied\\)"):
        tune(ProbeFirst(amount=1.0), model=tiny.model(tied=True))


def test_a_probe_of_no_step_is_refused():
    with pytest.raises(ValueError, match=r"probe_first 0\.01 of 6 steps is less than one step"):
        tune(ProbeFirst(amount=0.01))
