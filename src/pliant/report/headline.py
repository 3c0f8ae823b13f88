"""The table at the top of a study: where each curve is lowest and how far the last budget lies above."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from pliant.report.finding import Finding
from pliant.report.sentences import Places, family, undecided_words
from pliant.report.study import budget_name, group_names, phrase, span_name
from pliant.report.summary import StudySummary
from pliant.report.terminal import p_values, strength_of
from pliant.statistics import RankCorrelation


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadlineRow:
    """One curve. Losses are nats; the page shows them in the unit chosen there. nan where there is none."""

    name: str
    lowest: str
    span: str
    kind: str
    against: str
    rise: float
    low: float | None
    high: float | None
    runs: tuple[tuple[int, str, float], ...]
    rho: str
    rho_note: str
    p: str
    verdict: str
    words: str
    bound: float | None
    method: str
    diverged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadlineGroup:
    """The strengths of one modification. `fold`: what is folded away at first, fixed rates and fine-tuning aside."""

    title: str
    where: str
    trajectory: str
    rank_of: str
    fold: Literal["", "fixed", "aside"]
    rows: tuple[HeadlineRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """All groups of one study, the tuned rate before the fixed ones."""

    last: str
    groups: tuple[HeadlineGroup, ...]


def headline(summary: StudySummary) -> Headline:
    """The rows of the table, from the findings."""
    ordered = sorted(summary.findings, key=_order)
    places = group_names((f.trajectory, f.members) for f in summary.findings)
    groups = [_group(list(found), places) for _, found in groupby(ordered, key=lambda f: (_order(f), family(f)))]
    lasts = {budget_name(f.minimum.last, f.names) for f in summary.findings}
    return Headline(last=next(iter(lasts)) if len(lasts) == 1 else "", groups=tuple(groups))


def _order(finding: Finding) -> int:
    """Base, noise, tuned rates, fixed rates."""
    if finding.modification == "fine-tune":
        return 3 if finding.rate == "fixed" else 2
    return 0 if finding.modification == "none" else 1


def _group(found: Sequence[Finding], places: Places) -> HeadlineGroup:
    first = found[0]
    title = "no modification" if first.modification == "none" else phrase(first.label)
    tuning = first.modification == "fine-tune"
    return HeadlineGroup(
        title=f"{title}, {first.quantity}" if tuning else title,
        where=places[first.trajectory, first.members],
        trajectory=first.trajectory,
        rank_of=first.rank_of,
        fold=_fold(first),
        rows=tuple(_row(f) for f in found),
    )


def _fold(finding: Finding) -> Literal["", "fixed", "aside"]:
    if finding.aside:
        return "aside"
    return "fixed" if finding.modification == "fine-tune" and finding.rate == "fixed" else ""


def _row(finding: Finding) -> HeadlineRow:
    minimum = finding.minimum
    rise = minimum.rise
    base = finding.modification == "none"
    return HeadlineRow(
        name="loss" if base else strength_of(finding),
        lowest=budget_name(minimum.budget, finding.names),
        span=span_name(minimum, finding.names),
        kind=minimum.kind,
        against=budget_name(minimum.against, finding.names),
        rise=rise.value,
        low=rise.low if rise.has_interval else None,
        high=rise.high if rise.has_interval else None,
        runs=tuple((s.seed, budget_name(s.budget, finding.names), s.rise.value) for s in minimum.seeds),
        rho=_rho(finding.rank),
        rho_note=_rho_note(finding),
        p=p_values(finding),
        verdict=finding.judgement.verdict,
        words=_words(finding),
        bound=_bound(finding),
        method=rise.method,
        diverged=finding.diverged,
    )


def _words(finding: Finding) -> str:
    return finding.judgement.words if _bound(finding) is not None else undecided_words(finding)


def _bound(finding: Finding) -> float | None:
    """The one-sided bound, in nats, that decided the verdict."""
    bounds = finding.minimum.bounds
    return {"worse": bounds.at_least, "not worse": bounds.at_most}.get(finding.judgement.verdict)


def _rho(rank: RankCorrelation) -> str:
    return "–" if rank.rho != rank.rho else f"{rank.rho:.2f}".replace("-", "−")


def _rho_note(finding: Finding) -> str:
    """For the tooltip: what was ranked, the p-value, and rho in each run."""
    runs = ", ".join(_rho(rank) for rank in finding.rank_seeds)
    p = "" if finding.rank.p != finding.rank.p else f", p = {finding.rank.p:.3g} ({finding.rank.method})"
    found = finding.steps
    steps = f"; {found.up} of {len(found.steps)} steps shown to rise, {found.down} to fall ({found.method})"
    return f"{finding.rank_of} with budget{p}; each run: {runs}{steps}"
