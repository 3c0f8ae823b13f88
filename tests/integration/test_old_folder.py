"""Folders of older releases open: tables, reports, checks, and a run that finds nothing to do."""

import json
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from old_study import copy_of_schema_1, records
from pliant.cli import app
from pliant.execution.table import read_table
from pliant.report.html import write_report
from pliant.studies.fsck import examine
from pliant.studies.study_file import read_study
from tiny_studies import run


def test_a_folder_of_schema_1_without_checksums_opens(tmp_path: Path):
    folder = copy_of_schema_1(tmp_path)
    texts = {path: path.read_text() for path in records(folder)}
    assert all(json.loads(text)["schema"] == 1 and '"checksum"' not in text for text in texts.values())
    table = read_table(folder)
    assert (table.study, len(texts), table.missing, table.failed) == ("schema-1", 48, 0, ())
    page = write_report([table], tmp_path / "report.html", title="old").read_text(encoding="utf-8")
    assert "schema-1" in page
    found = examine(folder)
    assert (found.problems, found.records, found.with_checksum, found.missing) == ((), 48, 0, 0)
    told = CliRunner().invoke(app, ["fsck", str(folder)])
    assert told.exit_code == 0
    assert "no problems; 48 records are whole (48 of an older release, without a checksum)" in told.stdout


def test_a_run_in_a_folder_of_schema_1_has_nothing_to_do_and_changes_no_record(tmp_path: Path):
    folder = copy_of_schema_1(tmp_path)
    before = {path: path.read_bytes() for path in records(folder)}
    settings = yaml.safe_load((folder / "study.yaml").read_text())
    table, failures, started = run(read_study(folder / "study.yaml"), folder)
    assert (table.missing, failures, started) == (0, [], [])
    assert {path: path.read_bytes() for path in records(folder)} == before
    now = yaml.safe_load((folder / "study.yaml").read_text())
    assert _filled(settings, now) == now


def _filled(old: Any, now: Any) -> Any:
    """`old` with what `now` knows besides it, which must be nothing that was asked for: None, no, or nothing at all."""
    if isinstance(old, dict):
        more = {name: value for name, value in now.items() if name not in old and not value}
        return {name: _filled(value, now[name]) for name, value in old.items()} | more
    if isinstance(old, list) and len(old) == len(now):
        return [_filled(*pair) for pair in zip(old, now, strict=True)]
    return old
