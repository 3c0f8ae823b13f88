"""The command line on Hub repositories served from loopback: what a user sees when something is not as it should be."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from loopback_hub import LoopbackHub
from pliant.cli import main
from theirs import save_checkpoint
from tiny_studies import record_files

REPO = "tiny/run"
STUDY = """
study: hub
corpus: markov:3
held_out: {tokens: 512, context: 16}
trajectories:
  - {name: theirs, checkpoints: SOURCE}
modifications:
  - noise: {scaling: relative, strengths: [0.1], draws: 1}
"""
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def pliant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line in this process, from an empty folder: exit code, standard output, standard error."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pliant", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return command


@pytest.fixture
def published(hub: LoopbackHub, tmp_path: Path) -> LoopbackHub:
    """Four revisions of a repository."""
    for number in range(1, 5):
        folder = save_checkpoint(tmp_path / "saved" / f"{number}", seed=number)
        hub.add(REPO, name(number), folder=folder)
    return hub


def name(number: int) -> str:
    return f"step{1000 * number}-tokens{4 * number}B"


def written(source: str) -> str:
    Path("study.yaml").write_text(STUDY.replace("SOURCE", source))
    return "study.yaml"


def the_line(done: tuple[int, str, str]) -> str:
    """Exit code 2 with nothing but one line on standard error; that line."""
    code, out, err = done
    assert (code, out) == (2, ""), err
    # a machine on which nothing was measured yet says so, if that takes long
    (line,) = (line for line in err.strip().splitlines() if not line.startswith("measuring "))
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("command", [("ls",), ("check",), ("check", "--dry-run")])
@pytest.mark.parametrize(
    ("source", "options", "says"),
    [
        ("tiny/rum", (), "no repository tiny/rum at http://.*; nearest: tiny/run; check the name"),
        (f"{REPO}@step100-tokens4B", (), "no branch or tag of tiny/run matches .*nearest: step1000-tokens4B"),
        (REPO, ("--revisions", "sept*"), "no branch or tag of tiny/run matches 'sept.*'step"),
        ("nowhere", (), "no checkpoint folder at nowhere; give a folder, a Hub repository"),
        (REPO, ("--every", "often"), "--every: 'often' is not a token count"),
        (REPO, ("--count", "3", "--spacing", "square"), "--spacing: .*'square'"),
        (REPO, ("--run", "OLMO-1B"), "no run 'OLMO-1B' in the table of public runs; nearest: "),
    ],
)
def test_what_is_not_there(
    published: LoopbackHub, pliant: Command, command: tuple[str, ...], source: str, options: tuple[str, ...], says: str
) -> None:
    line = the_line(pliant(*command, source, *options))
    assert re.search(says, line), line
    assert os.listdir() == []


def test_a_gated_repository_says_how_to_get_in(published: LoopbackHub, pliant: Command) -> None:
    published.gated.add(REPO)
    line = the_line(pliant("run", written(REPO), "--workers", "0"))
    assert "tiny/run is gated; accept its terms at" in line
    assert "hf auth login" in line
    assert not Path("runs").exists()


def test_no_network_is_said(published: LoopbackHub, pliant: Command) -> None:
    published.__exit__()
    line = the_line(pliant("check", REPO))
    assert "check the network and try again, or set HF_HUB_OFFLINE=1" in line


def test_a_disk_that_is_nearly_full_fails_what_does_not_fit(
    published: LoopbackHub, pliant: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = published.repos["models", REPO].branches[name(2)]
    monkeypatch.setattr(
        "pliant.checkpoints.hub.cache.shutil.disk_usage",
        lambda path: SimpleNamespace(free=100 if commit in str(path) else 10**9),
    )
    code, out, err = pliant("run", written(REPO), "--workers", "0", "--json")
    assert code == 2
    (line,) = {line for line in err.splitlines() if line.startswith("failed: fetch")}
    assert re.search(f"{name(2)} needs .* GB and 1e-07 GB are free at .*; free some, or point PLIANT_CACHE", line)
    assert len(json.loads(out)["studies"][0]["budgets"]) == 3


def test_a_dataset_without_the_column_is_one_line(published: LoopbackHub, pliant: Command) -> None:
    Path("text.jsonl").write_text('{"body": "no column called text"}\n' * 50)
    code, _, err = pliant("check", REPO, "--text", "text.jsonl")
    *before, line = err.splitlines()
    assert (code, before) == (2, ["audit: 4 checkpoints, nothing suspicious"]), err
    assert "text.jsonl" in line
    assert 'expected a string column "text"' in line
    assert "body" in line


def test_revisions_that_are_left_out_are_said_and_survived(published: LoopbackHub, pliant: Command) -> None:
    published.add(REPO, "main", {"README.md": b"read me"})
    published.add(REPO, "step9000-tokens36B", {"README.md": b"read me"})
    code, out, err = pliant("run", written(REPO), "--workers", "0", "--json")
    assert code == 0, err
    assert "note: tiny/run@step9000-tokens36B is left out: no weights" in err
    assert len(json.loads(out)["studies"][0]["budgets"]) == 4


def test_ls_tells_what_is_known(published: LoopbackHub, pliant: Command) -> None:
    code, out, _ = pliant("ls", REPO, "--json")
    rows = json.loads(out)
    assert code == 0
    assert [(row["checkpoint"], row["tokens"], row["on_disk"]) for row in rows] == [
        (name(number), 4_000_000_000 * number, False) for number in range(1, 5)
    ]


@pytest.mark.slow
def test_killed_and_begun_again_the_records_are_the_same(published: LoopbackHub, tmp_path: Path) -> None:
    for number in range(5, 13):
        published.add(REPO, name(number), folder=save_checkpoint(tmp_path / "saved" / f"{number}", seed=number))
    one = (tmp_path / "saved" / "1" / "model.safetensors").stat().st_size
    (tmp_path / "study.yaml").write_text(STUDY.replace("SOURCE", REPO))
    asked = [sys.executable, "-m", "pliant", "run", "study.yaml", "--workers", "1", "--cache-cap", str(2 * one)]
    environment = os.environ | published.environment(tmp_path)

    def whole(out: str) -> dict[str, bytes]:
        subprocess.run([*asked, "--out", out], cwd=tmp_path, env=environment, check=True, capture_output=True)
        return record_files(tmp_path / out)

    process = subprocess.Popen(
        [*asked, "--out", "killed", "--log", "jsonl"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    finished = (line for line in process.stdout if '"finished", "task": "measure' in line)
    for _ in range(3):
        next(finished)
    os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()
    process.wait()
    left = [path for path in (tmp_path / "pliant").rglob("blobs/*") if len(path.name.split(".")[0]) == 64]
    assert sum(path.stat().st_size for path in left) <= 2 * one
    assert 0 < len(record_files(tmp_path / "killed")) < 12 * 3
    records = whole("killed")
    assert records == whole("uninterrupted")
    assert [path for path in (tmp_path / "pliant").rglob("blobs/*") if len(path.name.split(".")[0]) == 64] == []
