"""Registered signs: each rule agrees, disagrees and cannot tell on planted curves."""

import random
from collections.abc import Callable, Iterator

import pytest

from pliant.records.expectation import Agreement
from pliant.statistics import Reading
from pliant.studies.recipes.registry import RECIPES
from pliant.studies.signs.judged import Measured, Rule, all_of, on
from pliant.studies.signs.methods import costs, turns_later
from pliant.studies.signs.noise import decayed_more_sensitive, earlier_for_larger, sensitivity_rises
from pliant.studies.signs.tuning import (
    equal_at_equal_tokens,
    every_rate,
    fixed_rate_turns_up,
    forgetting_grows,
    no_later_for_larger_rate,
    rises_more,
    rises_more_reused,
    tuned_gets_worse,
    tuned_rise,
    upper_five,
    upper_half,
)

BUDGETS = (1000, 2000, 4000, 8000)
SEEDS = (1, 2, 3, 4)
RATES = (0.01, 0.02, 0.04, 0.08, 0.16)
Shape = Callable[[int], float]
"""From the place of a budget to a loss."""


def reading(seed: int, place: int, value: float, **labels: object) -> Reading:
    tokens = BUDGETS[place]
    noise = random.Random(f"{seed} {place} {sorted(labels.items())}").gauss(0.0, 1e-3)
    shared = {"study": "s", "trajectory": "t", "annealed": True, "checkpoint": str(tokens), "tokens": tokens}
    shared |= {"pretraining_seed": seed, "metric": "loss_nats", "cell": str(sorted(labels.items()))}
    return Reading(**(shared | {"value": value + noise} | labels))  # type: ignore[arg-type]


def pretraining(seed: int, place: int, value: float, **labels: object) -> Reading:
    return reading(seed, place, value, evaluation="pretraining-loss", split="test", **labels)


def everywhere(make: Callable[[int, int], Iterator[Reading]]) -> tuple[Reading, ...]:
    return tuple(r for seed in SEEDS for place in range(len(BUDGETS)) for r in make(seed, place))


def base(**labels: object) -> tuple[Reading, ...]:
    def make(seed: int, place: int) -> Iterator[Reading]:
        yield pretraining(seed, place, 3.0 - 0.1 * place, **labels)

    return everywhere(make)


def noisy(shape: Callable[[int, float], float], **labels: object) -> tuple[Reading, ...]:
    """Base and noise at two strengths; `shape` gives the sensitivity."""

    def make(seed: int, place: int) -> Iterator[Reading]:
        for strength in (0.1, 0.2):
            value = 3.0 - 0.1 * place + shape(place, strength)
            kind = {"modification": "noise", "label": "noise", "strength": strength}
            yield pretraining(seed, place, value, **kind, **labels)

    return (*base(**labels), *everywhere(make))


def tuned(
    task: Shape, forgetting: Shape = lambda place: 0.1, best: float = 0.04, **labels: object
) -> tuple[Reading, ...]:
    """Base and a sweep that is best at the rate `best`; `task` and `forgetting` are at that rate."""

    def make(seed: int, place: int) -> Iterator[Reading]:
        for number, rate in enumerate(RATES):
            away = 0.05 * (number - RATES.index(best)) ** 2
            kind = {"modification": "fine-tune", "label": "fine-tune x", "strength": rate, "task": "x", "steps": 100}
            kind |= labels
            for split in ("validation", "test"):
                yield reading(seed, place, task(place) + away, evaluation="task-loss", split=split, **kind)
            yield pretraining(seed, place, 3.0 - 0.1 * place + forgetting(place) + rate, **kind)

    return (*base(**{k: v for k, v in labels.items() if k in ("annealed", "trajectory")}), *everywhere(make))


def verdict(rule: Rule, found: tuple[Reading, ...]) -> Agreement:
    return rule(Measured(found))[0]


def test_sensitivity_and_where_it_turns() -> None:
    rising, falling = noisy(lambda p, s: s * p**2), noisy(lambda p, s: s * (9 - p**2))
    assert verdict(sensitivity_rises, rising) == "agrees"
    assert verdict(sensitivity_rises, falling) == "disagrees"
    earlier = noisy(lambda p, s: 0.4 * p**2 if s > 0.1 else 0.03 * p**2)
    later = noisy(lambda p, s: 0.4 * p**2 if s < 0.2 else 0.03 * p**2)
    assert verdict(earlier_for_larger, earlier) == "agrees"
    assert verdict(earlier_for_larger, later) == "disagrees"


@pytest.mark.parametrize(("more", "expected"), [(0.05, "agrees"), (-0.05, "disagrees"), (0.0, "cannot tell")])
def test_decay_and_sensitivity(more: float, expected: Agreement) -> None:
    found = (*noisy(lambda p, s: s * p + more), *noisy(lambda p, s: s * p, annealed=False))
    assert verdict(decayed_more_sensitive, found) == expected


def test_decay_needs_both_kinds_of_members() -> None:
    with pytest.raises(ValueError, match="decayed and undecayed"):
        decayed_more_sensitive(Measured(noisy(lambda p, s: s * p)))


@pytest.mark.parametrize(("slope", "expected"), [(0.03, "agrees"), (-0.03, "disagrees"), (0.0, "cannot tell")])
def test_a_rise_between_fixed_budgets(slope: float, expected: Agreement) -> None:
    found = tuned(lambda p: 2.0 + slope * p)
    assert verdict(tuned_rise("x", "task loss", 8000, 2000), found) == expected
    assert (
        verdict(tuned_rise("x", "task loss", 8000, 2000, sign=-1), found)
        == {
            "agrees": "disagrees",
            "disagrees": "agrees",
            "cannot tell": "cannot tell",
        }[expected]
    )


@pytest.mark.parametrize(("apart", "expected"), [(0.0, "agrees"), (0.1, "disagrees"), (0.02, "cannot tell")])
def test_equal_at_equal_tokens(apart: float, expected: Agreement) -> None:
    found = (*tuned(lambda p: 2.0 + apart), *tuned(lambda p: 2.0, annealed=False))
    assert verdict(equal_at_equal_tokens("x", "task loss", 0.02), found) == expected


def test_one_ladder_rises_more_than_another() -> None:
    found = (*tuned(lambda p: 2.0 + 0.1 * p), *tuned(lambda p: 2.0 + 0.02 * p, trajectory="u"))
    assert verdict(rises_more("x", "task loss", 8000, 1000, more="t", less="u"), found) == "agrees"
    assert verdict(rises_more("x", "task loss", 8000, 1000, more="u", less="t"), found) == "disagrees"


def test_a_reused_rate_is_worse_where_the_best_rate_moves() -> None:
    moved = (*tuned(lambda p: 2.0), *())
    still = [r for r in moved if r.tokens != 8000]
    last = [r for r in tuned(lambda p: 2.0, best=0.16) if r.tokens == 8000]
    rule = rises_more_reused("x", "task loss", 8000, 1000)
    assert verdict(rule, (*still, *last)) == "agrees"
    assert verdict(rule, moved) == "cannot tell"


def test_forgetting_at_the_rates_that_are_asked_about() -> None:
    grows = tuned(lambda p: 2.0, lambda p: 0.1 * p)
    shrinks = tuned(lambda p: 2.0, lambda p: 0.5 - 0.1 * p)
    for rates in (every_rate, upper_half, upper_five):
        assert verdict(forgetting_grows(rates), grows) == "agrees"
        assert verdict(forgetting_grows(rates), shrinks) == "disagrees"
    assert [rates([1, 2, 3, 4, 5, 6]) for rates in (every_rate, upper_half, upper_five)] == [
        [1, 2, 3, 4, 5, 6],
        [4, 5, 6],
        [2, 3, 4, 5, 6],
    ]


def test_getting_worse_at_the_end() -> None:
    worse = tuned(lambda p: 2.0 + 0.2 * (p - 1) ** 2, lambda p: 0.1 * p + 0.2 * (p - 1) ** 2)
    fine = tuned(lambda p: 2.0 - 0.1 * p, lambda p: 0.0)
    for rule in (tuned_gets_worse("task loss"), fixed_rate_turns_up("task loss")):
        assert (verdict(rule, worse), verdict(rule, fine)) == ("agrees", "disagrees")
    rule = fixed_rate_turns_up("pre-training loss")
    assert (verdict(rule, worse), verdict(rule, fine)) == ("agrees", "disagrees")
    assert verdict(no_later_for_larger_rate, worse) == "agrees"
    assert verdict(no_later_for_larger_rate, fine) == "cannot tell"  # nothing turns inside


def held(price: float, saved: float, turn: int) -> tuple[Reading, ...]:
    """Plain fine-tuning that turns at the second budget, and an anchor that turns at number `turn`."""
    best = tuned(lambda p: 2.0, lambda p: 0.1 * p + 0.3 * abs(p - 1))
    anchored = tuned(
        lambda p: 2.0 + price,
        lambda p: 0.1 * p + 0.3 * abs(p - turn) - saved,
        label="fine-tune x, anchor 1",
        method="anchor",
        amount=1.0,
    )
    return (*best, *(r for r in anchored if r.modification == "fine-tune"))


def test_what_a_method_costs_saves_and_moves() -> None:
    found = held(0.1, 0.2, turn=2)
    assert verdict(costs("anchor", "task loss", +1), found) == "agrees"
    assert verdict(costs("anchor", "task loss", -1), found) == "disagrees"
    assert verdict(costs("anchor", "pre-training loss", -1), found) == "agrees"
    assert verdict(turns_later("anchor", 0.04), found) == "agrees"
    assert verdict(turns_later("anchor", 0.04), held(0.1, 0.2, turn=0)) == "disagrees"
    assert verdict(turns_later("anchor", 0.04), held(0.1, 0.2, turn=1)) == "cannot tell"
    with pytest.raises(ValueError, match="EWC were not both run"):
        costs("EWC", "task loss", +1)(Measured(found))


def test_rules_are_joined_and_look_at_their_ladder_alone() -> None:
    rising = tuned_rise("x", "task loss", 8000, 1000)
    found = (*tuned(lambda p: 2.0 + 0.1 * p), *tuned(lambda p: 2.0 - 0.1 * p, trajectory="u"))
    assert verdict(on("t", rising), found) == "agrees"
    assert verdict(on("u", rising), found) == "disagrees"
    assert verdict(all_of(("t", on("t", rising)), ("u", on("u", rising))), found) == "disagrees"
    assert verdict(all_of(("t", on("t", rising)), ("again", on("t", rising))), found) == "agrees"
    with pytest.raises(ValueError, match="v was not measured"):
        on("v", rising)(Measured(found))


def test_every_claim_belongs_to_the_study_of_its_recipe() -> None:
    for recipe in RECIPES.values():
        assert {claim.study for claim in recipe.claims} <= {recipe.study().study}
    assert sum(len(recipe.claims) for recipe in RECIPES.values()) > 30
