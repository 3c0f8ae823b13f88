"""A study's forecasts in a terminal: a table for each kind of noise, and the statement in words."""

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from pliant.report.forecast_words import fit_words, found, interval, reach, remarks, sentence, where
from pliant.report.forecasts import Made, StudyForecasts
from pliant.report.unit import rate

_STYLE = {"in range": "bold", "past the last budget": "bold", "extrapolation": "yellow"}


def show_forecasts(study: StudyForecasts, screen: Console) -> None:
    """Print every forecast, then what was refused."""
    screen.print()
    screen.print(Text(study.study, style="bold").append("  where the loss under noise turns", style="dim"))
    for made in study.made:
        screen.print()
        screen.print(_table(made))
        _line(screen, "•", fit_words(made.forecast))
        for point in made.forecast.turning_points:
            _line(screen, "•", sentence(point, made.forecast))
        for note in remarks(made.forecast):
            _line(screen, "!", note, "dim")
    for refused in study.refused:
        screen.print()
        _line(screen, "!", f"{refused.curves.name}: no forecast: {refused.reason}", "yellow")


def _table(made: Made) -> RichTable:
    table = RichTable(box=None, pad_edge=False, header_style="dim")
    table.add_column(Text(made.curves.name, style="bold"))
    level = f"{100 * made.forecast.confidence:g} % interval"
    for name in ("T*", level, "T*/T_max", "reach", "measured minimum"):
        table.add_column(name, justify="left" if name in ("reach", "measured minimum") else "right")
    for point in made.forecast.turning_points:
        style = _STYLE.get(point.reach, "dim")
        ratio = f"{point.ratio:.2f}" if point.reach not in ("none", "not reached") else "–"
        table.add_row(
            f"  γ {rate(point.gamma)}",
            Text(where(point), style=style),
            interval(point),
            ratio,
            Text(reach(point, made.forecast), style=style),
            found(point),
        )
    return table


def _line(screen: Console, mark: str, text: str, style: str = "") -> None:
    grid = RichTable.grid(padding=(0, 1))
    grid.add_row(mark, Text(text, style=style))
    screen.print(grid)
