"""bfloat16 is taken where its bias is small beside the interval, refused where it is not, and never in silence."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from pliant.checkpoints.architecture import build_model
from pliant.checkpoints.folder import save_weights
from pliant.records.numerics import Numerics
from pliant.studies import validated
from pliant.studies.settling import planned, prepare, study_of
from pliant.studies.spec import SpecError, StudySpec
from tiny_studies import of_checkpoints, record_files, run
from tiny_studies import tiny as ladder_study

WEAK, STRONG = 1e-4, 0.5


@pytest.fixture(autouse=True)
def it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """At some thousand parameters it does not: what is tested here is the bias."""
    monkeypatch.setattr(validated, "PAYS", 0.0)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    for seed in (1, 2):
        folder = tmp_path / "run" / f"tokens-{seed}K"
        folder.mkdir(parents=True)
        save_weights(build_model(tiny.architecture(width=32, feed_forward=64), 80, seed), folder)
    return tmp_path / "run"


def study(folder: Path, *strengths: float, evaluation: str | None = "auto", **changes: Any) -> StudySpec:
    noise = {"noise": {"scaling": "relative", "strengths": list(strengths)}}
    numerics = {"numerics": {"evaluation": evaluation}} if evaluation else {}
    whole = {"corpus": "markov:3", "tokenizer": "markov", "modifications": [noise], **numerics, **changes}
    return of_checkpoints(folder, **{"held_out": {"tokens": 512, "task_rows": 16, "context": 12}, **whole})


def test_strong_noise_is_measured_in_bfloat16(trained: Path, tmp_path: Path) -> None:
    spec, folder = study(trained, STRONG), tmp_path / "study"
    table, failures, _ = run(spec, folder)
    assert not failures
    settled = study_of(folder)
    assert settled is not None
    assert settled.numerics == Numerics(kernel="lanes", evaluation="bfloat16")
    assert "# bfloat16 for held-out losses accepted" in table.settings
    kept = json.loads((folder / "validation.json").read_text())
    assert kept["accepted"]
    assert len(kept["comparisons"]) == 2
    first = record_files(folder)
    assert not run(spec, folder)[2]  # auto is decided: nothing to do
    assert not run(settled, folder)[2]
    assert "# bfloat16 for held-out losses accepted" in (folder / "study.yaml").read_text()
    plain, _, _ = run(study(trained, STRONG, evaluation=None), tmp_path / "plain")
    assert len(record_files(tmp_path / "plain")) == len(first)
    losses = [[row["value"] for row in one.rows if row["evaluation"] == "pretraining-loss"] for one in (table, plain)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)


def test_weak_noise_is_measured_in_fp32(trained: Path, tmp_path: Path) -> None:
    plan = planned(study(trained, WEAK, STRONG), tmp_path / "study")
    assert plan.validation is not None
    assert not plan.validation.accepted
    assert plan.spec.numerics == Numerics(kernel="lanes")
    assert {one.strength for one in plan.validation.comparisons} == {WEAK}
    assert "refused" in plan.validation.words
    before = planned(study(trained, WEAK, STRONG, evaluation=None), tmp_path / "plain")
    assert [cell.cell for cell in plan.cells()] == [cell.cell for cell in before.cells()]
    prepare(plan)
    with pytest.raises(SpecError, match="created with another numerics plan"):
        planned(study(trained, WEAK, STRONG, evaluation="bfloat16"), tmp_path / "study")


def test_who_asks_for_bfloat16_is_told_why_not(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"numerics.evaluation: bfloat16 .* refused: .* write auto, or leave it out"):
        planned(study(trained, WEAK, evaluation="bfloat16"), tmp_path / "study")


def test_where_it_does_not_pay_it_is_refused(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validated, "PAYS", 1e9)
    plan = planned(study(trained, STRONG), tmp_path / "study")
    assert plan.validation is not None
    assert all(one.bias.negligible for one in plan.validation.comparisons)
    assert not plan.validation.accepted


def test_one_theta_prime_and_fine_tunes_are_compared_too(trained: Path, tmp_path: Path) -> None:
    changes = [
        {"quantise": {"bits": [4]}},
        {"fine_tune": {"task": "skip", "learning_rates": [0.01, 0.03], "steps": 2, "batch": 4, "seeds": [1, 2]}},
    ]
    plan = planned(study(trained, modifications=changes), tmp_path / "study")
    assert plan.validation is not None
    units = {one.label: one.bias.n for one in plan.validation.comparisons}
    assert sorted(units.values()) == [2, 3]  # seeds; blocks of 16 of 42 rows


def test_what_cannot_be_validated_is_said(trained: Path, tmp_path: Path) -> None:
    trains = ladder_study({"numerics": {"evaluation": "auto"}})
    with pytest.raises(SpecError, match="this study trains its own; leave it out, or measure the trained folders"):
        planned(trains, tmp_path / "ladder")
    with pytest.raises(SpecError, match="validated on modifications, and this study has none; leave it out"):
        planned(study(trained, modifications=[]), tmp_path / "nothing")


def test_the_precision_of_evaluation_leaves_a_ladder_as_it_is(tmp_path: Path) -> None:
    plain = planned(ladder_study(), tmp_path / "one").groups[0].ladder
    assert plain is not None
    assert replace(plain, numerics=replace(plain.numerics, evaluation="bfloat16")).recipe == plain.recipe
