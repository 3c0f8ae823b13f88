"""What a study may say: frozen settings, checked when they are made; study_file.py reads them from YAML."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from pliant.checkpoints.architecture import PRESETS, Architecture
from pliant.data.hub_text import HubText
from pliant.data.task_setting import TaskSetting, task_name
from pliant.data.text_files import TextFiles
from pliant.execution.engine import UserError
from pliant.execution.resources import Resources
from pliant.modifications.merge_weights import MergeWeights, coefficients
from pliant.records.numerics import Numerics
from pliant.records.units import parse_bytes
from pliant.studies.evaluation_spec import EvaluationSpec
from pliant.studies.modification_spec import ModificationSpec
from pliant.studies.sections import Section, Seeds, TokenCount, different
from pliant.training.pretraining import Recipe


class SpecError(UserError):
    """A study file that says something pliant does not understand or cannot do."""


_HELD_OUT_TOKENS = 32_768
_HELD_OUT_BYTES = 131_072


def _preset(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value not in PRESETS:
        raise ValueError(f"no preset {value!r}; known are {', '.join(PRESETS)}, or give width, layers, heads, ...")
    return PRESETS[value]


class LadderSpec(Section):
    """Runs of one recipe at growing token budgets, pre-trained by pliant.

    `members`: `annealed` is each budget's own annealed run; `trunk` is the undecayed trunk at the same tokens.
    """

    architecture: Annotated[Architecture, BeforeValidator(_preset)]
    recipe: Recipe
    budgets: Annotated[tuple[TokenCount, ...], Field(min_length=1)]
    seeds: Seeds = (1,)
    members: Annotated[tuple[Literal["annealed", "trunk"], ...], Field(min_length=1), AfterValidator(different)] = (
        "annealed",
    )
    max_epochs: Annotated[float, Field(gt=0)] = 1.0

    @model_validator(mode="after")
    def _check(self) -> "LadderSpec":
        if list(self.budgets) != sorted(set(self.budgets)):
            raise ValueError("budgets must grow from one to the next")
        if "trunk" in self.members and self.recipe.schedule.kind != "wsd":
            raise ValueError("members: trunk needs schedule kind wsd; the other schedules have no trunk")
        if self.recipe.schedule.kind == "constant" and self.recipe.schedule.warmup_fraction:
            raise ValueError("constant shares one run between budgets: give warmup_steps, not warmup_fraction")
        for lower, higher in pairwise(self.budgets):
            steps = self.recipe.steps(lower, self.architecture.context)
            if steps == self.recipe.steps(higher, self.architecture.context):
                per_step = self.recipe.batch_windows * self.architecture.context
                raise ValueError(
                    f"budgets {lower} and {higher} are both {steps} steps of {per_step} tokens; set them further apart"
                )
        return self


class CheckpointSpec(Section):
    """One checkpoint from outside: a folder, or ORG/NAME@REVISION on the Hub; its tokens by hand where nothing says."""

    path: str
    tokens: TokenCount | None = None
    seed: int | None = None
    annealed: bool | None = None


class ChooseSpec(Section):
    """Which of many checkpoints: from `from` to `to`, the nearest to each multiple of `every`, or `count` of them."""

    first: Annotated[TokenCount | None, Field(alias="from")] = None
    to: TokenCount | None = None
    every: TokenCount | None = None
    count: Annotated[int, Field(ge=1)] | None = None
    spacing: Literal["linear", "log"] = "linear"


class MergeSpec(Section):
    """Each `window` neighbouring members of the trajectory `of` summed with `weights`, as a trajectory of its own.

    `weights`: uniform, linear, ema(A), decay-linear, decay-cosine, decay-1-sqrt, or one number a checkpoint, oldest
    first; then `window` may be left out.
    """

    of: str
    window: Annotated[int, Field(ge=1)] | None = None
    weights: MergeWeights = "uniform"

    def coefficients(self) -> tuple[float, ...]:
        """One weight for each checkpoint of the window, oldest first."""
        window = len(self.weights) if self.window is None and not isinstance(self.weights, str) else self.window
        if window is None:
            raise ValueError(f"weights: {self.weights} needs window, the number of checkpoints merged")
        return coefficients(self.weights, window)

    @model_validator(mode="after")
    def _check(self) -> "MergeSpec":
        self.coefficients()
        return self


class TrajectorySpec(Section):
    """A ladder to pre-train, checkpoints that exist (a folder, a Hub repository, or a list), or merges of another.

    `revisions` are globs for the branches and tags of a repository. `tokens_per_step` gives tokens where only steps
    are known; `run` names an entry of the table of public runs (by default the repository finds its own).
    """

    name: str
    ladder: LadderSpec | None = None
    checkpoints: str | tuple[CheckpointSpec, ...] | None = None
    merge: MergeSpec | None = None
    revisions: str | None = None
    choose: ChooseSpec = ChooseSpec()
    tokens_per_step: TokenCount | None = None
    run: str | None = None
    allow_pickle: bool = False
    trust_remote_code: bool = False

    @model_validator(mode="after")
    def _one(self) -> "TrajectorySpec":
        if sum(given is not None for given in (self.ladder, self.checkpoints, self.merge)) != 1:
            raise ValueError("give either ladder, checkpoints or merge")
        if isinstance(self.checkpoints, tuple):
            different(tuple(entry.path for entry in self.checkpoints))
        for name in ("revisions", "choose", "tokens_per_step", "run", "allow_pickle", "trust_remote_code"):
            default = type(self).model_fields[name].default
            if self.checkpoints is None and getattr(self, name) != default:
                raise ValueError(f"{name} has an effect with checkpoints only; leave it out")
        if self.revisions is not None and isinstance(self.checkpoints, tuple):
            raise ValueError("revisions is for one repository; in a list, write org/name@revision")
        return self


class HeldOutSpec(Section):
    """What every theta' is measured on: `tokens` of the held-out pre-training data, `task_rows` rows of each split of a
    task. `context` is the window; by default the ladder's, or up to 512 of what the checkpoints can take.

    `by: documents` takes `bytes` of whole documents instead of windows: the same text for every tokenizer.
    """

    by: Literal["windows", "documents"] = "windows"
    split: Literal["validation", "test"] = "test"
    tokens: TokenCount = _HELD_OUT_TOKENS
    bytes: Annotated[TokenCount, Field(ge=8192)] = _HELD_OUT_BYTES
    task_rows: Annotated[int, Field(ge=1)] = 256
    context: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _check(self) -> "HeldOutSpec":
        if self.by == "documents" and self.tokens != _HELD_OUT_TOKENS:
            raise ValueError("tokens has no effect with by: documents; set bytes, or leave by out")
        if self.by == "windows" and self.bytes != _HELD_OUT_BYTES:
            raise ValueError("bytes has no effect with by: windows; set by: documents, or tokens instead")
        return self


def _kind_of_corpus(value: Any) -> str:
    if isinstance(value, (dict, HubText)):
        return "dataset" if isinstance(value, HubText) or "dataset" in value else "path"
    return "path" if isinstance(value, TextFiles) else "name"


CorpusSetting = Annotated[
    Annotated[str, Tag("name")] | Annotated[TextFiles, Tag("path")] | Annotated[HubText, Tag("dataset")],
    Discriminator(_kind_of_corpus),
]


def _with_bytes(value: Any) -> Any:
    sized = isinstance(value, dict) and isinstance(value.get("memory"), str)
    return {**value, "memory": parse_bytes(value["memory"])} if sized else value


class StudySpec(Section):
    """The whole study. `corpus` is `english`, `markov:SEED`, a path to text, a Hub dataset as
    `OWNER/NAME:CONFIGURATION:SPLIT`, or a mapping with `path` or `dataset` that also names the `column`; `tokenizer`
    is `bytes`, a path or a Hub name, and by default what the corpus or the checkpoints bring along. `runs` is a YAML
    file that extends the table of public runs; `allow_suspect` measures checkpoints that the audit refuses. `resources`
    is what a worker takes of a cluster; on one machine it has no effect, so that one file serves both."""

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    corpus: CorpusSetting = "english"
    tokenizer: str | None = None
    held_out: HeldOutSpec = HeldOutSpec()
    trajectories: Annotated[tuple[TrajectorySpec, ...], Field(min_length=1)]
    modifications: tuple[ModificationSpec, ...] = ()
    evaluations: tuple[EvaluationSpec, ...] = ()
    numerics: Numerics = Numerics()
    runs: Path | None = None
    allow_suspect: bool = False
    snapshot_seconds: Annotated[float, Field(gt=0)] = 20.0
    resources: Annotated[Resources, BeforeValidator(_with_bytes)] | None = None

    @model_validator(mode="after")
    def _check(self) -> "StudySpec":
        names = [trajectory.name for trajectory in self.trajectories]
        if len(set(names)) != len(names):
            raise ValueError("trajectories must have different names")
        whole = [trajectory.name for trajectory in self.trajectories if trajectory.merge is None]
        for trajectory in self.trajectories:
            if trajectory.merge is not None and trajectory.merge.of not in whole:
                known = ", ".join(whole) or "none"
                raise ValueError(
                    f"{trajectory.name} merges {trajectory.merge.of!r}; give the name of a ladder or of a trajectory "
                    f"of checkpoints in this study ({known})"
                )
        recomputing = any(m.fine_tune is not None and m.fine_tune.gradient_checkpointing for m in self.modifications)
        if recomputing and (self.numerics.forward != "transformers" or self.numerics.sweep != "single"):
            raise ValueError(
                "gradient_checkpointing is of transformers' own forward pass: give numerics with "
                "forward: transformers and sweep: single, or leave it out"
            )
        kinds = ("none", *(name.replace("_", "-") for name in ModificationSpec.model_fields))
        for entry in self.evaluations:
            for name in entry.on or ():
                if name.replace("_", "-") not in kinds:
                    raise ValueError(f"evaluations: on names {name!r}; known are {', '.join(kinds)}")
        called = [task_name(task) for task in self.tasks]
        for name in called:
            if called.count(name) > 1:
                raise ValueError(f"two different tasks are called {name!r}; name one of them with called")
        return self

    @property
    def tasks(self) -> tuple[TaskSetting, ...]:
        """The tasks fine-tuned on, each once, in order."""
        return tuple(dict.fromkeys(m.fine_tune.task for m in self.modifications if m.fine_tune is not None))
