"""Intervals, paired draws and rank correlation against SciPy and hand-computed points."""

import math

import numpy as np
import pytest
import scipy.stats

from pliant.statistics import (
    Copy,
    Curve,
    contrast,
    over_draws,
    over_seeds,
    paired_draws,
    sensitivity,
    spearman,
)
from pliant.statistics.contrast import within_run


def test_interval_over_seeds_is_the_t_interval() -> None:
    values = {3: 0.04, 1: 0.021, 2: 0.055}
    expected = scipy.stats.ttest_1samp(list(values.values()), 0).confidence_interval(0.95)
    estimate = over_seeds(values)
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))
    assert estimate.seeds == (1, 2, 3)
    assert estimate.values == (0.021, 0.055, 0.04)
    assert not estimate.conditional


def test_one_seed_has_no_interval_and_its_draws_are_conditional() -> None:
    assert not over_seeds({0: 1.0}).has_interval
    draws = over_draws([1.0, 2.0, 3.0], seed=0)
    assert draws.has_interval
    assert draws.conditional
    assert draws.method == "95 % t-interval over 3 draws within one pre-training run"


def test_antithetic_pair_is_one_draw() -> None:
    copies = [
        Copy(draw=0, sign=1, loss=2.0),
        Copy(draw=0, sign=-1, loss=4.0),
        Copy(draw=1, sign=1, loss=1.0),
    ]
    assert paired_draws(copies) == {0: 3.0, 1: 1.0}
    with pytest.raises(ValueError, match="holds sign 1 twice"):
        paired_draws([*copies, Copy(draw=1, sign=1, loss=1.0)])


def test_sensitivity_subtracts_the_base_of_the_same_run() -> None:
    modified = Curve(draws={(0, 1.0): {"a": 3.0, "b": 5.0}, (1, 1.0): {"a": 4.0}})
    base = Curve(draws={(0, 1.0): {"base": 1.0}, (1, 1.0): {"base": 2.0}})
    assert sensitivity(modified, base).values().tolist() == [[3.0], [2.0]]


def test_contrast_pairs_within_seeds_and_within_draws() -> None:
    two = Curve(draws={(s, b): {"d": v} for s, b, v in [(0, 1, 1), (0, 2, 2), (1, 1, 5), (1, 2, 8)]})
    assert contrast(two, budget=2, against=1).values == (1.0, 3.0)
    one = Curve(draws={(0, 1.0): {"a": 1.0, "b": 9.0}, (0, 2.0): {"b": 10.0, "a": 2.0}})
    estimate = contrast(one, budget=2.0, against=1.0)
    assert (estimate.value, estimate.low, estimate.conditional) == (1.0, 1.0, True)
    with pytest.raises(ValueError, match="no pre-training seed was measured both at 3 and at 1"):
        contrast(one, budget=3.0, against=1.0)
    with pytest.raises(ValueError, match="seed 7"):
        within_run(one, seed=7, budget=2.0, against=1.0)


def test_complete_leaves_out_seeds_with_gaps() -> None:
    curve = Curve(draws={(0, 1.0): {"d": 1.0}, (0, 2.0): {"d": 1.0}, (1, 1.0): {"d": 9.0}})
    assert curve.complete().seeds == (0,)
    assert math.isnan(curve.values()[1, 1])


@pytest.mark.parametrize("y", [[1, 2, 3, 4, 5, 6], [3, 1, 2, 6, 5, 4], [1, 1, 2, 3, 3, 4]])
def test_spearman_and_its_exact_p_value(y: list[float]) -> None:
    x = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    expected = scipy.stats.permutation_test(
        (y,),
        lambda order: scipy.stats.spearmanr(x, order).statistic,
        permutation_type="pairings",
        n_resamples=np.inf,
        alternative="two-sided",
    )
    found = spearman(x, y)
    assert found.rho == pytest.approx(float(scipy.stats.spearmanr(x, y).statistic))
    # SciPy doubles the smaller tail; the null is symmetric without ties, and then both agree.
    if len(set(y)) == len(y):
        assert found.p == pytest.approx(float(expected.pvalue))
    assert 2 / math.factorial(6) <= found.p <= 1


def test_spearman_of_many_or_of_constant_budgets() -> None:
    x, y = list(range(20)), [float(v) for v in np.random.default_rng(0).normal(size=20)]
    reference = scipy.stats.spearmanr(x, y)
    assert spearman(x, y).p == pytest.approx(float(reference.pvalue))
    assert math.isnan(spearman([1, 2, 3], [1.0, 1.0, 1.0]).rho)
    with pytest.raises(ValueError, match="x has 2 values and y 1"):
        spearman([1, 2], [1])
