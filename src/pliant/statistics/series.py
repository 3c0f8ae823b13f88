"""One quantity under one modification over the budgets of one trajectory, with the readings behind it."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace

from pliant.statistics.curve import Curve
from pliant.statistics.levels import group_sums, pseudo_values, without_each
from pliant.statistics.reading import Reading
from pliant.statistics.sensitivity import Copy, paired_draws, require_same_tokens, sensitivity

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
    readings stay among the points and leave the curve.
    """

    key: SeriesKey
    points: Mapping[tuple[int, float], tuple[Reading, ...]]
    names: Mapping[float, str]

    def curve(self) -> Curve:
        """The modified value; points with any diverged reading are left out."""
        good = {key: values for key, values in self.points.items() if all(r.usable for r in values)}
        return Curve(
            draws={key: paired_draws(_copies(values)) for key, values in good.items()},
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
    points: dict[SeriesKey, dict[tuple[int, float], list[Reading]]] = {}
    names: dict[SeriesKey, dict[float, str]] = {}
    for row in rows:
        key, budget = _key(row), places[row.study, row.trajectory, row.checkpoint, row.tokens]
        points.setdefault(key, {}).setdefault((row.run, budget), []).append(row)
        names.setdefault(key, {}).setdefault(budget, row.checkpoint)
    return {
        key: Series(key=key, points={at: tuple(rs) for at, rs in found.items()}, names=names[key])
        for key, found in points.items()
    }


def base_of(key: SeriesKey, series: Mapping[SeriesKey, Series]) -> Series | None:
    """The unmodified series of the same quantity, or None if it was not measured."""
    wanted = replace(key, modification="none", label="", strength=0.0)
    return next((s for k, s in series.items() if replace(k, label="", strength=0.0) == wanted), None)


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
    copies = [group_sums(r.blocks, r.count) for r in values]
    if not copies or not all(copies):
        return ()
    pooled = [(sum(s for s, _ in group), sum(c for _, c in group)) for group in zip(*copies, strict=True)]
    whole = sum(s for s, _ in pooled) / sum(c for _, c in pooled)
    return pseudo_values(whole, without_each(pooled))


def _copies(values: Iterable[Reading]) -> list[Copy]:
    return [Copy(draw=_draw(r), sign=r.sign, loss=r.value, count=r.count) for r in values]


def _draw(row: Reading) -> Hashable:
    """The noise stream is common to all checkpoints: (seed, draw) names the same noise everywhere."""
    return (row.seed, row.draw)
