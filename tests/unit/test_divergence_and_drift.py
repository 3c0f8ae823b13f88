"""KL to the base and feature drift against SciPy, closed forms, and the base itself."""

import math

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

import tiny
from pliant.evaluation.divergence import base_log_probabilities, divergence_measurement, first_tokens
from pliant.evaluation.drift import drift_measurements, hidden_states, mean_principal_angle
from pliant.training.decoder import choose_forward, transformers_logits

SPLIT = tiny.split(10)


def divergence(model, base, forward=transformers_logits):
    return divergence_measurement(model, base, SPLIT, forward=forward, batch_tokens=40, name="test", draw=1, sign=-1)


@pytest.mark.parametrize("kind", ["lean", "transformers"])
def test_the_base_does_not_diverge_from_itself(kind):
    model = tiny.model()
    forward = choose_forward(model, kind)
    found = divergence(model, base_log_probabilities(model, SPLIT, forward=forward, batch_tokens=40), forward)
    assert found.value == 0.0
    assert found.blocks == (0.0,) * 10


def test_divergence_is_scipys_relative_entropy():
    base, other = tiny.model(seed=0), tiny.model(seed=1)
    found = divergence(other, base_log_probabilities(base, SPLIT, forward=transformers_logits, batch_tokens=40))
    with torch.inference_mode():
        p, q = (
            softmax(transformers_logits(m, torch.from_numpy(SPLIT.inputs)).double().numpy(), axis=-1)
            for m in (base, other)
        )
    each = rel_entr(p, q).sum(axis=(1, 2))
    assert found.blocks == pytest.approx(each, rel=1e-4)
    assert found.value == pytest.approx(each.sum() / (10 * 12), rel=1e-4)
    assert found.count == (12,) * 10
    assert (found.metric, found.draw, found.sign) == ("divergence_nats", 1, -1)


def test_more_tokens_than_memory_holds_are_refused(monkeypatch):
    monkeypatch.setattr("pliant.evaluation.divergence.LARGEST_BYTES", 4 * 40 * 100)
    with pytest.raises(ValueError, match="lower its tokens to 100"):
        base_log_probabilities(tiny.model(), SPLIT, forward=transformers_logits, batch_tokens=40)


def test_the_first_tokens_are_whole_windows():
    assert len(first_tokens(SPLIT, 30)) == 2
    assert len(first_tokens(SPLIT, 1)) == 1


# drift


def test_a_rotated_plane_has_the_angle_it_was_rotated_by():
    # span(e1, e2) against span(cos a e1 + sin a e3, e2): the angles are a and 0
    angle = 0.3
    base, turned = np.zeros((6, 4)), np.zeros((6, 4))
    base[0, 0], base[1, 1] = 2.0, 1.0
    turned[0, 0], turned[2, 0], turned[1, 1] = 2 * math.cos(angle), 2 * math.sin(angle), 1.0
    assert mean_principal_angle(base, turned, 2) == pytest.approx(angle / 2)
    assert mean_principal_angle(base, turned, 1) == pytest.approx(angle)


def test_orthogonal_subspaces_are_a_right_angle_apart():
    base, other = np.zeros((6, 3)), np.zeros((6, 3))
    base[:2, :2], other[3:5, :2] = np.eye(2), np.eye(2)
    assert mean_principal_angle(base, other, 2) == pytest.approx(math.pi / 2)


def test_a_rotation_of_the_features_is_no_drift():
    random = np.random.default_rng(0)
    base = random.normal(size=(30, 5))
    rotation = np.linalg.qr(random.normal(size=(5, 5)))[0]
    assert mean_principal_angle(base, base @ rotation, 3) == pytest.approx(0.0, abs=1e-7)
    assert mean_principal_angle(base, base.copy(), 3) == 0.0


def test_more_components_than_features_are_refused():
    with pytest.raises(ValueError, match="lower components"):
        mean_principal_angle(np.zeros((9, 3)), np.ones((9, 3)), 4)


def test_drift_of_a_model_layer_by_layer():
    base, other = tiny.model(seed=0), tiny.model(seed=1)
    states = hidden_states(base, SPLIT, batch_tokens=40)
    assert [s.shape for s in states] == [(120, 16)] * 3
    assert all(m.value == 0.0 for m in drift_measurements(states, states, 4, draw=None, sign=None))
    found = drift_measurements(states, hidden_states(other, SPLIT, batch_tokens=40), 4, draw=0, sign=1)
    assert [m.tensor for m in found] == [None, "layer 0", "layer 1", "layer 2"]
    assert found[0].value == found[-1].value
    assert all(0 < m.value < math.pi / 2 for m in found)
