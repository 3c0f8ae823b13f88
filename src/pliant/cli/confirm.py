"""Repeat what a study found on fresh pre-training seeds.

The contrasts that the study suggests are written to STUDY/confirm.json before anything runs, and never changed; the
fresh runs go to STUDY/confirm. From then on the study's report shows both side by side.

Example: [bold]pliant confirm runs/mine --seeds 6[/bold], and first: [bold]pliant confirm runs/mine --dry-run[/bold]
"""

from pathlib import Path

import typer

from pliant.cli.progress import Log
from pliant.records.units import MARGIN_NATS


def command(
    study: Path = typer.Argument(..., help="A study folder with ladders that pliant trained.", metavar="STUDY"),
    seeds: int = typer.Option(6, help="Fresh pre-training seeds."),
    dry_run: bool = typer.Option(False, "--dry-run", help="List the contrasts; freeze and run nothing."),
    workers: int | None = typer.Option(None, help="Worker processes; by default one a core, 0 for none."),
    log: Log = typer.Option(Log.auto, help="jsonl: progress as JSON lines on standard output."),
    margin: float = typer.Option(MARGIN_NATS, min=0.0, help="A rise that matters, in nats per token."),
    as_json: bool = typer.Option(False, "--json", help="Print the summary as JSON."),
) -> None:
    from pliant.cli.running import quiet_libraries

    quiet_libraries()
    from pliant.api import study as open_study_file
    from pliant.cli.outcome import conclude
    from pliant.cli.running import run_and_watch
    from pliant.execution.table import read_table
    from pliant.report.confirmation import FOLDER, freeze, read_frozen, suggest
    from pliant.report.finding import find
    from pliant.report.study import open_study
    from pliant.studies.confirm import confirming_study

    opened, table = open_study_file(study), read_table(study)
    frozen = read_frozen(study)
    contrasts = frozen or suggest(find(open_study(table), margin))
    fresh = confirming_study(opened.spec, contrasts, seeds)
    for one in contrasts:
        what = "tuned rate" if one.strength is None else f"{one.strength:g}"
        line = f"{one.label} {what}, {one.quantity}: {one.budget:,.0f} above {one.against:,.0f} tokens"
        line += f", seen {one.seen:+.4f} nats"
        typer.echo(f"{'frozen' if frozen else 'to be frozen' if dry_run else 'freezing'}: {line}", err=True)
    if dry_run:
        return
    if not frozen:
        freeze(study, contrasts)
    _, failures = run_and_watch([(fresh, study / FOLDER)], workers=workers, log=log)
    report = study / "report.html"
    conclude([table], failures, report=report, title=opened.spec.study, margin=margin, as_json=as_json)
