"""Measure pliant against what people would run otherwise, on this machine: the same weights and data, in turns.

Each benchmark runs in a process of its own. The table gives the median ratio with its smallest and largest round, the
target, and the share of what this machine's matrix products reach. What is finished is kept in --out, so the same
command continues where it was stopped. Leave the machine alone meanwhile.

Example: [bold]pliant bench --list[/bold], then [bold]pliant bench choices[/bold]; [bold]pliant bench[/bold] runs all
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pliant.cli.progress import clock

if TYPE_CHECKING:
    from pliant.benchmarks.machine import Machine
    from pliant.benchmarks.outcome import Outcome
    from pliant.benchmarks.result import Scale
    from pliant.benchmarks.rows import Benchmark


def command(
    names: list[str] | None = typer.Argument(None, help="Which benchmarks; by default all.", metavar="NAME"),
    listing: bool = typer.Option(False, "--list", help="List the benchmarks and about how long they take."),
    smoke: bool = typer.Option(False, "--smoke", help="The least work there is, to see that all runs: no figures."),
    out: Path = typer.Option(Path("runs/bench"), help="Where finished rows are kept."),
    again: bool = typer.Option(False, "--again", help="Measure anew what is kept in --out."),
    show: bool = typer.Option(False, "--show", help="Show what is kept in --out; run nothing."),
    markdown: Path | None = typer.Option(None, help="Write the table to this page too, between its markers."),
    verbose: bool = typer.Option(False, "--verbose", help="Print the traceback of a benchmark that fails."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    from pliant.benchmarks.outcome import read_outcome

    chosen = _chosen(names or [])
    _check(chosen, smoke=smoke, again=again, show=show, listing=listing, markdown=markdown)
    scale: Scale = "smoke" if smoke else "whole"
    if listing:
        _list(chosen, out, as_json)
        return
    run = _Run(out=out, scale=scale, again=again, verbose=verbose)
    if not show:
        run.measure(chosen)
    outcomes = [outcome for name in chosen if (outcome := read_outcome(out, name, scale))]
    kept = {outcome.name for outcome in outcomes}
    absent = [f"{name}: {run.absent.get(name, 'not measured yet')}" for name in chosen if name not in kept]
    _present(outcomes, absent, markdown, as_json)
    if run.crashed:
        raise typer.Exit(1)


def _chosen(names: Sequence[str]) -> "dict[str, Benchmark]":
    """In the order of the table.

    Raises:
        UserError: there is no such benchmark.
    """
    from pliant.benchmarks.rows import BENCHMARKS
    from pliant.execution.engine import UserError

    for name in names:
        if name not in BENCHMARKS:
            raise UserError(f"no benchmark {name!r}; known are {', '.join(BENCHMARKS)}")
    return {name: benchmark for name, benchmark in BENCHMARKS.items() if not names or name in names}


def _check(
    chosen: "Mapping[str, Benchmark]", *, smoke: bool, again: bool, show: bool, listing: bool, markdown: Path | None
) -> None:
    """Raises:
    UserError: options without effect on one another, or a page that cannot take the table.
    """
    from pliant.benchmarks.rows import BENCHMARKS
    from pliant.benchmarks.table import with_region
    from pliant.execution.engine import UserError

    given = {"--smoke": smoke, "--again": again, "--markdown": markdown is not None}
    for option in (name for name, set_ in given.items() if set_):
        if listing:
            raise UserError(f"{option} has no effect with --list; leave one of them out")
        if option == "--again" and show:
            raise UserError("--again measures and --show runs nothing; give one of them")
    if listing and show:
        raise UserError("give --list or --show, not both")
    if markdown is None:
        return
    if smoke:
        raise UserError("the figures of --smoke mean nothing, so they are not written to a page; leave one of them out")
    if len(chosen) < len(BENCHMARKS):
        raise UserError(
            "--markdown writes the whole table: name no benchmark, or measure some first and then "
            "`pliant bench --show --markdown FILE`"
        )
    try:
        with_region(markdown.read_text("utf-8"), "")
    except ValueError as error:
        raise UserError(f"{markdown}: {error}") from error


@dataclass(kw_only=True)
class _Run:
    """Measures what is not kept; says why a row is `absent`."""

    out: Path
    scale: "Scale"
    again: bool
    verbose: bool
    absent: dict[str, str] = field(default_factory=dict)
    crashed: bool = False

    def measure(self, chosen: "Mapping[str, Benchmark]") -> None:
        from pliant.benchmarks.machine import read_machine
        from pliant.benchmarks.running import lacking

        machine = read_machine()
        self.absent |= {name: why for name, benchmark in chosen.items() if (why := lacking(benchmark))}
        todo = [name for name in chosen if name not in self.absent and not self._kept(name, machine)]
        for name, why in self.absent.items():
            _say(f"{name}: {why}")
        if todo:
            self._announce({name: chosen[name] for name in todo}, machine)
        for number, name in enumerate(todo):
            minutes = f", {_about(chosen[name], self._before(name))}" if self.scale == "whole" else ""
            _say(f"[{number + 1}/{len(todo)}] {name}: {chosen[name].title}{minutes}")
            self._one(name, chosen[name], machine)

    def _one(self, name: str, benchmark: "Benchmark", machine: "Machine") -> None:
        from pliant.benchmarks.running import Crashed, run
        from pliant.benchmarks.table import found, target

        begun = time.monotonic()

        def tell(line: str) -> None:
            _say(f"  {clock(time.monotonic() - begun):>5}  {line}")

        try:
            outcome = run(name, benchmark, self.scale, machine, tell)
        except Crashed as error:
            self.crashed, self.absent[name] = True, f"failed: {error}"
            tell(f"failed: {error}" + ("" if self.verbose else " (--verbose prints where)"))
            if self.verbose:
                _say(error.told.rstrip())
            return
        outcome.write(self.out)
        for figure in outcome.row.figures:
            verdict = "" if self.scale == "smoke" else f", {'met' if figure.met else 'missed'}"
            tell(f"{figure.what}: {found(figure)}, target {target(figure)}{verdict}")

    def _before(self, name: str) -> "Outcome | None":
        from pliant.benchmarks.outcome import read_outcome

        return read_outcome(self.out, name, self.scale)

    def _kept(self, name: str, machine: "Machine") -> bool:
        """Whether the row is there, measured on this machine with these versions."""
        before = self._before(name)
        if before is None or self.again:
            return False
        if before.machine != machine:
            _say(f"{name}: kept from another machine or other versions ({before.machine.version_words}): measured anew")
            return False
        _say(f"{name}: kept from {before.date} (--again measures anew)")
        return True

    def _announce(self, todo: "Mapping[str, Benchmark]", machine: "Machine") -> None:
        import os

        from pliant.benchmarks.machine import busy_words

        if self.scale == "whole":
            minutes = sum(_minutes(benchmark, self._before(name)) for name, benchmark in todo.items())
            _say(f"{len(todo)} to measure, about {minutes:.0f} minutes on an idle machine: {self.out}")
        if busy := busy_words(os.getloadavg()[0], machine.cores):
            _say(f"warning: {busy}")


def _list(chosen: "Mapping[str, Benchmark]", out: Path, as_json: bool) -> None:
    import json

    from rich.table import Table as Grid

    from pliant.benchmarks.outcome import read_outcome
    from pliant.benchmarks.running import lacking
    from pliant.cli.outcome import console

    rows = []
    for name, benchmark in chosen.items():
        before = read_outcome(out, name, "whole")
        state = lacking(benchmark) or ("" if before is None else f"kept from {before.date}")
        minutes = round(_minutes(benchmark, before), 1)
        rows.append({"name": name, "title": benchmark.title, "minutes": minutes, "state": state})
    if as_json:
        typer.echo(json.dumps(rows))
        return
    grid = Grid("name", "what", "minutes", "", title="benchmarks, and about how long each takes")
    for row in rows:
        grid.add_row(*(str(cell) for cell in row.values()))
    console().print(grid)


def _present(outcomes: "Sequence[Outcome]", absent: Sequence[str], markdown: Path | None, as_json: bool) -> None:
    """Print the table, or JSON; write the page where one is asked for."""
    import json
    from dataclasses import asdict

    from pliant.benchmarks import table
    from pliant.benchmarks.terminal import show
    from pliant.cli.outcome import console

    if markdown is not None:
        region = table.markdown(outcomes, absent, "pliant bench")
        markdown.write_text(table.with_region(markdown.read_text("utf-8"), region), encoding="utf-8")
    if as_json:
        rows = [asdict(outcome) | {"met": outcome.row.met} for outcome in outcomes]
        typer.echo(json.dumps({"rows": rows, "not_measured": list(absent)}))
        return
    show(outcomes, absent, console())
    if markdown is not None:
        typer.echo(f"written to {markdown}")


def _minutes(benchmark: "Benchmark", before: "Outcome | None") -> float:
    return benchmark.minutes if before is None else before.seconds / 60


def _about(benchmark: "Benchmark", before: "Outcome | None") -> str:
    return f"about {clock(60 * _minutes(benchmark, before))}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
