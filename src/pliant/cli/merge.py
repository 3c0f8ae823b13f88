"""Merge checkpoints of one run, oldest first, into a Hugging Face folder to take into your own post-training.

Weights: uniform, linear, ema(0.5); decay-linear, decay-cosine or decay-1-sqrt, which stand in for the decay of the
learning rate where it was constant; or one number a checkpoint, such as 0.2,0.3,0.5.

Example: [bold]pliant merge run/step8000 run/step9000 run/step10000 --weights decay-cosine --out merged[/bold]
"""

from pathlib import Path

import typer


def command(
    folders: list[Path] = typer.Argument(..., help="Checkpoint folders, the oldest first.", metavar="FOLDER..."),
    out: Path = typer.Option(..., help="A new folder for the merge."),
    weights: str = typer.Option("uniform", help="A rule, or numbers separated by commas, oldest first."),
    dtype: str = typer.Option("float32", help="float32, bfloat16 or float16."),
) -> None:
    from pliant.cli.running import quiet_libraries

    quiet_libraries()
    from pliant.api import merge
    from pliant.modifications.merge_weights import coefficients

    given = _numbers(weights)
    merge(folders, out=out, weights=given, dtype=dtype)
    for folder, weight in zip(folders, coefficients(given, len(folders)), strict=True):
        typer.echo(f"{weight:8.4f}  {folder}")
    typer.echo(f"merge: {out}")


def _numbers(weights: str) -> str | tuple[float, ...]:
    """The numbers in `weights`, or the rule it names."""
    try:
        return tuple(float(part) for part in weights.split(","))
    except ValueError:
        return weights
