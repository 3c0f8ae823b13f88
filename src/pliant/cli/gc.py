"""Free the artifacts of a study that its records no longer need, and say how much that was.

Snapshots, the optimiser states of ladder trunks and the logs of jobs go; the weights of ladder members stay unless
--weights is given (training them again gives the same weights, if the numerics plan and the library versions are the
same).

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
    from pliant.execution.links import refuse_links
    from pliant.execution.mirrors import shown
    from pliant.studies.cleanup import free, freeable
    from pliant.studies.settling import STUDY_FILE, planned
    from pliant.studies.spec import SpecError
    from pliant.studies.study_file import read_study

    folder = study_folder(study)
    if not (folder / STUDY_FILE).is_file():
        raise SpecError(f"{shown(folder)} holds no {STUDY_FILE}; give a folder that `pliant run` made")
    refuse_links(folder)
    plan = planned(read_study(folder / STUDY_FILE), folder)  # nothing of what it asks for is opened
    sizes = freeable(plan, weights=weights)
    total = sum(sizes.values())
    for path, size in sizes.items():
        typer.echo(f"{size / 1e6:10.2f} MB  {path.relative_to(folder)}")
    if not dry_run:
        free(plan, sizes)
    typer.echo(f"{'would free' if dry_run else 'freed'} {total / 1e6:.2f} MB in {len(sizes)} place(s)")
