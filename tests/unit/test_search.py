"""A study that searches for rates: what it chooses from planted records, writes down, and chooses again."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny_studies
from pliant.execution.table import Table
from pliant.report.searches import search_grid, searches
from pliant.report.study import open_study
from pliant.studies.growth import bare, extend_grids, keep_added
from pliant.studies.modification_spec import FineTuneSpec, SearchedRates
from pliant.studies.search import search_on
from pliant.studies.spec import SpecError, StudySpec
from pliant.studies.study_file import parse_study, to_yaml

GRID = [float(f"{1e-3 * 2 ** (k / 2):.3g}") for k in range(11)]
BUDGETS = (1000, 2000, 4000, 8000, 16000)
SEEDS = (1, 2)
LABEL = "fine-tune skip, 4 steps"
Loss = Callable[[int, int, float, int], float]


def study(**changes: Any) -> StudySpec:
    tuning = {"task": "skip", "learning_rates": GRID, "steps": 4, "batch": 4, "search": {}} | changes
    return tiny_studies.tiny({"modifications": [{"fine_tune": tuning}]})


def tuning_of(spec: StudySpec) -> FineTuneSpec:
    tuning = spec.modifications[0].fine_tune
    assert tuning is not None
    return tuning


def chosen(spec: StudySpec) -> tuple[SearchedRates, ...]:
    return tuning_of(spec).searched


def valley(seed: int, budget: int, rate: float, tuning_seed: int) -> float:
    """The best rate falls with budget from the fourth of the grid on; the fine-tuning seeds cancel."""
    best = GRID[6] * (budget / 4000) ** -0.5
    shift = 0.3 if tuning_seed else -0.3
    return 2.0 + 0.05 * math.log(rate / best) ** 2 + 0.001 * math.sin(40 * rate + seed) + shift


def rows(spec: StudySpec, loss: Loss) -> Iterator[dict[str, Any]]:
    shared = {"study": "tiny", "trajectory": "main", "annealed": True, "status": "ok", "metric": "loss_nats"}
    for seed in SEEDS:
        for budget in BUDGETS:
            place = shared | {"checkpoint": f"{budget}", "tokens": budget, "pretraining_seed": seed}
            yield place | {"modification": "none", "evaluation": "pretraining-loss", "split": "test", "value": 1.0}
            at = ("main", f"{budget}", seed)
            for tuning in tuning_of(spec).modifications_at(at, rows=100):
                for tuning_seed in tuning_of(spec).seeds:
                    value = loss(seed, budget, tuning.strength, tuning_seed)
                    for kind, split in (
                        ("task-loss", "validation"),
                        ("task-loss", "test"),
                        ("pretraining-loss", "test"),
                    ):
                        yield place | {
                            "modification": "fine-tune", "label": tuning.label, "task": "skip", "evaluation": kind,
                            "split": split, "strength": tuning.strength, "seed": tuning_seed, "value": value,
                            "status": "diverged" if math.isnan(value) else "ok",
                        }  # fmt: skip


def table(
    spec: StudySpec, loss: Loss = valley, *, without: Callable[[dict[str, Any]], bool] = lambda row: False
) -> Table:
    found = tuple(row for row in rows(spec, loss) if not without(row))
    return Table(folder=Path(), study="tiny", rows=found, planned=0, missing=0, failed=(), settings="")


def finished(spec: StudySpec, loss: Loss = valley) -> StudySpec:
    """The study once nothing more is chosen."""
    while (more := search_on(spec, table(spec, loss))) != spec:
        spec = more
    return spec


def best_of(spec: StudySpec, budget: int, seed: int) -> float | None:
    (end,) = [one for one in chosen(spec) if one.place == ("main", f"{budget}", seed) and one.over]
    return end.best


def test_every_checkpoint_ends_at_its_best_rate_with_half_of_the_grid_or_less():
    found = finished(study())
    assert {one.place for one in chosen(found) if one.over} == {("main", f"{b}", s) for s in SEEDS for b in BUDGETS}
    for seed in SEEDS:
        for budget in BUDGETS:
            lowest = min(valley(seed, budget, rate, 0) for rate in GRID)
            assert valley(seed, budget, best_of(found, budget, seed) or 0, 0) <= lowest + 0.002
    assert sum(len(one.rates) for one in chosen(found)) <= 0.5 * len(GRID) * len(SEEDS) * len(BUDGETS)


def test_it_begins_in_the_middle_of_each_run_and_says_why_and_on_what():
    first = search_on(study(), table(study()))
    assert {(one.place, one.why, one.round) for one in chosen(first)} == {
        (("main", "4000", seed), "coarse grid", 1) for seed in SEEDS
    }
    found = finished(study())
    warm = [one for one in chosen(found) if one.why == "around a neighbour's best"]
    assert {one.checkpoint for one in warm} == {"1000", "2000", "8000", "16000"}
    assert all(one.best == best_of(found, {1000: 2000, 2000: 4000, 8000: 4000, 16000: 8000}[int(one.checkpoint)],
                                   one.seed or 0) for one in warm)  # fmt: skip
    for one in chosen(found):
        assert one.over == (not one.rates)
        if one.loss is not None:
            assert one.loss == pytest.approx(
                valley(one.seed or 0, int(one.checkpoint), one.best or 0, 0) + 0.3, abs=0.31
            )


def test_from_the_same_records_the_same_is_chosen_again():
    found = finished(study())
    forgotten = study()
    assert chosen(forgotten) == ()
    assert finished(forgotten) == found
    half = found.model_copy(deep=True)
    some = [one for one in chosen(found) if one.round <= 3]
    tuning = tuning_of(half).model_copy(update={"searched": tuple(some)})
    cut = half.model_copy(update={"modifications": (half.modifications[0].model_copy(update={"fine_tune": tuning}),)})
    assert finished(cut) == found


def test_while_records_of_a_round_are_missing_nothing_more_is_chosen():
    spec = search_on(study(), table(study()))
    rate = chosen(spec)[0].rates[0]
    partly = table(spec, without=lambda row: row.get("strength") == rate and row["pretraining_seed"] == 1)
    assert search_on(spec, partly) == spec
    assert search_on(spec, table(spec)) != spec


def test_two_fine_tuning_seeds_are_averaged_and_one_that_diverged_spoils_a_rate():
    two = finished(study(seeds=[0, 1]))
    assert [one.best for one in chosen(two) if one.over] == [one.best for one in chosen(finished(study())) if one.over]

    def spoilt(seed: int, budget: int, rate: float, tuning_seed: int) -> float:
        return math.nan if tuning_seed == 1 and rate > GRID[4] else valley(seed, budget, rate, tuning_seed)

    ends = [one for one in chosen(finished(study(seeds=[0, 1]), spoilt)) if one.over]
    assert all(one.best is not None and one.best <= GRID[4] for one in ends)


def test_it_goes_past_the_ends_of_the_grid_and_extend_grids_leaves_it_alone():
    def beyond(seed: int, budget: int, rate: float, tuning_seed: int) -> float:
        return 2 + 0.05 * math.log(rate / (GRID[-1] * 4)) ** 2

    found = finished(study(), beyond)
    assert all(GRID[-1] * 3.9 < (one.best or 0) < GRID[-1] * 4.1 for one in chosen(found) if one.over)
    assert extend_grids(study(), {LABEL: {"high"}}) == study()


def test_each_amount_of_a_method_has_a_search_of_its_own():
    spec = finished(study(regularise={"anchor": [0, 0.5]}))
    assert {one.label for one in chosen(spec)} == {LABEL, f"{LABEL}, anchor 0.5"}


def test_a_study_file_keeps_the_choices_and_only_they_are_planned(tmp_path):
    found = finished(study())
    again = parse_study(to_yaml(found), "study.yaml")
    assert again == found
    assert keep_added(study(), again) == found
    assert bare(found.modifications[0]) == bare(study(search=None).modifications[0])
    at = ("main", "4000", 1)
    planned = {m.strength for m in tuning_of(found).modifications_at(at, rows=100)}
    assert planned == {rate for one in chosen(found) if one.place == at for rate in one.rates}
    assert {m.strength for m in tuning_of(study(search=None)).modifications_at(at, rows=100)} == set(GRID)
    (base,) = tuning_of(study(learning_rates=[0, *GRID])).modifications_at(at, rows=100)
    assert base.strength == 0


def test_the_report_tells_what_was_tried_and_why_no_more():
    found = finished(study())
    opened = open_study(replace(table(found), settings=to_yaml(found)))
    (told,) = searches(opened)
    tried = sum(len(one.rates) for one in chosen(found))
    assert f"a search tried {tried} rates at 10 checkpoints, {tried / 10:.1f} each" in told.words
    grid = search_grid(told)
    assert len(grid.rows) == 10
    first = grid.rows[0]
    mine = [one for one in chosen(found) if one.checkpoint == first[0].text and f"{one.seed}" == first[1].text]
    assert first[2].text.count("|") == len([one for one in mine if one.rates]) - 1
    assert first[3].text == mine[-1].why
    plain = study(search=None)
    assert searches(open_study(replace(table(plain), settings=to_yaml(plain)))) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"search": {"within": 0}}, "within"),
        ({"search": {"wihtin": 0.1}}, "did you mean within?"),
        ({"learning_rates": [0, 0.1, 0.2]}, "search chooses among learning_rates above 0 and needs 3 or more, got 2"),
    ],
)
def test_bad_settings_are_refused_in_a_line(changes: dict[str, Any], words: str):
    with pytest.raises(SpecError) as error:
        study(**changes)
    assert words in str(error.value)
    assert tiny_studies.is_one_line(str(error.value))


def test_a_run_measures_what_is_chosen_and_one_that_lost_its_choices_and_a_record_makes_both_again(tmp_path):
    tuning = {
        "task": "skip",
        "learning_rates": [0.02, 0.04, 0.08, 0.16],
        "steps": 4,
        "batch": 4,
        "search": {"within": 1},
    }
    spec = tiny_studies.tiny({"modifications": [{"fine_tune": tuning}]})
    folder = tmp_path / "study"
    found, failures, _ = tiny_studies.run(spec, folder)
    assert not failures
    assert not found.missing
    file = folder / "study.yaml"
    settled = file.read_text()
    content = yaml.safe_load(settled)
    searched = content["modifications"][0]["fine_tune"].pop("searched")
    asked = {(one["checkpoint"], rate) for one in searched for rate in one["rates"]}
    measured = {(row["checkpoint"], row["strength"]) for row in found.rows if row["modification"] == "fine-tune"}
    assert measured == asked
    records = tiny_studies.record_files(folder)
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    lost = next(row["record"] for row in found.rows if (row["checkpoint"], row["strength"]) == max(asked))
    (folder / lost).unlink()
    _, _, started = tiny_studies.run(spec, folder)
    assert len(started) == 1
    assert tiny_studies.record_files(folder) == records
    assert file.read_text() == settled
