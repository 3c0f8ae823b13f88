"""The table of what was measured: its cells as text, and the page that holds it between two markers."""

from collections.abc import Iterator, Sequence

from pliant.benchmarks.outcome import Outcome
from pliant.benchmarks.result import Figure, Row

COLUMNS = ("work", "case", "against", "found", "target", "", "of GEMM peak")
BEGIN = "<!-- pliant bench: begin -->"
END = "<!-- pliant bench: end -->"


def amount(value: float, unit: str) -> str:
    """4.9213 -> "4.92x", 13.53 -> "13.5x"; 1.2 and "ms" -> "1.20 ms"."""
    digits = f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"
    return f"{digits}{'' if unit == 'x' else ' '}{unit}".rstrip()


def found(figure: Figure) -> str:
    """The median with the smallest and the largest round: "4.92x [4.71, 5.01]"."""
    return f"{amount(figure.value, figure.unit)} [{amount(figure.low, '')}, {amount(figure.high, '')}]"


def target(figure: Figure) -> str:
    return (
        f"{'<=' if figure.at_most else '>='} {figure.target:g}{'' if figure.unit == 'x' else ' '}{figure.unit}".rstrip()
    )


def cells(row: Row) -> Iterator[tuple[str, ...]]:
    """A line for each figure, the work named in the first."""
    for number, figure in enumerate(row.figures):
        share = "" if figure.peak_share is None else f"{figure.peak_share:.0%}"
        yield (
            "" if number else row.work,
            figure.what,
            figure.peer,
            found(figure),
            target(figure),
            "met" if figure.met else "missed",
            share,
        )


def remarks(row: Row) -> Iterator[str]:
    """What is to be known of its figures and of the row."""
    yield from (f"{row.work}, {figure.what}: {figure.note}" for figure in row.figures if figure.note)
    yield from (f"{row.work}: {note}" for note in row.notes)


def summary(outcomes: Sequence[Outcome]) -> str:
    """ "5 of 8 rows met (every figure of a row must be)"."""
    met = sum(outcome.row.met for outcome in outcomes)
    return f"{met} of {len(outcomes)} rows met (every figure of a row must be)"


def conditions(outcomes: Sequence[Outcome]) -> list[str]:
    """Machine, versions, peak, load and date of each set of outcomes that were measured alike."""
    alike: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        alike.setdefault((outcome.machine.words, outcome.machine.version_words), []).append(outcome)
    lines = []
    for (machine, versions), group in alike.items():
        of = "" if len(alike) == 1 else f" ({', '.join(outcome.name for outcome in group)})"
        dates = sorted({outcome.date for outcome in group})
        loads = [outcome.load for outcome in group]
        lines += [
            f"machine{of}: {machine}",
            f"GEMM peak: {_peaks(group)}",
            f"versions: {versions}",
            f"measured: {' to '.join(dict.fromkeys((dates[0], dates[-1])))}, {_clock(sum(o.seconds for o in group))}; "
            f"load average before each row {min(loads):.1f} to {max(loads):.1f}",
        ]
    return lines


def markdown(outcomes: Sequence[Outcome], absent: Sequence[str], command: str) -> str:
    """The table, what was not measured and why, and what it was measured with."""
    heads = [name or "target met" for name in COLUMNS]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for outcome in outcomes:
        lines += [f"| {' | '.join(text.replace('|', '/') for text in line)} |" for line in cells(outcome.row)]
    listed = [note for outcome in outcomes for note in remarks(outcome.row)]
    listed += [f"not measured: {line}" for line in absent]
    listed += [*conditions(outcomes), f"command: `{command}`"]
    return "\n".join([*lines, "", f"{summary(outcomes)}.", "", *(f"- {line}" for line in listed)])


def with_region(page: str, region: str) -> str:
    """`page` with `region` between its markers.

    Raises:
        ValueError: the page lacks them.
    """
    before, begun, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        raise ValueError(f"no lines {BEGIN} and {END} to write the table between")
    return f"{before}{BEGIN}\n{region}\n{END}{after}"


def _peaks(outcomes: Sequence[Outcome]) -> str:
    names = dict.fromkeys(name for outcome in outcomes for name in outcome.gemm_peak)
    best = {name: max(outcome.gemm_peak.get(name, 0.0) for outcome in outcomes) for name in names}
    return ", ".join(f"{value / 1e9:,.0f} GF/s {name}" for name, value in best.items()) + " (the best of any row)"


def _clock(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes in all"
