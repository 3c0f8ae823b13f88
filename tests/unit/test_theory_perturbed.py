"""F2 of the linear theory on modes: against the matrix formula, simulation and hand-computed points."""

import numpy as np
import pytest

import linear_network as net
from pliant.theory.modes import base_loss, mode_flow, power_law
from pliant.theory.perturbation import perturbation_expectation
from pliant.theory.perturbed import (
    perturbed_floor,
    perturbed_loss,
    sensitivity,
    sensitivity_relative,
    shrinkage,
)

M, H, N = 7, 6, 4
SIGMA = power_law(3, 0.7, 1.3)
S = np.array([1.1, 0.4, 0.02])


def simulated(W1, W2, A, g1, g2, scale=None, draws=20_000):
    """Losses of noisy copies; `scale` (n, n) colours the input."""
    generator = np.random.default_rng(3)
    first = W1 + g1 * generator.normal(size=(draws, *W1.shape))
    second = W2 + g2 * generator.normal(size=(draws, *W2.shape))
    error = first @ second - A
    return np.sum((error if scale is None else error @ scale) ** 2, axis=(1, 2))


def z(losses, expected):
    return (losses.mean() - expected) / (losses.std(ddof=1) / np.sqrt(len(losses)))


@pytest.mark.parametrize(("g1", "g2"), [(0.05, 0.4), (0.4, 0.05), (0.3, 0.3)])
def test_rectangular_with_unequal_strengths(g1, g2):
    W1, W2, A, _, _ = net.aligned(S, SIGMA, (M, H, N), np.random.default_rng(2))
    expected = float(base_loss(S, SIGMA) + sensitivity(S, g1, M, N, H, g2))
    assert expected == pytest.approx(perturbation_expectation(W1, W2, A, g1, g2), rel=1e-12)
    assert abs(z(simulated(W1, W2, A, g1, g2), expected)) < 4.5


def test_input_covariance():
    W1, W2, A, _, V = net.aligned(S, SIGMA, (M, H, N), np.random.default_rng(2))
    V = np.column_stack([V, np.linalg.svd(V.T)[2][-1]])  # complete the basis
    cov = np.array([3.0, 0.2, 1.0, 2.5])
    expected = float(base_loss(S, SIGMA, cov) + sensitivity(S, 0.3, M, N, H, 0.1, cov))
    assert abs(z(simulated(W1, W2, A, 0.3, 0.1, V * np.sqrt(cov)), expected)) < 4.5


def test_covariance_of_one_is_none():
    given = sensitivity(S, 0.2, M, N, H, 0.5, np.ones(N))
    assert given == pytest.approx(float(sensitivity(S, 0.2, M, N, H, 0.5)), rel=1e-14)


def test_relative_noise():
    W1, W2, A, _, _ = net.aligned(S, SIGMA, (M, H, N), np.random.default_rng(2))
    rms = [0.3 * np.sqrt(np.mean(W**2)) for W in (W1, W2)]
    expected = float(base_loss(S, SIGMA) + sensitivity_relative(S, 0.3, H))
    assert abs(z(simulated(W1, W2, A, *rms), expected)) < 4.5
    assert expected == pytest.approx(perturbation_expectation(W1, W2, A, *map(float, rms)), rel=1e-12)


def test_sensitivity_by_hand():
    # (2 * 3 + 2 * 5) * 0.25 * (1 + 2) / 2 ... n=3, m=5, h=4: .25 * 8 * 3 + .0625 * 60
    assert sensitivity(np.array([1.0, 2.0]), 0.5, 5, 3, 4) == pytest.approx(6 + 3.75)


def test_no_noise_is_exactly_the_base_loss():
    t = np.geomspace(0.1, 100, 7)
    clean = base_loss(mode_flow(t, SIGMA, 1e-3), SIGMA)
    assert np.array_equal(perturbed_loss(t, 0.0, SIGMA, 1e-3, M, N, H), clean)
    assert np.array_equal(perturbed_loss(t, np.zeros(2), SIGMA, 1e-3, M, N, H), [clean, clean])
    assert np.all(sensitivity_relative(mode_flow(t, SIGMA, 1e-3), 0.0, H) == 0)


def test_strengths_lead_the_shape():
    t, gammas = np.geomspace(0.1, 100, 6).reshape(2, 3), np.array([0.0, 0.1, 0.2, 0.4])
    losses = perturbed_loss(t, gammas, SIGMA, 1e-3, M, N, H)
    assert losses.shape == (4, 2, 3)
    assert losses[2, 1, 0] == pytest.approx(float(perturbed_loss(float(t[1, 0]), 0.2, SIGMA, 1e-3, M, N, H)))


@pytest.mark.parametrize("gamma", [0.0, 0.2, 0.5, 0.9])
def test_floor_is_the_lowest_over_strengths(gamma):
    per_mode = np.linspace(0, 2, 20_001)
    one = [np.min((sigma - per_mode) ** 2 + 2 * shrinkage(gamma, M, N) * per_mode) for sigma in SIGMA]
    floor = float(perturbed_floor(gamma, SIGMA, M, N, H))
    assert floor == pytest.approx(sum(one) + gamma**4 * M * H * N, abs=1e-7)
    soft = np.maximum(SIGMA - float(shrinkage(gamma, M, N)), 0)
    assert floor == pytest.approx(float(base_loss(soft, SIGMA) + sensitivity(soft, gamma, M, N, H)), rel=1e-12)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sensitivity(S, -0.1, M, N, H), "gamma is or contains -0.1: give finite numbers, zero or more"),
        (lambda: sensitivity(S, 0.1, M, N, H, float("inf")), "gamma2 is or contains inf"),
        (lambda: sensitivity(S, 0.1, M, 2, H), r"m=7, n=2, h=6 cannot hold 3 modes: give 3 or more of each"),
        (lambda: sensitivity(S, 0.1, M, N, H, cov=np.ones(3)), "cov has 3 variances for n=4 inputs"),
        (lambda: sensitivity_relative(S, 0.1, 2), "h=2 cannot hold 3 modes"),
        (lambda: perturbed_floor(0.1, SIGMA, 1, N, H), "m=1"),
    ],
)
def test_bad_arguments_are_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()
