"""The bounds of "above the lowest of the others": against plain t-intervals, by hand, and under changes of unit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from pliant.statistics.lowest import PRICE_OF_CHOICE, REACH, above_lowest
from pliant.statistics.minimum import candidate_minima

CLEAR = np.array([[9.0, 5.0, 1.0, 5.2, 7.0], [9.1, 5.3, 1.2, 5.0, 7.4], [8.9, 5.1, 0.9, 5.1, 7.1]])
"""One budget is the lowest beyond doubt, so that every bound is that of one fixed contrast."""


def test_with_a_clear_minimum_every_bound_is_a_plain_t_bound() -> None:
    differences = CLEAR[:, -1] - CLEAR[:, 2]
    above = above_lowest(CLEAR, None, 4)
    assert above.value == pytest.approx(differences.mean())
    low, high = stats.t.interval(0.95, 2, loc=differences.mean(), scale=stats.sem(differences))
    assert (above.lower(0.975), above.upper(0.975)) == pytest.approx((low, high))
    priced = stats.t.ppf(1 - 0.05 / PRICE_OF_CHOICE, 2) * stats.sem(differences)
    assert above.lower(0.95, price=PRICE_OF_CHOICE) == pytest.approx(differences.mean() - priced)
    p = stats.ttest_1samp(differences, 0.5, alternative="greater").pvalue
    assert above.p(0.5) == pytest.approx(PRICE_OF_CHOICE * p)


def test_text_adds_its_own_variance() -> None:
    text = CLEAR.mean(axis=0) + np.array([[0.3, 0, 0.1, 0, 0], [0, 0, -0.3, 0, 0.2], [-0.3, 0, 0.2, 0, -0.2]])
    above = above_lowest(CLEAR, text, 4)
    seeds, groups = CLEAR[:, 4] - CLEAR[:, 2], text[:, 4] - text[:, 2]
    variances = stats.sem(seeds) ** 2, stats.sem(groups) ** 2
    assert above.standard_error == pytest.approx(sum(variances) ** 0.5)
    assert above.degrees_of_freedom == pytest.approx(sum(variances) ** 2 / sum(v**2 / 2 for v in variances))


def test_a_run_has_no_part_in_its_own_choice() -> None:
    """However low one run dips at a budget, that run is compared where the others are low."""
    rows = np.array([[5.0, 1.0, 4.0, 2.0], [5.0, 1.1, 4.1, 2.1], [5.1, 0.9, 4.0, 2.0]])
    dipped = rows.copy()
    dipped[0, 2] = -50.0
    noise_free = np.concatenate([rows, rows]), np.concatenate([dipped, rows])
    plain, odd = (above_lowest(r, None, 3) for r in noise_free)
    assert odd.value > plain.value + 3
    assert odd.cautious < odd.value


def test_identical_runs_leave_no_doubt() -> None:
    rows = np.array([[2.0, 1.0, 1.5]] * 3)
    above = above_lowest(rows, None, 2)
    assert (above.standard_error, above.lower(0.975), above.upper(0.975)) == (0.0, 0.5, 0.5)
    assert (above.p(), above.p(0.5), above.p(0.6)) == (0.0, pytest.approx(0.5 * PRICE_OF_CHOICE), 1.0)


def test_too_little_to_compare_is_refused() -> None:
    for rows in (np.zeros((1, 4)), np.zeros((3, 1))):
        with pytest.raises(ValueError, match="two or more of each are needed"):
            above_lowest(rows, None, 0)


ladders = arrays(float, st.tuples(st.integers(2, 5), st.integers(2, 7)), elements=st.floats(-5, 5, width=16))


@settings(max_examples=60, deadline=None)
@given(ladders, st.permutations(range(5)), st.floats(0.1, 10))
def test_order_of_runs_offsets_and_units_do_not_matter(rows: np.ndarray, order: list[int], unit: float) -> None:
    last = rows.shape[1] - 1
    before = above_lowest(rows, None, last)
    shuffled = rows[[place for place in order if place < len(rows)]]
    offsets = np.arange(len(rows))[:, None] * 0.25
    for changed, scale in ((shuffled, 1.0), (rows + offsets, 1.0), (rows * unit, unit)):
        after = above_lowest(changed, None, last)
        for bound in (lambda a: a.lower(0.95), lambda a: a.upper(0.95), lambda a: a.value):
            assert bound(after) == pytest.approx(scale * bound(before), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(ladders)
def test_bounds_are_ordered_and_the_lowest_mean_is_a_candidate(rows: np.ndarray) -> None:
    above = above_lowest(rows, None, rows.shape[1] - 1)
    assert above.lower(0.975) <= above.lower(0.95) <= above.cautious + 1e-9
    assert above.value - 1e-9 <= above.upper(0.95) <= above.upper(0.975)
    assert candidate_minima(rows, None)[rows.mean(axis=0).argmin()]


def test_many_ladders_at_once_are_judged_as_one_by_one() -> None:
    generator = np.random.default_rng(3)
    rows, text = generator.normal(size=(4, 3, 6)), generator.normal(size=(4, 10, 6))
    together = above_lowest(rows, text, 5)
    for k in range(4):
        alone = above_lowest(rows[k], text[k], 5)
        assert together.lower(0.95)[k] == pytest.approx(alone.lower(0.95))
        assert together.upper(0.95)[k] == pytest.approx(alone.upper(0.95))


def test_budgets_out_of_reach_have_no_weight() -> None:
    """A budget beyond REACH standard errors changes neither bound, however far it is."""
    near, far = CLEAR.copy(), CLEAR.copy()
    near[:, 0] += REACH
    far[:, 0] += 1e6
    for bound in ("lower", "upper"):
        assert getattr(above_lowest(near, None, 4), bound)(0.95) == getattr(above_lowest(far, None, 4), bound)(0.95)
