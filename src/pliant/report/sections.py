"""One study on the page: what is said of it and which figures stand under which heading."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pliant.execution.table import Table
from pliant.report import captions
from pliant.report.benchmarks import BENCHMARKS, DISTANCES
from pliant.report.figure import MOST_POINTS, Figure, Ledger
from pliant.report.figures_heat import heat_figures
from pliant.report.figures_loss import base_figure, modified_figures, slug
from pliant.report.figures_moved import moved_figures
from pliant.report.figures_size import size_figures
from pliant.report.figures_tuned import tuned_figures
from pliant.report.figures_ways import method_figures, steps_figures
from pliant.report.grid import Grid
from pliant.report.headline import Headline, headline
from pliant.report.method_grid import method_grid
from pliant.report.movement import movement_grids
from pliant.report.repeats import steps_grid
from pliant.report.score_tables import ScoreTable, score_tables
from pliant.report.searches import search_grid, searches
from pliant.report.sentences import direct_sentences
from pliant.report.study import Study, capital, group_names, open_study, phrase
from pliant.report.summary import StudySummary, summarise_study


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Tables and figures that a reader opens."""

    title: str
    grids: tuple[Grid, ...]
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A run of tables and figures under one heading."""

    title: str
    lead: tuple[str, ...]
    figures: tuple[Figure, ...]
    columns: int = 2
    grids: tuple[Grid, ...] = ()
    folds: tuple[Fold, ...] = ()

    @property
    def every_figure(self) -> tuple[Figure, ...]:
        """Those in its folds too."""
        return (*self.figures, *(figure for fold in self.folds for figure in fold.figures))


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One study on the page."""

    id: str
    study: Study
    summary: StudySummary
    headline: Headline
    benchmarks: tuple[ScoreTable, ...]
    distances: tuple[ScoreTable, ...]
    density_places: Mapping[tuple[str, str], str]
    lead: Figure | None
    parts: tuple[Part, ...]


def section(table: Table, ledger: Ledger, taken: set[str], margin: float) -> Section:
    """The study of `table` on the page, its figures' readings entered in `ledger`.

    `taken` holds the ids of the page so far: names from outside may look alike once they are ids.
    """
    study = open_study(table)
    ledger.crowded = ledger.crowded or sum(len(series.points) for series in study.series.values()) > MOST_POINTS
    summary = summarise_study(study, margin=margin)
    parts = tuple(_named(part, taken) for part in _parts(study, summary, ledger) if part.every_figure)
    return Section(
        id=_unique(slug(study.name), taken),
        study=study,
        summary=summary,
        headline=headline(summary),
        benchmarks=score_tables(summary.benchmarks, BENCHMARKS),
        distances=score_tables(summary.benchmarks, DISTANCES),
        density_places=group_names((row.trajectory, row.members) for row in summary.densities),
        lead=_lead(parts),
        parts=parts,
    )


def _named(part: Part, taken: set[str]) -> Part:
    def named(figures: Iterable[Figure]) -> tuple[Figure, ...]:
        return tuple(replace(f, id=_unique(f.id, taken)) for f in figures)

    figures = named(part.figures)
    return replace(
        part, figures=figures, folds=tuple(replace(fold, figures=named(fold.figures)) for fold in part.folds)
    )


def _unique(name: str, taken: set[str]) -> str:
    """`name`, or the first of name-2, name-3, ... that is not taken yet."""
    candidates = (name or "study", *(f"{name}-{n}" for n in range(2, len(taken) + 3)))
    found = next(candidate for candidate in candidates if candidate not in taken)
    taken.add(found)
    return found


def _lead(parts: Sequence[Part]) -> Figure | None:
    """The picture beside the verdicts: the loss after noise, else the loss at the tuned rate."""
    for title, place in (("Gaussian noise", 1), ("Fine-tuning at the tuned rate", 1)):
        part = next((p for p in parts if p.title == title), None)
        if part is not None:
            return part.figures[place]
    return None


def _parts(study: Study, summary: StudySummary, ledger: Ledger) -> Iterator[Part]:
    base = base_figure(study, ledger)
    norms = tuple(size_figures(study, ledger))
    yield Part(title="Before any modification", lead=summary.base, figures=(*((base,) if base else ()), *norms))
    for modification in sorted(study.direct, key=lambda name: name != "noise"):
        noise = modification == "noise"
        yield Part(
            title="Gaussian noise" if noise else capital(phrase(modification)),
            lead=(
                *((captions.NOISE_LEAD,) if noise else ()),
                *direct_sentences(modification, study, summary.findings),
            ),
            figures=tuple(modified_figures(study, ledger, modification)),
        )
    yield from _fine_tuning(study, summary, ledger)


def _fine_tuning(study: Study, summary: StudySummary, ledger: Ledger) -> Iterator[Part]:
    labels = dict.fromkeys(key.label for key in study.series if key.modification == "fine-tune")
    main = [label for label in labels if label not in study.aside]
    yield Part(
        title="Fine-tuning at the tuned rate",
        lead=(captions.TUNED_LEAD, *summary.tuning),
        figures=tuple(f for label in main for f in tuned_figures(study, ledger, label)),
        columns=3,
        folds=tuple(_searched(study)),
    )
    yield Part(
        title="Ways of fine-tuning",
        lead=tuple(turn.words for table in summary.methods for turn in table.turns),
        figures=tuple(method_figures(study, ledger)),
        grids=tuple(method_grid(table, study.unit) for table in summary.methods),
    )
    yield Part(
        title="Fine-tuning for longer",
        lead=(),
        figures=tuple(steps_figures(study, ledger)),
        grids=tuple(steps_grid(table, study.unit) for table in summary.steps),
    )
    yield Part(
        title="Fine-tuning at every rate",
        lead=(*summary.fixed_rates, *(m.words for m in summary.movements if m.told)),
        figures=tuple(f for label in main for f in _every_rate(study, ledger, label)),
        folds=tuple(_moved(study, summary, ledger, label) for label in main),
    )
    yield Part(
        title="Other fine-tuning, one by one",
        lead=(),
        figures=(),
        folds=tuple(_one_by_one(study, summary, ledger, label) for label in labels if label in study.aside),
    )


def _searched(study: Study) -> Iterator[Fold]:
    found = searches(study)
    if found:
        grids = tuple(
            search_grid(one, study.places.get((one.sweep.trajectory, one.sweep.members), "")) for one in found
        )
        yield Fold(title="Which rates the search tried, and why it ended", grids=grids, figures=())


def _every_rate(study: Study, ledger: Ledger, label: str) -> Iterator[Figure]:
    yield from heat_figures(study, ledger, label)
    yield from modified_figures(study, ledger, "fine-tune", label)


def _moved(study: Study, summary: StudySummary, ledger: Ledger, label: str) -> Fold:
    return Fold(
        title=f"{capital(phrase(label))}: how far the weights moved, and how quickly the task was learned",
        grids=movement_grids(summary.movements, label),
        figures=tuple(moved_figures(study, ledger, label)),
    )


def _one_by_one(study: Study, summary: StudySummary, ledger: Ledger, label: str) -> Fold:
    moved = _moved(study, summary, ledger, label)
    every = (*tuned_figures(study, ledger, label), *_every_rate(study, ledger, label), *moved.figures)
    return replace(moved, title=capital(phrase(label)), figures=every)
