"""F2 of the linear theory against simulation, hand-computed points and its own symmetries."""

import numpy as np
import pytest

from pliant.theory.perturbation import perturbation_expectation

M, H, N = 5, 3, 7


@pytest.fixture
def weights() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(11)
    return generator.normal(size=(M, H)), generator.normal(size=(H, N)), generator.normal(size=(M, N))


@pytest.mark.parametrize(("g1", "g2"), [(0.05, 0.4), (0.4, 0.05), (0.7, 1.3), (0.0, 0.5), (0.5, 0.0)])
def test_agrees_with_simulation(weights, g1, g2):
    W1, W2, A = weights
    generator = np.random.default_rng(5)
    first = W1 + g1 * generator.normal(size=(20_000, M, H))
    second = W2 + g2 * generator.normal(size=(20_000, H, N))
    losses = np.sum((first @ second - A) ** 2, axis=(1, 2))
    standard_error = losses.std(ddof=1) / np.sqrt(len(losses))
    z = (losses.mean() - perturbation_expectation(W1, W2, A, g1, g2)) / standard_error
    assert abs(z) < 4.5


def test_no_noise_is_exactly_the_clean_loss(weights):
    W1, W2, A = weights
    clean = float(np.sum((W1 @ W2 - A) ** 2))
    assert perturbation_expectation(W1, W2, A, 0.0) == clean
    assert perturbation_expectation(W1, W2, A, 0, 0) == clean


def test_by_hand():
    # (2 + E1)(3 + 0.5 E2) - 5 in one dimension: 1 + .25 * 4 + 1 * 9 + .25
    one = np.ones((1, 1))
    assert perturbation_expectation(2 * one, 3 * one, 5 * one, 1.0, 0.5) == pytest.approx(11.25)


def test_one_strength_serves_both_layers(weights):
    W1, W2, A = weights
    assert perturbation_expectation(W1, W2, A, 0.3) == perturbation_expectation(W1, W2, A, 0.3, 0.3)


def test_rise_does_not_depend_on_the_target(weights):
    W1, W2, A = weights
    rises = [
        perturbation_expectation(W1, W2, target, 0.2, 0.6) - perturbation_expectation(W1, W2, target, 0.0)
        for target in (A, np.zeros((M, N)), W1 @ W2)
    ]
    np.testing.assert_allclose(rises, rises[0], rtol=1e-12)


def test_transposing_swaps_the_layers(weights):
    W1, W2, A = weights
    swapped = perturbation_expectation(W2.T, W1.T, A.T, 0.6, 0.2)
    assert perturbation_expectation(W1, W2, A, 0.2, 0.6) == pytest.approx(swapped, rel=1e-12)


@pytest.mark.parametrize("std", [-0.1, float("nan"), float("inf")])
def test_refuses_a_strength_that_is_none(weights, std):
    with pytest.raises(ValueError, match=r"g2=.* is not a noise strength: give a finite number"):
        perturbation_expectation(*weights, 0.1, std)


def test_refuses_shapes_that_do_not_chain(weights):
    W1, W2, A = weights
    # Here the annotations are checked first (TypeError); for users the function itself refuses (ValueError).
    with pytest.raises((ValueError, TypeError)):
        perturbation_expectation(W1, W2, A[:1], 0.1)
