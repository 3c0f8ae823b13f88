"""The rules by which registered signs are judged: a study's readings in; agrees, disagrees or cannot tell out."""

import itertools
from collections.abc import Callable, Iterable

from pliant.records.expectation import Agreement
from pliant.records.units import format_tokens
from pliant.statistics import (
    Curve,
    Estimate,
    Reading,
    Series,
    SeriesKey,
    Sweep,
    base_of,
    contrast,
    gather,
    locate_minimum,
    spearman,
    sweeps,
)

Judged = tuple[Agreement, str, str]
"""Whether it agrees, what was observed, and the evidence behind that."""

MAIN_LADDER = {"english": "weight decay 0.1", "markov": "weight decay 0"}


def _noise_series(found: tuple[Reading, ...]) -> list[tuple[SeriesKey, Series, Curve]]:
    """Noise at strengths above zero on the main ladder: (key, series, sensitivity curve)."""
    everything = gather(found)
    result = []
    for key, series in everything.items():
        base = base_of(key, everything)
        is_noise = key.modification == "noise" and key.evaluation == "pretraining-loss" and key.strength > 0
        if is_noise and base is not None and key.trajectory == MAIN_LADDER["english"]:
            result.append((key, series, series.sensitivity(base)))
    if not result:
        raise ValueError("no noise was measured")
    return result


def sensitivity_rises(found: tuple[Reading, ...]) -> Judged:
    """Spearman of the mean sensitivity with budget: at least 0.8 at every strength agrees, 0 or below disagrees."""
    rhos = {(key.label, key.strength): _rank(curve) for key, _, curve in _noise_series(found)}
    evidence = _by_label(rhos)
    low = min(rhos.values())
    return _three_way(low >= 0.8, low <= 0), f"lowest rank correlation {low:.2f} of {len(rhos)}", evidence


def noisy_loss_turns_up(found: tuple[Reading, ...]) -> Judged:
    """At the largest strength of each scaling, in every run, the interval over draws of the rise lies above zero."""
    largest = _by_scaling(_noise_series(found), lambda rows: [max(rows, key=lambda row: row[0].strength)])
    rises = {_name(key): locate_minimum(series.curve()) for key, series, _ in largest}
    lowest = {name: min(seed.rise.low for seed in minimum.seeds) for name, minimum in rises.items()}
    highest = {name: max(seed.rise.high for seed in minimum.seeds) for name, minimum in rises.items()}
    evidence = "; ".join(f"{name}: rise {minimum.rise.value:+.3f}" for name, minimum in rises.items())
    turned = sum(low > 0 for low in lowest.values())
    agrees = _three_way(turned == len(rises), any(high < 0 for high in highest.values()))
    return agrees, f"{turned} of {len(rises)} scalings turn up in every run", evidence


def earlier_for_larger(found: tuple[Reading, ...]) -> Judged:
    """In each scaling the minimum of the mean curve never moves later with strength, and moves at least once."""
    verdicts, evidence = [], []
    for rows in _scalings(_noise_series(found)):
        budgets = [locate_minimum(series.curve()).budget for _, series, _ in rows]
        falls = all(later <= earlier for earlier, later in itertools.pairwise(budgets))
        verdicts.append((falls and budgets[-1] < budgets[0], budgets[-1] > budgets[0]))
        evidence.append(f"{rows[0][0].label}: {' -> '.join(format_tokens(budget) for budget in budgets)}")
    agrees = _three_way(all(good for good, _ in verdicts), any(bad for _, bad in verdicts))
    return agrees, f"{sum(good for good, _ in verdicts)} of {len(verdicts)} scalings", "; ".join(evidence)


def forgetting_grows(found: tuple[Reading, ...]) -> Judged:
    """Spearman of (pre-training loss after - before) with budget, at the upper half of each task's rates."""
    everything = gather(found)
    rhos: dict[tuple[str, float], float] = {}
    by_task: dict[str, list[tuple[SeriesKey, Curve]]] = {}
    for key, series in everything.items():
        base = base_of(key, everything)
        is_forgetting = key.modification == "fine-tune" and key.evaluation == "pretraining-loss"
        if is_forgetting and base is not None and key.trajectory == MAIN_LADDER["english"]:
            by_task.setdefault(key.label, []).append((key, series.sensitivity(base)))
    if not by_task:
        raise ValueError("no fine-tuning was measured")
    for rows in by_task.values():
        rows.sort(key=lambda row: row[0].strength)
        rhos.update({(key.label, key.strength): _rank(curve) for key, curve in rows[len(rows) // 2 :]})
    grown = sum(rho >= 0.8 for rho in rhos.values())
    evidence = _by_label(rhos)
    agrees = _three_way(grown == len(rhos), all(rho <= 0 for rho in rhos.values()))
    return agrees, f"rank correlation at least 0.8 at {grown} of {len(rhos)} rates", evidence


def task_keeps_improving(found: tuple[Reading, ...]) -> Judged:
    """Tuned task loss: last budget - first below zero in every run, and no rise resolved over runs."""
    curves = _tuned_curves(found, "english", "annealed", lambda sweep: sweep.curve(lambda t: t.task_loss))
    falls = {name: _per_seed(curve) for name, curve in curves.items()}
    rises = {name: locate_minimum(curve).rise for name, curve in curves.items()}
    improved = all(all(change < 0 for change in changes) for changes in falls.values())
    turned = any(rise.has_interval and rise.low > 0 for rise in rises.values())
    evidence = "; ".join(f"{name}: {_listed(changes)}" for name, changes in falls.items())
    return _three_way(improved and not turned, turned), "last - first budget, each run: " + evidence, _rises(rises)


def no_tuned_upturn(found: tuple[Reading, ...]) -> Judged:
    """Pre-training loss at the tuned rate: no rise above its minimum resolved over runs."""
    curves = _tuned_curves(found, "english", "annealed", lambda sweep: sweep.curve(lambda t: t.pretraining_loss))
    rises = {name: locate_minimum(curve).rise for name, curve in curves.items()}
    turned = [name for name, rise in rises.items() if rise.has_interval and rise.low > 0]
    return _three_way(not turned, bool(turned)), f"{len(turned)} of {len(rises)} tasks turn up", _rises(rises)


def markov_contrast(
    task: str, trajectory: str, members: str, what: str, budget: int, against: int, sign: int
) -> Callable[[tuple[Reading, ...]], Judged]:
    """A contrast between two budgets fixed beforehand: agrees if its interval over runs has the `sign`."""

    def rule(found: tuple[Reading, ...]) -> Judged:
        of: dict[str, Callable[[Sweep], Curve]] = {
            "task loss": lambda sweep: sweep.curve(lambda t: t.optimum_task_loss),
            "pre-training loss": lambda sweep: sweep.curve(lambda t: t.optimum_pretraining_loss),
            "matched": lambda sweep: sweep.matched(),
        }
        chosen = [
            sweep
            for sweep in sweeps(found)
            if sweep.task == task and sweep.trajectory == trajectory and sweep.members == members
        ]
        if not chosen:
            raise ValueError(f"{task} was not run on {members} members of {trajectory}")
        change = contrast(of[what](chosen[0]), budget=budget, against=against)
        good = change.has_interval and (change.low > 0 if sign > 0 else change.high < 0)
        bad = change.has_interval and (change.high < 0 if sign > 0 else change.low > 0)
        return _three_way(good, bad), _shown(change), f"each run: {_listed(change.values)}"

    return rule


def _tuned_curves(
    found: tuple[Reading, ...], study: str, members: str, of: Callable[[Sweep], Curve]
) -> dict[str, Curve]:
    curves = {
        sweep.label: of(sweep)
        for sweep in sweeps(found)
        if sweep.members == members and sweep.trajectory == MAIN_LADDER[study]
    }
    if not curves:
        raise ValueError("no sweep of learning rates is complete")
    return curves


def _scalings(
    rows: Iterable[tuple[SeriesKey, Series, Curve]],
) -> list[list[tuple[SeriesKey, Series, Curve]]]:
    groups: dict[str, list[tuple[SeriesKey, Series, Curve]]] = {}
    for row in rows:
        groups.setdefault(row[0].label, []).append(row)
    return [sorted(group, key=lambda row: row[0].strength) for group in groups.values()]


def _by_scaling(
    rows: Iterable[tuple[SeriesKey, Series, Curve]],
    choose: Callable[[list[tuple[SeriesKey, Series, Curve]]], list[tuple[SeriesKey, Series, Curve]]],
) -> list[tuple[SeriesKey, Series, Curve]]:
    return [row for group in _scalings(rows) for row in choose(group)]


def _rank(curve: Curve) -> float:
    mean = curve.mean()
    return spearman(list(mean), list(mean.values())).rho


def _per_seed(curve: Curve) -> list[float]:
    first, last = curve.budgets[0], curve.budgets[-1]
    return [curve.value(seed, last) - curve.value(seed, first) for seed in curve.complete().seeds]


def _three_way(agrees: bool, disagrees: bool) -> Agreement:
    return "agrees" if agrees else "disagrees" if disagrees else "cannot tell"


def _by_label(rhos: dict[tuple[str, float], float]) -> str:
    """ "noise, init scaling, at 0.02, 0.05: 1.00, 0.94; ...", strengths rising."""
    labels = dict.fromkeys(label for label, _ in rhos)
    parts = []
    for label in labels:
        mine = sorted((strength, rho) for (other, strength), rho in rhos.items() if other == label)
        strengths = ", ".join(f"{strength:g}" for strength, _ in mine)
        parts.append(f"{label}, at {strengths}: {', '.join(f'{rho:.2f}' for _, rho in mine)}")
    return "; ".join(parts)


def _name(key: SeriesKey) -> str:
    return f"{key.label} {key.strength:g}"


def _listed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:+.3f}" for value in values)


def _rises(rises: dict[str, Estimate]) -> str:
    return "; ".join(f"{name}: rise {_shown(rise)}" for name, rise in rises.items())


def _shown(estimate: Estimate) -> str:
    if not estimate.has_interval:
        return f"{estimate.value:+.3f} (no interval: {estimate.n} run)"
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}] nats"
