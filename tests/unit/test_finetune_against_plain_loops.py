"""Fine-tuning against loops that owe it nothing: transformers' loss and schedules with torch's AdamW; its Trainer."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    Trainer,
    TrainingArguments,
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

import tiny
from pliant.data.tasks import EncodedTask
from pliant.modifications.finetune import FineTune, finetuned_variant
from pliant.modifications.ground import Ground
from pliant.modifications.variant import keep_base
from pliant.training.cross_entropy import mean_cross_entropy
from pliant.training.decoder import Forward, lean_logits, transformers_logits
from pliant.training.loop import Batch, Optimisation
from pliant.training.schedules import Schedule
from pliant.training.task_batches import shuffled_batches

STEPS, ROWS, RATE, SEED = 10, 4, 3e-3, 5
SCHEDULES = {
    "cosine": get_cosine_schedule_with_warmup,
    "linear": get_linear_schedule_with_warmup,
}
Weights = dict[str, torch.Tensor]


def neox() -> Any:
    """Without biases in attention: the gradient of a key's bias is rounding alone, which Adam makes a full step of."""
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = GPTNeoXConfig(
        **shape, vocab_size=tiny.VOCABULARY, bos_token_id=0, eos_token_id=0, attention_bias=False, rotary_pct=1.0
    )
    return GPTNeoXForCausalLM(config).eval()


MODELS: dict[str, Callable[[], Any]] = {
    "llama": tiny.model,
    "tied": lambda: tiny.model(tied=True),
    "olmo2": lambda: tiny.model(family="olmo2"),
    "neox": neox,
}


def task() -> EncodedTask:
    """Prompts of different lengths, so that rows have different numbers of scored targets."""
    rows = tiny.split(30)
    for row, targets in enumerate(rows.targets):
        targets[: row % 11] = -100
    return EncodedTask(name="t", fingerprint="f", splits={"train": rows}, label_tokens=(), truncated=0)


def ours(model: Any, forward: Forward = transformers_logits, **changes: Any) -> list[Weights]:
    """The weights after each update."""
    seen: list[Weights] = []
    settings = FineTune(
        **{
            "task": "t",
            "strength": RATE,
            "steps": STEPS,
            "batch": ROWS,
            "schedule": Schedule(kind="cosine"),
            "optimisation": Optimisation(weight_decay=0.1),
            **changes,
        }
    )
    ground = Ground(task=task(), base=keep_base(model), text=lambda seed: tiny.stream(), forward=forward)
    hook = register_optimizer_step_post_hook(lambda *_: seen.append(tiny.weights_of(model)))
    try:
        (variant,) = finetuned_variant(settings, model, ground, SEED)
    finally:
        hook.remove()
    assert not variant.diverged
    return seen


def batches() -> Iterator[Batch]:
    return itertools.islice(shuffled_batches(task().splits["train"], ROWS, SEED, "cpu"), STEPS)


def plain(model: Any, kind: str = "cosine", precision: torch.dtype | None = None) -> list[Weights]:
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ],
        lr=RATE,
        betas=(0.9, 0.95),
        foreach=False,
    )
    schedule = (
        SCHEDULES[kind](optimizer, num_warmup_steps=0, num_training_steps=STEPS)
        if kind in SCHEDULES
        else get_constant_schedule_with_warmup(optimizer, num_warmup_steps=0)
    )
    seen, model = [], model.train()
    for batch in batches():
        with torch.autocast("cpu", dtype=precision) if precision else nullcontext():
            loss = model(input_ids=batch.inputs, labels=batch.targets, shift_labels=batch.targets).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        seen.append(tiny.weights_of(model))
    return seen


def farthest(one: list[Weights], other: list[Weights]) -> float:
    """The largest ||a - b|| / ||b|| of any tensor after any update."""
    assert len(one) == len(other) == STEPS
    return max(
        float((a[name] - b[name]).norm() / b[name].norm()) for a, b in zip(one, other, strict=True) for name in b
    )


@pytest.mark.parametrize("family", list(MODELS))
def test_every_update_is_that_of_a_plain_loop(family: str) -> None:
    make = MODELS[family]
    expected = plain(make())
    assert farthest(ours(make()), expected) < 1e-6
    assert farthest([expected[0]] * STEPS, expected) > 1e-2  # updates move the weights far more than that


@pytest.mark.parametrize("kind", ["linear", "constant"])
def test_every_schedule_is_that_of_transformers(kind: str) -> None:
    assert farthest(ours(tiny.model(), schedule=Schedule(kind=kind)), plain(tiny.model(), kind)) < 1e-6


@pytest.mark.parametrize("family", ["llama", "neox"])
def test_mixed_precision_is_autocast_around_a_plain_loop(family: str) -> None:
    make = MODELS[family]
    mixed = ours(make(), precision="bfloat16")
    assert farthest(mixed, plain(make(), precision=torch.bfloat16)) < 1e-6
    assert farthest(mixed, plain(make())) > 1e-4
    assert all(tensor.dtype == torch.float32 for tensor in mixed[-1].values())


def test_mixed_precision_computes_what_transformers_does_where_there_is_a_lean_path() -> None:
    lean, own = ours(tiny.model(), lean_logits, precision="bfloat16"), ours(tiny.model(), precision="bfloat16")
    assert all(tiny.same_bits(a, b) for a, b in zip(lean, own, strict=True))


def test_plain_fine_tuning_keeps_the_bits_it_has_always_had() -> None:
    """The updates written out as they were before accumulation, precision and early stop: lean pass, fused AdamW."""
    model, found = tiny.model(), ours(tiny.model(), lean_logits)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), eps=1e-8, fused=True)
    for step, (batch, weights) in enumerate(zip(batches(), found, strict=True)):
        mean_cross_entropy(lean_logits(model, batch.inputs), batch.targets).backward()
        torch.nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], 1.0)
        for group in optimizer.param_groups:
            group["lr"] = Schedule(kind="cosine").learning_rate(RATE, step, STEPS)
        optimizer.step()
        optimizer.zero_grad()
        assert tiny.same_bits(tiny.weights_of(model), weights), step


@pytest.mark.parametrize("accumulated", [1, 2])
def test_it_ends_where_the_trainer_of_transformers_ends(accumulated: int, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="the Trainer needs it")
    rows = [
        {"input_ids": torch.cat([inputs, targets[-1:]]), "labels": torch.cat([torch.tensor([-100]), targets])}
        for batch in batches()
        for inputs, targets in zip(batch.inputs, batch.targets, strict=True)
    ]
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=ROWS // accumulated,
        gradient_accumulation_steps=accumulated,
        max_steps=STEPS,
        learning_rate=RATE,
        lr_scheduler_type="cosine",
        weight_decay=0.1,
        adam_beta2=0.95,
        max_grad_norm=1.0,
        train_sampling_strategy="sequential",
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    theirs, model = tiny.model(), tiny.model()
    Trainer(model=theirs, args=arguments, train_dataset=rows).train()
    found = ours(model, micro_batch=ROWS // accumulated if accumulated > 1 else None)
    assert farthest([found[-1]] * STEPS, [tiny.weights_of(theirs)] * STEPS) < 1e-6
