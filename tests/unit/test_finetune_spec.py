"""What a study says of its fine-tunes: epochs, micro-batches, precision, checkpointing, early stop."""

from pathlib import Path
from typing import Any

import pytest

from pliant.modifications.finetune import FineTune
from pliant.studies.growth import extend_grids
from pliant.studies.modification_spec import FineTuneSpec
from pliant.studies.schedule import schedule
from pliant.studies.spec import SpecError, StudySpec
from pliant.studies.study_file import parse_study, to_yaml
from tiny_studies import is_one_line, plan, tiny

NUMERICS = {"forward": "transformers", "sweep": "single"}
EVERYTHING = {
    "task": "skip",
    "learning_rates": [0.01, 0.02],
    "epochs": 0.5,
    "batch": 8,
    "micro_batch": 3,
    "precision": "bfloat16",
    "gradient_checkpointing": True,
    "stop_early": {"every": 10, "patience": 3},
}


def study(tuning: dict[str, Any], **changes: Any) -> StudySpec:
    return tiny({"modifications": [{"fine_tune": {"task": "skip", "learning_rates": [0.01], **tuning}}], **changes})


def fine_tune(spec: StudySpec) -> FineTuneSpec:
    found = spec.modifications[0].fine_tune
    assert found is not None
    return found


def only(spec: StudySpec, rows: int) -> FineTune:
    (made,) = fine_tune(spec).modifications(rows)
    return made


@pytest.mark.parametrize(
    ("epochs", "batch", "rows", "steps"),
    [(1, 16, 160, 10), (1, 16, 161, 11), (3, 16, 100, 19), (0.25, 4, 100, 7), (2.5, 8, 16, 5), (0.001, 8, 10, 1)],
)
def test_epochs_are_whole_steps_that_see_at_least_as_many_rows(
    epochs: float, batch: int, rows: int, steps: int
) -> None:
    made = only(study({"epochs": epochs, "batch": batch}), rows)
    assert made.steps == steps
    assert steps * batch >= epochs * rows > (steps - 1) * batch
    assert made.label == "fine-tune skip, " + ("1 epoch" if epochs == 1 else f"{epochs:g} epochs")


def test_a_hundred_steps_are_the_default() -> None:
    assert (only(study({}), 7).steps, only(study({}), 7).label) == (100, "fine-tune skip")


def test_the_rows_are_those_of_the_encoded_task(tmp_path: Path) -> None:
    spec = study({"epochs": 0.5, "batch": 8})
    (cell,) = (c for c in plan(spec, tmp_path / "s").groups[0].cells if isinstance(c.modification, FineTune))
    assert cell.modification.steps == 16384 // 2 // 8  # of the training windows of a Markov task
    assert cell.labels["steps"] == 1024
    assert cell.labels["label"] == "fine-tune skip, 0.5 epochs"


def test_the_same_steps_asked_for_as_epochs_are_the_same_cell(tmp_path: Path) -> None:
    keys = [
        {cell.key for cell in plan(study(given), tmp_path / "s").groups[0].cells}
        for given in ({"epochs": 0.5, "batch": 8}, {"steps": 1024, "batch": 8})
    ]
    assert keys[0] == keys[1]


def test_everything_is_written_out_and_read_back() -> None:
    spec = study(EVERYTHING, numerics=NUMERICS)
    written = to_yaml(spec)
    assert "steps" not in written.split("modifications:")[1].split("schedule:")[0]
    assert parse_study(written, "again.yaml") == spec
    made = fine_tune(spec).modifications(1600)
    assert [m.strength for m in made] == [0.01, 0.02]
    assert {m.label for m in made} == {"fine-tune skip, 0.5 epochs, bf16, stop early 10 x 3"}
    assert {(m.steps, m.micro_batch, m.precision, m.gradient_checkpointing) for m in made} == {
        (100, 3, "bfloat16", True)
    }


def test_a_grid_of_epochs_grows_by_its_label() -> None:
    spec = study(EVERYTHING, numerics=NUMERICS)
    (label,) = fine_tune(spec).labels()
    assert fine_tune(extend_grids(spec, {label: {"high"}})).added_rates == (0.04, 0.08, 0.16)


@pytest.mark.parametrize(
    ("tuning", "says"),
    [
        ({"steps": 100, "epochs": 2}, "steps has no effect with epochs: 2; leave steps out"),
        ({"epochs": 0}, "epochs: Input should be greater than 0, got 0"),
        ({"epochs": ".inf"}, "epochs"),
        ({"micro_batch": 16}, "micro_batch must be from 1 to 15, below the batch of 16, got 16; leave it out"),
        ({"micro_batch": 0}, "micro_batch must be from 1 to 15, below the batch of 16, got 0"),
        ({"batch": 1, "micro_batch": 1}, "micro_batch must be"),
        ({"precision": "float16"}, "precision: Input should be 'bfloat16', got 'float16'"),
        ({"stop_early": {"every": 100, "patience": 2}}, "every 100 updates, and there are 100: it has no effect"),
        ({"stop_early": {"every": 10, "patience": 0}}, "every and patience must be at least 1, got 10 and 0"),
        ({"stop_early": {"every": 10, "patiense": 1}}, "did you mean patience?"),
        ({"micro_batches": 2}, "did you mean micro_batch?"),
        ({"gradient_checkpointing": True}, "give numerics with forward: transformers and sweep: single, or leave it"),
    ],
)
def test_what_is_refused(tuning: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError) as caught:
        study(tuning)
    assert says in str(caught.value)
    assert is_one_line(str(caught.value))


def test_checkpointing_of_passes_that_have_none_is_refused() -> None:
    for numerics in ({"forward": "transformers"}, {"sweep": "single"}):
        with pytest.raises(SpecError, match="gradient_checkpointing is of transformers' own forward pass"):
            study({"gradient_checkpointing": True}, numerics=numerics)


def test_an_early_stop_longer_than_the_epochs_is_refused_when_they_are_known() -> None:
    spec = study({"epochs": 1, "stop_early": {"every": 50, "patience": 2}})
    assert only(spec, 1600).steps == 100
    with pytest.raises(ValueError, match="evaluates every 50 updates, and there are 10"):
        only(spec, 160)


def seconds(tmp_path: Path, tuning: dict[str, Any]) -> float:
    spec = study({"steps": 5000, "batch": 8, **tuning}, numerics=NUMERICS)
    made = schedule([plan(spec, tmp_path / "study")])
    return sum(task.cost_seconds for task in made.tasks if task.key.startswith("group"))


@pytest.mark.parametrize(
    "more", [{"micro_batch": 1}, {"gradient_checkpointing": True}, {"stop_early": {"every": 5, "patience": 2}}], ids=str
)
def test_more_passes_are_estimated_to_take_longer(
    more: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pliant.studies.schedule.machine_factor", lambda: 1.0)
    assert seconds(tmp_path, more) > 1.01 * seconds(tmp_path, {})
    assert seconds(tmp_path, {"learning_rates": [0.0], **more}) == seconds(tmp_path, {"learning_rates": [0.0]})


def test_epochs_are_taken_as_they_are_written():
    assert only(study({"epochs": 1.1, "batch": 1}), 10).steps == 11  # 1.1 * 10 is 11.000000000000002 in floats
    assert only(study({"epochs": 0.1, "batch": 1}), 30).steps == 3
