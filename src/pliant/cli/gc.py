"""Free the artifacts of a study that its records no longer need, and say how much that was.

Snapshots, the optimiser states of ladder trunks and the logs of jobs go; the weights of ladder members stay unless
--weights is given (training them again gives the same weights, if the numerics plan and the library versions are the
same).

Example: [bold]pliant gc runs/demo/english --dry-run[/bold]
"""

from pathlib import Path

import typer


def command(
    study: Path = typer.Argument(..., help="A study folder.", metavar="STUDY"),
    weights: bool = typer.Option(False, "--weights", help="Also delete ladder weights whose cells are all measured."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would go; delete nothing."),
) -> None:
    from pliant.cli.running import quiet_libraries

    quiet_libraries()
    from pliant.api import study as open_study
    from pliant.studies.cleanup import free, freeable, size
    from pliant.studies.settling import planned

    opened = open_study(study)
    plan = planned(opened.spec, opened.folder)
    paths = freeable(plan, weights=weights)
    total = sum(size(path) for path in paths)
    for path in paths:
        typer.echo(f"{size(path) / 1e6:10.2f} MB  {path.relative_to(opened.folder)}")
    if not dry_run:
        free(paths)
    typer.echo(f"{'would free' if dry_run else 'freed'} {total / 1e6:.2f} MB in {len(paths)} place(s)")
