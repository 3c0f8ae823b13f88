"""A table of public pre-training runs: what their checkpoints do not say of themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from pliant.checkpoints.about import About, CheckpointError
from pliant.checkpoints.names import NameFacts
from pliant.checkpoints.public.initial_stds import Init, initial_stds
from pliant.checkpoints.public.schedule import RunSchedule
from pliant.records.outside_yaml import parse_yaml
from pliant.records.units import format_tokens, parse_tokens

_TABLE = "runs.yaml"
DISAGREEMENT = 0.05
"""A name whose tokens are further than this share from those of the table is reported."""

Tokens = Annotated[int, BeforeValidator(parse_tokens)]
_TokensOrZero = Annotated[int, BeforeValidator(lambda given: given and parse_tokens(given))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of a run whose steps count on: those names whose stage matches the glob `stage` (none: `""`).

    A step s lies at `tokens_before` + s x `tokens_per_step`; where names number the checkpoints, number i, from 0, was
    saved after (i + 1) x `tokens_per_checkpoint` and (i + 1) x `steps_per_checkpoint`. Unknown values are None.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    stage: str = ""
    tokens_before: _TokensOrZero = 0
    tokens_per_step: Tokens | None = None
    tokens_per_checkpoint: Tokens | None = None
    steps_per_checkpoint: int | None = None
    schedule: RunSchedule | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """The model of a run: what an estimate without the Hub needs. `vocabulary` counts the rows of the embedding;
    `checkpoint_bytes` is what one revision's weights take on the Hub, None where no source tells."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    parameters: int
    layers: int
    width: int
    vocabulary: int
    context: int
    checkpoint_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicRun:
    """A run by the globs of its Hub repositories; `source` says where the facts were read."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    repos: Annotated[tuple[str, ...], Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    size: ModelSize | None = None
    phases: tuple[Phase, ...] = ()
    init: Annotated[Init, Field(discriminator="rule")] | None = None


def public_runs(extra: Path | None = None) -> tuple[PublicRun, ...]:
    """The runs of the user's YAML file `extra`, which win, and then those of the table that comes with pliant.

    Raises:
        CheckpointError: the file cannot be read, or an entry is wrong; the key is named.
    """
    table = _parsed(files("pliant.checkpoints.public").joinpath(_TABLE).read_text(encoding="utf-8"), _TABLE)
    if extra is None:
        return table
    try:
        text = extra.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"the table of runs {extra} cannot be read: {error}") from error
    return (*_parsed(text, str(extra)), *table)


def run_of(repo: str, runs: Sequence[PublicRun]) -> PublicRun | None:
    """The first run that the repository `owner/name` belongs to."""
    return next((run for run in runs if any(fnmatchcase(repo, glob) for glob in run.repos)), None)


def facts(run: PublicRun, name: NameFacts) -> About:
    """What name and table say of a checkpoint. The name counts more, except that tokens before its stage are added."""
    phase = _phase(run, name)
    if phase is None:
        return About(tokens=name.tokens, step=name.step)
    step = name.step if name.step is not None else _times(name.index, phase.steps_per_checkpoint)
    tokens = _tokens(phase, name) if name.tokens is None else phase.tokens_before + name.tokens
    if phase.schedule is None or step is None:
        return About(tokens=tokens, step=step)
    return About(
        tokens=tokens,
        step=step,
        learning_rate=phase.schedule.learning_rate(step),
        annealed=phase.schedule.annealed(step),
    )


def disagrees(run: PublicRun, name: NameFacts) -> str | None:
    """A sentence where the tokens in a name are neither those of the table nor these rounded; None where they agree."""
    phase = _phase(run, name)
    if phase is None or phase.tokens_per_step is None or name.step is None or name.tokens is None:
        return None
    expected = name.step * phase.tokens_per_step
    if abs(expected - name.tokens) <= max(DISAGREEMENT * expected, name.tokens_unit or 0):
        return None
    return (
        f"step {name.step:,} says {format_tokens(name.tokens)} tokens; "
        f"at {phase.tokens_per_step:,} a step, as the table of public runs has it for {run.name}, "
        f"it is {format_tokens(expected)}"
    )


def init_stds(
    run: PublicRun, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, float] | None:
    """The std of each tensor when the run began, by its transformers name; None where the rule is not known."""
    return None if run.init is None else initial_stds(run.init, config, shapes)


def _phase(run: PublicRun, name: NameFacts) -> Phase | None:
    return next((phase for phase in run.phases if fnmatchcase(name.stage or "", phase.stage)), None)


def _tokens(phase: Phase, name: NameFacts) -> int | None:
    if name.step is not None and phase.tokens_per_step is not None:
        return phase.tokens_before + name.step * phase.tokens_per_step
    return _times(name.index, phase.tokens_per_checkpoint)


def _times(index: int | None, each: int | None) -> int | None:
    return None if index is None or each is None else (index + 1) * each


def _parsed(text: str, place: str) -> tuple[PublicRun, ...]:
    try:
        content = parse_yaml(text)
    except ValueError as error:
        raise CheckpointError(f"{place} is not YAML: {error}") from error
    if not isinstance(content, list):
        raise CheckpointError(f"{place}: expected a list of runs (- name: ...); found {type(content).__name__}")
    try:
        return TypeAdapter(tuple[PublicRun, ...]).validate_python(content)
    except ValidationError as error:
        raise CheckpointError(f"{place}: {_first_line(error, content)}") from error


def _first_line(error: ValidationError, content: list[Any]) -> str:
    problem = error.errors()[0]
    number, *keys = problem["loc"]
    entry = content[int(number)]
    named = f"run {entry['name']!r}" if isinstance(entry, dict) and "name" in entry else f"run number {int(number) + 1}"
    key = ".".join(str(part) for part in keys)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "unexpected_keyword_argument":
        message = "unknown key; take it out or mend its spelling"
    return f"{named}: {key}: {message}" if key else f"{named}: {message}"
