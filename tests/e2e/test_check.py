"""Eight checkpoints of one run, a copy and a cut one among them: audited, refused, checked, studied further."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
import yaml

import text_run
from tiny_studies import record_files

COPY, ORIGINAL, CUT = "step60-tokens30720", "step180-tokens92160", "step120-tokens61440"
FEW = ("--text", "documents.jsonl", "--bytes", "8192", "--most-draws", "8")
CHECK_CELLS = 1 + 3 + 3 + 2  # the base, relative and init-scaled noise, 8 and 4 bits
TASK = """task: letters
dataset_path: json
dataset_kwargs: {data_files: {test: ITEMS}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""
FURTHER: dict[str, Any] = {
    "modifications": [
        {"noise": {"scaling": "relative", "strengths": [0.3], "draws": 2}},
        {"quantise": {"bits": [3], "per": "tensor"}},
        {"prune": {"shares": [0.5]}},
        {"prune": {"shares": [0.5], "criterion": "wanda", "calibration_tokens": "1K"}},
        {"interpolate": {"with": "last", "weights": [0.5]}},
    ],
    "evaluations": [
        {"harness": {"tasks": ["letters"], "include_path": "TASKS"}},
        {"choices": {"file": "ITEMS"}},
    ],
}


def command(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pliant", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the eight checkpoints in `eight` and short documents to measure on."""
    root = tmp_path_factory.mktemp("check")
    text_run.train(root / "eight", members=8)
    shutil.copy(root / "eight" / ORIGINAL / "model.safetensors", root / "eight" / COPY)
    cut = root / "eight" / CUT / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:5000])
    text_run.short_documents(root / "documents.jsonl")
    return root


@pytest.fixture(scope="module")
def told(place: Path) -> dict[str, subprocess.CompletedProcess[str]]:
    """What the command line says when it is asked several things at the same time."""
    asked = {
        "checked": ("check", "eight", *FEW, "--allow-suspect", "--workers", "0"),
        "audited": ("audit", "eight"),
        "refused": ("check", "eight", *FEW, "--out", "refused"),
        "planned": ("check", "eight", *FEW, "--out", "planned", "--allow-suspect", "--dry-run", "--json"),
    }
    with ThreadPoolExecutor(2) as threads:
        done = threads.map(lambda arguments: command(*arguments, cwd=place), asked.values())
        return dict(zip(asked, done, strict=True))


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = parquet.read_table(folder / "results.parquet").to_pylist()
    return found


def measured(folder: Path) -> set[tuple[Any, ...]]:
    return {(r["checkpoint"], r["label"], round(r["strength"], 3)) for r in rows(folder) if r["value"] is not None}


def test_audit_names_the_copy_and_the_cut_one(told: dict[str, Any]) -> None:
    done = told["audited"]
    said = " ".join(done.stdout.split())
    assert done.returncode == 1
    assert f"{COPY} and {ORIGINAL} hold the same weights" in said
    assert f"{CUT} cannot be read" in said
    assert "errors in 3 of 8 checkpoints" in said


def test_check_refuses_with_a_line_for_each(told: dict[str, Any], place: Path) -> None:
    done = told["refused"]
    cut, copied, refusal = done.stderr.strip().splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{CUT} cannot be read" in cut
    assert f"{COPY} and {ORIGINAL} hold the same weights" in copied
    assert refusal.startswith("error: 2 finding(s)")
    assert "--allow-suspect" in refusal
    assert not (place / "refused").exists()


def test_a_dry_run_lists_every_cell_and_runs_nothing(told: dict[str, Any], place: Path) -> None:
    listed = json.loads(told["planned"].stdout)
    assert told["planned"].returncode == 0
    assert listed["cells_missing"] == len(listed["cells"]) == 8 * CHECK_CELLS
    assert not (place / "planned").exists()


def test_the_seven_readable_ones_are_checked_and_the_cut_one_is_listed(told: dict[str, Any], place: Path) -> None:
    done, folder = told["checked"], place / "runs" / "check-eight"
    assert done.returncode == 2  # a checkpoint that the user gave could not be measured
    assert f"failed: measure eight, {CUT}: " in done.stderr
    assert "is cut short: 5,000 bytes" in done.stderr
    found = measured(folder)
    readable = {path.name for path in (place / "eight").iterdir()} - {CUT}
    assert {checkpoint for checkpoint, *_ in found} == readable
    assert len(found) == len(readable) * CHECK_CELLS
    assert "answer: " in done.stdout
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")


def test_the_copy_has_the_values_of_the_original(told: dict[str, Any], place: Path) -> None:
    values: dict[str, list[Any]] = {COPY: [], ORIGINAL: []}
    for row in rows(place / "runs" / "check-eight"):
        if row["checkpoint"] in values:
            values[row["checkpoint"]].append((row["label"], row["strength"], row["draw"], row["sign"], row["value"]))
    assert sorted(values[COPY], key=str) == sorted(values[ORIGINAL], key=str)
    assert len(values[COPY]) >= CHECK_CELLS


def test_checking_again_is_a_no_op_and_json_is_json(told: dict[str, Any], place: Path) -> None:
    folder = place / "runs" / "check-eight"
    before = {file: file.stat().st_mtime_ns for file in folder.glob("records/*/*.json")}
    done = command("check", "eight", *FEW, "--allow-suspect", "--workers", "0", "--json", cwd=place)
    said = json.loads(done.stdout)
    assert said["answer"] in ("worse", "not worse", "undecided")
    (study,) = said["studies"]
    assert len(study["budgets"]) == 7
    assert f"{CHECK_CELLS} of {8 * CHECK_CELLS} cells to measure" in done.stderr  # the cut one is tried again
    assert {file: file.stat().st_mtime_ns for file in folder.glob("records/*/*.json")} == before


@pytest.mark.slow
def test_the_same_folder_goes_on_as_a_study_of_more(told: dict[str, Any], place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(place / "runs" / "check-eight", folder)
    before = record_files(folder)
    (tmp_path / "tasks").mkdir()
    items = tmp_path / "items.jsonl"
    lines = [
        {"question": f"the {a}", "choices": [" of", " and", "zq"], "answer": n % 3} for n, a in enumerate("abcdef")
    ]
    items.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "tasks" / "letters.yaml").write_text(TASK.replace("ITEMS", str(items)))
    further = json.loads(json.dumps(FURTHER).replace("ITEMS", str(items)).replace("TASKS", str(tmp_path / "tasks")))
    spec = yaml.safe_load((folder / "study.yaml").read_text())
    spec["trajectories"].append({"name": "merged", "merge": {"of": "eight", "window": 2}})
    spec["modifications"] += further["modifications"]
    spec["evaluations"] = further["evaluations"]
    (folder / "study.yaml").write_text(yaml.safe_dump(spec))
    done = command("run", folder, "--trust-remote-code", "--workers", "2", cwd=place)
    assert done.returncode == 2, done.stderr
    assert f"measure eight, {CUT}: " in done.stderr
    assert before.items() <= record_files(folder).items()
    found = [row for row in rows(folder) if row["value"] is not None]
    steps = sorted((int(path.name[4:].split("-")[0]), path.name) for path in (place / "eight").iterdir())
    readable = {name for _, name in steps} - {CUT}
    for label in {row["label"] for row in found}:
        itself = {steps[-1][1]} if label.startswith("interpolate") else set()
        whole = {row["checkpoint"] for row in found if row["label"] == label and row["trajectory"] == "eight"}
        assert whole == readable - itself, label
        merged = {row["checkpoint"] for row in found if row["label"] == label and row["trajectory"] == "merged"}
        assert merged == {name for _, name in steps[1:]} - {CUT, steps[4][1]} - itself, label  # two hold the cut one
    kinds = {(row["evaluation"], row["metric"]) for row in found if row["checkpoint"] == ORIGINAL}
    assert {("harness", "acc,none"), ("choices", "acc")} <= kinds
    kinds = {row["modification"] for row in found}
    assert kinds == {"none", "noise", "quantise", "prune", "interpolate"}
    assert "UserWarning" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("order", "options", "code", "answer"),
    [
        ((0, 1, 2), ("--text", "english", "--bytes", "98304"), 0, "not worse"),  # enough to tell under quantisation
        ((2, 1, 0), (), 3, "worse"),
        ((2, 2, 2), ("--allow-suspect", "--margin", "0"), 4, "undecided"),
    ],
)
def test_the_exit_code_is_the_answer(
    place: Path, tmp_path: Path, order: tuple[int, ...], options: tuple[str, ...], code: int, answer: str
) -> None:
    run = sorted(text_run.train(tmp_path / "run", members=3), key=lambda path: int(path.name[4:].split("-")[0]))
    for source, named in zip([run[n] for n in order], run, strict=True):
        shutil.copytree(source, tmp_path / "named" / named.name)
    shutil.copy(place / "documents.jsonl", tmp_path)
    done = command("check", "named", *FEW, *options, "--workers", "0", "--exit-code", cwd=tmp_path)
    assert done.returncode == code, done.stdout + done.stderr
    assert f"answer: {answer}\n" in done.stdout
