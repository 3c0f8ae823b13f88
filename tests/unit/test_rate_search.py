"""The search for the best rate, on curves whose optimum is known."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from pliant.statistics import RatePoint
from pliant.statistics.rate_scatter import scatter_of
from pliant.statistics.rate_search import Rates, Step, Tried, coarse_grid, next_step, next_steps

GRID = tuple(1e-4 * 2 ** (k / 2) for k in range(13))
RATES = Rates(
    grid=GRID,
    below=tuple(GRID[0] * 2 ** (-k / 2) for k in range(9, 0, -1)),
    above=tuple(GRID[-1] * 2 ** (k / 2) for k in range(1, 10)),
)
Loss = Callable[[float], float]


def valley(optimum: float, curvature: float = 0.05, floor: float = 2.0) -> Loss:
    """floor + curvature (ln rate - ln optimum)^2"""
    return lambda rate: floor + curvature * math.log(rate / optimum) ** 2


def point(rate: float, loss: Loss) -> RatePoint:
    value = loss(rate)
    return RatePoint(rate=rate, validation_task_loss=value, diverged=math.isnan(value))


def searched(loss: Loss, *, start: float | None = None, scatter: float = math.inf, within: float = 0.002) -> list[Step]:
    """Every step of one checkpoint, the last of which is a stop."""
    tried, steps = Tried(), []
    while not tried.over:
        step = next_step(tried, RATES, start=start, scatter=scatter, within=within)
        assert not {p.rate for p in tried.points} & set(step.rates), "a rate is tried once"
        assert step.over == (not step.rates)
        tried = Tried(points=(*tried.points, *(point(rate, loss) for rate in step.rates)), over=step.over)
        steps.append(step)
    return steps


def rates_of(steps: list[Step]) -> list[float]:
    return [rate for step in steps for rate in step.rates]


def lowest(loss: Loss, rates: tuple[float, ...] = RATES.all) -> float:
    return min((rate for rate in rates if not math.isnan(loss(rate))), key=loss)


@pytest.mark.parametrize("place", range(13))
def test_one_valley_ends_at_the_best_rate_of_the_grid_with_its_neighbours_tried(place: int):
    loss = valley(GRID[place] * 1.05)
    steps = searched(loss)
    assert steps[-1].why == "best between its neighbours"
    assert steps[-1].best == lowest(loss) == GRID[place]
    at = RATES.all.index(GRID[place])
    assert {RATES.all[at - 1], RATES.all[at + 1]} <= set(rates_of(steps))
    assert len(rates_of(steps)) <= 9


def test_a_neighbours_best_saves_the_coarse_grid():
    loss = valley(GRID[6])
    steps = searched(loss, start=GRID[6])
    assert steps[0].why == "around a neighbour's best"
    assert steps[0].rates == (GRID[4], GRID[6], GRID[8])
    assert len(rates_of(steps)) == 5
    assert searched(valley(GRID[8]), start=GRID[6])[-1].best == GRID[8]


def test_an_optimum_beyond_either_end_is_followed():
    for optimum in (GRID[0] / 5, GRID[-1] * 5):
        steps = searched(valley(optimum))
        assert "beyond an end" in {step.why for step in steps}
        assert steps[-1].best == lowest(valley(optimum))


def test_what_has_no_end_is_left_at_the_end_of_what_may_be_tried():
    steps = searched(lambda rate: 1 / rate)
    assert steps[-1].why == "best at the end of what may be tried"
    assert steps[-1].best == RATES.all[-1]


def test_a_flat_curve_is_not_followed_past_the_grid():
    steps = searched(lambda rate: 3.0)
    assert steps[-1].why == "narrow enough"
    assert set(rates_of(steps)) <= set(GRID)
    assert rates_of(steps) == list(coarse_grid(GRID))


def test_a_rate_that_diverged_bounds_the_search():
    def loss(rate: float) -> float:
        return math.nan if rate > GRID[7] else valley(GRID[-1])(rate)

    steps = searched(loss)
    assert steps[-1].best == GRID[7]
    assert GRID[8] in rates_of(steps)
    assert not any(rate > GRID[-1] for rate in rates_of(steps))


def test_where_everything_diverges_smaller_rates_are_tried_until_there_are_none():
    steps = searched(lambda rate: math.nan)
    assert [steps[0].why, steps[1].why, steps[-1].why] == ["coarse grid", "below what diverged", "every rate diverged"]
    assert RATES.all[0] in rates_of(steps)
    trains_low = searched(lambda rate: math.nan if rate >= GRID[0] else valley(GRID[0] / 4)(rate))
    assert trains_low[-1].best == pytest.approx(GRID[0] / 4)


def test_a_narrow_interval_ends_the_search_and_holds_what_was_left_untried():
    loss = valley(GRID[6] * 1.1, curvature=0.003)
    steps = searched(loss, start=GRID[6], scatter=1e-5, within=0.002)
    assert steps[-1].why == "narrow enough"
    assert len(rates_of(steps)) == 3
    assert steps[-1].loss is not None
    assert steps[-1].low is not None
    assert steps[-1].low <= loss(lowest(loss)) <= steps[-1].loss
    assert steps[-1].loss - steps[-1].low <= 0.002
    assert (
        len(rates_of(searched(loss, start=GRID[6], scatter=0.01, within=0.002))) == 5
    )  # a rugged curve is not believed


@pytest.mark.parametrize("noise", [0.0003, 0.003])
def test_regret_under_noise_is_that_of_the_noise_and_half_the_runs_are_saved(noise: float):
    random = np.random.default_rng(0)
    regrets, runs = [], 0
    for _ in range(200):
        smooth = valley(float(np.exp(random.uniform(math.log(GRID[2]), math.log(GRID[10])))))
        table = {rate: smooth(rate) + noise * random.normal() for rate in RATES.all}
        steps = searched(table.__getitem__, start=GRID[6], scatter=noise)
        regrets.append(smooth(steps[-1].best or math.nan) - smooth(lowest(smooth, GRID)))
        runs += len(rates_of(steps))
    assert runs < 0.55 * 200 * len(GRID)
    assert np.mean(regrets) < max(0.002, 1.5 * noise)
    assert max(regrets) < 0.002 + 8 * noise


def test_scatter_is_that_of_the_noise_about_parabolas():
    random = np.random.default_rng(1)
    rugged = [{rate: valley(GRID[6])(rate) + 0.01 * random.normal() for rate in GRID[3:9]} for _ in range(200)]
    assert scatter_of(rugged) == pytest.approx(0.01, rel=0.15)
    assert scatter_of([{rate: valley(GRID[6])(rate) for rate in GRID}]) == pytest.approx(0.0, abs=1e-9)
    assert scatter_of([dict.fromkeys(GRID[:3], 1.0)] * 100) == math.inf


def test_a_line_begins_in_the_middle_and_goes_on_from_the_neighbour_that_is_done():
    loss = valley(GRID[6])
    line = [Tried()] * 5

    def after(line: list[Tried]) -> list[Step | None]:
        return next_steps(line, RATES, scatter=math.inf, within=0.002)

    first = after(line)
    assert [step is not None for step in first] == [False, False, True, False, False]
    done = Tried(points=tuple(point(rate, loss) for rate in GRID[5:8]), over=True)
    second = after([Tried(), Tried(), done, Tried(), Tried()])
    assert [step is not None for step in second] == [False, True, False, True, False]
    assert second[1] is not None
    assert second[1].best == GRID[6]
    nothing = Tried(points=(point(GRID[0], lambda rate: math.nan),), over=True)
    (cold,) = [step for step in after([nothing, Tried()]) if step is not None]
    assert cold.why == "coarse grid"


def test_the_coarse_grid_spans_the_grid():
    assert coarse_grid(GRID) == (GRID[0], GRID[4], GRID[8], GRID[12])
    assert coarse_grid((1e-3, 2e-3, 4e-3)) == (1e-3, 4e-3)
