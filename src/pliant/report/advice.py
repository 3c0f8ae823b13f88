"""The verdict on a study: for each target which checkpoint to take, and from where more pre-training hurts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from pliant.report.confirmation import Confirmation, Outcome
from pliant.report.finding import Finding
from pliant.report.sentences import family, interpolated, verdict_words
from pliant.report.study import Study, budget_name, capital, phrase, span_name
from pliant.report.unit import rate, symbol
from pliant.statistics import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to do for one target: a task after fine-tuning, the pre-training distribution after it, or noise.

    `checkpoint` (at `budget` tokens) is where the modified loss is lowest; `candidates` are all that may be lowest,
    with 95 % probability. `overtrained_from` is the budget from which on more pre-training is shown to hurt, None if
    that is not shown; `verdict`, `at_least`, `at_most` (nats), `p` and `p_holm` say how sure. `confirmation`
    is what fresh seeds said of it, None if `pliant confirm` has not been run or had no reason to repeat it.
    """

    target: str
    modification: str
    checkpoint: str
    budget: float
    candidates: tuple[float, ...]
    verdict: Verdict
    overtrained_from: float | None
    at_least: float
    at_most: float
    p: float
    p_holm: float
    conditional: bool
    confirmation: Outcome | None
    words: str


def advise(study: Study, findings: Sequence[Finding], confirmed: Sequence[Confirmation] = ()) -> tuple[Advice, ...]:
    """Fine-tuning at the tuned rate; of noise and the like, the smallest strength shown to hurt, else the largest."""
    tuned = [f for f in findings if f.rate == "tuned"]
    direct = [f for f in findings if f.direct and f.strength]
    chosen = [_telling(list(group)) for _, group in groupby(direct, key=family)]
    outcomes = {c.frozen.curve: c.outcome for c in confirmed}
    return tuple(_advice(study, f, findings, outcomes.get(f.curve)) for f in (*tuned, *chosen))


def _telling(group: list[Finding]) -> Finding:
    worse = [f for f in group if f.judgement.verdict == "worse"]
    return min(worse, key=_strength) if worse else max(group, key=_strength)


def _strength(finding: Finding) -> float:
    return finding.strength or 0.0


def _advice(study: Study, finding: Finding, findings: Sequence[Finding], outcome: Outcome | None) -> Advice:
    minimum, judgement = finding.minimum, finding.judgement
    other = interpolated(finding, findings)
    sure = judgement.verdict == "worse" and (other is None or other.judgement.verdict == "worse")
    target = _target(finding, study)
    return Advice(
        target=target,
        modification=finding.label,
        checkpoint=finding.names.get(minimum.budget, ""),
        budget=minimum.budget,
        candidates=minimum.candidates,
        verdict=judgement.verdict,
        overtrained_from=minimum.budget if sure else None,
        at_least=minimum.bounds.at_least,
        at_most=minimum.bounds.at_most,
        p=minimum.bounds.p,
        p_holm=finding.p_holm,
        conditional=judgement.conditional,
        confirmation=outcome,
        words=f"{target}: {_words(finding, study, sure)} {_standing(outcome)}",
    )


def _target(finding: Finding, study: Study) -> str:
    place = study.places[finding.trajectory, finding.members]
    where = f" ({place})" if place else ""
    if finding.direct:
        return f"{capital(finding.label)} {symbol(finding.modification)} {rate(finding.strength or 0.0)}{where}"
    return f"{capital(phrase(finding.label))}{where}, {finding.quantity}"


def _words(finding: Finding, study: Study, sure: bool) -> str:
    minimum, unit = finding.minimum, study.unit
    best, last = (budget_name(b, finding.names) for b in (minimum.budget, minimum.last))
    span = span_name(minimum, finding.names)
    choice = f"take {best} (95 % set: {span})" if span != best else f"take {best}"
    how = verdict_words(finding, unit)
    if sure:
        return f"{choice}; overtrained from there on, the last budget ({last}) is {how} {unit.name}."
    if finding.judgement.verdict == "not worse":
        return f"{choice}; not overtrained in range, the last budget ({last}) is {how} {unit.name}."
    if finding.judgement.verdict == "worse":
        return f"{choice}; whether {last} is worse hangs on the grid of rates."
    return f"{choice}; whether {last} is overtrained: {how}{_why(finding)}."


def _standing(outcome: Outcome | None) -> str:
    return "(exploratory)" if outcome is None or outcome == "not measured" else f"({outcome} on fresh seeds)"


def _why(finding: Finding) -> str:
    if not finding.minimum.rise.levels:
        return ", with one value a budget there is nothing to test with: give seeds, draws or blocks"
    needed = finding.judgement.needed
    return ", the rise seen is too close to the margin" if needed is not None and math.isinf(needed) else ""
