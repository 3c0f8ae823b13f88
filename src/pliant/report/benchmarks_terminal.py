"""Benchmarks, solution density and distances in a terminal."""

from collections.abc import Iterator
from itertools import groupby

from rich.table import Table as RichTable
from rich.text import Text

from pliant.report import densities
from pliant.report.benchmarks import (
    BENCHMARKS,
    DISTANCE_RULE,
    DISTANCES,
    RULE,
    change_words,
    distance,
    number,
    quantity,
    row_name,
    title_of,
    with_interval,
)
from pliant.report.densities import KEPT, kept_words, mean_words, place_words
from pliant.report.score_tables import ScoreTable, score_tables
from pliant.report.study import group_names
from pliant.report.summary import StudySummary


def score_parts(study: StudySummary) -> Iterator[RichTable | Text]:
    """What the study has of the three tables, each with the rule that it goes by."""
    if any(row.evaluation in BENCHMARKS for row in study.benchmarks):
        yield from (_benchmarks(study), Text(RULE, style="dim"))
    if study.densities:
        yield from (_densities(study), Text(densities.RULE, style="dim"))
    if distances := score_tables(study.benchmarks, DISTANCES):
        yield from map(_distances, distances)
        yield Text(DISTANCE_RULE, style="dim")


def _benchmarks(study: StudySummary) -> RichTable:
    """A row a metric and modification; every checkpoint's score is in JSON and HTML."""
    places = group_names((row.trajectory, row.members) for row in study.benchmarks)
    table = _empty("evaluation", "best at", "last [95 %]", "last − best earlier [95 %]", "items")
    scores = (row for row in study.benchmarks if row.evaluation in BENCHMARKS)
    for _, rows in groupby(scores, key=quantity):
        some = list(rows)
        table.add_row(_placed(title_of(some[0]), places[some[0].trajectory, some[0].members]))
        for row in some:
            last = row.scores[-1].estimate
            table.add_row(
                f"  {row_name(row)}", row.best, with_interval(last), change_words(row.change), f"{last.n or '–'}"
            )
    return table


def _densities(study: StudySummary) -> RichTable:
    """A row a checkpoint, under its metric and noise."""
    places = group_names((row.trajectory, row.members) for row in study.densities)
    table = _empty(
        "solution density", "unmodified", "mean [95 %]", *(f"keeps {100 * k:.0f} % [95 %]" for k in KEPT), "draws"
    )
    for row in study.densities:
        table.add_row(_placed(densities.title_of(row), places[row.trajectory, row.members]))
        for point in row.points:
            shares = [kept_words(d) for d in point.kept] or ["–"] * len(KEPT)
            name = f"  {place_words(point, row)}"
            table.add_row(name, number(point.base), mean_words(point), *shares, f"{point.mean.n}")
    return table


def _distances(scores: ScoreTable) -> RichTable:
    """A column a checkpoint; the last with its interval, the others' are in JSON and HTML."""
    *earlier, last = scores.checkpoints
    table = _empty("distance", *earlier, f"{last} [95 %]")
    for title, lines in scores.groups:
        table.add_row(_placed(title, scores.where))
        for row, cells in lines:
            shown = [distance(score.estimate.value) if score else "–" for score in cells[:-1]]
            end = with_interval(cells[-1].estimate, distance) if cells[-1] else "–"
            table.add_row(f"  {row_name(row)}", *shown, end)
    return table


def _empty(first: str, *others: str) -> RichTable:
    table = RichTable(box=None, pad_edge=False, header_style="dim")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _placed(title: str, place: str) -> Text:
    return Text(title).append(f" · {place}" if place else "", style="dim")
