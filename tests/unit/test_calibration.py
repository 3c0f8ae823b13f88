"""A small version of benchmarks/calibration.py: the verdict is right as often as it says, and not by saying nothing."""

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from calibration import checks, measure, page, power_svg, upper_bound  # noqa: E402
from pliant.statistics.lowest import AboveLowest  # noqa: E402
from scenarios import power_curve, scenarios  # noqa: E402

LADDERS = 1_000
SOME = [s for s in scenarios() if len(s.truth) == 7][::3]
LUCK = 4
"""Standard errors of a share over `LADDERS`: with so many scenarios the worst lies a few beyond."""


@pytest.fixture(scope="module")
def outcomes():
    return [measure(scenario, LADDERS, seed=11) for scenario in SOME]


@pytest.fixture(scope="module")
def power():
    return {(n, above): measure(s, LADDERS, seed=11).worse for n, above, s in power_curve() if above == int(above)}


def tolerance(share: float) -> float:
    return LUCK * float(np.sqrt(share * (1 - share) / LADDERS))


def test_false_worse_stays_near_its_level(outcomes) -> None:
    for outcome in outcomes:
        if outcome.worse_at_truth is not None:
            assert outcome.worse_at_truth <= 0.05 + tolerance(0.05), outcome.scenario
        if outcome.scenario.rise <= 0.5:
            assert outcome.worse <= 0.05 + tolerance(0.05), outcome.scenario


def test_intervals_and_sets_cover(outcomes) -> None:
    for outcome in outcomes:
        for covered in (outcome.coverage, outcome.set_coverage, outcome.steps):
            assert covered >= 0.95 - tolerance(0.95), outcome.scenario
    assert all(o.coverage <= 0.97 + tolerance(0.97) for o in outcomes if o.scenario.deep)
    assert any(o.scenario.deep for o in outcomes)


def test_power_grows_with_the_rise_and_with_runs(power) -> None:
    assert power[3, 4.0] >= 0.8
    for n in (2, 3, 5):
        assert power[n, 8.0] >= power[n, 4.0] > power[n, 2.0] > power[n, 0.0]
    assert power[2, 4.0] < power[3, 4.0] < power[5, 4.0]


def test_a_verdict_that_never_commits_fails_the_page(outcomes, power) -> None:
    def never(above: AboveLowest, margin: float) -> tuple[np.ndarray, np.ndarray]:
        none = np.zeros(above.value.shape, dtype=bool)
        return none, none

    silent = {
        (n, above): measure(s, 50, seed=1, verdicts=never).worse for n, above, s in power_curve() if above == int(above)
    }
    assert not checks(outcomes, silent)[-1].met
    assert checks(outcomes, power)[-1].met


def test_a_verdict_that_ignores_the_choice_fails_the_page(power) -> None:
    def naive(above: AboveLowest, margin: float) -> tuple[np.ndarray, np.ndarray]:
        chosen = above.gaps.argmax(axis=-1)[..., None]
        error = np.take_along_axis(above.gap_errors, chosen, -1)[..., 0]
        worse = above.value - 2.92 * error > margin
        return worse, ~worse

    flat = [s for s in scenarios() if s.family == "flat" and s.seeds == 3]
    assert not checks([measure(s, LADDERS, seed=2, verdicts=naive) for s in flat + SOME[:1] + _deep()], power)[0].met


def _deep():
    return [s for s in scenarios() if s.deep][:1]


def test_upper_bound_is_that_of_the_binomial() -> None:
    # P(Binomial(1000, p) <= 50) = 0.05 at p = 0.06294 (Clopper-Pearson)
    assert upper_bound(0.05, 1000) == pytest.approx(0.0629, abs=2e-4)
    assert upper_bound(1.0, 10) == 1.0


def test_the_page_names_its_command_and_every_scenario(outcomes, power) -> None:
    text = page(outcomes, power, LADDERS, 11)
    assert f"--ladders {LADDERS} --seed 11" in text
    assert text.count("\n| ") >= len(outcomes)
    assert power_svg(power).count("<polyline") == 3
