"""Is a run overtrained? One command: audit, noise, quantisation, verdict.

SOURCE is a folder of checkpoints, a Hub repository (org/name), or org/name@revision. Audits them, adds noise at three
strengths (also scaled by the initialisation where that is known), quantises to 8 and 4 bits, measures the loss on
held-out text, draws on where an interval is wide, and says from where on more pre-training hurt. Underneath it is an
ordinary study in runs/check-NAME: stop it and run the same command again; extend its study.yaml and `pliant run` it.

Example: [bold]pliant check allenai/OLMo-1B-hf --revisions 'step*' --every 250B[/bold]
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pliant.cli import checkpoints
from pliant.cli.progress import Log
from pliant.cli.remotes import study_folder
from pliant.records.units import MARGIN_NATS

if TYPE_CHECKING:
    from pliant.execution.engine import TaskFailure
    from pliant.execution.table import Table
    from pliant.report.finding import Finding
    from pliant.statistics import Verdict
    from pliant.studies.members import Members
    from pliant.studies.spec import StudySpec

MOST_DRAWS = 32
"""Draws that wide intervals are given at the second and last look."""
EXIT_CODES: "dict[Verdict, int]" = {"not worse": 0, "worse": 3, "undecided": 4}


def command(
    context: typer.Context,
    source: str = typer.Argument(..., metavar="SOURCE", help="A folder of checkpoints, org/name or org/name@revision."),
    revisions: str | None = checkpoints.REVISIONS,
    first: str | None = checkpoints.FIRST,
    to: str | None = checkpoints.TO,
    every: str | None = checkpoints.EVERY,
    count: int | None = checkpoints.COUNT,
    spacing: str | None = checkpoints.SPACING,
    tokens_per_step: str | None = checkpoints.TOKENS_PER_STEP,
    run: str | None = checkpoints.RUN,
    runs: Path | None = checkpoints.RUNS,
    text: str = typer.Option("english", help="Held-out text: english, a path, or a Hub dataset (allenai/c4:en)."),
    held_out_bytes: int = typer.Option(131_072, "--bytes", help="Bytes of held-out documents to measure on."),
    most_draws: int = typer.Option(MOST_DRAWS, min=8, help="Draws of each noise at most; 8 where they are enough."),
    out: str | None = typer.Option(None, help="The study's folder or URL; by default runs/check-NAME."),
    allow_suspect: bool = typer.Option(False, "--allow-suspect", help="Go on with checkpoints that the audit refuses."),
    allow_pickle: bool = checkpoints.ALLOW_PICKLE,
    trust_remote_code: bool = checkpoints.TRUST_REMOTE_CODE,
    cache_cap: str | None = checkpoints.CACHE_CAP,
    workers: int | None = typer.Option(None, help="Worker processes; by default one a core, 0 for none."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Audit, and say what would be fetched and measured."),
    margin: float = typer.Option(MARGIN_NATS, min=0.0, help="A rise that matters, in nats per token."),
    exit_code: bool = typer.Option(False, "--exit-code", help="Leave with 3 for worse, 4 for undecided, 0 for not."),
    as_json: bool = typer.Option(False, "--json", help="Print the summary as JSON."),
    log: Log = typer.Option(Log.auto, help="jsonl: progress as JSON lines on standard output."),
) -> None:
    from pliant.cli.running import quiet_libraries, run_and_watch

    quiet_libraries()
    from pliant.checkpoints.hub.pins import read_pins
    from pliant.cli.run import show_plan
    from pliant.studies.check import check_study, with_extensions
    from pliant.studies.members import members_of
    from pliant.studies.settling import study_of
    from pliant.studies.spec import HeldOutSpec
    from pliant.studies.study_file import anchored

    entry = checkpoints.trajectory_of(
        source,
        revisions=revisions,
        first=first,
        to=to,
        every=every,
        count=count,
        spacing=spacing,
        tokens_per_step=tokens_per_step,
        run=run,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    )
    folder = study_folder(out) if out is not None else Path("runs") / f"check-{entry.name}"
    cap = checkpoints.bytes_of(cache_cap)
    with checkpoints.listing() as progress:
        members = members_of(entry, pins=read_pins(folder), runs=runs, progress=progress)
    _require_tokens(members)
    _tell_audit(members, allow_suspect)
    spec = check_study(
        f"check-{entry.name}"[:64],
        entry,
        corpus=text,
        held_out=HeldOutSpec(by="documents", bytes=held_out_bytes),
        initialisation_known=all(member.about.init_stds for member in members.members),
    ).model_copy(update={"allow_suspect": allow_suspect, "runs": runs})
    spec = with_extensions(anchored(spec, Path.cwd()), study_of(folder), folder)  # its study.yaml lies elsewhere
    if dry_run:
        show_plan(spec, folder, as_json)
        return

    def measure(study: "StudySpec") -> "tuple[list[Table], list[TaskFailure]]":
        watching: Any = {"workers": workers, "log": log, "cache_cap": cap, "pins": members.pinned, "tell_notes": False}
        return run_and_watch([(study, folder)], **watching)

    tables, failures = measure(spec)
    grown = _with_more_draws(spec, tables[0], margin, most_draws)
    if grown != spec:
        if log is Log.auto:
            typer.echo("some intervals are wider than the margin: drawing on", err=True)
        tables, failures = measure(grown)
    again = {"--bytes": 4 * held_out_bytes, "--most-draws": 2 * most_draws}
    _conclude(
        tables, failures, folder, margin, exit_code, as_json, {o: _again(context, o, n) for o, n in again.items()}
    )


def _with_more_draws(spec: "StudySpec", table: "Table", margin: float, most: int) -> "StudySpec":
    """The study with the draws that its wide intervals lack; more than usual may be asked for at a later call."""
    from pliant.report.answer import draws_wanted
    from pliant.report.finding import find
    from pliant.report.study import open_study
    from pliant.studies.check import FIRST_DRAWS
    from pliant.studies.growth import add_draws

    looked_at = FIRST_DRAWS if most <= MOST_DRAWS else most
    return add_draws(spec, draws_wanted(find(open_study(table), margin), after=looked_at, most=most))


def _conclude(
    tables: "list[Table]",
    failures: "list[TaskFailure]",
    folder: Path,
    margin: float,
    exit_code: bool,
    as_json: bool,
    sharper: dict[str, str],
) -> None:
    """Report, verdict, and the answer in a line; leaves with the answer's code if that is asked for.

    What could not be measured comes before it: exit code 1 or 2. `sharper` are the commands that measure more, by
    the option that makes them do so.
    """
    from pliant.cli.outcome import conclude
    from pliant.report.answer import answer
    from pliant.report.finding import find
    from pliant.report.study import open_study

    findings = find(open_study(tables[0]), margin)
    verdict = answer(findings)
    try:
        conclude(
            tables,
            failures,
            report=folder / "report.html",
            title=tables[0].study,
            as_json=as_json,
            margin=margin,
            answer=verdict,
        )
    finally:
        if not as_json:
            _tell_answer(verdict, findings, folder, sharper)
    if exit_code:
        raise typer.Exit(EXIT_CODES[verdict])


def _require_tokens(members: "Members") -> None:
    from pliant.checkpoints.about import CheckpointError

    placed = {m.about.tokens for m in members.members if m.about.tokens is not None}
    if len(placed) < 2:
        raise CheckpointError(
            f"{len(placed)} of {len(members.members)} checkpoints tell how many tokens they have seen, and a trend "
            "needs two or more; give --tokens-per-step where names tell steps, or list them with tokens in a study file"
        )


def _tell_audit(members: "Members", allowed: bool) -> None:
    """What the cheap part of the audit finds; planning refuses on it unless that is allowed."""
    from pliant.studies.refusal import suspicions

    found = suspicions(members.members)
    for note in members.notes:
        typer.echo(f"note: {note}", err=True)
    for one in found:
        typer.echo(f"audit: {one.sentence}", err=True)
    if found and not allowed:
        typer.echo(
            f"error: {len(found)} finding(s) of the audit; leave those checkpoints out, or measure all the same with "
            "--allow-suspect",
            err=True,
        )
        raise typer.Exit(2)
    if not found:
        typer.echo(f"audit: {len(members.members)} checkpoints, nothing suspicious", err=True)


def _tell_answer(verdict: "Verdict", findings: "Sequence[Finding]", folder: Path, sharper: dict[str, str]) -> None:
    from rich.console import Console
    from rich.text import Text

    from pliant.execution.mirrors import shown
    from pliant.report.answer import text_is_short
    from pliant.report.terminal import STYLE

    if verdict != "undecided":
        command = f"add fine_tune to {shown(folder / 'study.yaml')}, then: pliant run {shown(folder)}"
    else:
        command = sharper["--bytes" if text_is_short(findings) else "--most-draws"]
    screen = Console()
    screen.print(Text("answer: ").append(verdict, style=STYLE[verdict]))
    screen.print(f"sharper: {command}", markup=False, highlight=False, soft_wrap=True)


def _again(context: typer.Context, option: str, value: int) -> str:
    """This call written again with `option` set to `value`."""
    words = ["pliant", "check", str(context.params["source"])]
    for parameter in context.command.params:
        name, given = parameter.opts[-1], context.params[parameter.name or ""]
        if name in (option, "source") or given == parameter.get_default(context):
            continue
        words += [name] if given is True else [name, str(given)]
    return shlex.join([*words, option, str(value)])
