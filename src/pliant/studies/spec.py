"""What a study may say: frozen settings, checked when they are made; study_file.py reads them from YAML."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pliant.checkpoints.architecture import PRESETS, Architecture
from pliant.execution.engine import UserError
from pliant.modifications.finetune import FineTune
from pliant.modifications.noise import Noise, Scaling
from pliant.modifications.prune import Prune
from pliant.modifications.quantise import Granularity, Quantise
from pliant.records.numerics import Numerics
from pliant.records.units import parse_tokens
from pliant.studies.evaluation_spec import EvaluationSpec
from pliant.studies.section import Section as _Section
from pliant.training.loop import Optimisation
from pliant.training.pretraining import Recipe
from pliant.training.schedules import Schedule


class SpecError(UserError):
    """A study file that says something pliant does not understand or cannot do."""


TokenCount = Annotated[int, BeforeValidator(parse_tokens)]


def _different(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{value!r} is there twice; each counts once")
    return values


Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AfterValidator(_different)]


def _preset(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value not in PRESETS:
        raise ValueError(f"no preset {value!r}; known are {', '.join(PRESETS)}, or give width, layers, heads, ...")
    return PRESETS[value]


class LadderSpec(_Section):
    """Runs of one recipe at growing token budgets, pre-trained by pliant.

    `members`: `annealed` is each budget's own annealed run; `trunk` is the undecayed trunk at the same tokens.
    """

    architecture: Annotated[Architecture, BeforeValidator(_preset)]
    recipe: Recipe
    budgets: Annotated[tuple[TokenCount, ...], Field(min_length=1)]
    seeds: Seeds = (1,)
    members: Annotated[tuple[Literal["annealed", "trunk"], ...], Field(min_length=1), AfterValidator(_different)] = (
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


class CheckpointSpec(_Section):
    """One checkpoint from outside, with its tokens by hand where its folder does not say."""

    path: Path
    tokens: TokenCount | None = None
    seed: int | None = None
    annealed: bool | None = None


class TrajectorySpec(_Section):
    """A ladder to pre-train, or checkpoints that exist: a folder of them, or a list."""

    name: str
    ladder: LadderSpec | None = None
    checkpoints: Path | tuple[CheckpointSpec, ...] | None = None
    allow_pickle: bool = False

    @model_validator(mode="after")
    def _one(self) -> "TrajectorySpec":
        if (self.ladder is None) == (self.checkpoints is None):
            raise ValueError("give either ladder or checkpoints")
        if isinstance(self.checkpoints, tuple):
            _different(tuple(str(entry.path) for entry in self.checkpoints))
        return self


class NoiseSpec(_Section):
    """Gaussian noise at each of `strengths`; `blocks` blocks of `draws` draws each."""

    scaling: Scaling = "init"
    strengths: Annotated[tuple[float, ...], Field(min_length=1)]
    embeddings: bool = True
    draws: int = 8
    antithetic: bool = True
    blocks: Annotated[int, Field(ge=1)] = 1

    def modifications(self) -> list[Noise]:
        shared = {"scaling": self.scaling, "embeddings": self.embeddings}
        return [
            Noise(**shared, strength=s, draws=self.draws, antithetic=self.antithetic)  # type: ignore[arg-type]
            for s in self.strengths
        ]

    @model_validator(mode="after")
    def _check(self) -> "NoiseSpec":
        self.modifications()
        return self


class QuantiseSpec(_Section):
    """Round-to-nearest quantisation to each of `bits` bits a weight."""

    bits: Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_different)]
    per: Granularity = "channel"
    group: int = 128
    embeddings: bool = False

    def modifications(self) -> list[Quantise]:
        return [Quantise(bits=b, per=self.per, group=self.group, embeddings=self.embeddings) for b in self.bits]

    @model_validator(mode="after")
    def _check(self) -> "QuantiseSpec":
        self.modifications()
        if "group" in self.model_fields_set and self.per != "group":
            raise ValueError(f"group has no effect with per: {self.per}; set per: group, or leave group out")
        return self


class PruneSpec(_Section):
    """Magnitude pruning of each of `shares` of the weights."""

    shares: Annotated[tuple[float, ...], Field(min_length=1), AfterValidator(_different)]
    per: Literal["tensor", "channel"] = "tensor"
    embeddings: bool = False

    def modifications(self) -> list[Prune]:
        return [Prune(strength=share, per=self.per, embeddings=self.embeddings) for share in self.shares]

    @model_validator(mode="after")
    def _check(self) -> "PruneSpec":
        self.modifications()
        return self


class FineTuneSpec(_Section):
    """Full fine-tuning on `task` at each of `learning_rates`, for each of `seeds`.

    `added_rates` are those with which pliant made a grid longer whose best rate lay at its edge; they stay with the
    study's folder.
    """

    task: str
    learning_rates: Annotated[tuple[float, ...], Field(min_length=1)]
    added_rates: tuple[float, ...] = ()
    steps: int = 100
    batch: int = 16
    seeds: Seeds = (0,)
    schedule: Schedule = Schedule(kind="cosine", warmup_fraction=0.1)
    optimisation: Optimisation = Optimisation(weight_decay=0.0)

    def modifications(self) -> list[FineTune]:
        return [
            FineTune(
                task=self.task,
                strength=rate,
                steps=self.steps,
                batch=self.batch,
                schedule=self.schedule,
                optimisation=self.optimisation,
            )
            for rate in (*self.learning_rates, *self.added_rates)
        ]

    @model_validator(mode="after")
    def _check(self) -> "FineTuneSpec":
        self.modifications()
        return self


class ModificationSpec(_Section):
    """One of the modifications."""

    noise: NoiseSpec | None = None
    quantise: QuantiseSpec | None = None
    prune: PruneSpec | None = None
    fine_tune: FineTuneSpec | None = None

    @property
    def one(self) -> NoiseSpec | QuantiseSpec | PruneSpec | FineTuneSpec:
        """The one that is given."""
        (given,) = self._given()
        return given

    def _given(self) -> list[NoiseSpec | QuantiseSpec | PruneSpec | FineTuneSpec]:
        return [m for m in (self.noise, self.quantise, self.prune, self.fine_tune) if m is not None]

    @model_validator(mode="after")
    def _one(self) -> "ModificationSpec":
        if len(self._given()) != 1:
            raise ValueError("each entry of modifications is one of noise, quantise, prune, fine_tune")
        return self


class HeldOutSpec(_Section):
    """What every theta' is measured on: `tokens` of the held-out pre-training data, `task_rows` rows of each split of a
    task. `context` is the window; by default the ladder's, or up to 512 of what the checkpoints can take."""

    split: Literal["validation", "test"] = "test"
    tokens: TokenCount = 32_768
    task_rows: Annotated[int, Field(ge=1)] = 256
    context: Annotated[int, Field(ge=1)] | None = None


class StudySpec(_Section):
    """The whole study. `corpus` is `english`, `markov:SEED`, or a path to text; `tokenizer` is `bytes`, a path or a
    Hub name, and by default what the corpus or the checkpoints bring along."""

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    corpus: str = "english"
    tokenizer: str | None = None
    held_out: HeldOutSpec = HeldOutSpec()
    trajectories: Annotated[tuple[TrajectorySpec, ...], Field(min_length=1)]
    modifications: tuple[ModificationSpec, ...] = ()
    evaluations: tuple[EvaluationSpec, ...] = ()
    numerics: Numerics = Numerics()
    snapshot_seconds: Annotated[float, Field(gt=0)] = 20.0

    @model_validator(mode="after")
    def _check(self) -> "StudySpec":
        names = [trajectory.name for trajectory in self.trajectories]
        if len(set(names)) != len(names):
            raise ValueError("trajectories must have different names")
        kinds = ("none", *(name.replace("_", "-") for name in ModificationSpec.model_fields))
        for entry in self.evaluations:
            for name in entry.on or ():
                if name.replace("_", "-") not in kinds:
                    raise ValueError(f"evaluations: on names {name!r}; known are {', '.join(kinds)}")
        return self

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks fine-tuned on, each once, in order."""
        return tuple(dict.fromkeys(m.fine_tune.task for m in self.modifications if m.fine_tune is not None))
