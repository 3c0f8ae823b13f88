"""Searches for the best learning rate: the rates that each checkpoint gets next, from the records so far."""

import math
from collections.abc import Iterable, Mapping, Sequence

from pliant.execution.table import Table
from pliant.statistics import RatePoint, Reading
from pliant.statistics.rate_scatter import scatter_of
from pliant.statistics.rate_search import Rates, Step, Tried, next_steps
from pliant.studies.growth import further_rates
from pliant.studies.modification_spec import FineTuneSpec, ModificationSpec, Place, SearchedRates, SearchSpec
from pliant.studies.spec import StudySpec

BEYOND = 9
"""Rates that a search may try past each end of its grid, as many as --extend-grids adds."""
_Measured = Mapping[tuple[str, Place, float], Mapping[int, float]]
"""(label, checkpoint, rate) -> fine-tuning seed -> validation task loss, nan where it diverged."""


def search_on(spec: StudySpec, table: Table) -> StudySpec:
    """`spec` with the choices added that its searches make of the records in `table`, each with its reason.

    A search makes them by rounds: once everything that it chose before is there, for every checkpoint at once. The same
    records lead to the same choices.
    """
    if not any(entry.fine_tune is not None and entry.fine_tune.search is not None for entry in spec.modifications):
        return spec
    found = table.readings()
    lines, measured = _lines(found), _measured(found)
    entries = tuple(_searched_on(entry, lines, measured) for entry in spec.modifications)
    return spec.model_copy(update={"modifications": entries})


def _searched_on(entry: ModificationSpec, lines: Sequence[Sequence[Place]], measured: _Measured) -> ModificationSpec:
    tuning = entry.fine_tune
    if tuning is None or tuning.search is None:
        return entry
    more = [one for label in sorted(tuning.labels()) for one in _choices(tuning, tuning.search, label, lines, measured)]
    return entry.model_copy(update={"fine_tune": tuning.model_copy(update={"searched": (*tuning.searched, *more)})})


def _choices(
    tuning: FineTuneSpec, search: SearchSpec, label: str, lines: Sequence[Sequence[Place]], measured: _Measured
) -> list[SearchedRates]:
    """Those of the next round; none while records are missing, or where every search is over."""
    mine = [one for one in tuning.searched if one.label == label]
    by_place: dict[Place, list[SearchedRates]] = {place: [] for line in lines for place in line}
    for one in mine:
        by_place.setdefault(one.place, []).append(one)
    tried = {place: _tried(by_place[place], tuning, measured) for line in lines for place in line}
    known = {place: one for place, one in tried.items() if one is not None}
    if len(known) < len(tried):
        return []
    scatter = scatter_of(one.losses for one in known.values())
    turn = 1 + max((one.round for one in mine), default=0)
    return [
        _choice(label, place, turn, step)
        for line in lines
        for place, step in zip(
            line,
            next_steps([known[place] for place in line], _rates(tuning), scatter=scatter, within=search.within),
            strict=True,
        )
        if step is not None
    ]


def _choice(label: str, place: Place, turn: int, step: Step) -> SearchedRates:
    trajectory, checkpoint, seed = place
    return SearchedRates(
        label=label,
        trajectory=trajectory,
        checkpoint=checkpoint,
        seed=seed,
        round=turn,
        rates=step.rates,
        why=step.why,
        best=step.best,
        loss=step.loss,
        low=step.low,
    )


def _rates(tuning: FineTuneSpec) -> Rates:
    grid = tuple(sorted({rate for rate in (*tuning.learning_rates, *tuning.added_rates) if rate > 0}))
    below, above = further_rates(grid, BEYOND)
    tried = {rate for one in tuning.searched for rate in one.rates}
    return Rates(
        grid=grid,
        below=tuple(sorted({*below, *(rate for rate in tried if rate < grid[0])})),
        above=tuple(sorted({*above, *(rate for rate in tried if rate > grid[-1])})),
    )


def _tried(choices: Sequence[SearchedRates], tuning: FineTuneSpec, measured: _Measured) -> Tried | None:
    """What the records say of the rates chosen at one checkpoint; None while one is missing."""
    points = []
    for one in choices:
        for rate in one.rates:
            losses = measured.get((one.label, one.place, rate), {})
            diverged = any(math.isnan(loss) for loss in losses.values())
            if not diverged and not losses.keys() >= set(tuning.seeds):
                return None
            mean = math.fsum(losses[seed] for seed in tuning.seeds) / len(tuning.seeds) if not diverged else math.nan
            points.append(RatePoint(rate=rate, validation_task_loss=mean, diverged=diverged))
    return Tried(points=tuple(points), over=any(one.over for one in choices))


def _measured(found: Iterable[Reading]) -> _Measured:
    losses: dict[tuple[str, Place, float], dict[int, float]] = {}
    for one in found:
        what = (one.modification, one.evaluation, one.metric, one.split)
        if what == ("fine-tune", "task-loss", "loss_nats", "validation"):
            seeds = losses.setdefault((one.label, _place(one), one.strength), {})
            seeds[one.seed] = one.value if one.usable else math.nan
    return losses


def _lines(found: Iterable[Reading]) -> list[list[Place]]:
    """The checkpoints of each run whose base was measured, by tokens, or in the order of the study without them."""
    lines: dict[tuple[str, str, int | None], dict[Place, int]] = {}
    for one in found:
        if one.modification == "none":
            line = lines.setdefault((one.trajectory, one.members, one.pretraining_seed), {})
            line.setdefault(_place(one), one.tokens if one.tokens is not None else len(line))
    return [sorted(line, key=line.__getitem__) for line in lines.values()]


def _place(one: Reading) -> Place:
    return one.trajectory, one.checkpoint, one.pretraining_seed
