"""Scores as the page shows them: a table a trajectory, a column a checkpoint."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from pliant.report.benchmarks import BenchmarkRow, Score, quantity, title_of
from pliant.report.study import group_names

Line = tuple[BenchmarkRow, tuple[Score | None, ...]]
"""A row with its score at each checkpoint of the table; None where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable:
    """The scores of one trajectory; `groups` holds a title and the lines of each metric."""

    where: str
    checkpoints: tuple[str, ...]
    groups: tuple[tuple[str, tuple[Line, ...]], ...]


def score_tables(rows: Iterable[BenchmarkRow], evaluations: tuple[str, ...]) -> tuple[ScoreTable, ...]:
    """A table a trajectory and kind of member, of the rows that belong to `evaluations`."""
    some = [row for row in rows if row.evaluation in evaluations]
    places = group_names((row.trajectory, row.members) for row in rows)
    return tuple(
        _table(where, [row for row in some if (row.trajectory, row.members) == place])
        for place, where in places.items()
        if any((row.trajectory, row.members) == place for row in some)
    )


def _table(where: str, rows: list[BenchmarkRow]) -> ScoreTable:
    names = dict(sorted((score.budget, score.checkpoint) for row in rows for score in row.scores))
    groups = [(title_of(some[0]), some) for _, found in groupby(rows, key=quantity) if (some := list(found))]
    return ScoreTable(
        where=where,
        checkpoints=tuple(names.values()),
        groups=tuple((title, tuple((row, _cells(row, names)) for row in some)) for title, some in groups),
    )


def _cells(row: BenchmarkRow, budgets: Iterable[float]) -> tuple[Score | None, ...]:
    scores = {score.budget: score for score in row.scores}
    return tuple(scores.get(budget) for budget in budgets)
