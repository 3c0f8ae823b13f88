"""Estimated seconds grow with the work; they are an estimate, so nothing more is asked of them."""

from dataclasses import replace

import pytest

from pliant.studies.cost import Cost, machine_factor


def test_no_work_costs_nothing():
    assert Cost().seconds(8, 5_000) == 0.0


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (Cost(updates=10, update_tokens=64), Cost(updates=20, update_tokens=64)),
        (Cost(updates=10, update_tokens=64), Cost(updates=10, update_tokens=128)),
        (Cost(evaluated_tokens=100), Cost(evaluated_tokens=200)),
        (Cost(evaluated_tokens=640), Cost(updates=10, update_tokens=64)),
    ],
)
def test_more_work_costs_more(less: Cost, more: Cost):
    assert 0 < less.seconds(8, 5_000) < more.seconds(8, 5_000)


def test_updates_add_up():
    one = Cost(updates=1, update_tokens=512).seconds(32, 40_000)
    assert Cost(updates=7, update_tokens=512).seconds(32, 40_000) == pytest.approx(7 * one)


def test_a_large_model_costs_its_arithmetic():
    parameters, tokens = 90_000_000, 1024
    seconds = Cost(updates=1, update_tokens=tokens).seconds(528, parameters)
    assert seconds == pytest.approx(6 * parameters * tokens / 1e11, rel=0.1)


def test_the_machine_is_timed_in_a_moment():
    assert machine_factor() >= 0.3


def test_the_kernel_costs_less_up_to_the_width_that_it_takes():
    cost = Cost(updates=10, update_tokens=512, evaluated_tokens=512)
    assert replace(cost, by_kernel=True).seconds(8, 5_000) < cost.seconds(8, 5_000) / 4
    assert replace(cost, by_kernel=True).seconds(128, 2_000_000) == cost.seconds(128, 2_000_000)
