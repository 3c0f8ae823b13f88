"""Registered signs are judged on what they are about, whatever else their study was given."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from pliant.report.methods import companies
from pliant.report.repeats import lengths
from pliant.report.study import open_study
from pliant.studies.signs.judged import Measured, grows
from pliant.studies.signs.methods import costs
from pliant.studies.signs.tuning import every_rate, forgetting_grows, tuned_gets_worse, tuned_rise
from synthetic_study import BUDGETS, RATES, Plan, Way, write_study

ANCHORS = (Way(method="anchor", amount=0.3), Way(method="anchor", amount=3.0))
LORA = Way(method="LoRA rank 8")
LONGER = Way(steps=300)


def found(folder: Path, ways: Sequence[Way]) -> Measured:
    plan = Plan(name="ways", gammas=(), rates=RATES[3::3], ways=tuple(ways))
    return Measured(write_study(folder, plan).readings())


def test_other_ways_of_fine_tuning_do_not_change_what_is_said_of_plain(tmp_path: Path) -> None:
    beside = found(tmp_path, [LORA, *ANCHORS, Way()])
    alone = Measured(tuple(r for r in beside.readings if r.method is None))
    last, first = BUDGETS[-1], BUDGETS[0]
    for rule in (
        tuned_rise("python", "task loss", last, first),
        tuned_gets_worse("pre-training loss"),
        forgetting_grows(every_rate),
    ):
        assert rule(alone) == rule(beside)


def test_a_method_is_compared_with_what_is_otherwise_the_same(tmp_path: Path) -> None:
    beside = found(tmp_path / "beside", [LONGER, Way(), *ANCHORS])
    expected = costs("anchor", "task loss", +1)(Measured(tuple(r for r in beside.readings if r.steps != 300)))
    assert expected[0] == "agrees"
    assert costs("anchor", "task loss", +1)(beside) == expected
    with pytest.raises(ValueError, match="plain fine-tuning and anchor were not both run"):
        costs("anchor", "task loss", +1)(found(tmp_path / "other", [LONGER, *ANCHORS]))
    several = [Way(), LONGER, *ANCHORS, Way(method="anchor", amount=3.0, steps=300)]
    with pytest.raises(ValueError, match="anchor was run on several: fine-tune python, fine-tune python, 300 steps"):
        costs("anchor", "task loss", +1)(found(tmp_path / "several", several))


def test_one_task_run_for_two_lengths_is_not_guessed_at(tmp_path: Path) -> None:
    rule = tuned_rise("python", "task loss", BUDGETS[-1], BUDGETS[0])
    with pytest.raises(ValueError, match="python was run in several ways"):
        rule(found(tmp_path, [Way(), LONGER]))


def test_a_rank_that_is_not_defined_neither_agrees_nor_disagrees() -> None:
    for ranks in ([0.9, math.nan], [math.nan, 0.9]):
        assert grows(ranks) == (False, False)
    assert grows([0.9, 0.8]) == (True, False)
    assert grows([math.nan, -0.1]) == (False, True)
    assert grows([]) == (False, False)


class _Bf16(Way):
    @property
    def label(self) -> str:
        return ", bf16" + super().label


def test_the_report_pairs_only_what_is_otherwise_the_same(tmp_path: Path) -> None:
    ways = [Way(), LONGER, _Bf16(), ANCHORS[0], _Bf16(method="anchor", amount=0.3)]
    table = write_study(tmp_path, Plan(name="ways", gammas=(), rates=RATES[3::3], ways=tuple(ways)))
    pairs = [(p.label, [o.label for o in others]) for p, others in companies(open_study(table))]
    assert pairs == [
        ("fine-tune python", ["fine-tune python, anchor 0.3"]),
        ("fine-tune python, 300 steps", []),
        ("fine-tune python, bf16", ["fine-tune python, bf16, anchor 0.3"]),
    ]
    (some,) = lengths(open_study(table))
    assert [sweep.label for sweep in some] == ["fine-tune python", "fine-tune python, 300 steps"]
