"""Rules about noise on one ladder, and between the decayed and undecayed members of one trunk."""

import itertools
from collections.abc import Iterable

from pliant.records.units import format_tokens
from pliant.statistics import Curve, Series, SeriesKey, base_of, locate_minimum, over_seeds
from pliant.studies.signs.judged import Judged, Measured, by_label, grows, positive, rank, three_way

_Row = tuple[SeriesKey, Series, Curve]
"""What it is, its losses, and its sensitivity."""


def sensitivity_rises(found: Measured) -> Judged:
    """Spearman of the mean sensitivity with budget: at least 0.8 at every strength agrees, 0 or below disagrees."""
    ranks = {(key.label, key.strength): rank(curve) for key, _, curve in _noise_series(found)}
    observed = f"lowest rank correlation {min(ranks.values()):.2f} of {len(ranks)}"
    return three_way(*grows(list(ranks.values()))), observed, by_label(ranks)


def noisy_loss_turns_up(found: Measured) -> Judged:
    """At the largest strength of each scaling, in every run, the interval over draws of the rise lies above zero."""
    largest = [rows[-1] for rows in _scalings(_noise_series(found))]
    rises = {f"{key.label} {key.strength:g}": locate_minimum(series.curve()) for key, series, _ in largest}
    lowest = {name: min(seed.rise.low for seed in minimum.seeds) for name, minimum in rises.items()}
    highest = {name: max(seed.rise.high for seed in minimum.seeds) for name, minimum in rises.items()}
    evidence = "; ".join(f"{name}: rise {minimum.rise.value:+.3f}" for name, minimum in rises.items())
    turned = sum(low > 0 for low in lowest.values())
    agrees = three_way(turned == len(rises), any(high < 0 for high in highest.values()))
    return agrees, f"{turned} of {len(rises)} scalings turn up in every run", evidence


def earlier_for_larger(found: Measured) -> Judged:
    """In each scaling the minimum of the mean curve never moves later with strength, and moves at least once."""
    verdicts, evidence = [], []
    for rows in _scalings(_noise_series(found)):
        budgets = [locate_minimum(series.curve()).budget for _, series, _ in rows]
        falls = all(later <= earlier for earlier, later in itertools.pairwise(budgets))
        verdicts.append((falls and budgets[-1] < budgets[0], budgets[-1] > budgets[0]))
        evidence.append(f"{rows[0][0].label}: {' -> '.join(format_tokens(budget) for budget in budgets)}")
    agrees = three_way(all(good for good, _ in verdicts), any(bad for _, bad in verdicts))
    return agrees, f"{sum(good for good, _ in verdicts)} of {len(verdicts)} scalings", "; ".join(evidence)


def decayed_more_sensitive(found: Measured) -> Judged:
    """At the last budget, at every strength of one trajectory: sensitivity decayed - undecayed, paired by run.

    Agrees if every interval over runs lies above zero, disagrees if one lies below.
    """
    curves = {(key.members, key.label, key.strength): curve for key, _, curve in _noise_series(found)}
    parts = []
    for (members, label, strength), decayed in curves.items():
        undecayed = curves.get(("undecayed trunk", label, strength))
        if members != "annealed" or undecayed is None:
            continue
        last = decayed.budgets[-1]
        change = {s: decayed.value(s, last) - undecayed.value(s, last) for s in decayed.seeds if s in undecayed.seeds}
        parts.append((f"{label} {strength:g}", *positive(over_seeds(change))[:2]))
    if not parts:
        raise ValueError("noise was not measured on decayed and undecayed members of one trajectory")
    more = sum(agrees == "agrees" for _, agrees, _ in parts)
    verdict = three_way(more == len(parts), any(agrees == "disagrees" for _, agrees, _ in parts))
    return verdict, f"{more} of {len(parts)}", "; ".join(f"{name}: {observed}" for name, _, observed in parts)


def _noise_series(found: Measured) -> list[_Row]:
    """Noise at strengths above zero."""
    everything = found.series
    result = []
    for key, series in everything.items():
        base = base_of(key, everything)
        is_noise = key.modification == "noise" and key.evaluation == "pretraining-loss" and key.strength > 0
        if is_noise and base is not None:
            result.append((key, series, series.sensitivity(base)))
    if not result:
        raise ValueError("no noise was measured")
    return result


def _scalings(rows: Iterable[_Row]) -> list[list[_Row]]:
    """The rows of each scaling, strengths rising."""
    groups: dict[str, list[_Row]] = {}
    for row in rows:
        groups.setdefault(row[0].label, []).append(row)
    return [sorted(group, key=lambda row: row[0].strength) for group in groups.values()]
