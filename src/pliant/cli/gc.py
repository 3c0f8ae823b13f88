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
    from pliant.execution.links import refuse_links
    from pliant.studies.cleanup import free, freeable, size
    from pliant.studies.settling import STUDY_FILE, planned
    from pliant.studies.spec import SpecError
    from pliant.studies.study_file import read_study

    if not (study / STUDY_FILE).is_file():
        raise SpecError(f"{study} holds no {STUDY_FILE}; give a folder that `pliant run` made")
    refuse_links(study)
    plan = planned(read_study(study / STUDY_FILE), study)  # nothing of what it asks for is opened
    paths = freeable(plan, weights=weights)
    total = sum(size(path) for path in paths)
    for path in paths:
        typer.echo(f"{size(path) / 1e6:10.2f} MB  {path.relative_to(study)}")
    if not dry_run:
        free(paths)
    typer.echo(f"{'would free' if dry_run else 'freed'} {total / 1e6:.2f} MB in {len(paths)} place(s)")
