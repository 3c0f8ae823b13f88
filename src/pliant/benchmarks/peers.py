"""What people write today, shared by the rows: copy the model, add noise, evaluate; a Trainer run a learning rate."""

import copy
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pliant.data.tasks import IGNORED, EncodedSplit
from pliant.statistics.estimate import over_draws
from pliant.statistics.precision import FEWEST_EVALUATIONS
from pliant.training.loop import Optimisation
from pliant.training.schedules import Schedule


def transformers_loss(model: Any, split: EncodedSplit, rows: int) -> float:
    """Mean cross-entropy of the scored targets by the model's own forward pass, nats per token, `rows` rows a pass."""
    inputs, targets = torch.from_numpy(split.inputs), torch.from_numpy(split.targets)
    total = 0.0
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(inputs), rows):
            wanted = targets[start : start + rows].flatten()
            logits = model(input_ids=inputs[start : start + rows], use_cache=False).logits.flatten(0, 1)
            total += F.cross_entropy(logits, wanted, ignore_index=IGNORED, reduction="sum").item()
    return total / int((targets != IGNORED).sum())


def copied_increases(
    model: Any, stds: Mapping[str, float], gamma: float, loss: Callable[[Any], float], base: float, seed: int
) -> Iterator[float]:
    """L(theta + noise) - `base` without end: a deep copy of the model each, noise of std gamma x `stds[name]`."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        noisy = copy.deepcopy(model)
        with torch.no_grad():
            for name, weight in noisy.named_parameters():
                if name in stds:
                    weight.add_(gamma * stds[name] * torch.randn(weight.shape, generator=generator))
        yield loss(noisy) - base


def half_spread(taken: Sequence[float]) -> float:
    """Half the width of the 95 % interval of the mean."""
    found = over_draws(taken, seed=0)
    return (found.high - found.low) / 2


def draws_needed(taken: list[float], half_width: float) -> int:
    """How many draws of this spread have a 95 % t-interval of `half_width` to each side: n (half / half_width)^2."""
    half = half_spread(taken)
    return len(taken) if half <= half_width else max(len(taken) + 1, math.ceil(len(taken) * (half / half_width) ** 2))


def until_precise(
    draws: Iterator[float], half_width: float, *, least: int = FEWEST_EVALUATIONS, most: int | None = None
) -> list[float]:
    """Draws until the interval of their mean is as narrow: `least` of them, then as many more as their spread asks
    for, and so on; `most` at most."""
    taken: list[float] = []
    wanted = least
    while len(taken) < wanted:
        taken += [next(draws) for _ in range(wanted - len(taken))]
        wanted = min(draws_needed(taken, half_width), most or sys.maxsize)
    return taken


def trainer_fine_tune(
    model: Any,
    examples: list[dict[str, Tensor]],
    *,
    rate: float,
    batch: int,
    schedule: Schedule,
    optimisation: Optimisation,
    folder: Path,
    **arguments: Any,
) -> Any:
    """`model` after one pass over `examples` in their order by transformers' Trainer; `arguments` go into its
    TrainingArguments (bf16, torch_compile, ...)."""
    from transformers import PrinterCallback, Trainer, TrainingArguments, default_data_collator

    steps = len(examples) // batch
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": optimisation.weight_decay},
            {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=rate,
        betas=(optimisation.beta1, optimisation.beta2),
        eps=optimisation.epsilon,
        fused=True,
    )
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule.learning_rate(1.0, step, steps))
    usual: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": batch,
        "max_grad_norm": optimisation.clip_norm,
        "train_sampling_strategy": "sequential",
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**(usual | arguments)),
        train_dataset=examples,
        data_collator=default_data_collator,
        optimizers=(optimizer, rates),
        compute_loss_func=_mean_loss,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer.model


def _mean_loss(outputs: Any, labels: Tensor, num_items_in_batch: object = None) -> Tensor:
    return F.cross_entropy(outputs.logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


def ordered_examples(split: EncodedSplit, batch: int, steps: int, seed: int) -> list[dict[str, Tensor]]:
    """The rows of `steps` batches as a list for Trainer, in the order in which pliant takes them."""
    from pliant.training.task_batches import shuffled_batches

    batches = shuffled_batches(split, batch, seed, "cpu")
    taken = [next(batches) for _ in range(steps)]
    return [
        {"input_ids": inputs, "labels": targets}
        for one in taken
        for inputs, targets in zip(one.inputs, one.targets, strict=True)
    ]
