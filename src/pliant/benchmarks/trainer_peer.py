"""What one would write: a fine-tune with transformers' Trainer, as a function or as a script of its own."""

import json
import math
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One fine-tune: the folder of the base, arrays of inputs and targets (.npz, with the training rows in the order
    of `seed`), and the settings."""

    base: str
    data: str
    seed: int
    learning_rate: float
    steps: int
    batch: int
    warmup_steps: int
    evaluation_rows: int


class Examples(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Rows of inputs and of targets, which are already what follows each input."""

    def __init__(self, arrays: Any, split: str) -> None:
        self._inputs, self._targets = (torch.from_numpy(arrays[f"{split}.{part}"]) for part in ("inputs", "targets"))

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self._inputs[row], "labels": self._targets[row], "shift_labels": self._targets[row]}


def cosine(job: Job, step: int) -> float:
    """The share of the peak rate at update `step`: linear to `warmup_steps`, then cosine to zero."""
    if step < job.warmup_steps:
        return (step + 1) / job.warmup_steps
    return (1 + math.cos(math.pi * (step - job.warmup_steps) / max(1, job.steps - job.warmup_steps))) / 2


def finetune(job: Job) -> tuple[float, float]:
    """Train, and give the loss on the task and on held-out text, in nats."""
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, PrinterCallback, Trainer, TrainingArguments
    from transformers.utils.logging import disable_progress_bar

    class InOrder(Trainer):  # type: ignore[misc]
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return SequentialSampler(self.train_dataset)

    disable_progress_bar()
    arrays = np.load(job.data)
    model = AutoModelForCausalLM.from_pretrained(job.base)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=job.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine(job, step))
    with tempfile.TemporaryDirectory() as out:
        settings = TrainingArguments(
            output_dir=out,
            max_steps=job.steps,
            per_device_train_batch_size=job.batch,
            per_device_eval_batch_size=job.evaluation_rows,
            max_grad_norm=1.0,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            prediction_loss_only=True,
            use_cpu=True,
        )
        trainer = InOrder(
            model=model,
            args=settings,
            train_dataset=Examples(arrays, f"train-{job.seed}"),
            optimizers=(optimizer, schedule),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        task, held_out = (trainer.evaluate(Examples(arrays, split))["eval_loss"] for split in ("task", "held_out"))
    return task, held_out


def as_json(job: Job) -> str:
    return json.dumps(asdict(job))


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(finetune(Job(**json.loads(Path(sys.argv[1]).read_text())))))
