"""Losses and accuracies against the transformers model and hand-made logits."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import tiny
from pliant.data.tasks import EncodedSplit
from pliant.evaluation.losses import BLOCK_ROWS, accuracy_measurement, loss_measurement
from pliant.training.decoder import choose_forward, transformers_logits


def loss(model, split, batch_tokens=120, forward=None, **changes):
    settings = {"name": "test", "draw": None, "sign": None} | changes
    forward = forward or choose_forward(model, "lean")
    return loss_measurement(model, split, forward=forward, batch_tokens=batch_tokens, **settings)


def transformers_loss(model, split):
    """The loss that the model computes from labels; it shifts them by itself, so they cover whole windows."""
    windows = np.concatenate([split.inputs, split.targets[:, -1:]], axis=1)
    labels = np.concatenate([np.full((len(split), 1), -100), split.targets], axis=1)
    with torch.inference_mode():
        return model.eval()(input_ids=torch.from_numpy(windows), labels=torch.from_numpy(labels)).loss.item()


@pytest.mark.parametrize("prompt", [0, 5])
@pytest.mark.parametrize("kind", [{}, {"tied": True}, {"family": "olmo2"}], ids=["llama", "tied", "olmo2"])
def test_our_loss_is_that_of_the_transformers_model(kind, prompt):
    model = tiny.model(**kind)
    split = tiny.split(40, prompt=prompt)
    expected = pytest.approx(transformers_loss(model, split), rel=2e-6)
    assert loss(model, split).value == expected
    assert loss(model, split, forward=transformers_logits).value == expected


def test_the_value_is_that_of_its_blocks():
    found = loss(tiny.model(), tiny.split(3 * BLOCK_ROWS + 5, prompt=2), draw=3, sign=-1)
    assert found.value == math.fsum(found.blocks) / sum(found.count)
    assert found.count == (BLOCK_ROWS * 10,) * 3 + (50,)
    assert (found.metric, found.split, found.draw, found.sign) == ("loss_nats", "test", 3, -1)


def test_a_block_is_the_loss_of_its_rows():
    model, split = tiny.model(), tiny.split(2 * BLOCK_ROWS)
    found = loss(model, split)
    for block in range(2):
        rows = slice(block * BLOCK_ROWS, (block + 1) * BLOCK_ROWS)
        own = EncodedSplit(inputs=split.inputs[rows], targets=split.targets[rows])
        assert found.blocks[block] / found.count[block] == pytest.approx(transformers_loss(model, own), rel=2e-6)


@pytest.mark.parametrize("batch_tokens", [1, 12, 50, 10**6])
def test_the_batch_does_not_change_the_loss(batch_tokens):
    model, split = tiny.model(), tiny.split(40, prompt=3)
    found, expected = loss(model, split, batch_tokens=batch_tokens), loss(model, split)
    assert found.value == pytest.approx(expected.value, rel=1e-6)
    assert found.blocks == pytest.approx(expected.blocks, rel=1e-6)
    assert found.count == expected.count


def test_evaluating_leaves_no_trace():
    model, split = tiny.model(), tiny.split(20)
    before = tiny.weights_of(model)
    assert loss(model, split).value == loss(model, split).value
    assert tiny.same_bits(tiny.weights_of(model), before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_loss_too_large_for_training_is_measured_in_full():
    logits = torch.zeros(1, 2, 3)
    logits[..., 0] = 500.0
    split = EncodedSplit(inputs=np.zeros((1, 2), dtype=np.int64), targets=np.array([[1, 0]]))
    assert loss(tiny.model(), split, forward=lambda model, inputs: logits).value == pytest.approx(250.0)


# accuracy


def hand_made(logits_at):
    """Logits that are zero but at (row, position, token)."""
    logits = torch.zeros(3, 4, 6)
    for place, value in logits_at.items():
        logits[place] = value
    return lambda model, inputs: logits


def accuracy(forward, targets):
    targets = np.array(targets)
    split = EncodedSplit(inputs=np.zeros_like(targets), targets=targets)
    model = SimpleNamespace(parameters=lambda: iter([torch.zeros(1)]))
    return accuracy_measurement(model, split, (1, 2, 4), forward=forward, name="test", batch_tokens=10**6)


def test_accuracy_by_hand():
    ignored = -100
    targets = [[ignored, 1, 5, ignored], [ignored, ignored, 2, ignored], [4, ignored, ignored, ignored]]
    forward = hand_made(
        {
            (0, 1, 1): 2.0,  # right
            (0, 1, 5): 9.0,  # larger, but no label
            (0, 2, 2): 9.0,  # a later scored target does not count
            (1, 2, 4): 1.0,  # wrong
            (1, 1, 2): 9.0,  # not a scored target
            (2, 0, 4): 0.1,  # right
        }
    )
    found = accuracy(forward, targets)
    assert found.value == pytest.approx(2 / 3)
    assert (found.metric, found.blocks, found.count) == ("accuracy", (2.0,), (3,))


def test_accuracy_of_a_model_does_not_depend_on_the_batch():
    model, split = tiny.model(), tiny.split(50, prompt=8)
    labels = tuple(range(tiny.VOCABULARY))
    found = [
        accuracy_measurement(
            model, split, labels, forward=choose_forward(model, "lean"), name="test", batch_tokens=batch_tokens
        )
        for batch_tokens in (12, 10**6)
    ]
    assert found[0] == found[1]
    with torch.inference_mode():
        guess = transformers_logits(model, torch.from_numpy(split.inputs))[:, 8].argmax(dim=1).numpy()
    assert found[0].value == pytest.approx(np.mean(guess == split.targets[:, 8]))
