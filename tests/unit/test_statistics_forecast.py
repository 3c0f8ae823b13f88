"""The forecast from curves: recovery, what is dropped and left out, its words, its refusals, its invariances."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from pliant.statistics import Curve, forecast
from pliant.statistics.gaps import gather_gaps, intercept, mean_log
from pliant.statistics.robust import Points, robust_fit
from pliant.statistics.scatter import seed_scatter
from pliant.statistics.vertex import locate_vertex

E, A, ALPHA, BETA = 1.5, 2.0, 0.35, 0.55
B = A * ALPHA / BETA / 100 ** (ALPHA + BETA)  # T* = 100 at gamma 1
GAMMAS = (0.25, 0.5, 1.0)
T = np.geomspace(10, 300, 12)
T_STAR = {gamma: 100 * gamma ** (-2 / (ALPHA + BETA)) for gamma in GAMMAS}


def curve(values, budgets, seeds=None):
    return Curve(
        draws={
            (seed, float(b)): {"mean": float(v)}
            for seed, row in zip(seeds or range(len(values)), values, strict=True)
            for b, v in zip(budgets, row, strict=True)
        }
    )


def ladder(*, budgets=T, gammas=GAMMAS, seeds=3, noise=0.0, fourth=0.0, early=0.0, seed=0, names=None):
    """(base, modified): seed means err by .1 x noise nats and by noise in ln D; `early` bends the first gaps."""
    generator, size = np.random.default_rng(seed), (seeds, len(budgets))
    scale = noise * math.sqrt(seeds)
    base = E + A * budgets**-ALPHA + generator.normal(0, 0.1 * scale, size)
    shared = generator.normal(0, scale, size)
    bend = np.exp(-early / (budgets / budgets[0]) ** 3)
    cost = B * budgets**BETA * bend * np.exp(shared)
    modified = {g: curve(base + g**2 * cost + fourth * B * g**4, budgets, names) for g in gammas}
    return curve(base, budgets, names), modified


def t_stars(found):
    return {p.gamma: p.t_star for p in found.turning_points}


def test_recovers_t_star_whatever_the_fourth_power():
    for fourth in (0.0, 0.9):
        found = forecast(*ladder(fourth=fourth))
        assert t_stars(found) == pytest.approx(T_STAR, rel=1e-3)
        assert found.summary == "intercept of D/gamma^2 on gamma^2"


def test_interval_is_the_delta_method_and_the_rolling_shift_in_quadrature():
    found = forecast(*ladder(noise=0.03, seed=4), confidence=0.9)
    point = found.turning_points[1]
    t = 1.7171  # Student's t at .95 with (3 - 1) (12 - 1) = 22 degrees of freedom
    assert found.fit.points.dof == 22
    half = math.hypot(t * point.standard_error, point.shift)
    assert math.log(point.high / point.t_star) == pytest.approx(half, rel=1e-4)
    assert math.log(point.t_star / point.low) == pytest.approx(half, rel=1e-4)
    assert point.shift == pytest.approx(abs(math.log(found.fit.early.t_star(0.5) / point.t_star)))


def test_intervals_cover():
    hits = 0
    for seed in range(60):
        found = forecast(*ladder(noise=0.03, seed=seed), confidence=0.9, gammas=[0.5])
        (point,) = found.turning_points
        hits += point.low <= T_STAR[0.5] <= point.high
    assert 46 <= hits <= 60


def test_reach():
    """T* = 100 gamma^-2.22 against a last budget of 300 and a first of 10."""
    expected = {
        0.1: "not reached",
        0.36: "not reached",  # 3.2 T_max
        0.38: "extrapolation",  # 2.9
        0.5: "extrapolation",  # 1.56
        0.52: "past the last budget",  # 1.43
        0.6: "past the last budget",  # 1.04
        0.62: "in range",  # .96
        2.8: "in range",
        2.9: "before the first budget",
    }
    found = forecast(*ladder(), gammas=list(expected))
    assert {p.gamma: p.reach for p in found.turning_points} == expected
    assert found.turning_points[3].ratio == pytest.approx(T_STAR[0.5] / 300, rel=1e-3)
    assert "outside the strengths fitted" in " ".join(found.notes)


def test_a_minimum_that_was_measured_stands_beside_the_forecast():
    found = forecast(*ladder(gammas=(0.5, 0.7, 1.0)))
    by_gamma = {p.gamma: p for p in found.turning_points}
    assert by_gamma[0.5].found is None  # 467 lies beyond the last budget
    assert by_gamma[1.0].found.below < 100 < by_gamma[1.0].found.above
    assert by_gamma[1.0].found.tokens == pytest.approx(100, rel=0.05)


def test_gaps_beyond_the_limit_are_not_used():
    base, modified = ladder(gammas=(0.25, 0.5, 1.0))
    worse = {b: 0.2 if b > 200 else 0.0 for b in modified[1.0].budgets}
    modified[1.0] = Curve(draws={k: {"mean": d["mean"] + worse[k[1]]} for k, d in modified[1.0].draws.items()})
    assert t_stars(forecast(base, modified)) == pytest.approx(T_STAR, rel=1e-3)


def test_budgets_without_enough_gaps_end_the_window():
    found = forecast(*ladder(gammas=(0.9, 1.0)), limit=0.29)
    assert found.beyond_limit == tuple(T[-len(found.beyond_limit) :])
    assert found.window[1] < T[-1]
    assert found.turning_points[0].ratio == pytest.approx(found.turning_points[0].t_star / found.window[1])


def test_early_checkpoints_that_bend_are_dropped():
    budgets = np.geomspace(10, 300, 14)
    found = forecast(*ladder(budgets=budgets, noise=0.02, early=1.0, seed=3))
    assert 1 <= len(found.fit.dropped) <= 7
    assert found.fit.dropped == tuple(budgets[: len(found.fit.dropped)])
    assert abs(found.fit.curvature_z) < 2
    assert len(found.fit.points.budgets) >= 7


def test_a_window_that_never_straightens_keeps_seven_and_says_so():
    base, modified = ladder(noise=0.002, seed=3)
    bent = {
        g: Curve(draws={k: {"mean": base.value(*k) + g**2 * 0.01 * math.log(k[1]) ** 3} for k in base.draws})
        for g in modified
    }
    generator = np.random.default_rng(1)
    shaken = {
        g: Curve(draws={k: {"mean": d["mean"] + 1e-6 * generator.normal()} for k, d in c.draws.items()})
        for g, c in bent.items()
    }
    found = forecast(base, shaken)
    assert len(found.fit.points.budgets) == 7
    assert not found.fit.straight
    assert any("does not describe the window well" in note for note in found.notes)


def test_one_seed_is_conditional():
    found = forecast(*ladder(seeds=1, noise=0.02))
    assert found.conditional
    assert found.fit.points.source == "fit"
    assert math.isnan(found.fit.chi2_per_dof)
    assert any("one pre-training seed" in note for note in found.notes)
    assert found.turning_points[2].has_interval
    assert found.turning_points[2].t_star == pytest.approx(100, rel=0.3)


def test_one_gamma_is_taken_as_it_is():
    found = forecast(*ladder(gammas=(0.5,)))
    assert found.summary == "D/gamma^2 of the one gamma"
    assert t_stars(found) == pytest.approx({0.5: T_STAR[0.5]}, rel=1e-3)


def test_a_gap_that_is_not_positive_takes_its_gamma_out():
    base, modified = ladder()
    modified[0.01] = base
    found = forecast(base, modified)
    assert found.gaps.left_out.keys() == {0.01}
    assert t_stars(found)[1.0] == pytest.approx(100, rel=1e-3)
    assert found.turning_points[0].reach == "not reached"
    assert any("gamma 0.01 is not in the fit" in note for note in found.notes)


def test_a_gap_that_shrinks_is_never_reached():
    base, modified = ladder()
    backwards = {
        g: Curve(draws={(s, b): {"mean": base.value(s, b) + g**2 / b} for s, b in base.draws}) for g in modified
    }
    point = forecast(base, backwards).turning_points[0]
    assert (point.reach, point.t_star, point.has_interval) == ("not reached", math.inf, False)
    assert "does not grow" in point.reason


def _without(name, **changes):
    base, modified = ladder(**changes)
    return {"base": base, "modified": modified} | name


def _flat(value):
    base, modified = ladder()
    return {g: Curve(draws={k: {"mean": base.value(*k) + value} for k in base.draws}) for g in modified}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (_without({}, budgets=np.geomspace(10, 300, 6)), "7 token budgets or more, and 6"),
        (_without({}, budgets=np.geomspace(10, 99, 9)), "one decade or more; these run from 10 to 99 tokens"),
        (_without({"base": Curve(draws={})}), "no base loss was given"),
        (_without({"modified": {}}), "no gamma was given"),
        (_without({"modified": _flat(0.5)}), "all its gaps are beyond 0.3 nats"),
        (_without({"modified": _flat(0.0)}), "the log scale needs positive gaps"),
        (_without({"modified": _flat(math.nan)}), "a loss is not finite"),
        (_without({"confidence": 95}), "between 0 and 1"),
        (_without({"gammas": [-0.1]}), "positive noise strength"),
        (_without({"limit": 0.15}, gammas=(1.0, 2.0)), "gaps within 0.15 nats are left at"),
    ],
)
def test_refusals(given, said):
    with pytest.raises(ValueError, match=said):
        forecast(**given)


def test_zero_strength_is_refused():
    base, modified = ladder()
    with pytest.raises(ValueError, match="gammas must be positive"):
        forecast(base, modified | {0.0: base})


def test_an_unfinished_study_is_refused():
    base, modified = ladder(seeds=1)
    some = dict(list(modified[0.5].draws.items())[1:])
    with pytest.raises(ValueError, match="finish the study"):
        forecast(base, modified | {0.5: Curve(draws=some)})


@pytest.fixture(scope="module")
def noisy():
    curves = ladder(noise=0.03, seed=6, names=[1, 2, 3])
    return curves, forecast(*curves)


def _ends(point):
    return np.array([point.t_star, point.low, point.high])


@settings(max_examples=8, deadline=None)
@given(factor=st.floats(1e-3, 1e9))
def test_rescaled_tokens_rescale_t_star(noisy, factor):
    """In any unit of T the same checkpoints are dropped and every T* and its interval carry the unit."""
    (base, modified), plain = noisy
    scaled = forecast(_scaled(base, factor), {gamma: _scaled(c, factor) for gamma, c in modified.items()})
    assert len(scaled.fit.dropped) == len(plain.fit.dropped)
    for one, other in zip(plain.turning_points, scaled.turning_points, strict=True):
        assert_allclose(_ends(other), _ends(one) * factor, rtol=1e-5)


def _scaled(c, factor):
    return Curve(draws={(s, b * factor): d for (s, b), d in c.draws.items()})


@pytest.mark.parametrize("names", [[2, 3, 1], [3, 2, 1]])
def test_order_of_seeds_is_irrelevant(noisy, names):
    other = forecast(*ladder(noise=0.03, seed=6, names=names))
    for one, two in zip(noisy[1].turning_points, other.turning_points, strict=True):
        assert_allclose(_ends(one), _ends(two), rtol=1e-6)


@settings(max_examples=8, deadline=None)
@given(unit=st.floats(1e-3, 1e3))
def test_rescaled_gammas_change_nothing(noisy, unit):
    """gamma in other units: B changes, T* does not."""
    (base, modified), plain = noisy
    other = forecast(base, {gamma * unit: c for gamma, c in modified.items()})
    for one, two in zip(plain.turning_points, other.turning_points, strict=True):
        assert_allclose(_ends(one), _ends(two), rtol=1e-5)


def test_summaries_of_one_checkpoint_by_hand():
    gammas = np.array([1.0, 2.0])
    D = np.array([[3.0 + 0.5], [4 * 3.0 + 16 * 0.5]])  # 3 gamma^2 + .5 gamma^4
    assert_allclose(np.exp(intercept(D, gammas)), [3.0])
    assert_allclose(np.exp(mean_log(D, gammas)), [math.sqrt(3.5 * 5.0)])
    assert np.isnan(intercept(np.array([[3.5], [math.nan]]), gammas)).all()
    assert_allclose(np.exp(mean_log(np.array([[3.5], [math.nan]]), gammas)), [3.5])


def test_scatter_of_seeds_by_hand():
    """Rows differ by 2 as a whole and by +-.5 in each column: residuals are +-.5 everywhere."""
    scatter = seed_scatter(np.array([[0.0, 1.0], [3.0, 2.0]]))
    assert scatter.dof == 1
    assert scatter.checkpoint_sd == pytest.approx(math.sqrt(4 * 0.25 / 1 / 2))
    # MS of seeds = 2 x (1 + 1) / 1 = 4, of residuals 1: the runs' own variance is (4 - 1) / 2
    assert scatter.common_sd == pytest.approx(math.sqrt(1.5 / 2))
    with pytest.raises(ValueError, match="two seeds"):
        seed_scatter(np.zeros((1, 5)))


def test_vertex_of_a_parabola_in_log_tokens():
    budgets = np.geomspace(10, 1000, 9)
    values = [(np.log(budgets / 130)) ** 2 + 2]
    vertex = locate_vertex(curve(values, budgets))
    assert vertex.tokens == pytest.approx(130)
    assert vertex.below < vertex.lowest < vertex.above
    assert locate_vertex(curve([-np.log(budgets)], budgets)) is None


def test_a_robust_fit_with_known_errors_uses_them():
    points = Points(
        budgets=T, base=E + A * T**-ALPHA, log_cost=np.log(B * T**BETA), base_sd=0.005, log_cost_sd=0.05, common_sd=0.1
    )
    fit = robust_fit(points)
    assert fit.chi2_per_dof == pytest.approx(0, abs=1e-9)
    assert fit.rolling_shift(1.0) == pytest.approx(0, abs=1e-6)
    assert fit.dropped == ()


def test_gaps_keep_only_seeds_that_are_complete():
    base, modified = ladder()
    missing = {k: d for k, d in modified[0.5].draws.items() if k != (2, float(T[3]))}
    gaps = gather_gaps(base, modified | {0.5: Curve(draws=missing)})
    assert gaps.seeds == (0, 1)
    assert gaps.gaps.shape == (3, 2, 12)
