"""The Python facade on a real, tiny study."""

from pathlib import Path

import pytest

import pliant
from pliant.checkpoints.about import CheckpointError

STUDY = """
study: facade
corpus: markov:3
held_out: {tokens: 512, task_rows: 16}
trajectories:
  - name: ladder
    ladder:
      architecture: width-8-markov
      recipe: {learning_rate: 0.01, batch_windows: 4, schedule: {warmup_steps: 2}}
      budgets: [1K, 2K]
modifications:
  - noise: {scaling: init, strengths: [0.1], draws: 2}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("facade")
    (place / "study.yaml").write_text(STUDY)
    results = pliant.study(place / "study.yaml", out=place / "runs").run(workers=0)
    assert results.failures == ()
    return place


def test_study_run_report(folder: Path) -> None:
    page = pliant.study(folder / "runs").run(workers=0).report(folder / "out.html")
    assert "facade" in page.read_text(encoding="utf-8")


def test_summary_of_results_without_running(folder: Path) -> None:
    (study,) = pliant.study(folder / "runs").results().summary().studies
    assert study.study == "facade"


def test_trajectory_orders_members_by_tokens(folder: Path) -> None:
    members = pliant.trajectory(folder / "runs" / "artifacts").members
    tokens = [member.about.tokens for member in members]
    assert tokens == sorted(tokens, key=lambda count: count or 0)


def test_sensitivity_has_an_interval_and_is_zero_without_noise(folder: Path) -> None:
    checkpoint = next((folder / "runs").glob("artifacts/*/seed-1/tokens-*"))
    shared = {"corpus": "markov:3", "tokens": 512, "context": 32, "draws": 3}
    found = pliant.sensitivity(checkpoint, strength=0.2, **shared)
    assert found.low < found.value < found.high
    assert pliant.sensitivity(checkpoint, strength=0.0, **shared).value == 0.0


def test_sensitivity_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        pliant.sensitivity(tmp_path / "nowhere", strength=0.1)
    with pytest.raises(CheckpointError, match="no folder"):
        pliant.trajectory(tmp_path / "nowhere")


def test_study_from_a_recipe_function(tmp_path: Path) -> None:
    made = pliant.study("pliant.studies.demo:english_study", out=tmp_path / "x")
    assert made.spec.study == "english"
    with pytest.raises(ValueError, match="module:function"):
        pliant.study("pliant.studies.demo:nothing")
