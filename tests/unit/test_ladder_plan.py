"""Which segments of training make the members of a ladder, under each schedule."""

from pathlib import Path

import pytest

from pliant.records.numerics import Numerics
from pliant.studies.ladder import Ladder, LadderMember, PlannedSegment
from pliant.training.state import OPTIMIZER_FILE
from tiny_studies import TOKENS_PER_STEP, tiny

STEPS = (8, 16, 32)


def ladder(folder: Path, kind: str = "wsd", members: tuple[str, ...] = ("annealed",), data: str = "sha256:0") -> Ladder:
    schedule = {"kind": kind, "warmup_steps": 2, "decay_fraction": 0.25}
    spec = tiny(
        {
            "trajectories.0.ladder.budgets": [step * TOKENS_PER_STEP for step in STEPS],
            "trajectories.0.ladder.members": list(members),
            "trajectories.0.ladder.recipe.schedule": schedule,
        }
    )
    assert spec.trajectories[0].ladder is not None
    return Ladder(
        spec=spec.trajectories[0].ladder,
        vocabulary_size=64,
        tokenizer="sha256:1",
        data=data,
        numerics=Numerics(),
        artifacts=folder,
        name="main",
    )


def shape(planned: PlannedSegment) -> tuple[int, int, int | None, str | None]:
    begin = planned.begin_from.name if planned.begin_from else None
    return (planned.segment.start, planned.segment.stop, planned.segment.total, begin)


def shapes(mine: Ladder) -> set[tuple[int, int, int | None, str | None]]:
    return {shape(planned) for planned in mine.segments(mine.members())}


def trunk(steps: int) -> str:
    return f"trunk-tokens-{steps * TOKENS_PER_STEP}"


def make(place: Path, *, optimizer: bool) -> None:
    place.mkdir(parents=True)
    if optimizer:
        (place / OPTIMIZER_FILE).write_text("")


WSD_TRUNK = {(0, 6, None, None), (6, 12, None, trunk(6)), (12, 24, None, trunk(12))}
WSD_BRANCHES = {(6, 8, 8, trunk(6)), (12, 16, 16, trunk(12)), (24, 32, 32, trunk(24))}


def test_wsd_has_one_trunk_and_a_branch_for_each_budget(tmp_path: Path):
    assert shapes(ladder(tmp_path)) == WSD_TRUNK | WSD_BRANCHES


def test_trunk_members_cut_the_same_trunk_more_finely(tmp_path: Path):
    assert shapes(ladder(tmp_path, members=("annealed", "trunk"))) == WSD_BRANCHES | {
        (0, 6, None, None),
        (6, 8, None, trunk(6)),
        (8, 12, None, trunk(8)),
        (12, 16, None, trunk(12)),
        (16, 24, None, trunk(16)),
        (24, 32, None, trunk(24)),
    }


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_schedules_that_share_nothing_have_a_run_for_each_budget(kind: str, tmp_path: Path):
    assert shapes(ladder(tmp_path, kind)) == {(0, steps, steps, None) for steps in STEPS}


def test_constant_is_one_run_seen_at_each_budget(tmp_path: Path):
    mine = ladder(tmp_path, "constant")
    assert shapes(mine) == {(0, 8, None, None), (8, 16, None, trunk(8)), (16, 32, None, trunk(16))}
    assert not any(member.annealed for member in mine.members())


@pytest.mark.parametrize("kind", ["wsd", "cosine", "constant"])
def test_every_start_is_made_before_it_is_needed_and_every_member_is_made(kind: str, tmp_path: Path):
    mine = ladder(tmp_path, kind)
    made: list[Path] = []
    for planned in mine.segments(mine.members()):
        assert planned.begin_from is None or planned.begin_from in made
        made.append(planned.out)
    assert {mine.place(member) for member in mine.members()} <= set(made)
    assert len(set(made)) == len(made)


def test_trunk_states_keep_the_optimizer_and_branches_do_not(tmp_path: Path):
    mine = ladder(tmp_path)
    assert {p.keep_optimizer for p in mine.segments(mine.members()) if p.out.name.startswith("trunk")} == {True}
    assert {p.keep_optimizer for p in mine.segments(mine.members()) if p.out.name.startswith("tokens")} == {False}


def test_nothing_is_planned_for_members_that_exist(tmp_path: Path):
    mine = ladder(tmp_path, members=("annealed", "trunk"))
    for member in mine.members():
        make(mine.place(member), optimizer=False)
    assert mine.segments(mine.members()) == []


def test_a_trunk_that_exists_is_where_the_rest_begins(tmp_path: Path):
    mine = ladder(tmp_path)
    make(mine.folder(1) / trunk(12), optimizer=True)
    last = LadderMember(seed=1, step=32, tokens=32 * TOKENS_PER_STEP, annealed=True)
    assert {shape(p) for p in mine.segments([last])} == {(12, 24, None, trunk(12)), (24, 32, 32, trunk(24))}


def test_trunk_states_that_were_freed_are_planned_again_only_for_what_is_missing(tmp_path: Path):
    mine = ladder(tmp_path)
    *there, last = mine.members()
    for member in there:
        make(mine.place(member), optimizer=False)
    assert mine.segments(there) == []
    assert {shape(p) for p in mine.segments([*there, last])} == WSD_TRUNK | {(24, 32, 32, trunk(24))}


def test_a_trunk_member_whose_optimizer_was_freed_is_no_start(tmp_path: Path):
    mine = ladder(tmp_path, members=("trunk",))
    first, *_, last = mine.members()
    make(mine.place(first), optimizer=False)
    assert trunk(8) in {p.out.name for p in mine.segments([last])}


def test_seeds_share_nothing(tmp_path: Path):
    mine = ladder(tmp_path)
    assert mine.folder(1) != mine.folder(2)


def test_other_data_or_another_recipe_is_another_folder(tmp_path: Path):
    folders = {
        ladder(tmp_path).folder(1),
        ladder(tmp_path, data="sha256:2").folder(1),
        ladder(tmp_path, "cosine").folder(1),
    }
    assert len(folders) == 3


def test_the_rate_of_the_last_update(tmp_path: Path):
    mine = ladder(tmp_path, members=("annealed", "trunk"))
    rates = {(m.step, m.annealed): mine.learning_rate(m) for m in mine.members()}
    assert rates[(8, False)] == 0.01
    assert rates[(8, True)] == pytest.approx(0.01 * 1 / 2)  # two steps of decay, the last at half the peak
