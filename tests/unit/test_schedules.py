"""The learning rate at hand-computed steps, and what every schedule promises at all of them."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_cosine_with_min_lr_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from pliant.training.schedules import Schedule

PEAK = 0.01


def rates(schedule, total, until=None):
    return [schedule.learning_rate(PEAK, step, total) for step in range(total if until is None else until)]


def test_warmup_rises_in_equal_steps_to_the_peak():
    expected = [PEAK / 4, PEAK / 2, 3 * PEAK / 4, PEAK, PEAK]
    assert rates(Schedule(kind="constant", warmup_steps=4), 5) == pytest.approx(expected)
    assert rates(Schedule(kind="constant", warmup_fraction=0.4), 10, until=5) == pytest.approx(expected)


def test_wsd_is_the_trunk_then_a_line_to_zero():
    schedule = Schedule(warmup_steps=10, decay_fraction=0.2)
    assert schedule.shared_until(100) == 80
    assert rates(schedule, 100, until=80) == rates(schedule, None, until=80)
    decay = rates(schedule, 100)[80:]
    assert decay == pytest.approx([PEAK * (20 - step) / 20 for step in range(20)])
    assert schedule.learning_rate(PEAK, 100, 100) == 0.0


def test_wsd_budgets_share_their_trunk():
    schedule = Schedule(warmup_steps=5)
    assert rates(schedule, 50, until=40) == rates(schedule, 200, until=40)


def test_cosine_goes_from_peak_to_floor():
    schedule = Schedule(kind="cosine", floor=0.1)
    assert schedule.learning_rate(PEAK, 0, 100) == PEAK
    assert schedule.learning_rate(PEAK, 50, 100) == pytest.approx(PEAK * 0.55)
    assert schedule.learning_rate(PEAK, 25, 100) == pytest.approx(PEAK * (0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2))
    assert schedule.learning_rate(PEAK, 100, 100) == pytest.approx(PEAK * 0.1)


def test_linear_starts_at_the_peak_after_warmup():
    schedule = Schedule(kind="linear", warmup_fraction=0.1)
    assert rates(schedule, 20)[2:] == pytest.approx([PEAK * (18 - step) / 18 for step in range(18)])


THEIRS = {
    "cosine": get_cosine_schedule_with_warmup,
    "linear": get_linear_schedule_with_warmup,
    "constant": lambda optimizer, warmup, total: get_constant_schedule_with_warmup(optimizer, warmup),
}


def their_rates(make, warmup, total, **changes):
    """The factor at each step, from the schedule object itself."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    (factor,) = make(optimizer, warmup, total, **changes).lr_lambdas
    return [PEAK * factor(step) for step in range(total + 1)]


@pytest.mark.parametrize("warmup", [0, 1, 5])
@pytest.mark.parametrize("kind", list(THEIRS))
def test_transformers_has_the_same_rates_and_warms_up_one_update_later(kind, warmup):
    found = rates(Schedule(kind=kind, warmup_steps=warmup), 40)
    theirs = their_rates(THEIRS[kind], warmup, 40)
    assert found[:warmup] == pytest.approx(theirs[1 : warmup + 1])
    assert found[warmup:] == pytest.approx(theirs[warmup:40])
    if warmup:
        assert theirs[0] == 0 < found[0]


def test_the_floor_is_the_min_lr_of_transformers():
    theirs = their_rates(get_cosine_with_min_lr_schedule_with_warmup, 0, 40, min_lr_rate=0.1)
    assert rates(Schedule(kind="cosine", floor=0.1), 40) == pytest.approx(theirs[:40])


def test_what_budgets_share():
    assert Schedule(kind="constant").shared_until(70) == 70
    assert Schedule(kind="constant", warmup_fraction=0.1).shared_until(70) == 0
    assert Schedule(kind="cosine").shared_until(70) == 0


@given(
    kind=st.sampled_from(["wsd", "cosine", "linear", "constant"]),
    warmup=st.integers(0, 50),
    decay=st.floats(0, 1),
    floor=st.floats(0, 1),
    total=st.integers(1, 300),
)
def test_rates_lie_between_zero_and_the_peak_and_never_rise_after_warmup(kind, warmup, decay, floor, total):
    floor = floor if kind in ("cosine", "linear") else 0.0
    schedule = Schedule(kind=kind, warmup_steps=warmup, decay_fraction=decay, floor=floor)
    found = rates(schedule, total)
    assert all(0 <= rate <= PEAK * (1 + 1e-12) for rate in found)
    assert found[-1] > 0
    after = found[warmup:]
    assert all(later <= sooner * (1 + 1e-12) for sooner, later in itertools.pairwise(after))
    shared = schedule.shared_until(total)
    assert found[:shared] == rates(schedule, None, until=shared)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"warmup_steps": -1}, "warmup_steps must be 0 or more, got -1"),
        ({"decay_fraction": 1.5}, "decay_fraction must lie between 0 and 1, got 1.5"),
        ({"kind": "wsd", "floor": 0.1}, "floor has an effect for cosine and linear only"),
        ({"floor": math.nan}, "floor must lie between 0 and 1, got nan"),
        ({"kind": "cosine", "warmup_fraction": -0.1}, "warmup_fraction must lie between 0 and 1"),
        ({"kind": "cosine", "warmup_fraction": 0.1, "warmup_steps": 5}, "not both"),
        ({"kind": "wsd", "warmup_fraction": 0.1}, "give warmup_steps, not warmup_fraction"),
    ],
)
def test_refused_settings(settings, says):
    with pytest.raises(ValueError, match=says):
        Schedule(**settings)
