"""The law: recovery, T* against a minimiser, standard errors against gradients and repeated draws, two traps."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar

from pliant.statistics.gaps import intercept, mean_log
from pliant.statistics.law import PerturbedLaw
from pliant.statistics.law_fit import curvature_z, fit_law

E, A, ALPHA, BETA = 1.5, 2.0, 0.35, 0.55
B = A * ALPHA / BETA / 100 ** (ALPHA + BETA)  # T* = 100 at gamma 1
GAMMAS = np.array([1.0, 0.5, 0.25])
T_STARS = 100 * GAMMAS ** (-2 / (ALPHA + BETA))  # 100, 467, 2178


def truth(T, gammas=GAMMAS):
    return E + A * T**-ALPHA, B * gammas[:, None] ** 2 * T**BETA


def fitted(T, L0, D, gammas=GAMMAS, sd0=0.005, sd_log_D=0.05, **more) -> PerturbedLaw:
    return fit_law(T, L0, D, gammas, np.full(T.shape, sd0), np.full(D.shape, sd_log_D), **more)


def test_recovers_the_law():
    T = np.geomspace(10, 300, 12)
    law = fitted(T, *truth(T))
    assert_allclose([law.floor, law.amplitude, law.alpha, law.cost, law.beta], [E, A, ALPHA, B, BETA], rtol=1e-3)
    assert_allclose([law.t_star(g) for g in GAMMAS], T_STARS, rtol=1e-6)
    assert_allclose(law.predict(T, 0.5), truth(T)[0] + truth(T)[1][1], rtol=1e-9)
    assert (law.chi2, law.dof) == (pytest.approx(0, abs=1e-12), 12 + 36 - 5)


def test_recovers_a_straight_line_in_log_tokens_which_has_no_floor():
    T = np.geomspace(10, 300, 12)
    law = fitted(T, 3 - 0.2 * np.log(T), truth(T)[1])
    assert law.alpha == pytest.approx(0, abs=1e-7)
    assert math.isnan(law.floor) or abs(law.floor) > 1e3
    assert_allclose(law.t_star(1.0), (0.2 / (B * BETA)) ** (1 / BETA), rtol=1e-5)


@pytest.mark.parametrize("gamma", [2.0, 1.0, 0.3])
def test_t_star_is_where_the_law_is_lowest(gamma):
    T = np.geomspace(10, 300, 12)
    law = fitted(T, *truth(T))
    lowest = minimize_scalar(lambda u: law.predict(np.array([math.exp(u)]), gamma)[0], bounds=(0, 12), method="bounded")
    assert_allclose(law.t_star(gamma), math.exp(lowest.x), rtol=1e-3)


_FIELDS = ("level", "slope", "alpha", "log_cost", "beta")


def numeric_gradient(law, of):
    steps = [1e-6 * max(1.0, abs(getattr(law, name))) for name in _FIELDS]
    return np.array(
        [
            (of(replace(law, **{n: getattr(law, n) + h})) - of(replace(law, **{n: getattr(law, n) - h}))) / (2 * h)
            for n, h in zip(_FIELDS, steps, strict=True)
        ]
    )


@pytest.mark.parametrize("gamma", [1.0, 0.5, 0.25])
def test_standard_errors_against_numeric_gradients(gamma):
    T = np.geomspace(10, 300, 12)
    law = fitted(T, *truth(T))
    gradient = numeric_gradient(law, lambda other: math.log(other.t_star(gamma)))
    assert_allclose(law.log_t_star_se(gamma), math.sqrt(gradient @ law.covariance @ gradient), rtol=1e-3)
    at = np.array([700.0])
    gradient = numeric_gradient(law, lambda other: other.predict(at, gamma)[0])
    assert_allclose(law.predict_se(at, gamma)[0], math.sqrt(gradient @ law.covariance @ gradient), rtol=1e-3)


def draws(count, shared, own, seed=0):
    """`count` ladders of 12 checkpoints, base errors .003, errors of ln D as given; (L0, D) each."""
    T = np.geomspace(10, 300, 12)
    generator = np.random.default_rng(seed)
    L0, D = truth(T)
    for _ in range(count):
        errors = generator.normal(0, shared, 12) + generator.normal(0, own, (3, 12))
        yield T, L0 + generator.normal(0, 0.003, 12), D * np.exp(errors)


def covered(law, gamma, true, quantile=1.6449):
    return abs(math.log(law.t_star(gamma) / true)) <= quantile * law.log_t_star_se(gamma)


def test_intervals_cover():
    hits = sum(covered(fitted(*d, sd0=0.003, sd_log_D=0.03), 0.5, T_STARS[1]) for d in draws(60, 0, 0.03))
    assert 46 <= hits <= 60


def test_the_standard_error_is_the_scatter_of_repeated_fits():
    laws = [fitted(*d, sd0=0.003, sd_log_D=0.03) for d in draws(200, 0, 0.03, seed=1)]
    scatter = np.std([math.log(law.t_star(0.5)) for law in laws], ddof=1)
    assert_allclose(np.mean([law.log_t_star_se(0.5) for law in laws]), scatter, rtol=0.15)


def test_trap_noise_shared_over_gammas_needs_a_summary_before_the_fit():
    """With every gap its own point, 90 % intervals cover far less; one mean of log D a checkpoint mends it."""
    naive = summarised = 0
    for T, L0, D in draws(100, 0.1, 0.01, seed=2):
        naive += covered(fitted(T, L0, D, sd0=0.003, sd_log_D=0.1), 0.5, T_STARS[1])
        single = np.exp(mean_log(D, GAMMAS))[None, :]
        law = fitted(T, L0, single, np.ones(1), sd0=0.003, sd_log_D=math.hypot(0.1, 0.01 / math.sqrt(3)))
        summarised += covered(law, 0.5, T_STARS[1])
    assert naive <= 75
    assert summarised >= 84


@pytest.mark.parametrize(("fourth", "share", "bias"), [(4.336, (0.55, 0.16), 0.36), (0.887, (0.20, 0.04), 0.08)])
def test_trap_a_constant_fourth_power_biases_the_mean_and_not_the_intercept(fourth, share, bias):
    """A gamma^4 term of 16-55 % (4-20 %) of the gap at gamma 1 moves T*(.5) by +36 % (+8 %)."""
    T, gammas = np.geomspace(10, 300, 12), np.array([1.0, 0.75, 0.5])
    L0, D = truth(T, gammas)
    more = fourth * B * gammas[:, None] ** 4
    D = D + more
    assert_allclose((more[0] / D[0])[[0, -1]], share, atol=0.006)
    assert fitted(T, L0, D, gammas).t_star(0.5) / T_STARS[1] - 1 == pytest.approx(bias, abs=0.006)
    line = np.exp(intercept(D, gammas))[None, :]
    assert_allclose(fitted(T, L0, line, np.ones(1)).t_star(0.5), T_STARS[1], rtol=1e-6)


def test_a_longer_window_tells_more():
    """se(ln T*) with sd0 .005 and sdD .05, to a third of the reference (whose A and number of budgets are not said)."""
    reference = {
        (10, 30, 8): (0.25, 0.44, 0.63),
        (10, 100, 8): (0.065, 0.12, 0.18),
        (10, 300, 12): (0.028, 0.054, 0.082),
        (5, 500, 12): (0.019, 0.033, 0.047),
    }
    for (first, last, count), expected in reference.items():
        T = np.geomspace(first, last, count)
        law = fitted(T, *truth(T))
        assert_allclose([law.log_t_star_se(g) for g in GAMMAS], expected, rtol=1 / 3)


def test_a_common_error_widens_and_nothing_else():
    T = np.geomspace(10, 300, 12)
    without, law = fitted(T, *truth(T)), fitted(T, *truth(T), common_sd=0.2)
    assert law.t_star(0.5) == without.t_star(0.5)
    wider = math.hypot(without.log_t_star_se(0.5), 0.2 / (ALPHA + BETA))
    assert_allclose(law.log_t_star_se(0.5), wider, rtol=1e-6)


def test_no_turn_is_said():
    T = np.geomspace(10, 300, 12)
    shrinking = fitted(T, truth(T)[0], truth(T)[1][:, ::-1])
    assert not shrinking.turns
    assert shrinking.t_star(1.0) == math.inf
    assert math.isnan(shrinking.log_t_star_se(1.0))
    rising = fitted(T, truth(T)[0][::-1], truth(T)[1])
    assert math.isnan(rising.t_star(1.0))


def test_curvature_of_a_line_is_nothing_and_of_a_parabola_its_size():
    x = np.linspace(0, 3, 9)
    sd = np.full(9, 0.1)
    assert curvature_z(x, 2 + 3 * x, sd) == pytest.approx(0, abs=1e-9)
    assert curvature_z(x, x**2, sd) == pytest.approx(-curvature_z(x, -(x**2), sd))
    assert curvature_z(x, x**2, sd) > 10


def test_gaps_that_are_missing_are_left_out():
    T = np.geomspace(10, 300, 12)
    L0, D = truth(T)
    D[0, 8:] = np.nan
    law = fitted(T, L0, D)
    assert law.dof == 12 + 32 - 5
    assert_allclose(law.t_star(0.5), T_STARS[1], rtol=1e-6)


def spoilt(**changes):
    T = np.geomspace(10, 300, 12)
    L0, D = truth(T)
    given = {"T": T, "L0": L0, "D": D, "gamma": GAMMAS, "sd0": np.full(12, 0.01), "sd_log_D": np.full((3, 12), 0.1)}
    return given | {name: change(given[name].copy()) for name, change in changes.items()}


def put(place, value):
    def change(values):
        values[place] = value
        return values

    return change


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (spoilt(T=lambda T: T[::-1]), "must be positive and rise"),
        (spoilt(T=put(1, 10.0)), "must be positive and rise"),
        (spoilt(L0=put(3, math.nan)), "base loss is not finite"),
        (spoilt(D=put((0, 3), 0.0)), "a gap is not positive"),
        (spoilt(D=put((0, 3), math.inf)), "a gap is not positive"),
        (spoilt(gamma=put(0, 0.0)), "gammas must be positive"),
        (spoilt(sd0=put(0, 0.0)), "standard deviation must be positive"),
        (spoilt(D=lambda D: np.full_like(D, np.nan)), "fewer than three budgets"),
    ],
)
def test_bad_input_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        fit_law(**given)


@pytest.mark.parametrize("gamma", [0.0, -1.0, math.nan, math.inf])
def test_t_star_needs_a_positive_gamma(gamma):
    T = np.geomspace(10, 300, 12)
    with pytest.raises(ValueError, match="positive noise strength"):
        fitted(T, *truth(T)).t_star(gamma)
