"""`report.html`: one self-contained file that opens offline."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pliant.execution.engine import UserError
from pliant.execution.table import Table
from pliant.execution.writing import write_atomically
from pliant.records.expectation import ExpectationResult
from pliant.records.identity import Json
from pliant.records.units import MARGIN_NATS
from pliant.report import benchmarks, densities
from pliant.report.benchmarks import BenchmarkRow
from pliant.report.figure import FORMULA, Ledger
from pliant.report.sections import section
from pliant.report.study import capital
from pliant.report.summary import Summary


def write_report(
    tables: Sequence[Table],
    out: Path,
    *,
    title: str,
    notes: Sequence[str] = (),
    expectations: Sequence[ExpectationResult] = (),
    margin: float = MARGIN_NATS,
) -> Path:
    """Write the report of `tables` to `out`, atomically, and return `out`.

    Raises:
        ValueError: no table was given, or a loss and its base were measured on different tokens.
        OSError: `out` cannot be written; an older report there stays.
    """
    write_told(tables, out, title=title, notes=notes, expectations=expectations, margin=margin)
    return out


def write_told(
    tables: Sequence[Table],
    out: Path,
    *,
    title: str,
    notes: Sequence[str] = (),
    expectations: Sequence[ExpectationResult] = (),
    margin: float = MARGIN_NATS,
) -> Summary:
    """The same, and return what stands in it.

    Raises:
        ValueError: no table was given, or a loss and its base were measured on different tokens.
        OSError: `out` cannot be written; an older report there stays.
    """
    if not tables:
        raise ValueError("a report needs at least one study, and none was given")
    page = compose(tables, title=title, notes=notes, expectations=expectations, margin=margin)
    write_page(page.text, out)
    return page.summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The report as text, and what stands in it."""

    text: str
    summary: Summary


def write_page(page: str, out: Path) -> Path:
    """Write `page` to `out`, atomically, and return `out`.

    Raises:
        OSError: `out` cannot be written; an older page there stays.
    """
    try:
        write_atomically(out, page, lasting=False)
    except PermissionError as error:
        raise UserError(f"no permission to write {out}; give another file with --out") from error
    return out


def render(
    tables: Sequence[Table],
    *,
    title: str,
    notes: Sequence[str] = (),
    expectations: Sequence[ExpectationResult] = (),
    margin: float = MARGIN_NATS,
) -> str:
    """The page as text. Everything from outside is escaped."""
    return compose(tables, title=title, notes=notes, expectations=expectations, margin=margin).text


def compose(
    tables: Sequence[Table],
    *,
    title: str,
    notes: Sequence[str] = (),
    expectations: Sequence[ExpectationResult] = (),
    margin: float = MARGIN_NATS,
) -> Page:
    """The page and its summary; every study is opened and summarised once."""
    ledger = Ledger()
    taken: set[str] = set()
    sections = [section(table, ledger, taken, margin) for table in tables]
    figures: dict[str, Json] = {
        f.id: {**f.to_json(), "study": s.study.name} for s in sections for part in s.parts for f in part.every_figure
    }
    data: dict[str, Json] = {
        "figures": figures,
        "readings": ledger.to_json(),
        "truncated": ledger.unnamed > 0,
        "formulas": {str(kind): words for kind, words in FORMULA.items()},
    }
    told = (*notes, *ledger.left_out())
    text = render_page("page", data, title=title, notes=told, expectations=expectations, sections=sections,
        rule=benchmarks.RULE, distance_rule=benchmarks.DISTANCE_RULE, density_rule=densities.RULE, kept=densities.KEPT,
    )  # fmt: skip
    return Page(text=text, summary=Summary(studies=tuple(s.summary for s in sections)))


def render_page(name: str, data: Json, **context: object) -> str:
    """The template <name>.j2 with the script <name>.js, their data, and what every page has."""
    environment = Environment(
        loader=PackageLoader("pliant", "report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= _FILTERS
    return environment.get_template(f"{name}.j2").render(
        data=Markup(embedded(data)),
        plotly=Markup(plotly_script()),
        css=Markup(_asset("page.css")),
        script=Markup(_asset("look.js") + _asset(f"{name}.js")),
        version=_version(),
        **context,
    )


def _shown(row: BenchmarkRow) -> Callable[[float], str]:
    return benchmarks.distance if row.evaluation in benchmarks.DISTANCES else benchmarks.number


_FILTERS: dict[str, Callable[..., str]] = {
    "row_name": benchmarks.row_name,
    "number": benchmarks.number,
    "shown": lambda value, row: _shown(row)(value),
    "interval": lambda estimate, row: benchmarks.interval(estimate, _shown(row)),
    "change": lambda row: benchmarks.change_words(row.change),
    "capital": capital,
    "density_title": densities.title_of,
    "point_name": densities.place_words,
    "mean": densities.mean_words,
}


def embedded(data: Json) -> str:
    """JSON that can stand inside a script element: no `<`, `>`, `&`, and nan or infinity as null."""
    text = json.dumps(data, separators=(",", ":"))
    if "NaN" in text or "Infinity" in text:
        text = json.dumps(_finite(data), separators=(",", ":"), allow_nan=False)
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
def plotly_script() -> str:
    """plotly.js as the plotly package ships it."""
    text = files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
    return text.replace("</script", "<\\/script")
