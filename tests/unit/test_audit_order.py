"""The order of checkpoints by content: false alarms and power on simulated runs."""

from functools import partial

import numpy as np
import pytest

from pliant.checkpoints.audit.content_order import displaced
from pliant.checkpoints.audit.sketch import directions, squared_distances

WEIGHTS = 2000
TRIALS = 25


def walk(n, rng, *, growth=1.0, irregular=0.0, decay=0.0, drift=0.0):
    """theta_{i+1} = exp(-decay gap) theta_i + sqrt(gap) noise + drift gap direction, from a random start."""
    gaps = growth ** np.arange(n) * rng.lognormal(0, irregular, n)
    weights, direction = [rng.normal(size=WEIGHTS)], rng.normal(size=WEIGHTS)
    for gap in gaps[1:]:
        step = np.sqrt(gap) * rng.normal(size=WEIGHTS) + drift * gap * direction
        weights.append(np.exp(-decay * gap) * weights[-1] + step)
    return np.array(weights)


def independent(n, rng, *, growth):
    return rng.normal(size=(n, WEIGHTS)) * growth ** np.arange(n)[:, None]


def star(n, rng, *, spread):
    """Independent runs from one initialisation, each gone its own way by its own distance."""
    return rng.normal(size=WEIGHTS) + rng.lognormal(0, spread, n)[:, None] * rng.normal(size=(n, WEIGHTS))


def two_runs(n, rng):
    pairs = zip(walk(n, rng), walk(n, rng), strict=True)
    return np.array([one for pair in pairs for one in pair])[:n]


def found(weights):
    return {one.place for one in displaced(squared_distances(directions([{"w": row} for row in weights])))}


RUNS = [
    pytest.param(walk, id="random walk"),
    pytest.param(partial(walk, drift=0.5), id="drift"),
    pytest.param(partial(walk, growth=1.7), id="budgets that grow by 1.7"),
    pytest.param(partial(walk, decay=0.3), id="weight decay"),
    pytest.param(partial(walk, irregular=1.2), id="irregular gaps"),
]
OTHERS = [
    pytest.param(partial(walk, decay=3.0), id="nothing left of the one before"),
    pytest.param(partial(independent, growth=1.0), id="independent runs"),
    pytest.param(partial(independent, growth=1.4), id="independent runs of growing norm"),
    pytest.param(partial(star, spread=0.7), id="independent runs from one initialisation"),
    pytest.param(two_runs, id="two runs, interleaved"),
]


@pytest.mark.parametrize("n", [5, 8, 12])
@pytest.mark.parametrize("make", [*RUNS, *OTHERS])
def test_runs_in_order_and_independent_runs_give_no_alarm(make, n):
    rng = np.random.default_rng(n)
    assert sum(bool(found(make(n, rng))) for _ in range(TRIALS)) == 0


@pytest.mark.parametrize("n", [6, 8, 12])
@pytest.mark.parametrize("make", RUNS[:-1])
def test_a_moved_checkpoint_is_found_and_no_other(make, n):
    rng = np.random.default_rng([n, 1])
    for _ in range(TRIALS):
        old, new = _apart(n, rng)
        order = np.insert(np.delete(np.arange(n), old), new, old)
        names = found(make(n, rng)[order])
        # moved over two others, the two may as well have been moved: found is who lies least off
        assert names
        assert names <= {place for place in range(n) if order[place] != place}


@pytest.mark.parametrize("n", [8, 12])
@pytest.mark.parametrize("make", RUNS[:-1])
def test_swapped_checkpoints_are_found_and_no_other(make, n):
    rng = np.random.default_rng([n, 2])
    for _ in range(TRIALS):
        one, other = _apart(n, rng)
        order = np.arange(n)
        order[[one, other]] = other, one
        assert found(make(n, rng)[order]) == {one, other}


def test_irregular_gaps_cost_power():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(TRIALS):
        old, new = _apart(12, rng)
        order = np.insert(np.delete(np.arange(12), old), new, old)
        hits += bool(found(walk(12, rng, irregular=1.2)[order]))
    assert hits >= 0.8 * TRIALS


def test_places_and_shares_are_those_of_the_weights():
    order = [0, 1, 6, 2, 3, 4, 5, 7, 8]
    weights = walk(9, np.random.default_rng(0))[order]
    (one,) = displaced(squared_distances(directions([{"w": row} for row in weights])))
    assert (one.place, order[one.after], order[one.before]) == (2, 5, 7)
    assert one.found == 1.0
    assert one.stated < 0.6


def test_few_checkpoints_are_not_judged():
    assert not found(walk(4, np.random.default_rng(0))[[0, 3, 1, 2]])


def test_long_runs_are_judged_in_windows():
    n = 300
    order = np.insert(np.delete(np.arange(n), 280), 270, 280)
    points = np.arange(n, dtype=float)[order]
    squared = np.abs(points[:, None] - points[None])  # of a random walk, exactly
    assert [one.place for one in displaced(squared)] == [270]


def _apart(n, rng):
    one, other = 0, 0
    while abs(one - other) < 2:
        one, other = (int(place) for place in rng.integers(n, size=2))
    return one, other
