"""One quantity under one modification over the budgets of one trajectory, with the readings behind it."""

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pliant.statistics.curve import Curve, Draws
from pliant.statistics.levels import group_sums, pseudo_values, without_each
from pliant.statistics.reading import Reading
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
                require_same_tokens(_copies(values), _copies([other])[0])
        return sensitivity(self.curve(), base.curve())


def gather(readings: Iterable[Reading]) -> dict[SeriesKey, Series]:
    """Every series among the readings, in order of first appearance."""
    rows = list(readings)
    places = _places(rows)
    points: dict[_Key, dict[tuple[int, float], list[Reading]]] = {}
    names: dict[_Key, dict[float, str]] = {}
    for row in rows:
        key, budget = _key(row), places[row.study, row.trajectory, row.checkpoint, row.tokens]
        points.setdefault(key, {}).setdefault((row.run, budget), []).append(row)
        names.setdefault(key, {}).setdefault(budget, row.checkpoint)
    keys = {key: _series_key(key) for key in points}
    series = {
        keys[key]: Series(key=keys[key], points={at: tuple(rs) for at, rs in found.items()}, names=names[key])
        for key, found in points.items()
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


_Key = tuple[str, str, str, str, str, float, str, str, str | None, str | None, str | None]
"""The fields of `SeriesKey`, as they are made for every reading."""


def _key(row: Reading) -> _Key:
    return (
        row.study,
        row.trajectory,
        row.members,
        row.modification,
        row.label,
        row.strength,
        row.evaluation,
        row.metric,
        row.split,
        row.task if row.evaluation in _ON_TASKS else None,
        row.tensor,
    )


def _series_key(key: _Key) -> SeriesKey:
    study, trajectory, members, modification, label, strength, evaluation, metric, split, task, tensor = key
    return SeriesKey(
        study=study,
        trajectory=trajectory,
        members=members,
        modification=modification,
        label=label,
        strength=strength,
        evaluation=evaluation,
        metric=metric,
        split=split,
        task=task,
        tensor=tensor,
    )


def _places(rows: list[Reading]) -> dict[tuple[str, str, str, int | None], float]:
    """A budget for every checkpoint: its tokens, else its place by first appearance in its trajectory."""
    places: dict[tuple[str, str, str, int | None], float] = {}
    unknown: dict[tuple[str, str], int] = {}
    for row in rows:
        name = (row.study, row.trajectory, row.checkpoint, row.tokens)
        if name in places:
            continue
        if row.tokens is not None:
            places[name] = float(row.tokens)
        else:
            unknown[name[:2]] = unknown.get(name[:2], 0) + 1
            places[name] = float(unknown[name[:2]])
    return places


def _text(values: Iterable[Reading]) -> tuple[float, ...]:
    """Pseudo-values over groups of text of the mean over copies; empty where the blocks are not known."""
    rows = list(values)
    if _rotated(rows):
        return _rotated_text(rows)
    copies = [group_sums(_sums(r), r.count) for r in rows]
    if not copies or not all(copies):
        return ()
    pooled = [(sum(s for s, _ in group), sum(c for _, c in group)) for group in zip(*copies, strict=True)]
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
        return paired_draws(_copies(values))
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
