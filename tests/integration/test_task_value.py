"""An embedded task stays only if fine-tuning improves it beyond its interval and beats the baselines."""

from pathlib import Path

import numpy as np
import pytest

from pliant.api import Study
from pliant.data.text_tasks import open_text_task
from pliant.execution.table import Row
from pliant.statistics import over_draws
from pliant.studies.materials import MaterialSpec, open_materials
from pliant.studies.study_file import parse_study
from pliant.training.cross_entropy import IGNORED

pytestmark = pytest.mark.slow

ROWS = 256
STUDY = """
study: value
held_out: {{tokens: 4096, task_rows: {rows}}}
trajectories:
  - name: ladder
    ladder:
      architecture: {preset}
      recipe: {{learning_rate: {pretraining_rate}, schedule: {{warmup_steps: 20}}}}
      budgets: [800K]
modifications:
  - fine_tune: {{task: {task}, learning_rates: [{rate}], steps: 100, batch: {batch}}}
"""


def measured(folder: Path, preset: str, pretraining_rate: float, task: str, rate: float, batch: int) -> list[Row]:
    text = STUDY.format(rows=ROWS, preset=preset, pretraining_rate=pretraining_rate, task=task, rate=rate, batch=batch)
    study = Study(spec=parse_study(text, "test"), folder=folder)
    (table,) = study.run(workers=0).tables
    return [row for row in table.rows if row["evaluation"] == "task-loss" and row["split"] == "test"]


def blocks(rows: list[Row], modification: str, metric: str) -> np.ndarray:
    (row,) = (r for r in rows if r["modification"] == modification and r["metric"] == metric)
    return np.array(row["blocks"]) / np.array(row["count"])


def unigram_loss(task: str, context: int) -> float:
    """Loss of the train split's distribution of scored tokens, on the test split."""
    spec = MaterialSpec(
        corpus="english",
        tokenizer="bytes",
        context=context,
        held_out_split="test",
        held_out_tokens=context,
        task_rows=ROWS,
        tasks=(task,),
    )
    splits = open_materials(spec).tasks[task].splits
    train, test = (splits[name].targets[splits[name].targets != IGNORED] for name in ("train", "test"))
    share = (np.bincount(train, minlength=256) + 1e-3) / (len(train) + 0.256)
    return float(-np.log(share[test]).mean())


@pytest.mark.parametrize(
    ("task", "preset", "pretraining_rate", "rate", "batch"),
    [
        ("python", "width-8", 1e-2, 0.032, 4),
        ("arithmetic", "width-8", 1e-2, 0.016, 8),
        ("glosses", "width-8", 1e-2, 0.008, 8),
        ("field", "width-8", 1e-2, 0.016, 64),
        ("book", "width-32", 5e-3, 5e-3, 32),
    ],
)
def test_fine_tuning_improves_the_task_and_beats_the_unigram(
    tmp_path: Path, task: str, preset: str, pretraining_rate: float, rate: float, batch: int
) -> None:
    rows = measured(tmp_path / "study", preset, pretraining_rate, task, rate, batch)
    gain = over_draws(list(blocks(rows, "none", "loss_nats") - blocks(rows, "fine-tune", "loss_nats")), seed=1)
    tuned = over_draws(list(blocks(rows, "fine-tune", "loss_nats")), seed=1)
    assert gain.low > 0
    assert tuned.high < unigram_loss(task, 64)
    if labels := open_text_task(task).labels:
        accuracy = over_draws(list(blocks(rows, "fine-tune", "accuracy")), seed=1)
        assert accuracy.low > 1 / len(labels) + 0.03  # the majority of balanced labels, and the luck of 256 rows
