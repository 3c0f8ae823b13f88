"""What every rule for a registered sign shares: its answer, how estimates become one, and how rules are joined."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pliant.records.expectation import Agreement
from pliant.statistics import Curve, Estimate, Reading, Series, SeriesKey, Sweep, gather, spearman, sweeps

Judged = tuple[Agreement, str, str]
"""Whether it agrees, what was observed, and the evidence behind that."""


@dataclass(frozen=True)
class Measured:
    """Readings with their series and sweeps, each gathered once for all the rules that ask for them."""

    readings: tuple[Reading, ...]
    parts: dict[tuple[str, str], "Measured"] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def series(self) -> Mapping[SeriesKey, Series]:
        return gather(self.readings)

    @cached_property
    def sweeps(self) -> tuple[Sweep, ...]:
        return sweeps(self.readings)

    def trajectory(self, name: str) -> "Measured":
        return self._part(("trajectory", name), lambda r: r.trajectory == name)

    def members(self, name: str) -> "Measured":
        """Annealed members or the undecayed trunk alone."""
        return self._part(("members", name), lambda r: r.members == name)

    def plain(self) -> "Measured":
        """Without other ways of fine-tuning, which a study may have been given beside plain fine-tuning."""
        return self._part(("plain", ""), lambda r: r.method is None)

    def _part(self, name: tuple[str, str], belongs: Callable[[Reading], bool]) -> "Measured":
        if name not in self.parts:
            self.parts[name] = Measured(tuple(filter(belongs, self.readings)))
        return self.parts[name]


Rule = Callable[[Measured], Judged]


def on(trajectory: str, rule: Rule, *, members: str = "annealed") -> Rule:
    """`rule` on the readings of one ladder alone: one trajectory, and of it annealed members or undecayed trunk."""
    return of_trajectory(trajectory, lambda found: rule(found.members(members)))


def of_trajectory(trajectory: str, rule: Rule) -> Rule:
    """`rule` on the readings of one trajectory alone."""

    def judge(found: Measured) -> Judged:
        mine = found.trajectory(trajectory)
        if not mine.readings:
            raise ValueError(f"{trajectory} was not measured")
        return rule(mine)

    return judge


def all_of(*named: tuple[str, Rule]) -> Rule:
    """All must agree; one that disagrees is enough to disagree. Each part is named in the evidence."""

    def judge(found: Measured) -> Judged:
        parts = [(name, *rule(found)) for name, rule in named]
        agreed = sum(agrees == "agrees" for _, agrees, _, _ in parts)
        verdict = three_way(agreed == len(parts), any(agrees == "disagrees" for _, agrees, _, _ in parts))
        evidence = "; ".join(f"{name}: {agrees} ({observed})" for name, agrees, observed, _ in parts)
        return verdict, f"{agreed} of {len(parts)} agree", evidence

    return judge


def three_way(agrees: bool, disagrees: bool) -> Agreement:
    return "agrees" if agrees else "disagrees" if disagrees else "cannot tell"


def positive(change: Estimate, sign: int = 1) -> Judged:
    """Agrees if the interval of `change` has the `sign`, disagrees if it has the other."""
    good = change.has_interval and (change.low > 0 if sign > 0 else change.high < 0)
    bad = change.has_interval and (change.high < 0 if sign > 0 else change.low > 0)
    return three_way(good, bad), shown(change), f"each run: {listed(change.values)}"


def equal_within(change: Estimate, margin: float) -> Judged:
    """Agrees if the interval of `change` lies within +-`margin` nats, disagrees if it lies outside."""
    good = change.has_interval and -margin <= change.low and change.high <= margin
    bad = change.has_interval and (change.low > margin or change.high < -margin)
    return three_way(good, bad), shown(change), f"each run: {listed(change.values)}"


def rank(curve: Curve) -> float:
    """Spearman's correlation of the mean over runs with the budget."""
    mean = curve.mean()
    return spearman(list(mean), list(mean.values())).rho


def grows(ranks: Sequence[float]) -> tuple[bool, bool]:
    """(all at least 0.8, one at 0 or below); a rank that is not defined, as of two budgets, is neither."""
    return bool(ranks) and all(rho >= 0.8 for rho in ranks), any(rho <= 0 for rho in ranks)


def listed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:+.3f}" for value in values)


def shown(estimate: Estimate) -> str:
    if not estimate.has_interval:
        return f"{estimate.value:+.3f} (no interval: {estimate.n} run)"
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}] nats"


def by_label(ranks: dict[tuple[str, float], float]) -> str:
    """ "noise, init scaling, at 0.02, 0.05: 1.00, 0.94; ...", strengths rising."""
    labels = dict.fromkeys(label for label, _ in ranks)
    parts = []
    for label in labels:
        mine = sorted((strength, rho) for (other, strength), rho in ranks.items() if other == label)
        strengths = ", ".join(f"{strength:g}" for strength, _ in mine)
        parts.append(f"{label}, at {strengths}: {', '.join(f'{rho:.2f}' for _, rho in mine)}")
    return "; ".join(parts)
