"""The summary in a terminal: one table a study and a verdict in words."""

from collections.abc import Iterable
from itertools import groupby

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from pliant.report.finding import Finding
from pliant.report.sentences import Places, family, verdict_words
from pliant.report.study import budget_name, group_names, phrase, span_name
from pliant.report.summary import StudySummary, Summary
from pliant.report.unit import rate

_STYLE = {"worse": "bold red", "not worse": "green", "undecided": "yellow"}


def show(summary: Summary, console: Console | None = None, *, every_rate: bool = False) -> None:
    """Print each study: table, verdicts, caveats. `every_rate` adds fine-tuning at each fixed rate."""
    screen = console or Console()
    for study in summary.studies:
        screen.print()
        screen.print(Text(study.study, style="bold").append(f"  {study.scope}", style="dim"))
        screen.print(_table(study, every_rate))
        screen.print(Text(_rule(study), style="dim"))
        screen.print(Text(study.headline, style="bold"))
        _list(screen, (advice.words for advice in study.advice), "→", "bold")
        _list(screen, (c.words for c in study.confirmations), "◆", "")
        _list(screen, study.tuning, "•", "")
        _list(screen, study.caveats, "!", "dim")


def _rule(study: StudySummary) -> str:
    """What the verdicts go by, with the margin in the unit shown."""
    shown = "" if study.unit.factor == 1 else f" ({study.margin * study.unit.factor:.2g} {study.unit.name})"
    return (
        f"margin {study.margin:g} nats/token{shown}; worse (≥) or not worse (≤) by the one-sided 95 % bound of "
        "last − best earlier; intervals 95 %; all corrected for the choice of the best"
    )


def _list(screen: Console, lines: Iterable[str], mark: str, style: str) -> None:
    for line in lines:
        grid = RichTable.grid(padding=(0, 1))
        grid.add_row(mark, Text(line, style=style))
        screen.print(grid)


def _table(study: StudySummary, every_rate: bool) -> RichTable:
    table = RichTable(box=None, pad_edge=False, header_style="dim")
    table.add_column("modification")
    for name in (
        "lowest at [95 %]",
        f"last − best earlier, {study.unit.name}",
        "each run",
        "Spearman",
        "p, Holm",
        "verdict",
    ):
        table.add_column(name, justify="left" if name == "verdict" else "right")
    places = group_names((f.trajectory, f.members) for f in study.findings)
    for _, group in groupby(shown(study.findings, every_rate), key=family):
        some = list(group)
        if some[0].modification != "none":
            table.add_row(_title(some[0], places))
        for finding in some:
            table.add_row(*_row(finding, study, places))
    return table


def shown(findings: Iterable[Finding], every_rate: bool) -> list[Finding]:
    """Base, noise and tuned rates; fixed fine-tuning rates only when asked for."""
    return [
        f
        for f in findings
        if f.rate != "fixed" or f.modification in ("none", "noise") or (every_rate and f.rate == "fixed")
    ]


_UNFIXED = {
    "tuned": "tuned rate",
    "tuned, interpolated": "tuned rate, interpolated",
    "matched": "matched task loss",
}


def strength_of(finding: Finding) -> str:
    """ "γ 0.1", "rate 0.0064", "tuned rate"; for the base "no modification"."""
    if finding.modification == "none":
        return "no modification"
    if finding.strength is None:
        return _UNFIXED[finding.rate]
    return f"{'γ' if finding.modification == 'noise' else 'rate'} {rate(finding.strength)}"


def p_values(finding: Finding) -> str:
    """ "0.003, 0.02": of "the last budget is no worse than the best earlier one", raw and adjusted; en dash if none."""
    if finding.minimum.bounds.p != finding.minimum.bounds.p or finding.modification == "none":
        return "–"
    raw = f"{finding.minimum.bounds.p:.2g}"
    return f"{raw}, {finding.p_holm:.2g}" if finding.primary else raw


def _title(finding: Finding, places: Places) -> Text:
    what = f", {finding.quantity}" if finding.modification == "fine-tune" else ""
    return Text(f"{phrase(finding.label)}{what}").append(_where(finding, places), style="dim")


def _where(finding: Finding, places: Places) -> str:
    place = places[finding.trajectory, finding.members]
    return f" · {place}" if place else ""


def _row(finding: Finding, study: StudySummary, places: Places) -> tuple[Text, ...]:
    minimum, unit = finding.minimum, study.unit
    base = finding.modification == "none"
    name = Text(strength_of(finding) if base else f"  {strength_of(finding)}")
    if base:
        name.append(_where(finding, places), style="dim")
    lowest = budget_name(minimum.budget, finding.names)
    rho = f"{finding.rank.rho:.2f}" if finding.rank.rho == finding.rank.rho else "–"
    return (
        name,
        Text(f"{lowest} [{span_name(minimum, finding.names)}]"),
        Text(unit.interval(minimum.rise)),
        Text(" ".join(unit.signed(seed.rise.value) for seed in minimum.seeds)),
        Text(rho.replace("-", "−")),
        Text(p_values(finding)),
        Text(verdict_words(finding, study.unit), style="dim" if base else _STYLE[finding.judgement.verdict]),
    )
