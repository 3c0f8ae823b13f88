"""What holds for every spectrum, every noise and every duration of fine-tuning."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pliant.theory.finetune import finetune_aligned, finetune_anchor_fixed_point
from pliant.theory.inflection import inflections
from pliant.theory.modes import base_loss, mode_flow
from pliant.theory.perturbed import perturbed_floor, perturbed_loss

few = settings(max_examples=25, deadline=None)
spectra = st.lists(st.floats(0.05, 2.0), min_size=1, max_size=6).map(np.array)
starts = st.floats(1e-9, 0.04)
gammas = st.lists(st.floats(0.003, 1.0), min_size=2, max_size=4).map(lambda found: np.sort(found))
counts = st.integers(0, 1000)


@few
@given(st.lists(st.tuples(counts, counts), min_size=2, max_size=12), counts, counts)
def test_stronger_noise_never_has_its_minimum_later(budgets, weaker, more):
    """For any clean loss and any growing sensitivity; whole numbers, so that ties are ties."""
    clean = np.array([loss for loss, _ in budgets])
    grown = np.cumsum([growth for _, growth in budgets])
    assert np.argmin(clean + (weaker + more) * grown) <= np.argmin(clean + weaker * grown)


@few
@given(spectra, starts, gammas)
def test_stronger_noise_never_has_its_inflection_later(sigma, s0, strengths):
    r = len(sigma)
    found = inflections(strengths, sigma, s0, r, r + 1, r + 2, horizon=300.0, grid=300)
    for weaker, stronger in pairwise(found):
        assert stronger.t_star <= weaker.t_star * (1 + 1e-9)
    for f in found:
        assert f.loss_star >= perturbed_floor(f.gamma, sigma, r, r + 1, r + 2) - 1e-10
        assert f.loss_star <= f.curve.min() + 1e-12


@few
@given(spectra, starts, st.lists(st.floats(0, 1), min_size=6, max_size=6), st.floats(0, 100))
def test_no_u_where_the_task_asks_no_more_than_the_target(sigma, s0, shares, tau):
    """sf_i <= sigma_i and s0 <= sigma_i: pre-training loss after fine-tuning never rises with pre-training."""
    s_T = mode_flow(np.geomspace(0.1, 400, 60), sigma, s0)
    sf = sigma * np.array(shares)[: len(sigma)]
    curve = base_loss(finetune_aligned(np.array([tau]), s_T, sf), sigma)[0]
    assert np.max(np.diff(curve)) < 1e-12 * max(1.0, np.sum(sigma**2))


@few
@given(spectra, starts, st.floats(0, 50), st.floats(0, 1), st.integers(-6, 6), st.floats(0, 0.5))
def test_units_rescale(sigma, s0, t, gamma, power, wd):
    """Target, strengths and weight decay in units of c, time in 1/c, noise in sqrt(c): the loss is in c^2."""
    c, r = 4.0**power, len(sigma)
    plain = perturbed_loss(t, gamma, sigma, s0, r, r + 1, r + 2, wd)
    scaled = perturbed_loss(t / c, gamma * np.sqrt(c), c * sigma, c * s0, r, r + 1, r + 2, c * wd)
    assert float(scaled) == pytest.approx(c**2 * float(plain), rel=1e-12)


@few
@given(spectra, starts, st.floats(0, 20), st.floats(0, 20))
def test_training_on_is_training_longer(sigma, s0, first, second):
    halfway = mode_flow(first, sigma, s0)
    np.testing.assert_allclose(mode_flow(second, sigma, halfway), mode_flow(first + second, sigma, s0), rtol=1e-11)


@few
@given(spectra, starts, st.floats(0, 100))
def test_an_anchor_ends_between_start_and_task(sigma, s0, lam):
    task = sigma[::-1].copy()
    end = finetune_anchor_fixed_point(np.full((1, len(sigma)), s0), task, lam)[0]
    assert np.all(end >= np.minimum(s0, task) * (1 - 1e-9))
    assert np.all(end <= np.maximum(s0, task) * (1 + 1e-9))
