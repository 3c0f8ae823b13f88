"""Rows of a table become series, sweeps and curves."""

from dataclasses import replace
from pathlib import Path

import pytest

from pliant.statistics import Reading, base_of, gather, readings, sweeps
from synthetic_study import BUDGETS, Plan, write_study


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Reading, ...]:
    plan = Plan(seeds=(0, 1), gammas=(0.1,), members=(True, False))
    folder: Path = tmp_path_factory.mktemp("study")
    return readings(write_study(folder, plan).rows)


def test_noise_series_pairs_antithetic_copies(rows: tuple[Reading, ...]) -> None:
    series = gather(rows)
    noise = [s for key, s in series.items() if key.label == "noise, init scaling"]
    assert [s.key.members for s in noise] == ["annealed", "undecayed trunk"]
    curve = noise[0].curve()
    assert curve.budgets == BUDGETS
    assert all(len(draws) == 8 for draws in curve.draws.values())
    base = base_of(noise[0].key, series)
    assert base is not None
    found = noise[0].sensitivity(base)
    copies = [r.value for r in noise[0].points[1, BUDGETS[2]]]
    before = base.points[1, BUDGETS[2]][0].value
    assert found.value(1, BUDGETS[2]) == pytest.approx(sum(copies) / len(copies) - before)


def test_sensitivity_refuses_other_tokens(rows: tuple[Reading, ...]) -> None:
    series = gather(rows)
    noise = next(s for key, s in series.items() if key.modification == "noise")
    base = base_of(noise.key, series)
    assert base is not None
    cut = {at: tuple(r._replace(count=(1, 2)) for r in found) for at, found in base.points.items()}
    with pytest.raises(ValueError, match="measure both with the same settings"):
        noise.sensitivity(replace(base, points=cut))


def test_sweep_tunes_on_validation_and_reports_test(rows: tuple[Reading, ...]) -> None:
    sweep = sweeps(rows)[0]
    tuned = sweep.tuned()[0, BUDGETS[1]]
    points = sweep.rates[0, BUDGETS[1]]
    best = min(points, key=lambda p: p.validation_task_loss)
    assert (tuned.rate, tuned.task_loss) == (best.rate, best.task_loss)
    assert tuned.diverged == 0
    assert sweep.tuned()[0, BUDGETS[-1]].diverged == 1
    assert sweep.matched().budgets == BUDGETS


def test_checkpoints_without_tokens_keep_their_order() -> None:
    names = ["early", "middle", "late"]
    rows = [
        Reading(study="s", checkpoint=n, evaluation="pretraining-loss", metric="loss_nats", value=1.0) for n in names
    ]
    (series,) = gather(rows).values()
    assert series.names == {1.0: "early", 2.0: "middle", 3.0: "late"}


def test_diverged_readings_leave_the_curve_and_are_counted(rows: tuple[Reading, ...]) -> None:
    series = [s for k, s in gather(rows).items() if k.strength > 0.05 and k.evaluation == "pretraining-loss"]
    tuning = next(s for s in series if s.key.modification == "fine-tune")
    assert tuning.diverged() == 2
    assert BUDGETS[-1] not in tuning.curve().budgets
