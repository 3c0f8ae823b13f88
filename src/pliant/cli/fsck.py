"""Check a study folder: list every file that is damaged, half written, misplaced or out of reach.

Every record and every weight is read again and compared with its checksum; nothing is changed. With --repair what is
damaged is moved to superseded/damaged in the folder (moving it back undoes that) and what a killed run left unfinished
is deleted; no measurement ever is. `pliant run` then measures what is missing. Repair while no run is going on there.
Exit code 1 when problems are left.

Example: [bold]pliant fsck runs/demo/english --repair[/bold]
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pliant.studies.fsck import Examination

SHOWN = 20
"""Problems of one kind that are listed; the rest are counted, and --json has them all."""


def command(
    study: Path = typer.Argument(..., help="A study folder.", metavar="STUDY"),
    repair: bool = typer.Option(False, "--repair", help="Move aside what is damaged, sweep what was never finished."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    from pliant.cli.running import quiet_libraries

    quiet_libraries()
    from pliant.studies.fsck import examine
    from pliant.studies.fsck import repair as repaired

    found = examine(study)
    if repair and found.problems:
        found = repaired(found)
    if as_json:
        typer.echo(json.dumps(found.to_json()))
    else:
        _tell(found)
    if found.problems:
        raise typer.Exit(1)


def _tell(found: "Examination") -> None:
    kinds: dict[str, int] = {}
    for problem in found.problems:
        kinds[problem.kind] = kinds.get(problem.kind, 0) + 1
        if kinds[problem.kind] <= SHOWN:
            typer.echo(f"{problem.kind}: {problem.path}: {problem.what}")
    for kind, number in kinds.items():
        if number > SHOWN:
            typer.echo(f"{kind}: {number - SHOWN:,} more; --json lists them")
    for before, now in found.moved.items():
        typer.echo(f"moved: {before} -> {now}")
    if found.swept:
        typer.echo(f"deleted: {found.swept:,} that were never finished")
    typer.echo(_summary(found))
    if any(problem.remedy != "hand" for problem in found.problems):
        typer.echo(f"mend them: pliant fsck {found.folder} --repair")
    typer.echo(f"next: {found.next}")


def _summary(found: "Examination") -> str:
    older = found.records - found.with_checksum
    notes = [
        f"{number:,} {words}"
        for number, words in (
            (older, "of an older release, without a checksum"),
            (found.orphans, "of cells that the study no longer asks for"),
        )
        if number
    ]
    whole = f"{found.records:,} records are whole" + (f" ({'; '.join(notes)})" if notes else "")
    return f"{found.folder}: {len(found.problems) or 'no'} problem{'s' * (len(found.problems) != 1)}; {whole}"
