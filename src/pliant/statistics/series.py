"""One quantity under one modification over the budgets of one trajectory, with the readings behind it."""

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pliant.statistics.curve import Curve, Draws
from pliant.statistics.levels import group_sums, pseudo_values, without_each
from pliant.statistics.reading import Reading, reading_fields
from pliant.statistics.rotation import centred, levelled
from pliant.statistics.sensitivity import Copy, paired_draws, require_same_tokens, sensitivity
from pliant.statistics.shared_noise import borrowed

_ON_TASKS = ("task-loss", "harness", "choices")
"""Evaluations whose `task` is what they measure; elsewhere it is what was fine-tuned on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesKey:
    """What the points of a series have in common. `label` names the modification without its strength."""

    study: str
    trajectory: str
    members: str
    modification: str
    label: str
    strength: float
    evaluation: str
    metric: str
    split: str | None
    task: str | None
    tensor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """`points[seed, budget]` holds the readings of one run at one budget.

    A budget is tokens, or the checkpoint's place in its trajectory where tokens are not known. Diverged
    readings stay among the points and leave the curve. `smaller` is the same noise at the next smaller strength, whose
    draws are the same ones.
    """

    key: SeriesKey
    points: Mapping[tuple[int, float], tuple[Reading, ...]]
    names: Mapping[float, str]
    smaller: "Series | None" = None
    memo: dict[str, Curve] = field(default_factory=dict, init=False, repr=False, compare=False)

    def curve(self) -> Curve:
        """The modified value; points with any diverged reading are left out."""
        if "curve" not in self.memo:
            self.memo["curve"] = self._curve()
        return self.memo["curve"]

    def _curve(self) -> Curve:
        good = {key: values for key, values in self.points.items() if all(r.usable for r in values)}
        draws = {key: _draws(values) for key, values in good.items()}
        if self.smaller is not None:
            theirs = self.smaller.curve().draws
            draws = {key: borrowed(mine, theirs.get(key, {})) for key, mine in draws.items()}
        return Curve(
            draws=draws,
            text={key: groups for key, values in good.items() if (groups := _text(values))},
        )

    def diverged(self) -> int:
        """How many points hold a diverged reading."""
        return sum(any(not r.usable for r in values) for values in self.points.values())

    def sensitivity(self, base: "Series") -> Curve:
        """L(theta') - L(theta) on the same tokens.

        Raises:
            ValueError: the two were measured on different tokens.
        """
        for point, values in self.points.items():
            for other in base.points.get(point, ())[:1]:
                if any(r.count != other.count for r in values):
                    require_same_tokens(_copies(values), _copies([other])[0])
        return sensitivity(self.curve(), base.curve())


@dataclass(slots=True)
class _Gathered:
    """Points and names of one series so far."""

    points: dict[tuple[int, float], list[Reading]] = field(default_factory=dict)
    names: dict[float, str] = field(default_factory=dict)


def gather(readings: Iterable[Reading]) -> dict[SeriesKey, Series]:
    """Every series among the readings, in order of first appearance."""
    rows = list(readings)
    places = _places(rows)
    found: dict[SeriesKey, _Gathered] = {}
    known: dict[tuple[Any, ...], _Gathered] = {}
    for row in rows:
        told = _KEY(row)
        if (mine := known.get(told)) is None:
            mine = known[told] = found.setdefault(_key(row), _Gathered())
        budget = places[_PLACE(row)]
        mine.points.setdefault((row.pretraining_seed or 0, budget), []).append(row)
        mine.names.setdefault(budget, row.checkpoint)
    series = {
        key: Series(key=key, points={at: tuple(rs) for at, rs in one.points.items()}, names=one.names)
        for key, one in found.items()
    }
    return series | dict(_chained(series))


def _chained(series: Mapping[SeriesKey, Series]) -> Iterator[tuple[SeriesKey, Series]]:
    """The losses under noise with their `smaller`, of each kind of noise from the smallest strength upwards."""
    before: dict[SeriesKey, Series] = {}
    for key in sorted(series, key=lambda k: k.strength):
        if key.modification == "noise" and key.metric == "loss_nats" and key.strength > 0:
            kind = replace(key, strength=0.0)
            before[kind] = replace(series[key], smaller=before.get(kind))
            yield key, before[kind]


def base_of(key: SeriesKey, series: Mapping[SeriesKey, Series]) -> Series | None:
    """The unmodified series of the same quantity, or None if it was not measured."""
    wanted = replace(key, modification="none", label="", strength=0.0)
    bases = ((k, s) for k, s in series.items() if k.modification == "none")
    return next((s for k, s in bases if replace(k, label="", strength=0.0) == wanted), None)


_KEY = reading_fields(
    *("study", "trajectory", "line", "annealed", "modification", "label", "strength"),
    *("evaluation", "metric", "split", "task", "tensor"),
)
"""What the key of a reading's series is made of."""
_PLACE = reading_fields("study", "trajectory", "checkpoint", "tokens")


def _key(row: Reading) -> SeriesKey:
    return SeriesKey(
        study=row.study,
        trajectory=row.trajectory,
        members=row.members,
        modification=row.modification,
        label=row.label,
        strength=row.strength,
        evaluation=row.evaluation,
        metric=row.metric,
        split=row.split,
        task=row.task if row.evaluation in _ON_TASKS else None,
        tensor=row.tensor,
    )


def _places(rows: list[Reading]) -> dict[tuple[Any, ...], float]:
    """A budget for every checkpoint: its tokens, else its place by first appearance in its trajectory."""
    places: dict[tuple[Any, ...], float] = {}
    unknown: dict[tuple[str, str], int] = {}
    for name in dict.fromkeys(map(_PLACE, rows)):
        study, trajectory, _, tokens = name
        if tokens is not None:
            places[name] = float(tokens)
        else:
            unknown[study, trajectory] = unknown.get((study, trajectory), 0) + 1
            places[name] = float(unknown[study, trajectory])
    return places


def _text(values: Iterable[Reading]) -> tuple[float, ...]:
    """Pseudo-values over groups of text of the mean over copies; empty where the blocks are not known."""
    rows = list(values)
    if _rotated(rows):
        return _rotated_text(rows)
    copies = [group_sums(_sums(r), r.count) for r in rows]
    if not copies or not all(copies):
        return ()
    pooled = copies[0]
    if len(copies) > 1:
        pooled = tuple((sum(s for s, _ in group), sum(c for _, c in group)) for group in zip(*copies, strict=True))
    whole = sum(s for s, _ in pooled) / sum(c for _, c in pooled)
    return pseudo_values(whole, without_each(pooled))


def _rotated_text(rows: Sequence[Reading]) -> tuple[float, ...]:
    sums, count = np.sum([_sums(r) for r in rows], axis=0), np.sum([r.count for r in rows], axis=0)
    parts = [[block for block, tokens in enumerate(part) if tokens] for part in dict.fromkeys(r.count for r in rows)]
    moved, stretch = centred(sums, count, parts)
    groups = group_sums(moved.tolist(), count.tolist())
    if not groups:
        return ()
    whole = sum(s for s, _ in groups) / sum(c for _, c in groups)
    return tuple(whole + stretch * (value - whole) for value in pseudo_values(whole, without_each(groups)))


def _draws(values: Sequence[Reading]) -> Draws:
    """draw -> loss; where each was measured on one part of the text, on the whole of it but for the draw's noise."""
    if not _rotated(values):
        return paired_draws(_copies(values)) if len(values) > 1 else {_draw(r): _loss(r) for r in values}
    parts: dict[tuple[int, ...], list[Reading]] = {}
    for row in values:
        parts.setdefault(row.count, []).append(row)
    return levelled(
        {part: paired_draws(_copies(rows)) for part, rows in parts.items()}, {part: sum(part) for part in parts}
    )


def _rotated(values: Sequence[Reading]) -> bool:
    """Whether the copies were measured on parts of the text, in turn."""
    return any(row.modification == "noise" and row.metric == "loss_nats" and 0 in row.count for row in values)


def _copies(values: Iterable[Reading]) -> list[Copy]:
    return [Copy(draw=_draw(r), sign=r.sign, loss=_loss(r), count=r.count) for r in values]


def _loss(row: Reading) -> float:
    """Without what the change of the weights costs to first order, where that is known: its mean over draws is 0."""
    return math.fsum(_sums(row)) / sum(row.count) if row.linear else row.value


def _sums(row: Reading) -> Sequence[float]:
    if not row.linear:
        return row.blocks
    return tuple(whole - first for whole, first in zip(row.blocks, row.linear, strict=True))


def _draw(row: Reading) -> Hashable:
    """The noise stream is common to all checkpoints: (seed, draw) names the same noise everywhere."""
    return (row.seed, row.draw)
