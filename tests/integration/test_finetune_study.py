"""Fine-tuning recipes as a study runs them: what is recorded, and a sweep of which nothing is left."""

import json
from pathlib import Path
from typing import Any

from pliant.execution.table import Table
from pliant.report import summarise
from pliant.report.html import render
from pliant.report.study import open_study
from pliant.report.tuning import short_grids
from pliant.studies.growth import extend_grids
from tiny_studies import record_files, run, tiny


def tuning(**changes: Any) -> dict[str, Any]:
    return {"fine_tune": {"task": "skip", "learning_rates": [0.01], "steps": 6, "batch": 4} | changes}


def stopped_early(folder: Path) -> list[dict[str, Any]]:
    """What is told of each fine-tune that was to stop early."""
    records = [json.loads(content) for content in record_files(folder).values()]
    return [r["result"]["details"] for r in records if "stop_early" in r["cell"]["modification"]]


def test_every_recipe_is_recorded(tmp_path: Path) -> None:
    recipes = [
        tuning(steps=6, stop_early={"every": 2, "patience": 1}),
        tuning(precision="bfloat16"),
        tuning(micro_batch=3, steps=5),
        tuning(gradient_checkpointing=True, steps=4),
    ]
    numerics = {"forward": "transformers", "sweep": "single"}
    table, failures, _ = run(tiny({"modifications": recipes, "numerics": numerics}), tmp_path / "study")
    assert (failures, table.missing, table.failed) == ([], 0, ())
    labels = {row["label"] for row in table.rows if row["modification"] == "fine-tune"}
    assert labels == {
        "fine-tune skip, 6 steps, stop early 2 x 1",
        "fine-tune skip, 6 steps, bf16",
        "fine-tune skip, 5 steps",
        "fine-tune skip, 4 steps",
    }
    stopped = stopped_early(tmp_path / "study")
    assert stopped
    for found in stopped:
        losses = {int(done): loss for done, loss in found["validation_losses"].items()}
        assert losses[found["updates_kept"]] == min(losses.values())
    assert run(tiny({"modifications": recipes, "numerics": numerics}), tmp_path / "study")[2] == []


def sweep(rates: list[float]) -> dict[str, Any]:
    return {"modifications": [tuning(learning_rates=rates)]}


def caveats(table: Table) -> list[str]:
    (study,) = summarise([table]).studies
    return [line for line in study.caveats if "every rate diverged" in line]


def test_a_grid_that_diverges_everywhere_is_told_in_a_line_and_grows_downwards(tmp_path: Path) -> None:
    spec = tiny(sweep([1e20, 1e25]))
    table, failures, _ = run(spec, tmp_path / "study")
    assert (failures, table.missing, table.failed) == ([], 0, ())
    records = record_files(tmp_path / "study")
    (line,) = caveats(table)
    assert line == (
        "Fine-tuning on skip, 6 steps: every rate diverged at 512, 1.02K (2 of 2 checkpoints have no tuned rate); "
        "add smaller rates than 1e+20, or let `pliant run --extend-grids` do so."
    )
    page = render([table], title="Everything diverged")
    assert "every rate diverged at 512, 1.02K" in page

    ends = short_grids(open_study(table))
    assert ends == {"fine-tune skip, 6 steps": {"low"}}
    entry = extend_grids(spec, ends).modifications[0].fine_tune
    assert entry is not None
    assert entry.added_rates == (1e15, 1e10, 1e5)

    mended, failures, _ = run(tiny(sweep([0.01, 0.02, 1e20, 1e25])), tmp_path / "study")
    assert (failures, caveats(mended)) == ([], [])
    after = record_files(tmp_path / "study")
    assert {name: after[name] for name in records} == records
