"""The installed command line in a subprocess, as a user runs it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

STUDY = """
study: small
corpus: markov:7
held_out: {tokens: 1024, task_rows: 32}
trajectories:
  - name: ladder
    ladder:
      architecture: width-8-markov
      recipe: {learning_rate: 0.01, batch_windows: 4, schedule: {warmup_steps: 2}}
      budgets: [2K, 4K, 8K]
      seeds: [1, 2]
modifications:
  - noise: {scaling: init, strengths: [0, 0.1], draws: 2}
  - fine_tune: {task: skip, learning_rates: [0, 0.01, 0.02], steps: 2, batch: 4}
"""


def pliant(*arguments: str | Path, cwd: Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "pliant", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with study.yaml and its finished study in runs/small."""
    place = tmp_path_factory.mktemp("cli")
    (place / "study.yaml").write_text(STUDY)
    pliant("run", "study.yaml", cwd=place)
    return place


def test_run_leaves_records_table_and_report(finished: Path) -> None:
    folder = finished / "runs" / "small"
    assert len(list((folder / "records").glob("*/run.json"))) == 6 * (1 + 2 + 3)
    assert (folder / "results.parquet").is_file()
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")


def test_zero_strength_and_zero_rate_leave_every_loss_as_it_was(finished: Path) -> None:
    import pyarrow.parquet as parquet

    rows = parquet.read_table(finished / "runs/small/results.parquet").to_pylist()
    losses = [r for r in rows if r["evaluation"] == "pretraining-loss"]
    base = {(r["tokens"], r["pretraining_seed"]): r["value"] for r in losses if r["modification"] == "none"}
    unchanged = [r for r in losses if r["modification"] != "none" and r["strength"] == 0]
    assert len(unchanged) == 6 * (4 + 1)
    assert all(r["value"] == base[r["tokens"], r["pretraining_seed"]] for r in unchanged)


def test_running_again_is_a_no_op(finished: Path) -> None:
    records = finished / "runs" / "small" / "records"
    before = {file: file.stat().st_mtime_ns for file in records.glob("*/*.json")}
    again = pliant("run", "study.yaml", cwd=finished)
    assert "0 of 36 cells" in again.stderr
    assert {file: file.stat().st_mtime_ns for file in records.glob("*/*.json")} == before


def test_dry_run_lists_cells_and_changes_nothing(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    listed = json.loads(pliant("run", "study.yaml", "--dry-run", "--json", cwd=tmp_path).stdout)
    assert listed["cells_missing"] == len(listed["cells"]) == 36
    assert not (tmp_path / "runs").exists()


def test_ls_counts_what_is_measured(finished: Path) -> None:
    rows = json.loads(pliant("ls", "runs/small", "--json", cwd=finished).stdout)
    assert [(row["cells"], row["measured"], row["failed"]) for row in rows] == [(6, 6, 0)] * 6


def test_ls_lists_the_checkpoints_of_any_folder(finished: Path) -> None:
    rows = json.loads(pliant("ls", "runs/small/artifacts", "--json", cwd=finished).stdout)
    tokens = [row["tokens"] for row in rows]
    assert tokens == sorted(tokens)
    assert {row["annealed"] for row in rows} == {True, False}  # members, and the trunk states they branch from


def test_show_gives_the_verdict_and_a_cell(finished: Path) -> None:
    verdict = json.loads(pliant("show", "runs/small", "--json", cwd=finished).stdout)
    assert verdict["studies"][0]["study"] == "small"
    cell = next((finished / "runs/small/records").iterdir()).name
    shown = json.loads(pliant("show", "runs/small", cell[:12], "--json", cwd=finished).stdout)
    assert shown["cell"] == cell
    assert all(record["schema"] == 1 for record in shown["records"].values())


def test_gc_frees_trunk_states_and_keeps_members(finished: Path) -> None:
    folder = finished / "runs" / "small"
    members = sorted(folder.glob("artifacts/*/seed-*/tokens-*/model.safetensors"))
    told = pliant("gc", "runs/small", "--dry-run", cwd=finished).stdout
    assert "would free" in told
    assert list(folder.glob("artifacts/*/seed-*/trunk-tokens-*"))
    pliant("gc", "runs/small", cwd=finished)
    assert not list(folder.glob("artifacts/*/seed-*/trunk-tokens-*"))
    assert sorted(folder.glob("artifacts/*/seed-*/tokens-*/model.safetensors")) == members
    assert "0 of 36 cells" in pliant("run", "study.yaml", cwd=finished).stderr


def test_report_of_a_copied_folder(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "runs" / "small", tmp_path / "elsewhere", ignore=shutil.ignore_patterns("artifacts"))
    pliant("report", "elsewhere", "--out", "page.html", cwd=tmp_path)
    assert (tmp_path / "page.html").stat().st_size > 1_000_000


def test_pretrain_makes_checkpoints_that_a_study_takes(tmp_path: Path) -> None:
    options = ("--corpus", "markov:7", "--preset", "width-8-markov", "--batch-windows", "4", "--warmup-steps", "1")
    pliant("pretrain", *options, "--budgets", "1K,2K", "--out", "ladder", "--workers", "0", cwd=tmp_path)
    ladder = next(tmp_path.glob("ladder/artifacts/ladder-*/seed-1"))
    folders = sorted(ladder.glob("tokens-*"))
    members = "".join(f"      - {{path: {path.name}, tokens: {n}K}}\n" for n, path in enumerate(folders, start=1))
    (ladder / "study.yaml").write_text(
        "study: outside\ncorpus: markov:7\nheld_out: {tokens: 512, context: 32}\n"
        f"trajectories:\n  - name: mine\n    checkpoints:\n{members}"
        "modifications:\n  - noise: {scaling: relative, strengths: [0.1], draws: 2}\n"
    )
    pliant("run", ladder / "study.yaml", "--workers", "0", "--out", "out", cwd=tmp_path)
    assert len(list((tmp_path / "out" / "records").iterdir())) == 2 * 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("strengths: [0, 0.1]", "strength: [0.1]"), "did you mean strengths?"),
        (("strengths: [0, 0.1]", "strengths: [-1]"), "must be a finite number >= 0"),
        (("learning_rates: [0, 0.01, 0.02]", "learning_rates: [.nan]"), "must be a finite number >= 0"),
        (("corpus: markov:7", "corpus: nowhere.txt"), "nowhere.txt"),
        (("task: skip", "task: nonsense"), "sibling"),
        (("budgets: [2K, 4K, 8K]", "budgets: [8K, 4K]"), "grow"),
        (("study: small", "study: [small"), "not YAML"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    (tmp_path / "study.yaml").write_text(STUDY.replace(*change))
    told = pliant("run", "study.yaml", "--workers", "0", cwd=tmp_path, expect=2).stderr
    assert said in told
    assert len(told.strip().splitlines()) == 1, told


def test_an_output_folder_of_another_study_is_refused(finished: Path) -> None:
    (finished / "other.yaml").write_text(STUDY.replace("study: small", "study: other"))
    told = pliant("run", "other.yaml", "--out", "runs/small", cwd=finished, expect=2).stderr
    assert "belongs to the study 'small'" in told


def test_ctrl_c_leaves_a_study_that_continues(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    process = subprocess.Popen(
        [sys.executable, "-m", "pliant", "run", "study.yaml", "--log", "jsonl"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "finished":
            break
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command continues" in told
    time.sleep(0.5)
    pliant("run", "study.yaml", cwd=tmp_path)
    assert len(list((tmp_path / "runs/small/records").glob("*/run.json"))) == 36


def test_two_checkpoints_at_one_place_are_refused(finished: Path) -> None:
    member = next((finished / "runs/small").glob("artifacts/*/seed-1/tokens-*"))
    twins = "".join(f"      - {{path: {path}, tokens: 1K, seed: 1}}\n" for path in (member, member.parent / "twin"))
    (finished / "twins.yaml").write_text(f"study: twins\ntrajectories:\n  - name: mine\n    checkpoints:\n{twins}")
    shutil.copytree(member, member.parent / "twin")
    assert "twin hold the same weights" in pliant("run", "twins.yaml", cwd=finished, expect=2).stderr
    told = pliant("run", "twins.yaml", "--allow-suspect", cwd=finished, expect=2).stderr
    assert "give them other tokens or seeds" in told


def test_verdict_reads_a_csv_of_ones_own(tmp_path: Path) -> None:
    lines = [f"step{k},{2**k}B,{g},{s},{3 - 0.2 * k + 40 * g * g * 2**k + 0.001 * s}" for s in (1, 2, 3)
             for k in range(6) for g in (0, 0.05)]  # fmt: skip
    (tmp_path / "scores.csv").write_text("\n".join(["checkpoint,tokens,strength,seed,value", *lines]))
    shown = pliant("verdict", "scores.csv", "--out", "verdict.html", cwd=tmp_path).stdout
    assert "overtrained by" in shown
    assert (tmp_path / "verdict.html").stat().st_size > 1_000_000
    told = json.loads(pliant("verdict", "scores.csv", "--json", "--margin", "9", cwd=tmp_path).stdout)
    (advice,) = told["studies"][0]["advice"]
    assert (advice["verdict"], advice["overtrained_from"]) == ("not worse", None)
    refused = pliant("verdict", "nothing.csv", cwd=tmp_path, expect=2).stderr
    assert refused.count("\n") == 1


@pytest.mark.slow
def test_confirm_freezes_runs_fresh_seeds_and_shows_both(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "runs" / "small", tmp_path / "small")
    assert "suggests nothing to confirm" in pliant("confirm", "small", cwd=tmp_path, expect=2).stderr
    settings = tmp_path / "small" / "study.yaml"
    settings.write_text(settings.read_text().replace("    - 0.1\n", "    - 0.1\n    - 1.0\n    - 3.0\n"))
    pliant("run", "small", cwd=tmp_path)
    said = pliant("confirm", "small", "--dry-run", cwd=tmp_path).stderr
    assert "to be frozen" in said
    assert not (tmp_path / "small" / "confirm.json").exists()
    told = json.loads(pliant("confirm", "small", "--seeds", "2", "--json", cwd=tmp_path).stdout)
    confirmations = told["studies"][0]["confirmations"]
    assert confirmations
    assert all(c["fresh"]["seeds"] == [3, 4] for c in confirmations)
    kept = (tmp_path / "small" / "confirm.json").read_text()
    pliant("confirm", "small", cwd=tmp_path)
    assert "not changed afterwards" in pliant("confirm", "small", "--seeds", "5", cwd=tmp_path, expect=2).stderr
    assert (tmp_path / "small" / "confirm.json").read_text() == kept


@pytest.mark.slow
def test_extended_grids_go_on_where_the_best_rate_was_at_the_edge(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "runs" / "small", tmp_path / "small")
    pliant("run", "small", "--extend-grids", "--json", cwd=tmp_path)
    text = (tmp_path / "small" / "study.yaml").read_text()
    assert "added_rates:\n    - " in text
    again = pliant("run", finished / "study.yaml", "--out", "small", "--log", "jsonl", cwd=tmp_path)
    assert (tmp_path / "small" / "study.yaml").read_text() == text
    assert '"event": "finished"' not in again.stdout
    pliant("run", "small", "--extend-grids", "--dry-run", cwd=tmp_path, expect=2)
