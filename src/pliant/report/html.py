"""`report.html`: one self-contained file that opens offline."""

import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pliant.execution.table import Table
from pliant.records.identity import Json
from pliant.report import captions
from pliant.report.expectation import ExpectationResult
from pliant.report.figure import FORMULA, Figure, Ledger
from pliant.report.figures_heat import heat_figures
from pliant.report.figures_loss import base_figure, modified_figures, slug
from pliant.report.figures_size import distance_figures, size_figures
from pliant.report.figures_tuned import tuned_figures
from pliant.report.headline import Headline, headline
from pliant.report.study import Study, open_study
from pliant.report.summary import StudySummary, summarise_study


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A run of figures under one heading."""

    title: str
    lead: str
    figures: tuple[Figure, ...]
    columns: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One study on the page."""

    id: str
    study: Study
    summary: StudySummary
    headline: Headline
    lead: Figure | None
    parts: tuple[Part, ...]


def write_report(
    tables: Sequence[Table],
    out: Path,
    *,
    title: str,
    notes: Sequence[str] = (),
    expectations: Sequence[ExpectationResult] = (),
) -> Path:
    """Write the report of `tables` to `out`, atomically, and return `out`.

    Raises:
        ValueError: no table was given, or a loss and its base were measured on different tokens.
        OSError: `out` cannot be written; an older report there stays.
    """
    if not tables:
        raise ValueError("a report needs at least one study, and none was given")
    page = render(tables, title=title, notes=notes, expectations=expectations)
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=out.parent, prefix=".part-", suffix=".html")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
        Path(temporary).replace(out)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return out


def render(
    tables: Sequence[Table],
    *,
    title: str,
    notes: Sequence[str] = (),
    expectations: Sequence[ExpectationResult] = (),
) -> str:
    """The page as text. Everything from outside is escaped."""
    ledger = Ledger()
    taken: set[str] = set()
    sections = [_section(table, ledger, taken) for table in tables]
    figures = {f.id: f.to_json() for s in sections for part in s.parts for f in part.figures}
    data: dict[str, Json] = {
        "figures": figures,
        "readings": ledger.to_json(),
        "formulas": {str(kind): words for kind, words in FORMULA.items()},
    }
    environment = Environment(
        loader=PackageLoader("pliant", "report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.j2").render(
        title=title,
        notes=notes,
        expectations=expectations,
        sections=sections,
        data=Markup(embedded(data)),
        plotly=Markup(_plotly()),
        css=Markup(_asset("page.css")),
        script=Markup(_asset("page.js")),
        version=_version(),
    )


def _section(table: Table, ledger: Ledger, taken: set[str]) -> Section:
    """`taken` holds the ids of the page so far: names from outside may look alike once they are ids."""
    study = open_study(table)
    summary = summarise_study(study)
    parts = tuple(_named(part, taken) for part in _parts(study, ledger) if part.figures)
    return Section(
        id=_unique(slug(study.name), taken),
        study=study,
        summary=summary,
        headline=headline(summary),
        lead=_lead(parts),
        parts=parts,
    )


def _named(part: Part, taken: set[str]) -> Part:
    return replace(part, figures=tuple(replace(f, id=_unique(f.id, taken)) for f in part.figures))


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


def _parts(study: Study, ledger: Ledger) -> Iterator[Part]:
    base = base_figure(study, ledger)
    norms = tuple(size_figures(study, ledger))
    yield Part(title="Before any modification", lead="", figures=(*((base,) if base else ()), *norms))
    noise = tuple(modified_figures(study, ledger, "noise"))
    yield Part(
        title="Gaussian noise",
        lead=captions.NOISE_LEAD,
        figures=noise,
    )
    yield Part(
        title="Fine-tuning at the tuned rate",
        lead=captions.TUNED_LEAD,
        figures=tuple(tuned_figures(study, ledger)),
        columns=3,
    )
    yield Part(
        title="Fine-tuning at every rate",
        lead="",
        figures=(*heat_figures(study, ledger), *modified_figures(study, ledger, "fine-tune"),
                 *distance_figures(study, ledger)),
    )  # fmt: skip


def embedded(data: Json) -> str:
    """JSON that can stand inside a script element: no `<`, `>`, `&`, and nan or infinity as null."""
    text = json.dumps(_finite(data), separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _finite(value: Json) -> Json:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value


def _version() -> str:
    try:
        return version("pliant")
    except PackageNotFoundError:  # run from a source tree
        return ""


def _asset(name: str) -> str:
    return files("pliant.report").joinpath(name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _plotly() -> str:
    """plotly.js as the plotly package ships it."""
    text = files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
    return text.replace("</script", "<\\/script")
