"""`python -m pliant.benchmarks.study_script JOB`: the script one would write for a whole study.

For each checkpoint: load it, evaluate it, copy it with noise until the interval is narrow enough, and fine-tune it with
transformers' Trainer at every rate on every task, evaluating each on the task and on the held-out text.
"""

import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pliant.benchmarks.peers import (
    copied_increases,
    draws_needed,
    ordered_examples,
    trainer_fine_tune,
    transformers_loss,
    until_precise,
)
from pliant.checkpoints.about import ABOUT_FILE
from pliant.modifications.finetune import FineTune
from pliant.studies.materials import Materials, MaterialSpec, open_materials


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """`half_widths[tokens][gamma]` are the intervals to reach, in at most `most` draws really made a strength;
    `materials` are the fields of a MaterialSpec, `batches` the rows of a batch of each task."""

    checkpoints: dict[str, str]
    materials: dict[str, Any]
    half_widths: dict[str, dict[str, float]]
    most: int
    batches: dict[str, int]
    rates: list[float]
    steps: int
    evaluation_rows: int


@dataclass(kw_only=True)
class Found:
    """What the script finds: losses by "tokens how where", draws by "tokens strength"; CPU seconds of noise by strength
    and of fine-tuning; and how many strengths would have taken more than `most` draws, and how many seconds more."""

    losses: dict[str, float] = field(default_factory=dict)
    draws: dict[str, list[float]] = field(default_factory=dict)
    noise_seconds: dict[str, float] = field(default_factory=dict)
    projected_seconds: dict[str, float] = field(default_factory=dict)
    sweep_seconds: float = 0.0
    projected: int = 0


def main(file: Path) -> None:
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    job = Job(**json.loads(file.read_text("utf-8")))
    settings = job.materials | {"tasks": tuple(job.materials["tasks"])}
    materials = open_materials(MaterialSpec(**settings))
    found = Found()
    for tokens, folder in job.checkpoints.items():
        _noise(job, found, materials, tokens, Path(folder))
        begun = time.process_time()
        _sweep(job, found, materials, tokens, Path(folder), file.parent / "trainer")
        found.sweep_seconds += time.process_time() - begun
    file.with_name("found.json").write_text(json.dumps(asdict(found)), encoding="utf-8")


def _noise(job: Job, found: Found, materials: Materials, tokens: str, folder: Path) -> None:
    model = load(folder)
    stds = json.loads((folder / ABOUT_FILE).read_text("utf-8"))["init_stds"]
    found.losses |= _evaluated(f"{tokens} none", model, materials, job.evaluation_rows, list(job.batches))
    for gamma, half_width in job.half_widths[tokens].items():
        begun = time.process_time()
        increases = copied_increases(
            model,
            stds,
            float(gamma),
            lambda noisy: transformers_loss(noisy, materials.held_out, job.evaluation_rows),
            found.losses[f"{tokens} none held-out"],
            seed=0,
        )
        taken = until_precise(increases, half_width, most=job.most)
        seconds = time.process_time() - begun
        beyond = draws_needed(taken, half_width) - len(taken)
        found.draws[f"{tokens} {gamma}"] = taken
        found.noise_seconds[gamma] = found.noise_seconds.get(gamma, 0.0) + seconds
        found.projected_seconds[gamma] = found.projected_seconds.get(gamma, 0.0) + seconds * beyond / len(taken)
        found.projected += beyond > 0


def _sweep(job: Job, found: Found, materials: Materials, tokens: str, folder: Path, scratch: Path) -> None:
    for task, batch in job.batches.items():
        examples = ordered_examples(materials.tasks[task].splits["train"], batch, job.steps, seed=0)
        for rate in job.rates:
            defaults = FineTune(task=task, strength=rate)
            tuned = trainer_fine_tune(
                load(folder),
                examples,
                rate=rate,
                batch=batch,
                schedule=defaults.schedule,
                optimisation=defaults.optimisation,
                folder=scratch,
            )
            name = f"{tokens} {task} {rate:g}"
            found.losses |= _evaluated(name, tuned, materials, job.evaluation_rows, [task])


def load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


def _evaluated(name: str, model: Any, materials: Materials, rows: int, tasks: list[str]) -> Mapping[str, float]:
    losses = {f"{name} held-out": transformers_loss(model, materials.held_out, rows)}
    for task in tasks:
        for split in ("validation", "test"):
            losses[f"{name} {task} {split}"] = transformers_loss(model, materials.tasks[task].splits[split], rows)
    return {key: loss if math.isfinite(loss) else math.nan for key, loss in losses.items()}


if __name__ == "__main__":
    import logging

    logging.disable(logging.WARNING)
    main(Path(sys.argv[1]))
