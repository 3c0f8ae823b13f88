"""The summary in a terminal: one table a study and a verdict in words."""

from collections.abc import Callable, Iterable
from itertools import groupby

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from pliant.report.benchmarks_terminal import score_parts
from pliant.report.finding import Finding
from pliant.report.grid_terminal import fine_tuning_grids, grid_table
from pliant.report.sentences import Places, family, verdict_words
from pliant.report.study import budget_name, group_names, phrase, span_name
from pliant.report.summary import StudySummary, Summary
from pliant.report.unit import rate, strength_words

STYLE = {"worse": "bold red", "not worse": "green", "undecided": "yellow"}


ROOMY = 140
"""Columns of a terminal that has room for every column of the table."""
NARROW = 115
MOST_RUNS = 3


def show(summary: Summary, console: Console | None = None, *, every_rate: bool = False) -> None:
    """Print each study: table, verdicts, caveats. `every_rate` adds fine-tuning at each fixed rate."""
    screen = console or Console()
    for study in summary.studies:
        screen.print()
        screen.print(Text(study.study, style="bold").append(f"  {study.scope}", style="dim"))
        screen.print(_table(study, every_rate, screen.width))
        screen.print(Text(_rule(study), style="dim"))
        screen.print(Text(study.headline, style="bold"))
        _list(screen, study.short if study.advice else (), "→", "bold")
        _list(screen, (c.words for c in study.confirmations), "◆", "")
        _list(screen, study.tuning, "•", "")
        _list(screen, (m.words for m in study.movements if m.told), "•", "")
        for grid in fine_tuning_grids(study):
            screen.print(grid_table(grid, screen.width))
        _list(screen, (turn.words for table in study.methods for turn in table.turns), "•", "")
        _list(screen, study.caveats, "!", "dim")
        for part in score_parts(study):
            screen.print(part)


def _rule(study: StudySummary) -> str:
    """What the verdicts go by, with the margin in the unit shown."""
    shown = "" if study.unit.factor == 1 else f" ({_margins(study)})"
    return (
        f"margin {study.margin:g} nats/token{shown}; worse (≥) or not worse (≤) by the one-sided 95 % bound of "
        "last − best earlier; intervals 95 %; all corrected for the choice of the best"
    )


def _margins(study: StudySummary) -> str:
    """ "0.014 bits/byte"; where tokenizers differ "bits/byte: 0.014 in small, 0.0036 in large"."""
    unit = study.unit
    if not unit.factors:
        return f"{study.margin * unit.factor:.2g} {unit.name}"
    each = ", ".join(f"{study.margin * factor:.2g} in {name}" for name, factor in unit.factors.items())
    return f"{unit.name}: {each}"


def _list(screen: Console, lines: Iterable[str], mark: str, style: str) -> None:
    for line in lines:
        grid = RichTable.grid(padding=(0, 1))
        grid.add_row(mark, Text(line, style=style))
        screen.print(grid)


def _table(study: StudySummary, every_rate: bool, width: int) -> RichTable:
    """One row a curve. A terminal narrower than `ROOMY` goes without rank correlation and p, one narrower than `NARROW`
    also without each run; JSON and HTML have them."""
    places = group_names((f.trajectory, f.members) for f in study.findings)
    columns: list[tuple[str, Callable[[Finding], Text]]] = [
        ("lowest at [95 %]", lambda f: Text(_lowest(f))),
        (
            f"last − best earlier, {study.unit.name}",
            lambda f: Text(study.unit.of(f.trajectory).interval(f.minimum.rise)),
        ),
        *((("each run", lambda f: Text(_runs(f, study))),) if width >= NARROW else ()),
        *(_TESTS if width >= ROOMY else ()),
        ("verdict", lambda f: Text(verdict_words(f, study.unit.of(f.trajectory)), style=_style(f))),
    ]
    table = RichTable(box=None, pad_edge=False, header_style="dim")
    table.add_column("modification", min_width=22)
    for name, _ in columns:
        table.add_column(name, justify="left" if name == "verdict" else "right", no_wrap=name != "verdict")
    for _, group in groupby(shown(study.findings, every_rate), key=family):
        some = list(group)
        if some[0].modification != "none":
            table.add_row(_title(some[0], places))
        for finding in some:
            table.add_row(_name(finding, places), *(cell(finding) for _, cell in columns))
    return table


def shown(findings: Iterable[Finding], every_rate: bool) -> list[Finding]:
    """Base, noise and tuned rates; fixed fine-tuning rates, and fine-tuning aside, only when asked for."""
    return [f for f in findings if every_rate or f.modification != "fine-tune" or (f.rate != "fixed" and not f.aside)]


_UNFIXED = {
    "tuned": "tuned rate",
    "tuned, interpolated": "tuned, interpolated",
    "reused": "tuned once, reused",
    "matched": "matched task loss",
}


def strength_of(finding: Finding) -> str:
    """ "γ 0.1", "rate 0.0064", "tuned rate"; for the base "no modification"."""
    if finding.modification == "none":
        return "no modification"
    if finding.strength is None:
        return _UNFIXED[finding.rate]
    return strength_words(finding.modification, finding.strength)


def p_values(finding: Finding) -> str:
    """ "0.003, 0.02": of "the last budget is no worse than the best earlier one", raw and adjusted; en dash if none."""
    if finding.minimum.bounds.p != finding.minimum.bounds.p or finding.modification == "none":
        return "–"
    raw = rate(finding.minimum.bounds.p, 2)
    return f"{raw}, {rate(finding.p_holm, 2)}" if finding.primary else raw


def _title(finding: Finding, places: Places) -> Text:
    what = f", {finding.quantity}" if finding.modification == "fine-tune" else ""
    return Text(f"{phrase(finding.label)}{what}").append(_where(finding, places), style="dim")


def _where(finding: Finding, places: Places) -> str:
    place = places[finding.trajectory, finding.members]
    return f" · {place}" if place else ""


def _name(finding: Finding, places: Places) -> Text:
    if finding.modification == "none":
        return Text(strength_of(finding)).append(_where(finding, places), style="dim")
    return Text(f"  {strength_of(finding)}")


def _lowest(finding: Finding) -> str:
    return f"{budget_name(finding.minimum.budget, finding.names)} [{span_name(finding.minimum, finding.names)}]"


def _runs(finding: Finding, study: StudySummary) -> str:
    """Every run's own rise; of more than `MOST_RUNS` the smallest and the largest."""
    rises, unit = [seed.rise.value for seed in finding.minimum.seeds], study.unit.of(finding.trajectory)
    if len(rises) <= MOST_RUNS:
        return " ".join(unit.signed(rise) for rise in rises)
    return f"{unit.signed(min(rises))} to {unit.signed(max(rises))}"


def _rho(finding: Finding) -> Text:
    rho = finding.rank.rho
    return Text(f"{rho:.2f}".replace("-", "−") if rho == rho else "–")


_TESTS: tuple[tuple[str, Callable[[Finding], Text]], ...] = (
    ("Spearman", _rho),
    ("p, Holm", lambda f: Text(p_values(f))),
)


def _style(finding: Finding) -> str:
    return "dim" if finding.modification == "none" else STYLE[finding.judgement.verdict]
