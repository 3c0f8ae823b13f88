"""Put the thousands of small record files of a study into one, records.parquet; --undo writes the same files again.

Tables, reports and runs read either form, and both where a study grew since: the command takes in what is new. Stop it
at any time: no record is lost, and the same command finishes.

Example: [bold]pliant compact runs/demo/english[/bold]
"""

import json
from pathlib import Path

import typer


def command(
    study: Path = typer.Argument(..., help="A study folder.", metavar="STUDY"),
    undo: bool = typer.Option(False, "--undo", help="Write the JSON files again and remove records.parquet."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    from dataclasses import asdict

    from pliant.execution.compaction import compact, restore
    from pliant.execution.writing import naming_what_stops_writing

    with naming_what_stops_writing(study):
        done = restore(study) if undo else compact(study)
    if as_json:
        typer.echo(json.dumps(asdict(done)))
        return
    for when, size in (("before", done.before), ("after", done.after)):
        typer.echo(
            f"{when}: {size.files:,} file(s), {size.bytes / 1e6:,.1f} MB, {size.on_disk / 1e6:,.1f} MB on the disk"
        )
    if done.missing:
        typer.echo(f"{done.missing:,} planned records are not there yet: `pliant run {study}` adds them as JSON files")
