"""An audit in a terminal: a row a checkpoint, the findings as sentences, one line of verdict."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from pliant.records.units import format_tokens

if TYPE_CHECKING:  # the checkpoints package loads torch
    from pliant.checkpoints.audit.audit import Audit, Row
    from pliant.checkpoints.audit.finding import Check, Finding, Level

_STYLE: "dict[Level, str]" = {"error": "bold red", "warning": "yellow", "note": "dim"}
_MARK: "dict[Level, str]" = {"error": "✗", "warning": "!", "note": "·"}
_TITLE: "dict[Level, str]" = {"error": "Wrong", "warning": "Look at", "note": "Notes"}
_LEVELS: "tuple[Level, ...]" = ("error", "warning", "note")
_COLUMN: "dict[Check, str]" = {
    "duplicate": "fingerprint",
    "order": "tokens",
    "missing-shard": "size",
    "cut-short": "size",
    "size": "size",
    "format": "format",
    "dtype": "dtype",
    "not-finite": "norm",
    "norm-outlier": "norm",
    "sanity-loss": "loss",
}
"""The cell that a finding colours; of the others, the name."""
_FINGERPRINT_DIGITS = 8


def show_audit(name: str, audit: "Audit", screen: Console) -> None:
    """Print the table, the findings by level, and the verdict."""
    columns = _columns(audit.rows)
    same = {title: cell(audit.rows[0]) for title, cell in columns.items() if _is_constant(audit.rows, title, cell)}
    facts = [f"{len(audit.rows)} checkpoints", *(f"{title} {value}" for title, value in same.items())]
    screen.print(Text(name, style="bold").append("  " + ", ".join(facts), style="dim"))
    screen.print(_table(audit, {title: cell for title, cell in columns.items() if title not in same}))
    for level in _LEVELS:
        _list(screen, level, [finding for finding in audit.findings if finding.level == level])
    screen.print(_verdict(audit))


def _columns(rows: "Sequence[Row]") -> "dict[str, Callable[[Row], str]]":
    """The columns that have a value somewhere."""
    columns: dict[str, Callable[[Row], str]] = {
        "tokens": lambda row: "" if row.tokens is None else format_tokens(row.tokens),
        "step": lambda row: "" if row.step is None else f"{row.step:,}",
        "seed": lambda row: "" if row.seed is None else str(row.seed),
        "size": lambda row: "" if row.bytes is None else _size(row.bytes),
        "format": lambda row: row.format or "",
        "dtype": lambda row: row.dtype or "",
        "fingerprint": lambda row: "" if row.fingerprint is None else _short(row.fingerprint),
        "norm": lambda row: "" if row.norm is None else f"{row.norm:.4g}",
        "loss": lambda row: "" if row.loss_nats is None else f"{row.loss_nats:.3f}",
    }
    return {title: cell for title, cell in columns.items() if any(cell(row) for row in rows)}


def _is_constant(rows: "Sequence[Row]", title: str, cell: "Callable[[Row], str]") -> bool:
    """Whether one word above the table says it all; what cannot be read has no dtype and breaks no rule."""
    return title in ("seed", "format", "dtype") and len({cell(row) for row in rows} - {""}) == 1 and bool(cell(rows[0]))


def _short(fingerprint: str) -> str:
    return fingerprint.split(":", 1)[-1][:_FINGERPRINT_DIGITS]


def _size(size: int) -> str:
    """16_777_216 -> "16.8 MB" (decimal, three significant digits)."""
    for suffix, scale in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {suffix}"
    return f"{size} B"


def _table(audit: "Audit", columns: "dict[str, Callable[[Row], str]]") -> RichTable:
    table = RichTable(box=None, pad_edge=False, header_style="dim")
    table.add_column("checkpoint", overflow="fold", min_width=12)
    for title in columns:
        table.add_column(title, justify="left" if title in ("format", "dtype") else "right", no_wrap=True)
    table.add_column("found", overflow="fold")
    for row in audit.rows:
        about = [finding for finding in audit.findings if row.name in finding.checkpoints and finding.level != "note"]
        cells = [Text(cell(row) or "-", style=_style(about, title)) for title, cell in columns.items()]
        table.add_row(Text(row.name, style=_style(about, "name")), *cells, _checks(about))
    return table


def _style(about: "Sequence[Finding]", column: str) -> str:
    levels = [finding.level for finding in about if _COLUMN.get(finding.check, "name") == column]
    return next((_STYLE[level] for level in _LEVELS if level in levels), "")


def _checks(about: "Sequence[Finding]") -> Text:
    levels = {finding.check: finding.level for finding in reversed(about)}
    return Text(", ").join(Text(check, style=_STYLE[level]) for check, level in sorted(levels.items()))


def _list(screen: Console, level: "Level", findings: "Sequence[Finding]") -> None:
    if not findings:
        return
    screen.print()
    screen.print(Text(_TITLE[level], style=_STYLE[level]))
    for finding in findings:
        grid = RichTable.grid(padding=(0, 1))
        sentence = Text(finding.sentence, style="dim" if level == "note" else "")
        grid.add_row(Text(_MARK[level], style=_STYLE[level]), sentence)
        screen.print(grid)


def _verdict(audit: "Audit") -> Text:
    counts = {level: sum(finding.level == level for finding in audit.findings) for level in _LEVELS}
    wrong = {name for one in audit.findings if one.level == "error" for name in one.checkpoints}
    depth = {"metadata": "files", "weights": "files and weights", "loss": "files, weights and loss"}[audit.depth]
    text = Text("\n")
    if counts["error"]:
        words = f"suspicious: errors in {len(wrong)} of {len(audit.rows)} checkpoints"
        return text.append(words, style=_STYLE["error"]).append(f"; looked at {depth}", style="dim")
    if counts["warning"]:
        text.append(f"nothing wrong, {counts['warning']} thing(s) to look at", style=_STYLE["warning"])
        return text.append(f"; looked at {depth}", style="dim")
    return text.append("clean", style="bold green").append(f": nothing suspicious in {depth}", style="dim")
