"""A fine-tuning sweep to its table: ours as a study, against a Trainer a run, in one process and in one each."""

import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from pliant.benchmarks.result import Figure, Row, Scale
from pliant.benchmarks.rows import Tell
from pliant.benchmarks.trainer_peer import Job, as_json, finetune
from pliant.benchmarks.turns import in_turns, times_as_fast
from pliant.checkpoints.about import About
from pliant.checkpoints.architecture import PRESETS, Architecture, build_model, init_stds
from pliant.checkpoints.folder import save_weights
from pliant.checkpoints.weights import canonical_tensors
from pliant.data.tokenizers import open_tokenizer
from pliant.execution.local import SerialEngine
from pliant.execution.table import Table
from pliant.studies.materials import Materials, open_materials
from pliant.studies.runner import run_studies
from pliant.studies.settling import planned
from pliant.studies.small_ladders import geometric
from pliant.studies.spec import StudySpec
from pliant.training.task_batches import shuffled_batches

ONE_PROCESS, PROCESS_EACH = 2.2, 6.0
OURS, THEIRS = "pliant", "Trainer in one process"
SEEDS = (1, 2)
VOCABULARY = 256
MEASURED_PROCESSES = 3
AGREE = 0.02
"""Nats: AdamW magnifies rounding, and Trainer averages the means of its batches."""
Losses = dict[tuple[float, int], tuple[float, float]]
"""By rate and seed: on the task and on held-out text."""

SHAPES = {
    "width 8, the demo's": PRESETS["width-8"],
    "width 32, 35k parameters": PRESETS["width-32"],
    "width 64, 0.13M parameters": Architecture(width=64, layers=2, heads=4, feed_forward=176, context=128),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One checkpoint in `folder`, a study of it, and its runs as a Trainer takes them."""

    folder: Path
    spec: StudySpec
    jobs: tuple[Job, ...]

    def ours(self) -> Losses:
        """The study from nothing to its table."""
        shutil.rmtree(self.folder / "study", ignore_errors=True)
        (table,), failures = run_studies(
            [(self.spec, self.folder / "study")], engine=SerialEngine(), observe=lambda todo: lambda event: None
        )
        assert not failures, failures[0]
        return _table_losses(table)

    def in_one_process(self) -> Losses:
        return {(job.learning_rate, job.seed): finetune(job) for job in self.jobs}

    def in_a_process_each(self, count: int) -> float:
        """CPU seconds of one run in a process of its own: the mean of the first `count`."""
        before = _children_seconds()
        for job in self.jobs[:count]:
            file = self.folder / "job.json"
            file.write_text(as_json(job))
            command = [sys.executable, "-m", "pliant.benchmarks.trainer_peer", str(file)]
            subprocess.run(command, check=True, capture_output=True)
        return (_children_seconds() - before) / count


def _table_losses(table: Table) -> Losses:
    found: dict[tuple[float, int], dict[str, float]] = {}
    for row in table.rows:
        if row["modification"] == "fine-tune" and row["metric"] == "loss_nats" and row["split"] == "test":
            of_run = found.setdefault((row["strength"], row["seed"]), {})
            of_run[row["evaluation"]] = row["value"]
    return {run: (losses["task-loss"], losses["pretraining-loss"]) for run, losses in found.items()}


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make_sweep(shape: Architecture, folder: Path, *, rates: int, steps: int, batch: int, rows: int) -> Sweep:
    """A base that has begun to learn English, saved; the study; and the same examples in the same order as arrays."""
    spec = _spec(folder / "base", rates=rates, steps=steps, batch=batch, rows=rows)
    _save_base(shape, folder / "base")
    materials = open_materials(planned(spec, folder / "plan").groups[0].materials)
    arrays = _arrays(materials, steps, batch)
    np.savez(folder / "data.npz", **arrays)
    jobs = tuple(
        Job(
            base=str(folder / "base"),
            data=str(folder / "data.npz"),
            seed=seed,
            learning_rate=rate,
            steps=steps,
            batch=batch,
            warmup_steps=round(0.1 * steps),
            evaluation_rows=max(1, 2048 // shape.context),
        )
        for rate, seed in product(geometric(3e-4, 2.0, rates), SEEDS)
    )
    return Sweep(folder=folder, spec=spec, jobs=jobs)


def _spec(base: Path, *, rates: int, steps: int, batch: int, rows: int) -> StudySpec:
    tuning = {"task": "python", "learning_rates": geometric(3e-4, 2.0, rates), "steps": steps, "batch": batch}
    return StudySpec.model_validate(
        {
            "study": "sweep",
            "corpus": "english",
            "held_out": {"tokens": 8192, "task_rows": rows},
            "trajectories": [{"name": "base", "checkpoints": [{"path": str(base), "tokens": 100_000}]}],
            "modifications": [{"fine_tune": tuning | {"seeds": SEEDS}}],
        }
    )


def _save_base(shape: Architecture, folder: Path) -> None:
    model = build_model(shape, VOCABULARY, 0)
    folder.mkdir(parents=True)
    save_weights(model, folder)
    open_tokenizer("bytes").save(folder)
    About(tokens=100_000, init_stds=init_stds(shape, canonical_tensors(model))).write(folder)


def _arrays(materials: Materials, steps: int, batch: int) -> dict[str, Any]:
    task = materials.tasks["python"]
    arrays = {
        "task.inputs": task.splits["test"].inputs,
        "task.targets": task.splits["test"].targets,
        "held_out.inputs": materials.held_out.inputs,
        "held_out.targets": materials.held_out.targets,
    }
    for seed in SEEDS:
        ordered = shuffled_batches(task.splits["train"], batch, seed, "cpu")
        taken = [next(ordered) for _ in range(steps)]
        arrays[f"train-{seed}.inputs"] = np.concatenate([one.inputs.numpy() for one in taken])
        arrays[f"train-{seed}.targets"] = np.concatenate([one.targets.numpy() for one in taken])
    return {name: np.asarray(array, dtype=np.int64) for name, array in arrays.items()}


def apart(ours: Losses, theirs: Losses) -> float:
    """The largest difference of a loss.

    Raises:
        AssertionError: it is above `AGREE`, or the runs are others.
    """
    assert ours.keys() == theirs.keys(), "the tables are of different runs"
    largest = max(abs(a - b) for run in ours for a, b in zip(ours[run], theirs[run], strict=True))
    assert largest < AGREE, f"losses differ by {largest:.1e} nats: these are two different things"
    return largest


def measure(scale: Scale, tell: Tell) -> Row:
    """The table of 9 rates x 2 seeds, the study against Trainer."""
    smoke = scale == "smoke"
    settings = (
        {"rates": 2, "steps": 3, "batch": 2, "rows": 8}
        if smoke
        else {"rates": 9, "steps": 100, "batch": 8, "rows": 192}
    )
    shapes = dict(list(SHAPES.items())[:1]) if smoke else SHAPES
    rounds, processes = (1, 1) if smoke else (2, MEASURED_PROCESSES)
    figures: list[Figure] = []
    measured: dict[str, list[float]] = {}
    notes = []
    for name, shape in shapes.items():
        tell(name)
        with tempfile.TemporaryDirectory() as place:
            sweep = make_sweep(shape, Path(place), **settings)
            found, seconds, each = _measure_one(sweep, rounds=rounds, processes=processes)
        figures += _figures(name, seconds, each)
        measured |= {f"{name}: {who}": times for who, times in (seconds | {"a process each": each}).items()}
        notes.append(f"{name}: largest difference of a loss {apart(found[OURS], found[THEIRS]):.0e} nats")
    notes.append(f"a process each: {processes} of the runs were measured and their mean taken for all")
    return Row(work="fine-tuning sweep", figures=tuple(figures), measured=measured, notes=tuple(notes))


def _measure_one(
    sweep: Sweep, *, rounds: int, processes: int
) -> tuple[Mapping[str, Losses], dict[str, list[float]], list[float]]:
    found: dict[str, Losses] = {}

    def keep(name: str, run: Callable[[], Losses]) -> Callable[[], None]:
        def kept() -> None:
            found[name] = run()

        return kept

    contestants = {OURS: keep(OURS, sweep.ours), THEIRS: keep(THEIRS, sweep.in_one_process)}
    seconds = in_turns(contestants, rounds, warm=False)
    each = [len(sweep.jobs) * sweep.in_a_process_each(processes)] * rounds
    return found, seconds, each


def _figures(name: str, seconds: dict[str, list[float]], each: list[float]) -> list[Figure]:
    return [
        times_as_fast(name, "Trainer, one process", seconds[THEIRS], seconds[OURS], ONE_PROCESS),
        times_as_fast(name, "Trainer, a process each", each, seconds[OURS], PROCESS_EACH),
    ]
