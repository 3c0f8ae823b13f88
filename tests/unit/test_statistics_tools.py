"""Steps, Holm's adjustment, the trend of the tuned rate, the frontier, and groups of text, computed by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from pliant.statistics import Curve, RatePoint, frontiers, holm, rate_trend, steps, tune
from pliant.statistics.levels import TEXT_GROUPS, group_sums, pseudo_values, replicates, without_each


def test_holm_by_hand_and_with_missing_tests() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([0.5, 0.9]) == (1.0, 1.0)
    nan, adjusted = holm([math.nan, 0.02])
    assert math.isnan(nan)
    assert adjusted == 0.02


def test_steps_share_the_level_between_them() -> None:
    rows = [[1.0, 2.0, 2.1], [1.1, 2.3, 2.0], [0.9, 2.0, 2.2]]
    curve = Curve(draws={(s, float(b)): {"d": v} for s, row in enumerate(rows) for b, v in enumerate(row, 1)})
    found = steps(curve)
    first = np.diff(rows, axis=1)[:, 0]
    half = stats.t.ppf(1 - 0.05 / 4, 2) * stats.sem(first)
    assert (found.steps[0].value, found.steps[0].low) == pytest.approx((first.mean(), first.mean() - half))
    assert (found.up, found.down, found.levels) == (1, 0, ("pre-training seeds",))


def test_one_value_a_budget_has_steps_without_intervals() -> None:
    found = steps(Curve(draws={(0, 1.0): {"d": 1.0}, (0, 2.0): {"d": 2.0}}))
    assert (found.steps[0].value, found.up, found.levels) == (1.0, 0, ())
    assert math.isnan(found.steps[0].low)


def sweep(optimum: float) -> list[RatePoint]:
    return [
        RatePoint(rate=r, validation_task_loss=v, task_loss=v, pretraining_loss=1 + r)
        for r in (0.001, 0.002, 0.004, 0.008, 0.016, 0.032)
        for v in [math.log(r / optimum) ** 2]
    ]


@pytest.mark.parametrize(("exponent", "pace"), [(-0.3, "slow"), (-0.8, "quick"), (0.0, "constant")])
def test_trend_recovers_a_power_of_the_budget(exponent: float, pace: str) -> None:
    tuned = {
        (seed, budget): tune(sweep(0.008 * (budget / 4e6) ** (exponent + 0.001 * seed)))
        for seed in range(3)
        for budget in (2e6, 4e6, 8e6)
    }
    trend = rate_trend(tuned)
    assert trend is not None
    assert trend.exponent.value == pytest.approx(exponent + 0.001, abs=0.01)
    assert (trend.pace, trend.at_edge) == (pace, 0)
    assert rate_trend({at: t for at, t in tuned.items() if at[1] < 8e6}) is None


def test_frontier_keeps_what_nothing_beats_and_its_area() -> None:
    def point(rate: float, task: float, forgot: float) -> RatePoint:
        return RatePoint(rate=rate, validation_task_loss=task, task_loss=task, pretraining_loss=forgot)

    early = [point(1, 4.0, 1.0), point(2, 3.0, 1.5), point(3, 2.0, 3.0), point(4, 9.0, 99.0)]
    late = [point(1, 4.0, 1.0), point(2, 3.5, 1.6), point(3, 3.0, 1.4)]
    found = frontiers({1.0: early, 2.0: late})
    # rates beyond the tuned one (rate 4 of the first) stretch nothing: the reference is (4, 3)
    assert found[1.0].reference == found[2.0].reference == (4.0, 3.0)
    assert found[1.0].points == ((2.0, 3.0), (3.0, 1.5), (4.0, 1.0))
    assert found[1.0].hypervolume == pytest.approx((4 - 3) * (3 - 1.5))
    assert found[2.0].points == ((3.0, 1.4), (4.0, 1.0))
    assert found[2.0].hypervolume == pytest.approx((4 - 3) * (3 - 1.4))


def test_groups_of_text_are_neighbours_and_jackknife_the_mean() -> None:
    blocks, count = list(range(40)), [2] * 39 + [10]
    groups = group_sums([float(b) for b in blocks], count)
    assert len(groups) == TEXT_GROUPS
    assert groups[0] == (0 + 1 + 2 + 3, 8)
    assert groups[-1][1] == 16
    whole = sum(blocks) / sum(count)
    values = pseudo_values(whole, without_each(groups))
    assert np.mean(values) == pytest.approx(whole, rel=0.05)
    equal = group_sums([float(b) for b in blocks], [2] * 40)
    assert pseudo_values(sum(blocks) / 80, without_each(equal)) == pytest.approx([s / c for s, c in equal])
    assert group_sums([1.0] * 5, [1] * 5) == ()


def test_levels_are_seeds_then_draws_then_text() -> None:
    def curve(seeds: int, draws: int, text: bool) -> Curve:
        at = [(s, b) for s in range(seeds) for b in (1.0, 2.0)]
        return Curve(
            draws={place: {d: float(d) for d in range(draws)} for place in at},
            text={place: tuple(range(10)) for place in at} if text else {},
        )

    expected = {
        (3, 1, True): ("pre-training seeds", "held-out text"),
        (3, 8, False): ("pre-training seeds",),
        (1, 8, True): ("draws", "held-out text"),
        (1, 1, True): ("held-out text",),
        (1, 1, False): (),
    }
    assert {key: replicates(curve(*key)).levels for key in expected} == expected
    assert replicates(curve(1, 8, True)).rows.shape == (8, 2)
