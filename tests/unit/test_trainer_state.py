"""What the Hugging Face Trainer says of its checkpoints, written by the Trainer's own class."""

from pathlib import Path

import pytest
from transformers import TrainerState

from pliant.checkpoints.about import About, CheckpointError
from pliant.checkpoints.trainer_state import read_trainer_state


def written(folder: Path, **facts: object) -> Path:
    TrainerState(**facts).save_to_json(str(folder / "trainer_state.json"))
    return folder


def test_step_epochs_rate_and_tokens(tmp_path: Path):
    log = [{"learning_rate": 1e-3, "step": 5}, {"learning_rate": 5e-4, "step": 10}, {"eval_loss": 2.0, "step": 10}]
    folder = written(tmp_path, global_step=10, epoch=0.5, num_input_tokens_seen=4096, log_history=log)
    assert read_trainer_state(folder) == About(step=10, tokens=4096, epochs=0.5, learning_rate=5e-4)


def test_tokens_that_were_not_counted_are_unknown(tmp_path: Path):
    assert read_trainer_state(written(tmp_path, global_step=10, epoch=0.5)) == About(step=10, epochs=0.5)


def test_no_file_says_nothing(tmp_path: Path):
    assert read_trainer_state(tmp_path) == About()


@pytest.mark.parametrize("content", ["{", "[]", '{"global_step": "many"}', "{}"])
def test_a_damaged_file_is_named(content: str, tmp_path: Path):
    (tmp_path / "trainer_state.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"trainer_state\.json cannot be read .*; mend it, or delete it"):
        read_trainer_state(tmp_path)
