"""Findings in words."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from pliant.report.finding import Finding
from pliant.report.study import Study, budget_name, capital, modification_name, phrase
from pliant.report.unit import Unit, rate, strength_words, symbol

FEW_SEEDS = 3
"""With fewer runs a t-interval over seeds is so wide that a reading is called exploratory."""


Places = Mapping[tuple[str, str], str]
"""(trajectory, members) -> what tells it from the others of the study."""


def base_sentences(study: Study, findings: Sequence[Finding]) -> tuple[str, ...]:
    """What more pre-training did to the unmodified model: a sentence a trajectory and kind of member."""
    return tuple(_base(f, study.unit.of(f.trajectory), study.places) for f in findings if f.modification == "none")


def direct_sentences(modification: str, study: Study, findings: Sequence[Finding]) -> tuple[str, ...]:
    """One kind of direct modification at every strength: a sentence a label."""
    return tuple(_groups(findings, modification, study.places))


def noise_sentences(study: Study, findings: Sequence[Finding]) -> tuple[str, ...]:
    """Noise, and whatever else changes weights directly, at every strength: a sentence a label."""
    return tuple(s for modification in study.direct for s in _groups(findings, modification, study.places))


def fixed_rate_sentences(study: Study, findings: Sequence[Finding]) -> tuple[str, ...]:
    """Main fine-tuning at each rate of the grid: one sentence for forgetting, one for the task."""
    return tuple(_groups(findings, "fine-tune", study.places))


def _groups(findings: Sequence[Finding], modification: str, places: Places) -> Iterator[str]:
    some = [f for f in findings if f.rate == "fixed" and f.modification == modification and not f.aside]
    for _, group in groupby(some, key=family):
        yield _fixed(list(group), places)


def family(finding: Finding) -> tuple[str, str, str, str]:
    """What the strengths of one modification share."""
    return (finding.trajectory, finding.members, finding.label, finding.quantity)


def interpolated(finding: Finding, findings: Sequence[Finding]) -> Finding | None:
    """The same tuned curve, at the optimum between the rates of the grid."""
    found = (f for f in findings if f.rate == "tuned, interpolated" and family(f) == family(finding))
    return next(found, None)


def verdict_words(finding: Finding, unit: Unit) -> str:
    """The verdict with the bound it goes by, or with what would decide it."""
    judgement, bounds = finding.judgement, finding.minimum.bounds
    if judgement.verdict == "worse":
        return f"{judgement.words} (≥ {unit.signed(bounds.at_least)})"
    if judgement.verdict == "not worse":
        return f"{judgement.words} (≤ {unit.signed(bounds.at_most)})"
    return undecided_words(finding)


def undecided_words(finding: Finding) -> str:
    """ "undecided (~9 seeds)": with so many, in all, the rise seen would probably be decided; alone if none would."""
    needed = finding.judgement.needed
    if needed is None or needed == math.inf:
        return "undecided"
    return f"undecided (~{needed:.0f} {_replicates(finding)})"


def _replicates(finding: Finding) -> str:
    levels = finding.minimum.rise.levels
    return {"pre-training seeds": "seeds", "draws": "draws", "held-out text": "groups of text"}[levels[0]]


def strength_name(finding: Finding) -> str:
    """ "noise, init scaling γ 0.1", "fine-tune python, tuned"."""
    if finding.modification == "none":
        return "the base"
    if finding.strength is None:
        return f"{finding.label}, {finding.rate}"
    return modification_name(finding.modification, finding.label, finding.strength)


def _where(finding: Finding, places: Places) -> str:
    name = places[finding.trajectory, finding.members]
    return f" ({name})" if name else ""


def _base(finding: Finding, unit: Unit, places: Places) -> str:
    minimum, where = finding.minimum, _where(finding, places)
    last = budget_name(minimum.last, finding.names)
    if minimum.budget == minimum.last:
        return f"Without modification the loss falls to the last budget, {last}{where}."
    lowest = budget_name(minimum.budget, finding.names)
    rise = f"{unit.interval(minimum.rise)} {unit.name}"
    return f"Without modification the loss is lowest at {lowest}; {last} lies {rise} above it{where}."


def _fixed(group: list[Finding], places: Places) -> str:
    first = group[0]
    head = f"{capital(phrase(first.label))}{_where(first, places)}, {_thing(first)}: {_ranks(group)}"
    parts = [head]
    for verdict in ("worse", "not worse", "undecided"):
        some = [f for f in group if f.judgement.verdict == verdict]
        if some:
            here = " in this run" if some[0].judgement.conditional and verdict != "undecided" else ""
            parts.append(f"{verdict}{here} at the last budget for {_strengths(some, group)}{_extra(some)}")
    return "; ".join(parts) + "."


def _extra(some: list[Finding]) -> str:
    """Where the curves that turn are lowest; whether each run of the undecided ones rose."""
    if some[0].judgement.verdict == "worse":
        lowest = [budget_name(f.minimum.budget, f.names) for f in some]
        diverged = sum(f.diverged for f in some)
        text = f" (lowest at {', '.join(dict.fromkeys(lowest))}"
        return text + (f"; {diverged} points diverged)" if diverged else ")")
    if some[0].judgement.verdict != "undecided" or len(some[0].minimum.seeds) < 2:
        return ""
    if all(verdict == "worse" for f in some for verdict in f.judgement.runs):
        return " (yet worse within every run, by its own draws)"
    rose = all(seed.rise.value > 0 for f in some for seed in f.minimum.seeds)
    return " (yet above the lowest in every run)" if rose else ""


def _thing(finding: Finding) -> str:
    if finding.quantity == "task loss":
        return "task loss"
    return "noisy loss" if finding.modification == "noise" else "pre-training loss"


def _ranks(group: list[Finding]) -> str:
    values = [f.rank.rho for f in group if f.rank.rho == f.rank.rho]
    if not values:
        return "no rank correlation (under three budgets)"
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    spread = low if low == high else f"{low} to {high}"
    return f"Spearman of {group[0].rank_of} with budget {spread}".replace("-", "−")


def _strengths(some: list[Finding], group: list[Finding]) -> str:
    """ "γ 0.1, 0.2"; four or more neighbours of the grid as a range."""
    if some[0].modification == "quantise":
        return ", ".join(strength_words("quantise", f.strength or 1.0) for f in some)
    called = symbol(some[0].modification)
    grid = [f.strength for f in group]
    places = [grid.index(f.strength) for f in some]
    names = [rate(f.strength or 0.0) for f in some]
    neighbours = places == list(range(places[0], places[0] + len(places)))
    return f"{called} {names[0]} to {names[-1]}" if neighbours and len(names) > 3 else f"{called} {', '.join(names)}"
