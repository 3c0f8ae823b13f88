"""Fine-tuning with an adapter: peft's own loop step for step, the base untouched, one set of bits a seed."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import tiny
from pliant.modifications.adapters import LowRank, adapted
from pliant.modifications.finetune import FineTune, Ground, finetuned_variant
from pliant.modifications.variant import Variant, keep_base, restore
from pliant.training.decoder import choose_forward
from pliant.training.loop import Optimisation
from pliant.training.schedules import Schedule

LORA, DORA = LowRank(rank=3, alpha=6.0), LowRank(rank=3, alpha=6.0, dora=True)
BOTH = pytest.mark.parametrize("adapter", [LORA, DORA], ids=["lora", "dora"])


def finetune(model: Any, rate: float, adapter: LowRank | None = LORA, seed: int = 0, **changes: Any) -> Variant:
    settings = FineTune(**({"task": "t", "strength": rate, "steps": 8, "batch": 4, "adapter": adapter} | changes))
    source = tiny.stream()
    ground = Ground(
        task=tiny.task(), base=keep_base(model), text=lambda seed: source, forward=choose_forward(model, "lean")
    )
    (variant,) = finetuned_variant(settings, model, ground, seed)
    return variant


def plain_loop(adapter: LowRank, rate: float, decay: float, steps: int, rows: int) -> tuple[Any, list[float]]:
    """peft and torch alone, but for the first A; the order of examples is NumPy's permutation by seed and epoch."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=adapter.rank, lora_alpha=adapter.alpha, use_dora=adapter.dora, target_modules="all-linear",
        task_type="CAUSAL_LM",
    )  # fmt: skip
    first, model = tiny.model(), get_peft_model(tiny.model(), config)
    with adapted(first, adapter, 0), torch.no_grad():
        for name, parameter in first.named_parameters():
            if "lora_A" in name:
                model.get_parameter(f"base_model.model.{name}".replace("pliant", "default")).copy_(parameter)
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim == 2], "weight_decay": decay},
        {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=rate, betas=(0.9, 0.95), eps=1e-8)
    split, losses = tiny.task().splits["train"], []
    order = np.random.default_rng([0, 0]).permutation(len(split))
    for step in range(steps):
        chosen = order[step * rows : (step + 1) * rows]
        logits = model(input_ids=torch.from_numpy(split.inputs[chosen]), use_cache=False).logits
        loss = F.cross_entropy(logits.flatten(0, 1), torch.from_numpy(split.targets[chosen]).flatten())
        losses.append(loss.item())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model.merge_and_unload(), losses


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks for it
@BOTH
def test_it_is_plain_peft_and_adamw_step_for_step(adapter: LowRank) -> None:
    model = tiny.model()
    constant, decay = Schedule(kind="constant"), Optimisation(weight_decay=0.1)
    variant = finetune(model, 0.02, adapter, schedule=constant, optimisation=decay)
    theirs, losses = plain_loop(adapter, 0.02, 0.1, steps=8, rows=4)
    np.testing.assert_allclose(variant.losses, losses, rtol=0, atol=1e-5)
    expected = dict(theirs.named_parameters())
    for name, tensor in model.named_parameters():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-5, msg=name)
    assert losses[-1] != pytest.approx(losses[0], abs=1e-3)


@BOTH
def test_rate_zero_is_the_base_bit_for_bit(adapter: LowRank) -> None:
    model = tiny.model()
    before = tiny.weights_of(model)
    assert finetune(model, 0.0, adapter) == Variant()
    assert tiny.same_bits(tiny.weights_of(model), before)


@BOTH
def test_it_learns_changes_the_linear_layers_alone_and_is_undone(adapter: LowRank) -> None:
    model = tiny.model()
    before, base, modules = tiny.weights_of(model), keep_base(model), list(model.modules())
    variant = finetune(model, 0.05, adapter, steps=60, batch=10, optimisation=Optimisation(weight_decay=0.3))
    assert variant.losses[-1] < variant.losses[0] - 0.1
    changed = {name for name, now in tiny.weights_of(model).items() if not torch.equal(now, before[name])}
    assert changed == {name for name in before if "proj" in name}
    assert list(model.modules()) == modules
    assert not model.training
    assert variant.details is not None
    assert variant.details["trained_parameters"] == 2 * (3 * 248 + (128 if adapter.dora else 0))
    restore(model, base)
    assert tiny.same_bits(tiny.weights_of(model), before)


@BOTH
def test_the_same_seed_gives_the_same_bits_whatever_the_global_generator(adapter: LowRank) -> None:
    made = []
    for seed, elsewhere in ((5, 0), (5, 1), (6, 0)):
        model = tiny.model()
        torch.manual_seed(elsewhere)
        state = torch.get_rng_state()
        finetune(model, 0.02, adapter, seed)
        assert torch.equal(torch.get_rng_state(), state)
        made.append(tiny.weights_of(model))
    assert tiny.same_bits(made[0], made[1])
    assert not tiny.same_bits(made[0], made[2])


def test_a_second_cell_on_the_same_model_begins_afresh() -> None:
    model = tiny.model()
    base = keep_base(model)
    finetune(model, 0.02)
    once = tiny.weights_of(model)
    restore(model, base)
    finetune(model, 0.02, DORA)
    restore(model, base)
    finetune(model, 0.02)
    assert tiny.same_bits(tiny.weights_of(model), once)


@BOTH
def test_an_absurd_rate_is_a_result_and_the_base_comes_back(adapter: LowRank) -> None:
    model = tiny.model()
    before, base, modules = tiny.weights_of(model), keep_base(model), list(model.modules())
    variant = finetune(model, 1e30, adapter)
    assert variant.diverged != adapter.dora  # DoRA divides by the norm, which is infinite: W' = 0, and goes on
    assert not model.training
    restore(model, base)
    assert tiny.same_bits(tiny.weights_of(model), before)
    assert list(model.modules()) == modules
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_an_adapter_whose_product_overflows_has_diverged() -> None:
    """A and B finite, B A not."""
    variant = finetune(tiny.model(), 1e25, steps=2, schedule=Schedule(kind="constant"))
    assert variant.diverged


@BOTH
def test_an_interrupt_leaves_the_base_bit_for_bit(adapter: LowRank) -> None:
    model, calls = tiny.model(), []
    before, modules = tiny.weights_of(model), list(model.modules())

    def interrupt(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt

    with model.model.norm.register_forward_pre_hook(interrupt), pytest.raises(KeyboardInterrupt):
        finetune(model, 0.05, adapter)
    assert tiny.same_bits(tiny.weights_of(model), before)
    assert list(model.modules()) == modules
    assert not model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_full_fine_tuning_after_an_adapter_is_as_if_there_had_been_none() -> None:
    model, fresh = tiny.model(), tiny.model()
    base = keep_base(model)
    finetune(model, 0.02, DORA)
    restore(model, base)
    after, alone = finetune(model, 0.01, None), finetune(fresh, 0.01, None)
    assert tiny.same_bits(tiny.weights_of(model), tiny.weights_of(fresh))
    assert after == alone
    assert "trained_parameters" not in (after.details or {})


@BOTH
def test_it_trains_in_parts_and_with_activations_computed_again(adapter: LowRank) -> None:
    whole, parts, again = tiny.model(), tiny.model(), tiny.model()
    finetune(whole, 0.02, adapter)
    finetune(parts, 0.02, adapter, micro_batch=1)
    finetune(again, 0.02, adapter, gradient_checkpointing=True)
    assert tiny.same_bits(tiny.weights_of(whole), tiny.weights_of(again))
    for name, tensor in tiny.weights_of(parts).items():
        torch.testing.assert_close(tensor, whole.get_parameter(name), rtol=0, atol=1e-4, msg=name)


@BOTH
def test_it_trains_in_bfloat16(adapter: LowRank) -> None:
    model = tiny.model()
    before = tiny.weights_of(model)
    variant = finetune(model, 0.05, adapter, steps=40, batch=10, precision="bfloat16")
    assert variant.losses[-1] < variant.losses[0] - 0.1
    assert all(tensor.dtype == torch.float32 for tensor in model.parameters())
    changed = {name for name, now in tiny.weights_of(model).items() if not torch.equal(now, before[name])}
    assert changed == {name for name in before if "proj" in name}


def test_it_has_an_identity_of_its_own() -> None:
    from pliant.records.identity import identity

    full = FineTune(task="t", strength=0.1)
    lora = dataclasses.replace(full, adapter=LowRank())
    assert "adapter" not in identity(full)
    assert identity(lora)["adapter"] == {"type": "LowRank", "rank": 8, "alpha": 16.0, "dora": False}
    assert lora.label == "fine-tune t, LoRA rank 8"
