"""`forecast.html`: the measured curves, the fitted law with its band, and T*, in one file that opens offline."""

from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pliant.execution.writing import write_atomically
from pliant.report.forecast_figure import figure
from pliant.report.forecast_words import fit_words, found, interval, reach, remarks, sentence, where
from pliant.report.forecasts import Made, StudyForecasts
from pliant.report.html import embedded, plotly_script
from pliant.report.unit import Unit, rate


def write_forecasts(study: StudyForecasts, out: Path) -> Path:
    """Write the page of `study` to `out`, atomically, and return `out`.

    Raises:
        OSError: `out` cannot be written; an older page there stays.
    """
    write_atomically(out, render_forecasts(study))
    return out


def render_forecasts(study: StudyForecasts) -> str:
    """The page as text. Everything from outside is escaped."""
    environment = Environment(
        loader=PackageLoader("pliant", "report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("forecast.j2").render(
        study=study,
        sections=[_section(place, made, study.unit) for place, made in enumerate(study.made)],
        css=Markup(_asset("page.css")),
        plotly=Markup(plotly_script()),
        script=Markup(_asset("forecast.js")),
        data=Markup(
            embedded({"figures": [figure(made, study.unit.of(made.curves.trajectory)) for made in study.made]})
        ),
    )


def _section(place: int, made: Made, unit: Unit) -> dict[str, object]:
    forecast = made.forecast
    return {
        "id": f"figure-{place}",
        "name": made.curves.name,
        "words": [fit_words(forecast), *(sentence(point, forecast) for point in forecast.turning_points)],
        "notes": remarks(forecast),
        "straight": forecast.fit.straight,
        "rows": [
            {
                "gamma": rate(p.gamma),
                "t_star": where(p),
                "interval": interval(p),
                "ratio": f"{p.ratio:.2f}" if p.reach not in ("none", "not reached") else "–",
                "reach": reach(p, forecast),
                "found": found(p),
            }
            for p in forecast.turning_points
        ],
        "confidence": f"{100 * forecast.confidence:g} %",
        "unit": unit.name,
    }


def _asset(name: str) -> str:
    return files("pliant.report").joinpath(name).read_text(encoding="utf-8")
