"""When to stop drawing: by the width of the interval, unless it is clear by far."""

import math

import numpy as np
import pytest
from scipy import stats

from pliant.statistics import Curve, locate_minimum, precise_draws
from pliant.statistics.more_draws import CLEAR_BY, draws_for_precision


def wanted(value: float, half_width: float, *, margin: float = 0.0, precision: float = 1.0, most: int = 32) -> int:
    place = np.asarray(value)
    found = draws_for_precision(
        np.asarray(8),
        value=place,
        cautious=place,
        half_width=np.asarray(half_width),
        margin=margin,
        precision=precision,
        most=most,
    )
    return int(found)


def test_draws_grow_with_the_square_of_what_the_interval_lacks():
    assert wanted(0.0, 1.0) == 8
    assert wanted(0.0, 1.5) == 18
    assert wanted(0.0, 2.0) == 32
    assert wanted(0.0, 5.0) == 32
    assert wanted(0.0, 5.0, most=100) == 100


@pytest.mark.parametrize("sign", [-1, 1])
def test_nothing_is_added_where_the_margin_is_far_off(sign: int):
    assert wanted(sign * (CLEAR_BY * 2.0 + 0.01), 2.0) == 8
    assert wanted(sign * (CLEAR_BY * 2.0 - 0.01), 2.0) == 32


def test_what_is_drawn_is_never_asked_back():
    assert wanted(0.0, 5.0, most=4) == 8


def run(scatter: float, rise: float) -> Curve:
    noise = scatter * np.random.default_rng(0).normal(size=(2, 8))
    draws = {(0, 2.0**i): {f"{d}": level + noise[i, d] for d in range(8)} for i, level in enumerate((0.0, rise))}
    return Curve(draws=draws)


def test_one_run_is_given_the_draws_that_narrow_it_to_the_margin():
    narrow, wide, clear = (locate_minimum(run(*case)) for case in ((0.001, 0.0), (0.04, 0.02), (0.02, 5.0)))
    assert precise_draws(narrow, margin=0.01, most=64) == 8
    assert 8 < precise_draws(wide, margin=0.01, most=640) < 640
    assert precise_draws(clear, margin=0.01, most=64) == 8
    half = wide.rise.standard_error * stats.t.ppf(1 - 0.05 / 1.2, 7)
    assert precise_draws(wide, margin=0.01, most=10_000) == math.ceil(8 * (half / 0.01) ** 2)
