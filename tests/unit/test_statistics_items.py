"""Shares, solution density and paired differences against published tables, closed forms and scipy."""

import math

import numpy as np
import pytest
from scipy.stats import multinomial, ttest_rel

from pliant.statistics.density import solution_density
from pliant.statistics.paired import over_items, paired_difference
from pliant.statistics.proportion import clopper_pearson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0), (5, 10, 0.1871, 0.8129), (27, 100, 0.1861, 0.3680)],
)
def test_clopper_pearson_as_tabulated(successes: int, n: int, low: float, high: float):
    assert clopper_pearson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_no_failure_in_n_is_a_closed_form():
    assert clopper_pearson(0, 37)[1] == pytest.approx(1 - 0.025 ** (1 / 37))


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_a_share_of_nothing_is_refused(successes: int, n: int):
    with pytest.raises(ValueError, match="at least one trial"):
        clopper_pearson(successes, n)


def test_solution_density_by_hand():
    found = solution_density([[0.5], [0.46], [0.45], [0.44], [math.nan]], base=0.5, kept=0.9)
    assert (found.share, found.n, found.caveat) == (3 / 5, 5, "")
    assert (found.low, found.high) == clopper_pearson(3, 5)


def test_a_pair_counts_once_and_half_where_one_keeps():
    found = solution_density([[0.5, 0.5], [0.5, 0.1], [0.1, 0.1], [0.1, math.nan]], base=0.5, kept=0.9)
    assert (found.share, found.n) == (1.5 / 4, 4)
    low, high = clopper_pearson(1, 4)[0], clopper_pearson(2, 4)[1]
    assert low < found.low < found.share < found.high < high


@pytest.mark.parametrize("n", [1, 4, 8])
def test_the_interval_covers_whatever_a_pair_shares(n: int):
    """Exact coverage: n pairs, both keep with probability `two`, one with `one`; the share is two + one / 2."""
    ends = {half: clopper_pearson(half / 2, n) for half in range(2 * n + 1)}
    for two, one in ((0.3, 0.0), (0.3, 0.4), (0.05, 0.5), (0.0, 0.1), (0.9, 0.1), (0.45, 0.1), (0.157, 0.0)):
        share = two + one / 2
        covered = sum(
            multinomial.pmf([a, b, n - a - b], n, [two, one, max(1 - two - one, 0.0)])
            for a in range(n + 1)
            for b in range(n + 1 - a)
            if ends[2 * a + b][0] <= share <= ends[2 * a + b][1]
        )
        assert covered >= 0.95


def test_solution_density_warns_where_guessing_passes():
    assert "guessing scores 0.25" in solution_density([[0.2]], base=0.27, kept=0.9, chance=0.25).caveat
    assert solution_density([[0.2]], base=0.4, kept=0.9, chance=0.25).caveat == ""


@pytest.mark.parametrize(
    ("scores", "base", "kept", "says"),
    [
        ([], 0.5, 0.9, "none was given"),
        ([[]], 0.5, 0.9, "none was given"),
        ([[0.1]], 0.5, 0.0, "kept is 0"),
        ([[0.1]], 0.0, 0.9, "the base scores 0"),
    ],
)
def test_a_density_that_means_nothing_is_refused(scores: list[list[float]], base: float, kept: float, says: str):
    with pytest.raises(ValueError, match=says):
        solution_density(scores, base=base, kept=kept)


def test_a_paired_difference_is_the_paired_t_test():
    random = np.random.default_rng(0)
    first, second = random.normal(0.3, 1.0, 40), random.normal(0.0, 1.0, 40)
    found = paired_difference(first.tolist(), second.tolist())
    expected = ttest_rel(first, second).confidence_interval(0.95)
    assert (found.difference.low, found.difference.high) == pytest.approx((expected.low, expected.high))
    assert (found.p, found.first_only) == (None, None)


def test_right_or_wrong_items_get_the_exact_mcnemar_test():
    # 2 items that the first alone gets right, 8 the second alone: p = 2 * P(Binomial(10, 1/2) <= 2) = 2 * 56 / 1024
    first = [1.0] * 2 + [0.0] * 8 + [1.0] * 5
    second = [0.0] * 2 + [1.0] * 8 + [1.0] * 5
    found = paired_difference(first, second)
    assert (found.first_only, found.second_only) == (2, 8)
    assert found.p == pytest.approx(2 * 56 / 1024)
    assert found.difference.value == pytest.approx(-6 / 15)


def test_the_same_items_do_not_differ():
    found = paired_difference([1.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    assert (found.difference.value, found.difference.low, found.difference.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_other_items_are_refused():
    with pytest.raises(ValueError, match="2 items against 3"):
        paired_difference([1.0, 0.0], [1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="none was given"):
        over_items([])


def test_a_mean_over_items():
    found = over_items([1.0, 0.0, 1.0, 1.0])
    assert (found.value, found.low, found.high) == (0.75, *clopper_pearson(3, 4))
    assert "t-interval" in over_items([0.5, 0.25]).method
    assert math.isnan(over_items([0.5]).low)
