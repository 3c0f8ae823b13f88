"""List the studies of published results, or show one: its study, what stands in for settings not given, its claims.

Example: [bold]pliant recipes springer2025-fig3[/bold], and then:
[bold]pliant run --recipe springer2025-fig3 --dry-run[/bold]
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pliant.studies.recipes.estimate import Estimate, Memory
    from pliant.studies.recipes.recipe import StudyRecipe
    from pliant.studies.recipes.workload import Workload


def command(
    name: str | None = typer.Argument(None, help="Show this one in full.", show_default=False),
    write: Path | None = typer.Option(None, help="Write its study as YAML to this file, to adapt."),
    as_json: bool = typer.Option(False, "--json", help="Print as JSON."),
) -> None:
    from pliant.cli.running import quiet_libraries

    quiet_libraries()
    from pliant.studies.recipes.registry import find_recipe
    from pliant.studies.spec import SpecError

    if name is None and write is not None:
        raise SpecError("--write needs the name of a recipe; `pliant recipes` lists them")
    if name is None:
        _list(as_json)
    elif write is not None:
        write_study(name, write)
    else:
        _show(find_recipe(name), as_json)


def write_study(name: str, file: Path) -> None:
    """Write the study of the recipe `name` as YAML.

    Raises:
        ValueError: no such recipe, or the file exists.
    """
    from pliant.studies.recipes.registry import find_recipe
    from pliant.studies.spec import SpecError
    from pliant.studies.study_file import to_yaml

    spec = find_recipe(name).study()
    if file.exists():
        raise SpecError(f"{file} exists already; give a new name")
    file.write_text(to_yaml(spec), encoding="utf-8")
    typer.echo(f"wrote {file}; run it with: pliant run {file}")


def _list(as_json: bool) -> None:
    from rich.table import Table as Grid

    from pliant.cli.outcome import console
    from pliant.studies.recipes.estimate import estimate
    from pliant.studies.recipes.registry import RECIPES

    sized = [(recipe, estimate(recipe.study())) for recipe in RECIPES.values()]
    if as_json:
        rows = [{**_about(recipe), "size_class": found.size_class, "flop": found.flop} for recipe, found in sized]
        typer.echo(json.dumps(rows))
        return
    grid = Grid("recipe", "what", "where", "size", "H100 hours")
    for recipe, found in sized:
        hours = found.hours["H100 80 GB"]
        grid.add_row(recipe.name, recipe.title, recipe.place, found.size_class, f"{hours:,.0f}" if hours >= 1 else "<1")
    console().print(grid)


def _about(recipe: "StudyRecipe") -> dict[str, object]:
    return {"name": recipe.name, "title": recipe.title, "place": recipe.place, "study": recipe.study().study}


def _show(recipe: "StudyRecipe", as_json: bool) -> None:
    from pliant.cli.outcome import console
    from pliant.studies.study_file import to_yaml

    spec = recipe.study()
    if as_json:
        defaults = [{"setting": d.setting, "stands_in": d.stands_in, "reason": d.reason} for d in recipe.defaults]
        claims = [{"text": claim.text, "study": claim.study} for claim in recipe.claims]
        more = {"defaults": defaults, "claims": claims, "notes": list(recipe.notes)}
        typer.echo(json.dumps({**_about(recipe), **more, "spec": spec.model_dump(mode="json", by_alias=True)}))
        return
    from rich.text import Text

    screen = console()
    screen.print(Text(recipe.name, style="bold").append(f": {recipe.title} ({recipe.place})\n", style="not bold"))
    screen.print(to_yaml(spec), markup=False, highlight=False)
    for title, lines in (
        ("Stands in where the paper does not say:", [str(default) for default in recipe.defaults]),
        ("Claims, registered before the runs:", [claim.text for claim in recipe.claims]),
        ("Notes:", list(recipe.notes)),
    ):
        if lines:
            screen.print(title, style="bold")
            for line in lines:
                screen.print(f"- {line}", markup=False, highlight=False)


def show_estimate(name: str, cache_cap: int | None, as_json: bool) -> None:
    """What the recipe `name` would take, from its spec and tables alone.

    Raises:
        ValueError: no such recipe, or a cap below one checkpoint.
    """
    from pliant.studies.recipes.estimate import estimate
    from pliant.studies.recipes.registry import find_recipe

    recipe = find_recipe(name)
    found = estimate(recipe.study(), cache_cap=cache_cap)
    if as_json:
        typer.echo(json.dumps({"recipe": recipe.name, **found.to_json()}))  # type: ignore[dict-item]
    else:
        _print_estimate(recipe, found)


def _print_estimate(recipe: "StudyRecipe", found: "Estimate") -> None:
    from rich.table import Table as Grid

    from pliant.cli.outcome import console

    screen = console()
    columns = ("trajectory", "parameters", "checkpoints", "cells", "pre-train", "fine-tune", "read", "memory")
    grid = Grid(*columns, title=f"{recipe.name}: {recipe.title}")
    for workload, memory in zip(found.trajectories, found.memory, strict=True):
        grid.add_row(*_row(workload, memory))
    totals = Grid(box=None, show_header=False)
    for what, line in _lines(found):
        totals.add_row(what, line)
    screen.print(grid, totals)
    screen.print(
        "Nothing was asked of the Hub and no folder was looked at. What a begun study's folder still lacks: "
        "pliant run FOLDER --dry-run",
        highlight=False,
    )


def _row(workload: "Workload", memory: "Memory") -> list[str]:
    from pliant.records.units import format_tokens

    tokens = dict.fromkeys(("pre-training", "fine-tuning", "evaluation"), 0)
    for work in workload.work:
        tokens[work.phase] += work.tokens
    bound = "≤ " if workload.at_most else ""
    return [
        workload.name,
        format_tokens(workload.size.parameters),
        f"{bound}{workload.checkpoints}",
        ", ".join(f"{kind} {bound}{count:,}" for kind, count in workload.cells.items()),
        *(format_tokens(count) if count else "-" for count in tokens.values()),
        _bytes(memory.total),
    ]


def _lines(found: "Estimate") -> "Iterator[tuple[str, str]]":
    bound = "at most " if found.at_most else ""
    text = "of unknown size" if found.text_download is None else _bytes(found.text_download)
    yield "cells", f"{bound}{found.cells:,}"
    yield "download", f"text {text}; data of tasks and benchmarks not counted"
    if found.weights_download:
        yield "", f"weights {bound}{_bytes(found.weights_download)}"
    yield from _disk(found)
    yield "memory", f"{_bytes(found.memory_bytes)} on one device at most, where the largest batch trains:"
    yield "", "16 bytes a parameter (fp32 weights, gradients, AdamW), 34 a token, layer and unit of width in bf16"
    yield "", "(68 in fp32, less where layers are computed again), 12 a token and word of the vocabulary"
    yield from _compute(found)


def _disk(found: "Estimate") -> "Iterator[tuple[str, str]]":
    yield "disk", f"text {_bytes(found.text_disk)}" if found.text_disk is not None else "text of unknown size"
    if found.ladder_disk:
        yield "", f"ladders {_bytes(found.ladder_disk)}"
    if found.weights_download:
        cap = "without --cache-cap" if found.cache_cap is None else f"with --cache-cap {_bytes(found.cache_cap)}"
        yield "", f"fetched weights {_bytes(found.weights_at_once)} at once {cap}; each is released after its last use"


def _compute(found: "Estimate") -> "Iterator[tuple[str, str]]":
    from pliant.studies.recipes.accelerators import ACCELERATORS, USED_SHARE

    yield (
        "compute",
        f"{found.flop:.3g} FLOP: 6 a parameter and token trained (8 where layers are computed again), 2 read",
    )
    for accelerator in ACCELERATORS:
        room = "" if found.memory_bytes <= accelerator.memory_bytes else ", whose memory is too small"
        yield "", f"{accelerator.hours(found.work):,.1f} h of an {accelerator.name}{room}"
    parts = sorted({f"{work.phase} in {work.precision}" for work in found.work})
    yield (
        "",
        f"at {USED_SHARE:.0%} of its peak in the precision of each part ({', '.join(parts)}); in practice 2-3 times",
    )


def _bytes(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"
