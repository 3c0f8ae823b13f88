"""The verdict on a study: for each target which checkpoint to take, and from where more pre-training hurts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from pliant.report.confirmation import Confirmation, Outcome
from pliant.report.finding import Finding
from pliant.report.sentences import family, interpolated, undecided_words
from pliant.report.study import Study, budget_name, capital, modification_name, phrase, span_name
from pliant.statistics import CONFIDENCE, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to do for one target: a task after fine-tuning, the pre-training distribution after it, or noise.

    `checkpoint` (at `budget` tokens) is where the modified loss is lowest; `candidates` are all that may be lowest,
    with 95 % probability. `overtrained_from` is the last of them where the last budget is shown to be worse (the turn
    lies among them, so more pre-training hurts from there on), else None; `verdict`, `at_least`, `at_most` (nats), `p`
    and `p_holm` say how sure. `confirmation` is what fresh seeds said of it, None if `pliant confirm` has not been run
    or had no reason to repeat it.
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
    aside: bool
    words: str


def advise(study: Study, findings: Sequence[Finding], confirmed: Sequence[Confirmation] = ()) -> tuple[Advice, ...]:
    """Fine-tuning at the tuned rate; of noise and the like, the smallest strength shown to hurt, else the largest."""
    tuned = [f for f in findings if f.rate == "tuned" and f.primary]
    direct = [f for f in findings if f.direct and f.strength]
    chosen = [_telling(list(group)) for _, group in groupby(direct, key=family)]
    outcomes = {c.frozen.curve: c.outcome for c in confirmed}
    return tuple(_advice(study, f, findings, outcomes.get(f.curve)) for f in (*tuned, *chosen))


def _telling(group: list[Finding]) -> Finding:
    """The smallest strength that is worse after Holm's adjustment over the study, else the largest."""
    worse = [f for f in group if f.judgement.verdict == "worse" and f.p_holm < 1 - CONFIDENCE]
    return min(worse, key=_strength) if worse else max(group, key=_strength)


def _strength(finding: Finding) -> float:
    return finding.strength or 0.0


def _advice(study: Study, finding: Finding, findings: Sequence[Finding], outcome: Outcome | None) -> Advice:
    minimum, judgement = finding.minimum, finding.judgement
    other = interpolated(finding, findings)
    firm = not finding.at_edge and (other is None or other.judgement.verdict == judgement.verdict)
    sure = firm and not finding.lost and judgement.verdict == "worse"
    target = _target(finding, study)
    return Advice(
        target=target,
        modification=finding.label,
        checkpoint=finding.names.get(minimum.budget, ""),
        budget=minimum.budget,
        candidates=minimum.candidates,
        verdict=judgement.verdict,
        overtrained_from=max(minimum.candidates) if sure else None,
        at_least=minimum.bounds.at_least,
        at_most=minimum.bounds.at_most,
        p=minimum.bounds.p,
        p_holm=finding.p_holm,
        conditional=judgement.conditional,
        confirmation=outcome,
        aside=finding.aside,
        words=f"{target}: {_words(finding, study, firm)} {_standing(outcome)}",
    )


def _target(finding: Finding, study: Study) -> str:
    place = study.places[finding.trajectory, finding.members]
    where = f" ({place})" if place else ""
    if finding.direct:
        return f"{capital(modification_name(finding.modification, finding.label, finding.strength or 0.0))}{where}"
    return f"{capital(phrase(finding.label))}{where}, {finding.quantity}"


def _words(finding: Finding, study: Study, firm: bool) -> str:
    minimum, judgement = finding.minimum, finding.judgement
    best, last = (budget_name(b, finding.names) for b in (minimum.budget, minimum.last))
    span = span_name(minimum, finding.names)
    choice = f"take {best} (95 % set: {span})" if span != best else f"take {best}"
    if finding.lost:
        lost = ", ".join(budget_name(b, finding.names) for b in finding.lost)
        return f"{choice} of those measured; {lost} diverged, so nothing is said of overtraining."
    how = f"{judgement.words}{_bound(finding, study)}"
    if judgement.verdict == "undecided":
        return f"{choice}; is {last} overtrained? {undecided_words(finding)}{_why(finding)}."
    if not firm:
        reason = "its best rate lies at the edge of the grid" if finding.at_edge else "it hangs on the grid of rates"
        return f"{choice}; at {last} {how}, but {reason}."
    if judgement.verdict == "worse":
        return f"{choice}; overtrained by {last}: {how}{_holm(finding)}."
    return f"{choice}; not overtrained in range: {last} is {how}."


def _bound(finding: Finding, study: Study) -> str:
    """ " (≥ +0.033 bits/byte)": the bound that decided."""
    bounds, unit = finding.minimum.bounds, study.unit.of(finding.trajectory)
    sign, value = ("≥", bounds.at_least) if finding.judgement.verdict == "worse" else ("≤", bounds.at_most)
    return f" ({sign} {unit.signed(value)} {unit.name})"


def _holm(finding: Finding) -> str:
    """Said where the verdict does not stand once all primary curves of the study are counted."""
    return f", though Holm's p over all curves is {finding.p_holm:.2g}" if finding.p_holm >= 1 - CONFIDENCE else ""


def _standing(outcome: Outcome | None) -> str:
    return "(exploratory)" if outcome is None or outcome == "not measured" else f"({outcome} on fresh seeds)"


def _why(finding: Finding) -> str:
    if not finding.minimum.rise.levels:
        return ", with one value a budget there is nothing to test with: give seeds, draws or blocks"
    needed = finding.judgement.needed
    return ", and no moderate number of replicates would tell" if needed is not None and math.isinf(needed) else ""
