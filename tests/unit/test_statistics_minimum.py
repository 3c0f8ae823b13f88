"""Minimum over budgets, verdicts, tuned rates and matched learning at points computed by hand."""

import math

import pytest
from scipy import stats

from pliant.statistics import Curve, RatePoint, judge, locate_minimum, matched_learning, tune


def curve(*runs: list[float]) -> Curve:
    return Curve(draws={(s, 2.0**i): {"d": v} for s, run in enumerate(runs) for i, v in enumerate(run)})


def test_interior_minimum_and_its_rise() -> None:
    minimum = locate_minimum(curve([3.0, 1.0, 2.0], [3.0, 1.2, 2.4], [3.0, 1.1, 2.0]))
    assert (minimum.budget, minimum.kind, minimum.against) == (2.0, "interior", 2.0)
    assert (minimum.near, minimum.candidates, minimum.interval) == ((2.0,), (2.0,), (2.0, 2.0))
    assert minimum.rise.values == pytest.approx((1.0, 1.2, 0.9))
    assert [seed.budget for seed in minimum.seeds] == [2.0] * 3
    assert judge(minimum).words == "worse"
    # one budget is clearly the lowest, so the interval is the plain t-interval of the three differences
    low, high = stats.t.interval(0.95, 2, loc=31 / 30, scale=stats.sem([1.0, 1.2, 0.9]))
    assert (minimum.rise.low, minimum.rise.high) == pytest.approx((low, high))


def test_falling_to_the_end_compares_with_the_lowest_earlier_budget() -> None:
    minimum = locate_minimum(curve([3.0, 2.0, 1.0], [3.0, 2.1, 1.0]))
    assert (minimum.kind, minimum.against) == ("none in range", 2.0)
    assert minimum.interval == (4.0, math.inf)
    assert minimum.rise.value == pytest.approx(-1.05)
    assert judge(minimum).verdict == "not worse"


def test_rising_from_the_start() -> None:
    minimum = locate_minimum(curve([1.0, 2.0, 3.0], [1.1, 2.0, 3.2], [0.9, 2.1, 3.0]))
    assert (minimum.kind, minimum.interval) == ("before range", (0.0, 1.0))
    assert judge(minimum).verdict == "worse"


def test_runs_that_disagree_make_a_plateau_and_no_verdict() -> None:
    minimum = locate_minimum(curve([1.0, 2.0, 3.0], [2.0, 1.9, 2.5]))
    assert (minimum.kind, minimum.near) == ("plateau", (1.0, 2.0))
    assert minimum.candidates == (1.0, 2.0, 4.0)
    assert [seed.budget for seed in minimum.seeds] == [1.0, 2.0]
    judgement = judge(minimum)
    assert judgement.verdict == "undecided"
    assert judgement.needed is not None
    assert judgement.needed > 2


def test_one_run_is_judged_by_its_draws_and_says_so() -> None:
    draws = {(0, b): {i: v + 0.01 * i for i in range(8)} for b, v in [(1.0, 2.0), (2.0, 1.0), (4.0, 1.5)]}
    minimum = locate_minimum(Curve(draws=draws))
    assert minimum.rise.levels == ("draws",)
    assert judge(minimum).words == "worse in this run"
    alone = locate_minimum(curve([2.0, 1.0, 1.5]))
    assert (alone.rise.levels, alone.rise.has_interval, alone.candidates) == ((), False, (1.0, 2.0, 4.0))
    assert judge(alone).words == "undecided"


def test_margin_separates_the_three_answers() -> None:
    minimum = locate_minimum(curve([3.0, 1.0, 2.0], [3.0, 1.2, 2.4], [3.0, 1.1, 2.0]))
    assert [judge(minimum, margin=m).verdict for m in (0.01, 1.0, 3.0)] == ["worse", "undecided", "not worse"]
    with pytest.raises(ValueError, match="non-negative loss in nats"):
        judge(minimum, margin=-0.1)


def test_minimum_needs_two_budgets_and_a_whole_run() -> None:
    with pytest.raises(ValueError, match="two budgets"):
        locate_minimum(curve([1.0]))
    with pytest.raises(ValueError, match="finish the study"):
        locate_minimum(Curve(draws={(0, 1.0): {"d": 1.0}, (1, 2.0): {"d": 1.0}}))


def parabola(optimum: float, rates: list[float], diverged: int = 0) -> list[RatePoint]:
    """Task loss 2 + (ln rate - ln optimum)^2 on both splits; pre-training loss 1 + rate."""
    losses = [2 + math.log(rate / optimum) ** 2 for rate in rates]
    good = [
        RatePoint(rate=r, validation_task_loss=v, task_loss=v + 0.5, pretraining_loss=1 + r)
        for r, v in zip(rates, losses, strict=True)
    ]
    return good + [RatePoint(rate=rates[-1] * 2 ** (i + 1), diverged=True) for i in range(diverged)]


def test_tuned_rate_by_grid_and_by_parabola() -> None:
    tuned = tune(parabola(0.011, [0.002, 0.005, 0.01, 0.02, 0.05]))
    assert tuned.rate == 0.01
    assert tuned.optimum_rate == pytest.approx(0.011)
    assert tuned.task_loss == pytest.approx(2.5 + math.log(0.01 / 0.011) ** 2)
    assert tuned.optimum_task_loss == pytest.approx(2.5)
    assert tuned.pretraining_loss == pytest.approx(1.01)
    assert tuned.neighbours == (0.005, 0.01, 0.02)
    assert tuned.grid_too_short is None


@pytest.mark.parametrize(("optimum", "edge"), [(0.5, "high"), (0.0001, "low")])
def test_best_rate_at_the_end_of_the_grid_is_flagged(optimum: float, edge: str) -> None:
    tuned = tune(parabola(optimum, [0.002, 0.005, 0.01]))
    assert tuned.grid_too_short == edge
    assert tuned.optimum_task_loss == tuned.task_loss


def test_diverged_rates_are_counted_and_bound_the_grid() -> None:
    tuned = tune(parabola(0.5, [0.002, 0.005, 0.01], diverged=2))
    assert (tuned.grid_too_short, tuned.diverged, tuned.rates) == (None, 2, 5)
    with pytest.raises(ValueError, match="all diverged"):
        tune([RatePoint(rate=0.1, diverged=True)])


def test_rate_zero_is_not_a_choice() -> None:
    zero = RatePoint(rate=0.0, validation_task_loss=0.0, task_loss=0.0, pretraining_loss=0.0)
    assert tune([zero, *parabola(0.01, [0.005, 0.01, 0.02])]).rate == 0.01


def test_matched_learning_takes_the_worst_budgets_best() -> None:
    def point(rate: float, task: float, pretraining: float) -> RatePoint:
        return RatePoint(rate=rate, validation_task_loss=task, task_loss=task, pretraining_loss=pretraining)

    sweeps = {1.0: [point(1, 3.0, 1.0), point(2, 2.0, 2.0)], 2.0: [point(1, 2.5, 1.5), point(2, 1.0, 4.0)]}
    matched = matched_learning(sweeps)
    assert matched.task_loss == 2.0
    assert {b: p.pretraining_loss for b, p in matched.chosen.items()} == {1.0: 2.0, 2.0: 4.0}
