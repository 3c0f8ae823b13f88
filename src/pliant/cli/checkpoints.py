"""Options that say which checkpoints: what `ls`, `audit` and `check` share."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pliant.studies.members import Progress
    from pliant.studies.spec import TrajectorySpec

REVISIONS = typer.Option(None, help="Globs for the branches and tags of a repository: 'step*,main'.")
FIRST = typer.Option(None, "--from", help="From so many tokens on: 100B.")
TO = typer.Option(None, "--to", help="Up to so many tokens: 3T.")
EVERY = typer.Option(None, help="The checkpoint nearest to each multiple: 250B; and the last one.")
COUNT = typer.Option(None, help="So many checkpoints, first and last among them.")
SPACING = typer.Option(None, help="How --count spreads: linear (the default) or log in tokens.")
TOKENS_PER_STEP = typer.Option(None, help="Tokens a step, where names tell steps only.")
RUN = typer.Option(None, "--run", help="The entry of the table of public runs that a folder belongs to.")
RUNS = typer.Option(None, "--runs", help="YAML that extends the table of public runs.")

CACHE_CAP = typer.Option(None, help="Weights fetched from the Hub never take more than this: 60GB.")

ALLOW_PICKLE = typer.Option(False, "--allow-pickle", help="Open pickled weights, which can run code.")
TRUST_REMOTE_CODE = typer.Option(
    False, "--trust-remote-code", help="Run the code that checkpoints or benchmarks bring along."
)

WITHOUT_NAME = "checkpoints"


def trajectory_of(
    source: str,
    *,
    revisions: str | None,
    first: str | None,
    to: str | None,
    every: str | None,
    count: int | None,
    spacing: str | None,
    tokens_per_step: str | None,
    run: str | None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> "TrajectorySpec":
    """The trajectory that SOURCE and the options name.

    Raises:
        ValueError: an option that does not parse or has no effect, said as the option is written.
    """
    from pydantic import ValidationError

    from pliant.studies.spec import SpecError, TrajectorySpec

    if spacing is not None and count is None:
        raise SpecError("--spacing has an effect with --count only; give --count, or leave it out")
    named = {"from": first, "to": to, "every": every, "count": count, "spacing": spacing}
    content = {
        "name": name_of(source),
        "checkpoints": source,
        "revisions": revisions,
        "choose": {key: value for key, value in named.items() if value is not None},
        "tokens_per_step": tokens_per_step,
        "run": run,
        "allow_pickle": allow_pickle,
        "trust_remote_code": trust_remote_code,
    }
    try:
        return TrajectorySpec.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        option = str(problem["loc"][-1]).replace("_", "-") if problem["loc"] else "SOURCE"
        message = problem["msg"].removeprefix("Value error, ")
        raise SpecError(f"--{option}: {message}, got {problem['input']!r}") from error


def name_of(source: str) -> str:
    """A short name for SOURCE: the last part of a path or a repository, without its revision."""
    name = source.removeprefix("pretrained=").split(",")[0].partition("@")[0]
    last = Path(name).resolve().name
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in last).lstrip("._-") or WITHOUT_NAME


def bytes_of(text: str | None) -> int | None:
    """ "60GB" -> 60_000_000_000; a number alone is bytes.

    Raises:
        ValueError: not a size.
    """
    from pliant.records.units import parse_bytes
    from pliant.studies.spec import SpecError

    try:
        return None if text is None else parse_bytes(text)
    except ValueError as error:
        raise SpecError(f"--cache-cap is {text!r}; expected a size such as 60GB") from error


@contextmanager
def listing() -> "Iterator[Progress]":
    """A bar on standard error while the revisions of a repository are listed, on a terminal only."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    bar = Bar(console=Console(stderr=True), transient=True)
    task = bar.add_task("listing revisions", total=None)
    begun = False

    def heard(done: int, total: int) -> None:
        nonlocal begun
        if not begun and bar.console.is_terminal:  # elsewhere it would leave an empty line
            bar.start()
            begun = True
        bar.update(task, completed=done, total=total)

    try:
        yield heard
    finally:
        if begun:
            bar.stop()
