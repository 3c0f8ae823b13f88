"""What a search of learning rates costs and misses against the full grid: replayed on records, nothing is trained.

A study folder that holds full grids is given to the search as if it had measured nothing: it gets the records of the
rates it asks for. Past the ends of a grid there are no records, so there it is stopped.

    python benchmarks/rate_search.py runs/demo/english runs/demo/markov
    python benchmarks/rate_search.py runs/demo/english --within 0.005 --json
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from pliant.execution.table import read_table
from pliant.records.units import MARGIN_NATS
from pliant.statistics import Curve, RatePoint, Sweep, TunedRate, judge, locate_minimum, readings, sweeps
from pliant.statistics.rate_scatter import scatter_of
from pliant.statistics.rate_search import WITHIN_NATS, Rates, Tried, next_steps

At = tuple[int, float]
CURVES: Mapping[str, Callable[[TunedRate], float]] = {
    "task loss": lambda tuned: tuned.task_loss,
    "task loss, interpolated": lambda tuned: tuned.optimum_task_loss,
    "pre-training loss": lambda tuned: tuned.pretraining_loss,
}


@dataclass(slots=True)
class Replay:
    """A full sweep, and what a search has tried of it."""

    full: Sweep
    tried: dict[At, Tried] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tried = {at: Tried() for at in self.full.rates}

    @property
    def lines(self) -> list[list[At]]:
        seeds = sorted({seed for seed, _ in self.full.rates})
        return [sorted(at for at in self.full.rates if at[0] == seed) for seed in seeds]

    @property
    def rates(self) -> Rates:
        return Rates(grid=tuple(sorted({p.rate for of in self.full.rates.values() for p in of if p.rate > 0})))

    @property
    def searched(self) -> Sweep:
        """The sweep with the rates that were tried alone."""
        return with_rates(self.full, {at: {p.rate for p in tried.points} for at, tried in self.tried.items()})

    def advance(self, scatter: float, within: float) -> bool:
        """One round at every checkpoint; whether there was anything to do."""
        steps = {
            at: step
            for line in self.lines
            for at, step in zip(
                line,
                next_steps([self.tried[at] for at in line], self.rates, scatter=scatter, within=within),
                strict=True,
            )
            if step is not None
        }
        for at, step in steps.items():
            found = tuple(p for p in self.full.rates[at] if p.rate in step.rates)
            self.tried[at] = Tried(points=(*self.tried[at].points, *found), over=step.over)
        return bool(steps)


def search(together: Sequence[Replay], within: float) -> int:
    """Search the sweeps of one label of a study to the end; the number of rounds."""
    rounds = 0
    while True:
        scatter = scatter_of(tried.losses for one in together for tried in one.tried.values())
        if sum(one.advance(scatter, within) for one in together) == 0:
            return rounds
        rounds += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a sweep says of one loss at the tuned rate: the rise from the best earlier budget to the last, in nats."""

    verdict: str
    rise: float
    low: float
    high: float


def answer(curve: Curve) -> Answer:
    found = locate_minimum(curve)
    rise = found.rise
    return Answer(verdict=judge(found, margin=MARGIN_NATS).verdict, rise=rise.value, low=rise.low, high=rise.high)


def budgets_inside(full: Curve, some: Curve) -> int:
    """At how many budgets the mean over runs of the one lies in the 95 % interval of the other."""
    pairs = [(full.at(budget), some.at(budget).value) for budget in full.budgets]
    return sum(of.low <= value <= of.high for of, value in pairs)


def thinned(full: Sweep) -> Sweep:
    """The sweep with every second rate of its grid: the same saving without a search."""
    grid = sorted({p.rate for of in full.rates.values() for p in of if p.rate > 0})
    return with_rates(full, {at: set(grid[::2]) for at in full.rates})


def with_rates(full: Sweep, chosen: Mapping[At, set[float]]) -> Sweep:
    def some(rates: Mapping[At, tuple[RatePoint, ...]]) -> dict[At, tuple[RatePoint, ...]]:
        return {at: tuple(p for p in of if p.rate in chosen[at]) for at, of in rates.items()}

    return replace(full, rates=some(full.rates), rates_without=tuple(map(some, full.rates_without)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sweep, searched against its full grid; regrets in nats per token at the rate chosen, `thin` those of every
    second rate of the grid. `inside` of `budgets` have a mean tuned test score within the grid's interval over runs.
    """

    sweep: str
    checkpoints: int
    grid: int
    runs: int
    steps_each: int
    rounds: int
    same_rate: int
    inside: int
    budgets: int
    regret_validation: Mapping[str, float]
    regret_test: Mapping[str, float]
    thin_regret_validation: Mapping[str, float]
    of_grid: Mapping[str, Answer]
    of_search: Mapping[str, Answer]

    @property
    def share(self) -> float:
        return self.runs / (self.checkpoints * self.grid)

    def __str__(self) -> str:
        regret, thin = self.regret_validation, self.thin_regret_validation
        answers = "; ".join(
            f"{name}: {of.verdict} {of.rise:+.3f} [{of.low:+.3f}, {of.high:+.3f}], searched {mine.verdict} "
            f"{mine.rise:+.3f}"
            for (name, of), mine in zip(self.of_grid.items(), self.of_search.values(), strict=True)
        )
        return (
            f"{self.sweep}\n  {self.share:.2f} of the steps of {self.grid} rates in {self.rounds} rounds; the grid's "
            f"rate at {self.same_rate} of {self.checkpoints} checkpoints, its score within its interval at "
            f"{self.inside} of {self.budgets} budgets\n  regret {regret['mean']:.4f} on average, "
            f"{regret['p95']:.4f} at 95 %, {regret['max']:.4f} at most (on test {self.regret_test['mean']:+.4f} on "
            f"average); of every second rate "
            f"{thin['mean']:.4f}, {thin['p95']:.4f}, {thin['max']:.4f}\n  {answers}"
        )


def compared(one: Replay, rounds: int) -> Row:
    full, some = one.full, one.searched
    of, mine, thin = full.tuned(), some.tuned(), thinned(full).tuned()
    score = CURVES["task loss"]
    return Row(
        sweep=f"{full.study}: {full.label} ({full.trajectory}, {full.members})",
        checkpoints=len(of),
        grid=len(one.rates.grid),
        runs=sum(len(tried.points) for tried in one.tried.values()),
        steps_each=full.steps or 0,
        rounds=rounds,
        same_rate=sum(mine[at].rate == of[at].rate for at in of),
        inside=budgets_inside(full.curve(score), some.curve(score)),
        budgets=len(full.budgets),
        regret_validation=spread([mine[at].validation_task_loss - of[at].validation_task_loss for at in of]),
        regret_test=spread([mine[at].task_loss - of[at].task_loss for at in of]),
        thin_regret_validation=spread([thin[at].validation_task_loss - of[at].validation_task_loss for at in of]),
        of_grid={name: answer(full.curve(what)) for name, what in CURVES.items()},
        of_search={name: answer(some.curve(what)) for name, what in CURVES.items()},
    )


def spread(values: Sequence[float]) -> dict[str, float]:
    quantiles = {"median": 0.5, "p95": 0.95, "max": 1.0}
    return {"mean": float(np.mean(values)), **{name: float(np.quantile(values, q)) for name, q in quantiles.items()}}


def replayed(folder: Path, within: float) -> list[Row]:
    every = [Replay(sweep) for sweep in sweeps(readings(read_table(folder).rows))]
    rows = []
    for label in dict.fromkeys(one.full.label for one in every):
        together = [one for one in every if one.full.label == label]
        rounds = search(together, within)
        rows += [compared(one, rounds) for one in together]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="study folders with full grids")
    parser.add_argument("--within", type=float, default=WITHIN_NATS, help="nats; the search ends within so much")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = [row for folder in given.folders for row in replayed(folder, given.within)]
    asked = sum(row.checkpoints * row.grid * row.steps_each for row in rows)
    share = sum(row.runs * row.steps_each for row in rows) / asked
    if given.json:
        print(
            json.dumps({"within": given.within, "share_of_steps": share, "sweeps": [asdict(r) for r in rows]}, indent=1)
        )
        return
    print(*rows, f"all: {share:.3f} of the steps", sep="\n")


if __name__ == "__main__":
    main()
