"""Sweeps that a search made: which rates were tried, in what order, and why each search ended."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from pliant.report.grid import Cell, Grid
from pliant.report.study import Study, capital, phrase
from pliant.report.unit import rate
from pliant.statistics import Sweep
from pliant.statistics.rate_search import STOPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a search chose for one checkpoint in one round, as study.yaml has it."""

    trajectory: str
    checkpoint: str
    seed: int | None
    label: str
    round: int
    rates: tuple[float, ...]
    why: str
    loss: float | None
    low: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The choices that made one sweep, in order."""

    sweep: Sweep
    choices: tuple[Choice, ...]

    @property
    def words(self) -> str:
        """How many rates, and why the searches ended."""
        places = {(one.checkpoint, one.seed) for one in self.choices}
        tried = sum(len(one.rates) for one in self.choices)
        ends = Counter(one.why for one in self.choices if one.why in STOPS)
        ended = ", ".join(f"{why} {number}" for why, number in ends.most_common()) or "none has ended"
        return (
            f"a search tried {tried} rates at {len(places)} checkpoints, {tried / len(places):.1f} each, in "
            f"{max(one.round for one in self.choices)} rounds ({ended}); at a rate that is not the tuned one there is "
            "only what it happened to try"
        )


def searches(study: Study) -> tuple[Search, ...]:
    """One for each sweep of the study that a search made."""
    chosen = _choices(study.table.settings)
    found = ((sweep, tuple(one for one in chosen if _belongs(one, sweep))) for sweep in study.sweeps)
    return tuple(Search(sweep=sweep, choices=mine) for sweep, mine in found if mine)


def search_grid(search: Search, place: str = "") -> Grid:
    """A row for each checkpoint: its rates in order, rounds apart, and why no more were tried."""
    rows: dict[tuple[str, int | None], list[Choice]] = {}
    for one in search.choices:
        rows.setdefault((one.checkpoint, one.seed), []).append(one)
    title = f"{capital(phrase(search.sweep.label))}: rates in the order tried"
    return Grid(
        title=f"{title}, {place}" if place else title,
        head=("checkpoint", "seed", "rates, rounds apart by |", "ended", "score known to"),
        rows=tuple(_row(checkpoint, seed, mine) for (checkpoint, seed), mine in rows.items()),
        note="Nats per token of validation loss: how far below the best rate's an untried rate beside it may lie.",
        spare=frozenset({4}),
    )


def _row(checkpoint: str, seed: int | None, choices: Sequence[Choice]) -> tuple[Cell, ...]:
    last = choices[-1]
    known = last.loss is not None and last.low is not None and last.why in STOPS
    return (
        Cell(text=checkpoint),
        Cell(text="–" if seed is None else f"{seed}"),
        Cell(text=" | ".join(" ".join(rate(r) for r in one.rates) for one in choices if one.rates)),
        Cell(text=last.why if last.why in STOPS else "goes on"),
        Cell(text=f"{last.loss - last.low:.4f}" if known and last.loss is not None and last.low is not None else "–"),
    )


def _belongs(one: Choice, sweep: Sweep) -> bool:
    return (
        one.label == sweep.label
        and one.trajectory == sweep.trajectory
        and (one.seed or 0, one.checkpoint) in {(seed, sweep.names[budget]) for seed, budget in sweep.rates}
    )


def _choices(settings: str) -> list[Choice]:
    if "why:" not in settings:
        return []
    study = yaml.load(settings, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # safe either way
    entries = (entry["fine_tune"] for entry in study["modifications"] if entry.get("fine_tune"))
    return [_choice(one) for entry in entries if entry.get("search") for one in entry.get("searched", ())]


def _choice(one: dict[str, Any]) -> Choice:
    return Choice(
        trajectory=one["trajectory"],
        checkpoint=one["checkpoint"],
        seed=one["seed"],
        label=one["label"],
        round=one["round"],
        rates=tuple(one["rates"]),
        why=one["why"],
        loss=one["loss"],
        low=one["low"],
    )
