"""Reused rates, prices of methods, moving minima and displacement, each computed by hand."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from scipy import stats

from pliant.statistics import (
    Curve,
    Displacement,
    Estimate,
    Minimum,
    Reading,
    Sweep,
    change,
    displacement,
    locate_minimum,
    mean_over_budgets,
    middle_budget,
    price,
    sensitivity,
    shift,
    shift_with_amount,
    sweeps,
    tuned_minimum,
)

Losses = tuple[float, float] | None
"""(task loss, pre-training loss) at one rate; None: it diverged."""
Grid = Mapping[tuple[int, int], Mapping[float, Losses]]
"""(seed, budget) -> rate -> losses"""


_READING = Reading(study="s", trajectory="t", modification="fine-tune", task="python", metric="loss_nats")


def readings_of(grid: Grid, *, method: str | None = None, amount: float | None = None) -> list[Reading]:
    """Test and validation task loss are equal but for 0.5, so that what is shown is not what chose."""
    found = []
    for (seed, budget), rates in grid.items():
        for rate, losses in rates.items():
            task, pretraining = losses or (math.nan, math.nan)
            for evaluation, split, value in (
                ("task-loss", "validation", task - 0.5),
                ("task-loss", "test", task),
                ("pretraining-loss", "test", pretraining),
            ):
                found.append(
                    _READING._replace(
                        checkpoint=str(budget),
                        tokens=budget,
                        pretraining_seed=seed,
                        label=f"fine-tune python {method} {amount}",
                        method=method,
                        amount=amount,
                        strength=rate,
                        evaluation=evaluation,
                        split=split,
                        value=value,
                        status="ok" if losses else "diverged",
                        cell=f"{method}-{amount}-{seed}-{budget}-{rate}",
                    )
                )
    return found


def sweep_of(grid: Grid, *, method: str | None = None, amount: float | None = None) -> Sweep:
    (found,) = sweeps(readings_of(grid, method=method, amount=amount))
    return found


def test_the_middle_budget_is_the_lower_one_of_two() -> None:
    assert middle_budget([4.0, 1.0, 2.0, 8.0]) == 2.0
    assert middle_budget([4.0, 1.0, 2.0]) == 2.0
    assert middle_budget([4.0]) == 4.0
    with pytest.raises(ValueError, match="no middle of no budgets"):
        middle_budget([])


REUSED: Grid = {
    (1, 10): {0.1: (2.0, 1.0), 0.2: (1.9, 1.1)},
    (1, 20): {0.1: (1.7, 1.2), 0.2: (1.8, 1.5)},  # the middle of four: run 1 takes 0.1 for good
    (1, 40): {0.1: (1.6, 1.3), 0.2: (1.5, 1.9)},
    (1, 80): {0.1: (1.9, 1.5), 0.2: (1.4, 1.2)},
    (2, 10): {0.1: (2.1, 1.0), 0.2: (2.2, 1.1)},
    (2, 20): {0.1: (1.9, 1.2), 0.2: (1.8, 1.4)},  # run 2 takes 0.2
    (2, 40): {0.1: (1.5, 1.3), 0.2: None},
    (2, 80): {0.1: (1.4, 1.6), 0.2: (1.6, 1.7)},
}


def test_a_rate_tuned_in_the_middle_is_reused_everywhere() -> None:
    sweep = sweep_of(REUSED)
    assert sweep.reused_rates() == {1: 0.1, 2: 0.2}
    task = sweep.reused(lambda p: p.task_loss)
    assert {at: task.value(*at) for at in task.draws} == {
        (1, 10.0): 2.0, (1, 20.0): 1.7, (1, 40.0): 1.6, (1, 80.0): 1.9, (2, 10.0): 2.2, (2, 20.0): 1.8, (2, 80.0): 1.6,
    }  # fmt: skip
    assert sweep.reused_diverged() == ((2, 40.0),)
    damage = sensitivity(task, sweep.curve(lambda t: t.task_loss))
    last = mean_over_budgets(damage, [80.0])
    assert last is not None
    assert last.values == pytest.approx((1.9 - 1.4, 1.6 - 1.4))
    half = stats.t.ppf(0.975, 1) * stats.sem([0.5, 0.2])
    assert (last.value, last.low, last.high) == pytest.approx((0.35, 0.35 - half, 0.35 + half))
    both = mean_over_budgets(damage, [10.0, 40.0])  # run 2 diverged at 40: run 1 alone has both
    assert both is not None
    assert (both.seeds, both.value) == ((1,), pytest.approx(((2.0 - 1.9) + (1.6 - 1.5)) / 2))
    assert mean_over_budgets(damage, [160.0]) is None


def test_one_run_without_text_has_a_mean_and_no_interval() -> None:
    curve = Curve(draws={(1, 1.0): {"a": 2.0}, (1, 2.0): {"a": 4.0}})
    found = mean_over_budgets(curve, [1.0, 2.0])
    assert found is not None
    assert (found.value, found.has_interval, found.method) == (3.0, False, "one value, no interval")


def test_text_is_a_second_source_of_the_same_mean() -> None:
    text = [0.9, 1.1, 1.0, 1.2]
    curve = Curve(
        draws={(s, 1.0): {"a": v} for s, v in ((1, 1.0), (2, 1.4))},
        text={(s, 1.0): tuple(text) for s in (1, 2)},
    )
    found = mean_over_budgets(curve, [1.0])
    assert found is not None
    of_runs, of_text = np.var([1.0, 1.4], ddof=1) / 2, np.var(text, ddof=1) / 4
    assert found.standard_error == pytest.approx(math.sqrt(of_runs + of_text))
    assert found.degrees_of_freedom == pytest.approx((of_runs + of_text) ** 2 / (of_runs**2 / 1 + of_text**2 / 3))
    assert found.levels == ("pre-training seeds", "held-out text")


PLAIN: Grid = {
    (seed, budget): {0.1: (2.0, 1.0 + shift), 0.2: (1.5 + shift, 1.4), 0.4: (1.8, 2.0)}
    for seed in (1, 2)
    for budget in (10, 20)
    for shift in (0.01 * seed + 0.001 * budget,)
}
ANCHORED: Grid = {at: {0.1: (2.1, 0.9), 0.2: (1.7, 1.1), 0.4: (1.9, 1.05)} for at in PLAIN}


def test_the_price_of_a_method_by_hand() -> None:
    found = price(sweep_of(ANCHORED, method="anchor", amount=0.1), sweep_of(PLAIN))
    assert found.budgets == (10.0, 20.0)
    assert found.task_loss.last is not None
    assert found.task_loss.last.values == pytest.approx((1.7 - 1.53, 1.7 - 1.54))
    assert found.task_loss.mean is not None
    assert found.task_loss.mean.values == pytest.approx((1.7 - 1.525, 1.7 - 1.535))
    assert found.pretraining_loss.last is not None
    assert found.pretraining_loss.last.values == pytest.approx((1.1 - 1.4, 1.1 - 1.4))
    # at what both reach, validation 1.2: the method's rate 0.2, plain's rate 0.2 (its 0.1 and 0.4 do not reach it)
    assert found.matched.last is not None
    assert found.matched.last.values == pytest.approx((1.1 - 1.4, 1.1 - 1.4))


def test_matched_learning_lets_the_better_learner_take_a_milder_rate() -> None:
    slow: Grid = {at: {0.1: (2.1, 0.9), 0.2: (2.05, 1.3)} for at in PLAIN}
    found = price(sweep_of(slow, method="anchor", amount=1.0), sweep_of(PLAIN))
    assert found.matched.last is not None
    # target 2.05 - 0.5: plain reaches it at its rate 0.1, where the pre-training loss is 1.0 + shift
    assert found.matched.last.values == pytest.approx((1.3 - 1.03, 1.3 - 1.04))
    assert found.pretraining_loss.last is not None
    assert found.pretraining_loss.last.values == pytest.approx((1.3 - 1.4, 1.3 - 1.4))


def test_a_method_that_diverges_at_the_last_budget_has_no_price_there() -> None:
    lost = {at: (rates if at[1] == 10 else dict.fromkeys(rates)) for at, rates in ANCHORED.items()}
    found = price(sweep_of(lost, method="anchor", amount=0.1), sweep_of(PLAIN))
    assert (found.task_loss.last, found.task_loss.mean, found.matched.last) == (None, None, None)


def minimum(lowest: int, *, noise: float = 1e-3) -> Minimum:
    """Three runs over six budgets, lowest at place `lowest`."""
    generator = np.random.default_rng(lowest)
    return locate_minimum(
        Curve(
            draws={
                (s, float(2**k)): {"a": 0.1 * (k - lowest) ** 2 + generator.normal(0, noise)}
                for s in range(3)
                for k in range(6)
            }
        )
    )


def test_a_minimum_moves_if_the_sets_that_hold_it_part() -> None:
    assert shift(minimum(1), minimum(3)) == "later"
    assert shift(minimum(3), minimum(1)) == "earlier"
    assert shift(minimum(3), minimum(3)) == "not resolved"
    assert shift(minimum(1), minimum(3, noise=1.0)) == "not resolved"
    assert shift(None, minimum(3)) == "not resolved"


@pytest.mark.parametrize(
    ("places", "expected"),
    [((1, 2, 4), "later"), ((4, 1), "earlier"), ((1, 4, 2), "not resolved"), ((2, 1, 2), "not resolved")],
)
def test_moving_with_a_growing_amount_is_one_way(places: tuple[int, ...], expected: str) -> None:
    assert shift_with_amount([minimum(place) for place in places]) == expected


def test_a_change_is_resolved_by_its_interval() -> None:
    def estimate(*values: float) -> Estimate | None:
        return mean_over_budgets(Curve(draws={(s, 1.0): {"a": v} for s, v in enumerate(values)}), [1.0])

    assert change(estimate(1.0, 1.1, 0.9)) == "higher"
    assert change(estimate(-1.0, -1.1, -0.9)) == "lower"
    assert change(estimate(-1.0, 1.1, 0.9)) == "not resolved"
    assert (change(estimate(1.0)), change(None)) == ("not resolved", "not resolved")


def test_the_minimum_at_the_tuned_rate_needs_two_budgets() -> None:
    found = tuned_minimum(sweep_of(PLAIN), lambda chosen: chosen.task_loss)
    assert found is not None
    assert found.budget == 10.0
    one = {at: rates for at, rates in PLAIN.items() if at[1] == 10}
    assert tuned_minimum(sweep_of(one), lambda chosen: chosen.task_loss) is None


def moved(of: Callable[[int, float, float], float], seeds: int = 3) -> Displacement:
    found = displacement(
        {
            rate: Curve(draws={(s, b): {"a": of(s, b, rate)} for s in range(seeds) for b in (1.0, 2.0, 4.0)})
            for rate in (0.1, 0.2)
        }
    )
    assert found is not None
    return found


def test_displacement_over_budgets() -> None:
    grows = moved(lambda seed, budget, rate: rate * budget ** (1 + 0.1 * seed))
    assert grows.ratio.values == pytest.approx((4.0, 4**1.1, 4**1.2))
    assert grows.ratio.value == pytest.approx(4**1.1)
    half = stats.t.ppf(0.975, 2) * stats.sem(np.log([4.0, 4**1.1, 4**1.2]))
    assert (grows.ratio.low, grows.ratio.high) == pytest.approx((4**1.1 * math.exp(-half), 4**1.1 * math.exp(half)))
    assert grows.rank is not None
    assert (grows.size, grows.rank.value, grows.rates) == ("grows", 1.0, (0.1, 0.2))
    assert moved(lambda seed, budget, rate: rate / budget ** (1 + 0.01 * seed)).size == "shrinks"
    # a hump: the ends agree, the middle does not
    hump = moved(lambda seed, budget, rate: rate * (3 if budget == 2 else 1) * (1 + 0.01 * seed))
    assert (hump.ratio.value, hump.spread.value, hump.size) == (pytest.approx(1), pytest.approx(3), "not resolved")
    assert moved(lambda seed, budget, rate: rate * (1 + 0.01 * budget)).size == "roughly constant"
    assert moved(lambda seed, budget, rate: rate, seeds=1).size == "not resolved"


def test_a_rate_that_diverged_somewhere_says_nothing_of_displacement() -> None:
    whole = Curve(draws={(0, b): {"a": b} for b in (1.0, 2.0)})
    part = Curve(draws={(0, 1.0): {"a": 9.0}})
    found = displacement({0.1: whole, 0.2: part})
    assert found is not None
    assert (found.rates, found.ratio.value, found.rank) == ((0.1,), 2.0, None)
    assert displacement({0.2: part}) is None


def test_a_run_that_is_not_finished_leaves_the_others_to_say_how_far_weights_moved() -> None:
    curve = Curve(draws={(s, b): {"a": b} for s in (0, 1) for b in (1.0, 2.0)} | {(2, 1.0): {"a": 1.0}})
    found = displacement({0.1: curve})
    assert found is not None
    assert found.ratio.values == pytest.approx((2.0, 2.0))
