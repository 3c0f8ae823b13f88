"""Repeat what a study found on fresh pre-training seeds.

The contrasts that the study suggests are written to STUDY/confirm.json before anything runs, and never changed; the
fresh runs go to STUDY/confirm. From then on the study's report shows both side by side.

Example: [bold]pliant confirm runs/mine --seeds 6[/bold], and first: [bold]pliant confirm runs/mine --dry-run[/bold]
"""

from pathlib import Path

import typer

from pliant.cli import checkpoints
from pliant.cli.progress import Log
from pliant.cli.remotes import study_folder
from pliant.records.units import MARGIN_NATS


def command(
    study: str = typer.Argument(..., help="A study folder, or its URL, with ladders pliant trained.", metavar="STUDY"),
    seeds: int | None = typer.Option(None, help="How many fresh pre-training seeds; 6 by default, frozen too."),
    dry_run: bool = typer.Option(False, "--dry-run", help="List the contrasts; freeze and run nothing."),
    workers: int | None = typer.Option(None, help="Worker processes; by default one a core, 0 for none."),
    allow_pickle: bool = checkpoints.ALLOW_PICKLE,
    trust_remote_code: bool = checkpoints.TRUST_REMOTE_CODE,
    log: Log = typer.Option(Log.auto, help="jsonl: progress as JSON lines on standard output."),
    margin: float | None = typer.Option(None, min=0.0, help="A rise that matters, in nats per token; frozen too."),
    as_json: bool = typer.Option(False, "--json", help="Print the summary as JSON."),
) -> None:
    from pliant.cli.running import quiet_libraries

    quiet_libraries()
    from pliant.api import study as open_study_file
    from pliant.cli.outcome import conclude
    from pliant.cli.running import run_and_watch
    from pliant.execution.table import read_table
    from pliant.report.confirmation import FOLDER, Frozen, freeze, read_frozen, suggest
    from pliant.report.finding import find
    from pliant.report.study import open_study
    from pliant.studies.confirm import confirming_study, fresh_seeds

    folder = study_folder(study)
    opened = open_study_file(folder, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    table = read_table(folder)
    frozen = read_frozen(folder)
    if frozen is None:
        matters = MARGIN_NATS if margin is None else margin
        contrasts = suggest(find(open_study(table), matters), matters)
        chosen = fresh_seeds(opened.spec, 6 if seeds is None else seeds)
        fixed = Frozen(contrasts=contrasts, seeds=chosen, margin=matters)
    else:
        fixed = frozen
        _unchanged(fixed.seeds, fixed.margin, seeds, margin, folder)
    fresh = confirming_study(opened.spec, fixed.contrasts, fixed.seeds)
    how = "to be frozen" if dry_run and frozen is None else "freezing" if frozen is None else "frozen"
    for one in fixed.contrasts:
        what = "tuned rate" if one.strength is None else f"{one.strength:g}"
        line = f"{one.label} {what}, {one.quantity}: {one.budget:,.0f} above {one.against:,.0f} tokens"
        typer.echo(f"{how}: {line}, seen {one.seen:+.4f} nats", err=True)
    typer.echo(f"{how}: seeds {', '.join(map(str, fixed.seeds))}; margin {fixed.margin:g} nats", err=True)
    if dry_run:
        return
    if frozen is None:
        freeze(folder, fixed)
    _, failures = run_and_watch([(fresh, folder / FOLDER)], workers=workers, log=log)
    report = folder / "report.html"
    conclude([table], failures, report=report, title=opened.spec.study, margin=fixed.margin, as_json=as_json)


def _unchanged(
    frozen: tuple[int, ...], frozen_margin: float, seeds: int | None, margin: float | None, study: Path
) -> None:
    """Adding seeds, or moving the margin, until something is confirmed would confirm nothing."""
    from pliant.execution.engine import UserError

    if seeds not in (None, len(frozen)) or margin not in (None, frozen_margin):
        raise UserError(
            f"{study / 'confirm.json'} froze {len(frozen)} seeds and a margin of {frozen_margin:g} nats; they are not "
            "changed afterwards, so leave --seeds and --margin out"
        )
