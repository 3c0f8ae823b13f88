"""The one answer of a study, worse, not worse or undecided, and which draws or text would sharpen it."""

import math
from collections.abc import Sequence

from pliant.report.finding import Finding
from pliant.statistics import CONFIDENCE, Verdict, precise_draws


def answer(findings: Sequence[Finding]) -> Verdict:
    """worse: a primary curve is, after Holm's adjustment over all of them; not worse: every primary curve is not.

    A conjunction needs no adjustment, so "not worse" goes by each curve's own bound. Without a curve: undecided.
    """
    primary = [finding for finding in findings if finding.primary]
    if any(f.judgement.verdict == "worse" and f.p_holm < 1 - CONFIDENCE for f in primary):
        return "worse"
    return "not worse" if primary and all(f.judgement.verdict == "not worse" for f in primary) else "undecided"


def draws_wanted(findings: Sequence[Finding], *, after: int, most: int) -> dict[tuple[str, float], int]:
    """The draws in all that make the interval of each noise (label, strength) of one run as narrow as the margin.

    Left out are those that have enough or more than `after`, which have been drawn on before, and noise on runs of
    several seeds, which draws do not tell apart.
    """
    wanted: dict[tuple[str, float], int] = {}
    for finding in findings:
        if finding.modification == "noise" and finding.strength and _by_draws(finding):
            draws = precise_draws(finding.minimum, margin=finding.judgement.margin, most=most)
            if draws > finding.minimum.rise.n <= after:
                key = (finding.label, finding.strength)
                wanted[key] = max(draws, wanted.get(key, 0))
    return wanted


def text_is_short(findings: Sequence[Finding]) -> bool:
    """Whether a primary curve of one run is undecided and no number of draws would probably change that."""
    undecided = [f for f in findings if f.primary and f.judgement.verdict == "undecided" and f.judgement.conditional]
    return any(not _by_draws(f) or f.judgement.needed == math.inf for f in undecided)


def _by_draws(finding: Finding) -> bool:
    return finding.minimum.rise.levels[:1] == ("draws",)
