"""The command line: one file a command, each importing what it needs when it is called."""

import atexit
import contextlib
import gc as collector
import os
import sys

import typer

from pliant.cli import (
    audit,
    bench,
    check,
    compact,
    confirm,
    demo,
    forecast,
    fsck,
    gc,
    ls,
    merge,
    pretrain,
    recipes,
    report,
    run,
    show,
    theory,
    verdict,
)
from pliant.records.redaction import redacted

app = typer.Typer(
    name="pliant",
    help="How modifiable is each checkpoint of a pre-training run, and where did more pre-training begin to hurt?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for module in (
    demo,
    check,
    pretrain,
    run,
    recipes,
    confirm,
    report,
    verdict,
    forecast,
    theory,
    audit,
    merge,
    ls,
    show,
    fsck,
    gc,
    compact,
    bench,
):
    app.command(name=module.__name__.rsplit(".", 1)[1], help=module.__doc__)(module.command)


@app.callback(invoke_without_command=True)
def _options(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if version:
        from pliant import __version__

        typer.echo(f"pliant {__version__}")
        raise typer.Exit


INTERRUPTED = 130


def main() -> None:
    """Run the command line: exit code 0, 1 where something measured failed, 2 for bad input, 130 for Ctrl-C.

    A user's mistake is one line on standard error. `PLIANT_TRACEBACK=1` shows where it was found.
    """
    _collect_seldom()
    try:
        app()
    except SystemExit as leaving:  # typer turns Ctrl-C into exit code 130 without a word
        if leaving.code == INTERRUPTED:
            _say("stopped; everything finished is kept: the same command continues from here")
        raise
    except (ValueError, OSError) as error:
        if os.environ.get("PLIANT_TRACEBACK"):
            raise
        _say(f"error: {redacted(' '.join(str(error).split()))}")
        _leave(2)


def _collect_seldom() -> None:
    """Look for garbage in cycles less often than Python does by itself, and not while the process ends.

    What a command makes are records and what is computed from them, by the million and without cycles: to look through
    them takes a fifth of the time of a report, and most of a second at the end.
    """
    collector.set_threshold(50_000, 20, 50)
    atexit.register(collector.freeze)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _leave(code: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.exit(code)
