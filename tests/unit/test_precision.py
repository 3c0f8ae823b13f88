"""A study that draws on until its intervals are as narrow as it asks for, each checkpoint and strength by itself."""

import numpy as np
import pytest
import yaml

import tiny_studies
from pliant.modifications.noise import Noise
from pliant.records.identity import identity
from pliant.statistics import draws_to_precision, over_draws
from pliant.studies.growth import bare, keep_added
from pliant.studies.modification_spec import AddedDraws, NoiseSpec
from pliant.studies.precision import draw_on
from pliant.studies.spec import SpecError


def wanted(increases: list[float], **how: float) -> int:
    return draws_to_precision(increases, **{"precision": 0.1, "copies": 2, "most": 1000} | how)  # type: ignore[arg-type]


def test_narrow_intervals_on_enough_evaluations_want_nothing():
    narrow = [1.0, 1.001] * 6
    assert wanted(narrow) == 12
    assert wanted(narrow[:8]) == 12  # 24 evaluations of pairs
    assert wanted(narrow[:8], copies=1) == 24
    assert wanted([0.0] * 12) == 12


def test_wide_intervals_want_what_their_width_says_at_most_three_times_as_many_at_once():
    values = np.random.default_rng(0).normal(1.0, 0.25, size=16).tolist()
    found = over_draws(values, seed=0)
    ratio = ((found.high - found.low) / 2 / (0.1 * found.value)) ** 2
    assert 1 < ratio < 3
    assert wanted(values) == int(np.ceil(16 * ratio))
    assert wanted(values, precision=0.01) == 48
    assert wanted(values, precision=0.01, most=40) == 40
    assert wanted(values, precision=0.01, most=8) == 16  # what was drawn stays
    assert wanted([1.0, -1.0] * 8) == 48  # no mean to speak of


@pytest.mark.parametrize("rank", [20, 100])
def test_stopping_hardly_moves_the_mean_and_its_coverage(rank: int):
    random = np.random.default_rng(rank)
    values, hits, trials = [], 0, 150
    for _ in range(trials):
        draws = (random.chisquare(rank, size=8) / rank).tolist()
        while len(draws) < (more := wanted(draws)):
            draws += (random.chisquare(rank, size=8 * -(-(more - len(draws)) // 8)) / rank).tolist()
        found = over_draws(draws, seed=0)
        values.append(found.value)
        hits += found.low <= 1 <= found.high
    assert np.mean(values) == pytest.approx(1.0, abs=0.015)
    assert hits / trials > 0.88


# in a study

NOISE = {"strengths": [0.05, 0.2], "draws": 4, "precision": 0.06, "most": 40}


def study(**changes: object):
    return tiny_studies.tiny({"modifications": [{"noise": NOISE | changes}]})


def blocks(table) -> dict[tuple[str, float], int]:
    found: dict[tuple[str, float], set[int]] = {}
    for row in table.rows:
        if row["modification"] == "noise":
            found.setdefault((row["checkpoint"], row["strength"]), set()).add(row["seed"])
    return {key: len(seeds) for key, seeds in found.items()}


def test_a_run_draws_on_by_checkpoint_and_strength_and_is_then_finished(tmp_path):
    folder = tmp_path / "study"
    table, failures, _ = tiny_studies.run(study(), folder)
    assert not failures
    assert not table.missing
    drawn = blocks(table)
    assert len(drawn) == 4
    assert all(3 <= number <= 10 for number in drawn.values())  # 24 evaluations, 40 draws
    written = yaml.safe_load((folder / "study.yaml").read_text())["modifications"][0]["noise"]
    assert {(one["checkpoint"], one["strength"]): 1 + one["blocks"] for one in written["added"]} == drawn
    before = tiny_studies.record_files(folder)
    _, _, started = tiny_studies.run(study(), folder)
    assert started == []
    assert tiny_studies.record_files(folder) == before


def test_what_was_measured_stays_when_a_precision_is_asked_for_later_or_changed(tmp_path):
    folder = tmp_path / "study"
    tiny_studies.run(study(precision=None, most=None), folder)
    before = tiny_studies.record_files(folder)
    table, _, _ = tiny_studies.run(study(), folder)
    after = tiny_studies.record_files(folder)
    assert before.items() <= after.items()
    assert len(after) > len(before)
    again, _, started = tiny_studies.run(study(precision=0.9), folder)
    assert started == []
    assert blocks(again) == blocks(table)


def test_what_is_narrow_enough_at_once_gets_no_more(tmp_path):
    table, failures, _ = tiny_studies.run(study(blocks=3, precision=0.9), tmp_path / "study")
    assert not failures
    assert set(blocks(table).values()) == {3}


def test_without_a_precision_nothing_is_added(tmp_path):
    spec = study(precision=None, most=None)
    table, _, _ = tiny_studies.run(spec, tmp_path / "study")
    assert draw_on(spec, table) == spec
    assert set(blocks(table).values()) == {1}


def test_added_blocks_are_kept_by_place_and_the_larger_number_counts():
    some = AddedDraws(trajectory="main", checkpoint="512", seed=1, strength=0.05, blocks=2)
    more, other = some.model_copy(update={"blocks": 3}), some.model_copy(update={"strength": 0.2})
    before = study(added=[some.model_dump(), other.model_dump()])
    now = study(added=[more.model_dump()], precision=0.5)
    (entry,) = keep_added(now, before).modifications
    assert entry.noise is not None
    assert set(entry.noise.added) == {more, other}
    assert entry.noise.blocks_at(more.place) == 4
    assert entry.noise.blocks_at(("main", "512", 2, 0.05)) == 1
    assert bare(entry) == bare(study().modifications[0])


def test_more_at_once_than_the_most_is_refused():
    with pytest.raises(SpecError, match="most is 4 draws, and 2 x 4 are asked for at once; raise most"):
        study(blocks=2, most=4)


# older studies


def test_what_is_not_asked_for_is_no_part_of_a_cell():
    """Written out, so that it cannot change with the code."""
    plain = {"scaling": "init", "strength": 0.05, "embeddings": True, "draws": 8, "antithetic": True}
    assert identity(Noise(scaling="init", strength=0.05)) == plain
    assert identity(NoiseSpec(strengths=(0.05,), precision=0.05).modifications()[0]) == plain
    assert identity(Noise(scaling="init", strength=0.05, subsets=4)) == plain | {"subsets": 4}


def test_older_study_files_plan_to_the_same_cells(tmp_path):
    older = tiny_studies.tiny({"modifications.0.noise": {"strengths": [0.05], "draws": 2, "added_blocks": 1}})
    cells = [c for c in tiny_studies.cells(older, tmp_path).values() if c.labels["modification"] == "noise"]
    assert {cell.seed for cell in cells} == {0, 1}
    plain = {"type": "Noise", "scaling": "init", "strength": 0.05, "embeddings": True, "draws": 2, "antithetic": True}
    assert all(cell.identity["modification"] == plain | {"init_stds": None} for cell in cells)
