"""Evaluations that a study asks for: what is planned, recorded, refused, and left alone when another fails."""

import json
from pathlib import Path
from typing import Any

import pytest

from pliant.report import summarise
from pliant.report.html import write_report
from pliant.studies.spec import SpecError
from pliant.studies.study_file import parse_study, read_study, to_yaml
from theirs import save_checkpoint
from tiny_studies import cells, content, is_one_line, of_checkpoints, record_files, run, tiny

CHANGES = [
    {"noise": {"strengths": [0.05], "draws": 1}},
    {"prune": {"shares": [0.5]}},
    {"fine_tune": content()["modifications"][1]["fine_tune"]},
]
ASKED = [
    {"choices": {"file": "FILE"}, "on": ["none", "noise", "fine_tune"]},
    {"divergence": {"tokens": 128}},
    {"drift": {"tokens": 128, "components": 3}},
]


@pytest.fixture
def items(tmp_path: Path) -> Path:
    """Questions in the letters of the Markov language."""
    file = tmp_path / "letters.jsonl"
    lines = [{"context": f"{a}BC{a}", "choices": ["DE", "F", "GH"], "answer": n % 3} for n, a in enumerate("ABCDEFGH")]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def study(items: Path, asked: list[dict[str, Any]] = ASKED, **changes: Any) -> Any:
    text = json.dumps({"modifications": CHANGES, "evaluations": asked, **changes}).replace("FILE", str(items))
    return tiny(json.loads(text))


def test_a_study_measures_what_it_asks_for(items: Path, tmp_path: Path):
    table, failures, _ = run(study(items), tmp_path / "study")
    assert (failures, table.missing, table.failed) == ([], 0, ())
    kinds: dict[str, set[str]] = {}
    for row in table.rows:
        kinds.setdefault(row["evaluation"], set()).add(row["modification"])
    assert kinds["choices"] == {"none", "noise", "fine-tune"}
    assert kinds["divergence"] == kinds["drift"] == {"none", "prune", "fine-tune"}
    for metric in ("divergence_nats", "drift_radians"):
        for row in (row for row in table.rows if row["metric"] == metric and row["tensor"] is None):
            assert (row["value"] == 0) if row["modification"] == "none" else (row["value"] > 0)
    accuracy = [row for row in table.rows if row["metric"] == "acc"]
    assert all(row["task"] == "letters" and len(row["blocks"]) == 8 for row in accuracy)
    assert {row["sign"] for row in accuracy if row["modification"] == "noise"} == {1, -1}


def test_the_losses_and_the_report_are_what_they_were(items: Path, tmp_path: Path):
    with_them, _, _ = run(study(items), tmp_path / "with")
    without, _, _ = run(study(items, []), tmp_path / "without")

    def losses(table: Any) -> dict[str, float]:
        return {row["cell"] + row["record"]: row["value"] for row in table.rows if row["evaluation"].endswith("loss")}

    def told(table: Any) -> Any:
        (summary,) = summarise([table]).to_json()["studies"]
        return summary["findings"], summary["headline"], summary["caveats"]

    assert losses(with_them) == losses(without)
    assert told(with_them) == told(without)
    write_report([with_them], tmp_path / "report.html", title="x")


def test_an_evaluation_added_later_moves_no_record(items: Path, tmp_path: Path):
    run(study(items, []), tmp_path / "study")
    before = record_files(tmp_path / "study")
    table, _, _ = run(study(items), tmp_path / "study")
    assert before.items() <= record_files(tmp_path / "study").items()
    assert table.missing == 0
    _, _, started = run(study(items), tmp_path / "study")
    assert started == []


def test_the_cells_keep_their_names_and_the_file_is_its_content(items: Path, tmp_path: Path):
    name = next(name for name in cells(study(items), tmp_path / "s") if "none" in name)

    def keys() -> tuple[str, set[str]]:
        cell = cells(study(items), tmp_path / "s")[name]
        return cell.key, {e.key for e in cell.evaluations}

    first = keys()
    items.rename(items.with_name("other.jsonl"))
    other = items.with_name("other.jsonl")
    items.write_text(other.read_text())
    assert keys() == first
    items.write_text(other.read_text().replace("DE", "ED"))
    second = keys()
    assert second[0] == first[0]
    assert len(second[1] - first[1]) == 1


def test_one_that_cannot_be_had_leaves_the_others(items: Path, tmp_path: Path):
    asked = [{"choices": {"file": "FILE"}}, {"drift": {"tokens": 128, "components": 30}}]
    table, failures, _ = run(study(items, asked, modifications=[CHANGES[1]]), tmp_path / "study")
    assert failures == []
    assert {row["evaluation"] for row in table.rows} >= {"choices", "pretraining-loss", "weights"}
    assert table.missing == 4
    assert {failure.attempts for failure in table.failed} == {1}
    assert all("lower components" in failure.error and is_one_line(failure.error) for failure in table.failed)


def test_a_benchmark_without_its_data_leaves_the_others(items: Path, tmp_path: Path):
    pytest.importorskip("lm_eval")
    table, _, _ = run(study(items, [{"harness": {"tasks": ["SciQ"]}}], modifications=[]), tmp_path / "study")
    assert {failure.error.split(" (")[0] for failure in table.failed} == {
        "the data of the benchmark sciq are not to be had here"
    }
    assert "pretraining-loss" in {row["evaluation"] for row in table.rows}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "is one of harness, choices, divergence, drift"),
        ({"harnes": {}}, "did you mean harness?"),
        ({"choices": {"file": "FILE", "limits": 3}}, "did you mean limit?"),
        ({"harness": {"tasks": []}}, "at least 1"),
        ({"harness": {"tasks": ["arc-easy", "arc_easy"]}}, "'arc_easy' is there twice"),
        ({"drift": {"components": 0}}, "greater than or equal to 1"),
        ({"divergence": {}, "on": ["quantize"]}, "on names 'quantize'; known are none, noise"),
    ],
)
def test_settings_that_make_no_sense_are_refused(items: Path, asked: dict[str, Any], says: str):
    with pytest.raises(SpecError) as caught:
        study(items, [asked])
    assert says in str(caught.value)
    assert is_one_line(str(caught.value))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ([{"choices": {"file": "/nowhere.jsonl"}}], "/nowhere.jsonl cannot be read"),
        ([{"harness": {"tasks": ["x"], "include_path": "/nowhere"}}], "no task files in /nowhere"),
        ([{"divergence": {"tokens": 2048}}], "evaluations ask for 2,048 held-out tokens, held_out has 512"),
        ([{"drift": {"tokens": 64}}, {"drift": {"tokens": 128}}], "drift  is there twice"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_runs(items: Path, tmp_path: Path, asked: Any, says: str):
    with pytest.raises(ValueError) as caught:
        run(study(items, asked), tmp_path / "study")
    assert says.replace("  ", " ") in str(caught.value).replace("  ", " ")
    assert not (tmp_path / "study").exists()


def test_paths_are_taken_from_the_files_folder(tmp_path: Path):
    (tmp_path / "study.yaml").write_text(
        json.dumps(
            content(
                {
                    "evaluations": [
                        {"choices": {"file": "items.jsonl"}},
                        {"harness": {"tasks": ["mine", "ARC-Easy"], "include_path": "tasks"}},
                    ]
                }
            )
        )
    )
    spec = read_study(tmp_path / "study.yaml")
    choices, harness = spec.evaluations
    assert choices.choices is not None
    assert choices.choices.file == tmp_path / "items.jsonl"
    assert harness.harness is not None
    assert harness.harness.include_path == tmp_path / "tasks"
    assert harness.harness.tasks == ("mine", "arc_easy")
    assert parse_study(to_yaml(spec), "again") == spec


def test_checkpoints_from_outside(items: Path, tmp_path: Path):
    for seed in (1, 2):
        save_checkpoint(tmp_path / "theirs" / f"tokens-{seed}K", seed=seed, tokens=seed * 1000)
    spec = of_checkpoints(tmp_path / "theirs", evaluations=[{"choices": {"file": str(items)}}])
    table, failures, _ = run(spec, tmp_path / "study")
    assert (failures, table.missing) == ([], 0)
    assert len([row for row in table.rows if row["metric"] == "acc"]) == 2
