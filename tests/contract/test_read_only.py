"""A study in a folder that nobody may write is shown, judged, reported and checked; what must write says so."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from old_study import copy_of_schema_1, records
from pliant.cli import app

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from permissions import obeying_permissions


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = copy_of_schema_1(tmp_path)
    places = [folder, *folder.rglob("*")]
    for path in places:
        path.chmod(0o555 if path.is_dir() else 0o444)
    with obeying_permissions():
        assert not os.access(folder / "records", os.W_OK, effective_ids=True)
        yield folder
    for path in places:
        path.chmod(0o755 if path.is_dir() else 0o644)


def pliant(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_report_can_be_written_elsewhere(folder: Path, tmp_path: Path):
    out = tmp_path / "reports" / "old.html"
    done = pliant("report", folder, "--out", out)
    assert (done.exit_code, done.exception) == (0, None)
    assert out.read_text(encoding="utf-8").rstrip().endswith("</html>")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "{}"), "schema-1"),
        (("show", "{}", "{cell}"), "pretraining-loss"),
        (("verdict", "{}"), "schema-1"),
        (("ls", "{}", "--json"), '"measured": '),
        (("forecast", "{}"), ""),
        (("run", "{}/study.yaml", "--out", "{}", "--dry-run"), "0 of 16 cells to measure"),
        (("gc", "{}", "--dry-run"), "would free"),
    ],
)
def test_what_only_reads_works(arguments: tuple[str, ...], says: str, folder: Path):
    cell = records(folder)[0].parent.name
    done = pliant(*(argument.replace("{cell}", cell).replace("{}", str(folder)) for argument in arguments))
    assert not isinstance(done.exception, OSError), done.exception
    assert says in done.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("report", "{}"), "report.html"),
        (("run", "{}"), "no permission while writing"),
        (("fsck", "{}", "--repair"), None),
    ],
)
def test_what_must_write_says_so_in_a_line(arguments: tuple[str, ...], says: str | None, folder: Path):
    done = pliant(*(argument.replace("{}", str(folder)) for argument in arguments))
    assert done.exit_code != 0
    if says is None:  # the permissions themselves are what is wrong
        assert "nothing can be written there; chmod u+rwx" in done.output
    else:
        assert says in str(done.exception)
        assert "\n" not in str(done.exception)
