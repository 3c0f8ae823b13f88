"""A few checkpoints out of hundreds: what is chosen, what is reported, what is refused."""

import dataclasses
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.choosing import Place, choose

B = 10**9


def run(*billions):
    return [Place(name=f"tokens{billion}B", tokens=billion * B) for billion in billions]


def chosen(places, **asked):
    return [place.tokens // B for place in choose(places, **asked).places]


def test_nothing_asked_gives_all_in_order():
    places = [*run(300, 20), Place(name="main"), Place(name="step7", step=7)]
    choice = choose(places)
    assert [place.name for place in choice.places] == ["tokens20B", "tokens300B", "step7", "main"]
    assert choice.notes == ()


def test_bounds_are_inclusive():
    assert chosen(run(0, 100, 200, 300, 400), first=100 * B, last=300 * B) == [100, 200, 300]
    assert chosen(run(0, 100, 200), first=150 * B) == [200]
    assert chosen(run(0, 100, 200), last=0) == [0]


def test_every_takes_the_nearest_to_each_multiple_and_reports_gaps():
    choice = choose(run(40, 84, 240, 262, 510, 990, 1240), every=250 * B)
    assert [place.tokens // B for place in choice.places] == [240, 510, 990, 1240]
    assert choice.notes == ("no checkpoint within 125B of 750B",)


def test_every_looks_for_all_multiples_within_the_bounds_given():
    choice = choose(run(240, 510), every=250 * B, first=200 * B, last=1000 * B)
    assert [place.tokens // B for place in choice.places] == [240, 510]
    assert choice.notes == ("no checkpoint within 125B of 750B, 1T",)


def test_every_keeps_the_last_place_whatever_it_is_near_to():
    assert chosen(run(100, 200, 230), every=100 * B) == [100, 200, 230]
    assert chosen(run(100, 200, 330, 340), every=100 * B, last=335 * B) == [100, 200, 330]


def test_zero_is_a_multiple_for_an_untrained_checkpoint_only():
    assert chosen(run(0, 10, 100, 200), every=100 * B) == [0, 100, 200]
    assert chosen(run(10, 100, 200), every=100 * B) == [100, 200]


def test_a_long_list_of_gaps_is_cut():
    (note,) = choose(run(1, 20), every=B).notes
    assert note == "no checkpoint within 500M of 2B, 3B, 4B, 5B, 6B, 7B and 12 more"


def test_count_spreads_evenly_in_tokens_or_in_log_tokens():
    places = run(*range(1, 1001))
    assert chosen(places, count=4) == [1, 334, 667, 1000]
    assert chosen(places, count=4, spacing="log") == [1, 10, 100, 1000]


def test_log_spacing_keeps_the_untrained_checkpoint_first():
    places = run(0, *range(1, 101))
    assert chosen(places, count=4, spacing="log") == [0, 1, 10, 100]
    assert chosen(places, count=2, spacing="log") == [0, 100]


def _nearest(at: int, every: int) -> int:
    return (2 * at + every) // (2 * every)


def test_crowded_places_still_give_as_many_as_asked():
    assert chosen(run(0, 1, 2, 3, 100), count=4) == [0, 2, 3, 100]
    assert chosen(run(0, 97, 98, 99, 100), count=4) == [0, 97, 98, 100]


def test_steps_serve_where_nothing_has_tokens():
    places = [Place(name=f"step{step}", step=step) for step in (512, 1000, 2000, 3000)]
    choice = choose([*places, Place(name="main")], every=1000)
    assert [place.step for place in choice.places] == [1000, 2000, 3000]
    assert choice.notes == ("left out, because their step is unknown: main",)


def test_places_without_tokens_are_left_out_with_a_note():
    places = [*run(1, 2, 3), Place(name="main"), Place(name="step9", step=9)]
    choice = choose(places, count=2)
    assert [place.name for place in choice.places] == ["tokens1B", "tokens3B"]
    assert choice.notes == ("left out, because their tokens are unknown: main, step9",)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"every": B, "count": 3}, "give every (1,000,000,000) or count (3), not both"),
        ({"every": 0}, "every must be at least 1, got 0"),
        ({"count": 1}, "count must be at least 2, the first and the last checkpoint; got 1"),
        ({"spacing": "log"}, "spacing log has an effect with count only: give count, or leave spacing out"),
        ({"first": 3, "last": 2}, "the choice from 3 to 2 is empty: exchange the two"),
        ({"count": 9}, "count 9 is more than there is: 3 checkpoints from 40B to 3.1T"),
        ({"first": 5000 * B}, "no checkpoint lies from 5T; there are 3 checkpoints from 40B to 3.1T"),
        (
            {"first": 50 * B, "last": 60 * B},
            "no checkpoint lies from 50B to 60B; there are 3 checkpoints from 40B to 3.1T",
        ),
        (
            {"every": 9000 * B},
            "no checkpoint lies near a multiple of 9T; there are 3 checkpoints from 40B to 3.1T",
        ),
    ],
)
def test_an_impossible_request_is_one_line(asked, message):
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        choose(run(40, 100, 3100), **asked)


def test_nothing_to_choose_from():
    with pytest.raises(CheckpointError, match=r"^there are no checkpoints to choose from$"):
        choose([])
    with pytest.raises(CheckpointError, match=r"^no checkpoint tells its tokens or step \(final, main\): name them as"):
        choose([Place(name="main"), Place(name="final")], count=2)


def test_log_spacing_with_several_untrained_checkpoints():
    untrained = [Place(name=f"seed{seed}", tokens=0) for seed in range(3)]
    with pytest.raises(
        CheckpointError, match=r"^log spacing takes one untrained checkpoint: 2 can be chosen, count is 3"
    ):
        choose([*untrained, *run(1)], count=3, spacing="log")


tokens = st.lists(st.integers(0, 4000 * B), min_size=2, max_size=60)
quick = settings(max_examples=150, deadline=None)


@quick
@given(tokens, st.data(), st.sampled_from(["linear", "log"]))
def test_a_count_gives_that_many_with_both_ends(positions, data, spacing):
    places = [Place(name=f"p{number}", tokens=at) for number, at in enumerate(sorted(set(positions)))]
    if len(places) < 2:
        return
    count = data.draw(st.integers(2, len(places)))
    choice = choose(data.draw(st.permutations(places)), count=count, spacing=spacing).places
    assert len(set(choice)) == len(choice) == count
    assert (choice[0], choice[-1]) == (places[0], places[-1])
    assert list(choice) == sorted(choice, key=lambda place: place.tokens)
    assert choose(choice, count=count, spacing=spacing).places == choice


@quick
@given(tokens, st.integers(1, 1000 * B), st.none() | st.integers(0, 4000 * B), st.none() | st.integers(0, 4000 * B))
def test_every_gives_each_multiple_its_nearest_place(positions, every, first, last):
    places = [Place(name=f"p{number}", tokens=at) for number, at in enumerate(positions)]
    try:
        choice = choose(places, every=every, first=first, last=last)
    except CheckpointError:
        return
    taken = [place.tokens for place in choice.places]
    low, high = first or 0, math.inf if last is None else last
    assert taken == sorted(taken)
    assert len(set(choice.places)) == len(choice.places)
    assert taken[-1] == max(at for at in positions if low <= at <= high)
    assert all(low <= at <= high for at in taken)
    if len(taken) > 1 and _nearest(taken[-1], every) == _nearest(taken[-2], every):
        taken.pop()  # kept as the last place, beside the one that stands for its multiple
    multiples = [_nearest(at, every) for at in taken[:-1]]
    assert len(set(multiples)) == len(multiples)
    for at, multiple in zip(taken, multiples, strict=False):
        inside = [abs(other - multiple * every) for other in positions if low <= other <= high]
        assert 2 * abs(at - multiple * every) <= every
        assert abs(at - multiple * every) == min(inside)
    assert choose(choice.places, every=every, first=first, last=last).places == choice.places


@quick
@given(tokens)
def test_steps_are_chosen_as_tokens_are(positions):
    by_tokens = [Place(name=f"p{number}", tokens=at) for number, at in enumerate(positions)]
    by_step = [dataclasses.replace(place, tokens=None, step=place.tokens) for place in by_tokens]
    names = [[place.name for place in choose(places, count=2).places] for places in (by_tokens, by_step)]
    assert names[0] == names[1]
