"""The modifications a study may ask for, with their strengths."""

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from pliant.data.task_setting import TaskSetting, task_name
from pliant.modifications.adapters import LowRank
from pliant.modifications.finetune import STEPS, FineTune
from pliant.modifications.interpolate import Interpolate
from pliant.modifications.noise import Noise, Scaling
from pliant.modifications.prune import Prune
from pliant.modifications.quantise import Granularity, Quantise
from pliant.modifications.regularise.method import (
    Anchor,
    Divergence,
    ElasticWeights,
    ProbeFirst,
    Regulariser,
    Replay,
    WiseFT,
)
from pliant.modifications.wanda import Wanda
from pliant.statistics.rate_search import STOPS, WITHIN_NATS, Why
from pliant.studies.sections import ChoiceSection, Section, Seeds, TokenCount, different
from pliant.studies.task_choice import TaskChoice
from pliant.training.early_stop import EarlyStop
from pliant.training.loop import Optimisation
from pliant.training.precision import Precision
from pliant.training.schedules import Schedule

Amounts = Annotated[tuple[float, ...], Field(min_length=1), AfterValidator(different)]
_MANY_ROWS = 1_000_000_000
"""Of a task that is not open: what does not depend on its rows holds for these."""
_REGULARISERS: dict[str, Callable[..., Regulariser]] = {
    "anchor": Anchor,
    "ewc": ElasticWeights,
    "replay": Replay,
    "kl": Divergence,
    "wise_ft": WiseFT,
    "probe_first": ProbeFirst,
}


Place = tuple[str, str, int | None]
"""A checkpoint: its trajectory, its name, its pre-training seed."""


class AddedDraws(Section):
    """Blocks of draws that one checkpoint got beyond the others, at one strength.

    They were decided on an interval of +-`half_width` nats (None in older studies); `open` says whether the verdict
    hung on it: the checkpoint was the last, or might have been the best.
    """

    trajectory: str
    checkpoint: str
    seed: int | None = None
    strength: float
    blocks: Annotated[int, Field(ge=1)]
    half_width: float | None = None
    open: bool | None = None

    @property
    def place(self) -> tuple[str, str, int | None, float]:
        """What the blocks are of."""
        return self.trajectory, self.checkpoint, self.seed, self.strength


MOST_DRAWS = 512
FEWEST_TO_SEARCH = 3


class NoiseSpec(Section):
    """Gaussian noise at each of `strengths`; `blocks` blocks of `draws` draws each.

    `control` and `subsets` make the same work tell more (modifications/noise.py). With `precision` .05 a run goes on
    to draw, `most` draws at most, until the interval of each sensitivity is within 5 % of it; with `half_width` .005
    until it is within +-.005 nats per token, first at the checkpoints on which the verdict hangs.

    `added_blocks` are those with which pliant answered too wide an interval, `added` those of one checkpoint and
    strength; they stay with the study's folder.
    """

    scaling: Scaling = "init"
    strengths: Annotated[tuple[float, ...], Field(min_length=1)]
    embeddings: bool = True
    draws: int = 8
    antithetic: bool = True
    blocks: Annotated[int, Field(ge=1)] = 1
    added_blocks: Annotated[int, Field(ge=0)] = 0
    control: Literal["gradient"] | None = None
    subsets: int | None = None
    precision: Annotated[float, Field(gt=0, lt=1)] | None = None
    half_width: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    most: Annotated[int, Field(ge=1)] | None = None
    added: tuple[AddedDraws, ...] = ()

    @property
    def adaptive(self) -> bool:
        """Whether a run goes on to draw."""
        return self.precision is not None or self.half_width is not None

    @property
    def most_draws(self) -> int:
        """At which drawing ends, however wide the interval."""
        return MOST_DRAWS if self.most is None else self.most

    def modifications(self) -> list[Noise]:
        return [
            Noise(
                scaling=self.scaling,
                strength=strength,
                embeddings=self.embeddings,
                draws=self.draws,
                antithetic=self.antithetic,
                control=self.control,
                subsets=self.subsets,
            )
            for strength in self.strengths
        ]

    def blocks_at(self, place: tuple[str, str, int | None, float]) -> int:
        """How many blocks the checkpoint of `place` has at its strength."""
        return self.blocks + self.added_blocks + sum(one.blocks for one in self.added if one.place == place)

    @model_validator(mode="after")
    def _check(self) -> "NoiseSpec":
        self.modifications()
        if self.precision is not None and self.half_width is not None:
            raise ValueError(
                f"give precision ({self.precision:g} of each sensitivity) or half_width ({self.half_width:g} nats), "
                "not both"
            )
        if self.most is not None and not self.adaptive:
            raise ValueError("most has no effect without precision; leave most out, or give precision or half_width")
        if self.adaptive and self.blocks * self.draws > self.most_draws:
            raise ValueError(
                f"most is {self.most_draws} draws, and {self.blocks} x {self.draws} are asked for at once; raise most"
            )
        return self


class QuantiseSpec(ChoiceSection):
    """Round-to-nearest quantisation to each of `bits` bits a weight."""

    bits: Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(different)]
    per: Granularity = "channel"
    group: int = 128
    embeddings: bool = False

    def modifications(self) -> list[Quantise]:
        return [Quantise(bits=b, per=self.per, group=self.group, embeddings=self.embeddings) for b in self.bits]

    @model_validator(mode="after")
    def _check(self) -> "QuantiseSpec":
        self.modifications()
        return self

    def idle(self) -> dict[str, str]:
        return {} if self.per == "group" else {"group": f"per: {self.per}"}


class PruneSpec(ChoiceSection):
    """Pruning of each of `shares` of the weights: the smallest, or with `criterion` wanda those that matter least to
    their layer's output on `calibration_tokens` of training text."""

    shares: Annotated[tuple[float, ...], Field(min_length=1), AfterValidator(different)]
    criterion: Literal["magnitude", "wanda"] = "magnitude"
    per: Literal["tensor", "channel"] = "tensor"
    embeddings: bool = False
    calibration_tokens: TokenCount = 8192

    def modifications(self) -> list[Prune] | list[Wanda]:
        if self.criterion == "wanda":
            return [Wanda(strength=share, calibration_tokens=self.calibration_tokens) for share in self.shares]
        return [Prune(strength=share, per=self.per, embeddings=self.embeddings) for share in self.shares]

    @model_validator(mode="after")
    def _check(self) -> "PruneSpec":
        self.modifications()
        return self

    def idle(self) -> dict[str, str]:
        idle = ("per", "embeddings") if self.criterion == "wanda" else ("calibration_tokens",)
        return dict.fromkeys(idle, f"criterion: {self.criterion}")


class InterpolateSpec(Section):
    """Points on the line to another checkpoint of the same trajectory and seed, each of `weights` of the way.

    `with` names that checkpoint, or says first, last or previous; a checkpoint has no line to itself.
    """

    partner: Annotated[str, Field(alias="with", min_length=1)]
    weights: Annotated[tuple[float, ...], Field(min_length=1), AfterValidator(different)] = (0.25, 0.5, 0.75)

    def modifications(self) -> list[Interpolate]:
        return [Interpolate(strength=weight, partner=self.partner) for weight in self.weights]

    @model_validator(mode="after")
    def _check(self) -> "InterpolateSpec":
        self.modifications()
        return self


class RegulariseSpec(Section):
    """One way of holding on to the base, at each of its amounts; amount 0 is plain fine-tuning."""

    anchor: Amounts | None = None
    ewc: Amounts | None = None
    replay: Amounts | None = None
    kl: Amounts | None = None
    wise_ft: Amounts | None = None
    probe_first: Amounts | None = None

    def regularisers(self) -> list[Regulariser | None]:
        """One for each amount, None where that is 0."""
        ((name, amounts),) = self._given().items()
        return [_REGULARISERS[name](amount=amount) if amount else None for amount in amounts]

    def _given(self) -> dict[str, tuple[float, ...]]:
        amounts = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: given for name, given in amounts.items() if given is not None}

    @model_validator(mode="after")
    def _check(self) -> "RegulariseSpec":
        if len(self._given()) != 1:
            raise ValueError(
                f"regularise takes one of {', '.join(type(self).model_fields)}; another one is another entry, "
                "with learning rates of its own"
            )
        self.regularisers()
        return self


class SearchSpec(Section):
    """Instead of all rates of the grid some are tried, at each checkpoint for itself, until the score of the best is
    known to `within` nats per token (statistics/rate_search.py)."""

    within: Annotated[float, Field(gt=0, allow_inf_nan=False)] = WITHIN_NATS


class SearchedRates(Section):
    """One choice of a search: the rates that one checkpoint got in a round, or none where it ended, and why.

    It was decided on `best`, the best rate until then, its validation `loss`, and `low`, what untried rates might
    reach; nats per token.
    """

    label: str
    trajectory: str
    checkpoint: str
    seed: int | None = None
    round: Annotated[int, Field(ge=1)]
    rates: tuple[float, ...] = ()
    why: Why
    best: float | None = None
    loss: float | None = None
    low: float | None = None

    @property
    def place(self) -> Place:
        """The checkpoint that it is about."""
        return self.trajectory, self.checkpoint, self.seed

    @property
    def over(self) -> bool:
        return self.why in STOPS


class FineTuneSpec(ChoiceSection):
    """Fine-tuning on `task` at each of `learning_rates`, for each of `seeds`: all weights, or an `adapter`; plain, or
    regularised at each of some amounts. A method has an entry of its own, as its best rates are its own.

    `task` is the name of an embedded or public one, or a mapping with `path` or `dataset` (data/task_setting.py).
    It lasts `steps` updates, or `epochs` of the training rows of the task. `precision` is that of the forward pass,
    `micro_batch` the rows that go through it at once; `gradient_checkpointing` saves memory for time. `stop_early` ends
    it where the validation loss of the task no longer falls.

    With `search` only some rates of the grid are tried; it also goes on past the ends of the grid.

    `added_rates` are those with which pliant made a grid longer whose best rate lay at its edge, `searched` the choices
    of a search, in order; they stay with the study's folder.
    """

    task: TaskChoice
    learning_rates: Annotated[tuple[float, ...], Field(min_length=1)]
    search: SearchSpec | None = None
    added_rates: tuple[float, ...] = ()
    searched: tuple[SearchedRates, ...] = ()
    steps: int = STEPS
    epochs: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    batch: int = 16
    micro_batch: int | None = None
    seeds: Seeds = (0,)
    schedule: Schedule = Schedule(kind="cosine", warmup_fraction=0.1)
    optimisation: Optimisation = Optimisation(weight_decay=0.0)
    precision: Precision | None = None
    gradient_checkpointing: bool = False
    stop_early: EarlyStop | None = None
    adapter: LowRank | None = None
    regularise: RegulariseSpec | None = None

    def modifications(self, rows: int) -> list[FineTune]:
        """The fine-tunes on a task of `rows` training rows: epochs are steps = ceil(epochs x rows / batch)."""
        return [
            FineTune(
                task=task_name(self.task),
                strength=rate,
                steps=self.steps if self.epochs is None else _steps(self.epochs, rows, self.batch),
                batch=self.batch,
                schedule=self.schedule,
                optimisation=self.optimisation,
                adapter=self.adapter,
                regulariser=regulariser,
                precision=self.precision,
                micro_batch=self.micro_batch,
                stop_early=self.stop_early,
                epochs=self.epochs,
                gradient_checkpointing=self.gradient_checkpointing,
            )
            for regulariser in (self.regularise.regularisers() if self.regularise is not None else [None])
            for rate in (*self.learning_rates, *self.added_rates)
        ]

    def modifications_at(self, place: Place, rows: int) -> list[FineTune]:
        """Those of `modifications` that the checkpoint of `place` gets: all, or rate 0 and what a search chose."""
        every = self.modifications(rows)
        if self.search is None:
            return every
        chosen: dict[str, dict[float, None]] = {}
        for one in self.searched:
            if one.place == place:
                chosen.setdefault(one.label, {}).update(dict.fromkeys(one.rates))
        kinds = {m.label: m for m in every}
        unchanged = [m for m in every if m.strength == 0]
        return [*unchanged, *(replace(m, strength=r) for label, m in kinds.items() for r in chosen.get(label, ()))]

    def labels(self) -> set[str]:
        """What its fine-tunes are called, which does not depend on the rows of the task."""
        return {m.label for m in self.modifications(_MANY_ROWS)}

    def idle(self) -> dict[str, str]:
        return {} if self.epochs is None else {"steps": f"epochs: {self.epochs:g}"}

    @model_validator(mode="after")
    def _check(self) -> "FineTuneSpec":
        self.modifications(_MANY_ROWS)
        if self.search is not None and len({rate for rate in self.learning_rates if rate > 0}) < FEWEST_TO_SEARCH:
            raise ValueError(
                f"search chooses among learning_rates above 0 and needs {FEWEST_TO_SEARCH} or more, "
                f"got {len({rate for rate in self.learning_rates if rate > 0})}; "
                "give the rates of a fine grid, or leave search out"
            )
        return self


def _steps(epochs: float, rows: int, batch: int) -> int:
    """Of `epochs` as it is written: 1.1 x 10 is 11, not a little more."""
    return math.ceil(Fraction(str(epochs)) * rows / batch)


AnyModificationSpec = NoiseSpec | QuantiseSpec | PruneSpec | InterpolateSpec | FineTuneSpec


class ModificationSpec(Section):
    """One of the modifications."""

    noise: NoiseSpec | None = None
    quantise: QuantiseSpec | None = None
    prune: PruneSpec | None = None
    interpolate: InterpolateSpec | None = None
    fine_tune: FineTuneSpec | None = None

    @property
    def one(self) -> AnyModificationSpec:
        """The one that is given."""
        (given,) = self._given()
        return given

    @property
    def direct(self) -> QuantiseSpec | PruneSpec | InterpolateSpec | None:
        """The one that is given, if it changes the weights once, without training or chance."""
        return self.quantise or self.prune or self.interpolate

    def with_task(self, change: Callable[[TaskSetting], TaskSetting]) -> "ModificationSpec":
        """The same on another task, if it is fine-tuning."""
        if self.fine_tune is None:
            return self
        tuning = self.fine_tune.model_copy(update={"task": change(self.fine_tune.task)})
        return self.model_copy(update={"fine_tune": tuning})

    def _given(self) -> list[AnyModificationSpec]:
        every = (self.noise, self.quantise, self.prune, self.interpolate, self.fine_tune)
        return [m for m in every if m is not None]

    @model_validator(mode="after")
    def _one(self) -> "ModificationSpec":
        if len(self._given()) != 1:
            raise ValueError(f"each entry of modifications is one of {', '.join(type(self).model_fields)}")
        return self
