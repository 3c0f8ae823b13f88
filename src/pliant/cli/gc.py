"""Free the artifacts of a study that its records no longer need, and say how much that was.

Snapshots and the optimiser states of ladder trunks go; the weights of ladder members stay unless --weights is given
(training them again gives the same weights, if the numerics plan and the library versions are the same).

Example: [bold]pliant gc runs/demo/english --dry-run[/bold]
"""

import typer

from pliant.cli.remotes import STUDY_FOLDER, study_folder


def command(
    study: str = typer.Argument(..., help=STUDY_FOLDER, metavar="STUDY"),
    weights: bool = typer.Option(False, "--weights", help="Also delete ladder weights whose cells are all measured."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would go; delete nothing."),
) -> None:
    from pliant.cli.running import quiet_libraries

    quiet_libraries()
    from pliant.api import study as open_study
    from pliant.studies.cleanup import free, freeable
    from pliant.studies.settling import planned

    opened = open_study(study_folder(study))
    plan = planned(opened.spec, opened.folder)
    sizes = freeable(plan, weights=weights)
    total = sum(sizes.values())
    for path, size in sizes.items():
        typer.echo(f"{size / 1e6:10.2f} MB  {path.relative_to(opened.folder)}")
    if not dry_run:
        free(plan, sizes)
    typer.echo(f"{'would free' if dry_run else 'freed'} {total / 1e6:.2f} MB in {len(sizes)} place(s)")
