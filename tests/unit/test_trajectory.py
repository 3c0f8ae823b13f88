"""A folder of checkpoints, in order of tokens, whoever wrote them."""

import pytest

import tiny
from pliant.checkpoints.about import About, CheckpointError
from pliant.checkpoints.trajectory import trajectory


def checkpoint(folder, **facts):
    """A folder that looks like a checkpoint from outside: listing opens no weights."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    if facts:
        About(**facts).write(folder)


def names(path):
    return [member.name for member in trajectory(path).members]


def test_order_is_by_tokens_then_step_then_name(tmp_path):
    checkpoint(tmp_path / "c", tokens=100)
    checkpoint(tmp_path / "b", tokens=3000)
    checkpoint(tmp_path / "a", tokens=200, step=9)
    checkpoint(tmp_path / "z", tokens=200, step=2)
    checkpoint(tmp_path / "part 10")
    checkpoint(tmp_path / "part 9")
    assert names(tmp_path) == ["c", "z", "a", "b", "part 9", "part 10"]


def test_tokens_are_read_from_names(tmp_path):
    checkpoint(tmp_path / "step1000-tokens4B")
    checkpoint(tmp_path / "step200-tokens500M")
    checkpoint(tmp_path / "step0-tokens0B")
    found = trajectory(tmp_path).members
    assert [member.about.tokens for member in found] == [0, 500_000_000, 4_000_000_000]


def test_a_name_does_not_drown_other_facts(tmp_path):
    checkpoint(tmp_path / "tokens-2M", step=7, init_stds={"w": 0.5})
    (member,) = trajectory(tmp_path).members
    assert member.about == About(tokens=2_000_000, step=7, init_stds={"w": 0.5})


def test_facts_written_count_more_than_the_name(tmp_path):
    checkpoint(tmp_path / "tokens-2M", tokens=77)
    assert trajectory(tmp_path).members[0].about.tokens == 77


def test_the_step_is_read_from_names_and_orders_them(tmp_path):
    checkpoint(tmp_path / "checkpoint-1000")
    checkpoint(tmp_path / "checkpoint-500")
    checkpoint(tmp_path / "checkpoint-20", step=7)
    found = trajectory(tmp_path).members
    assert [member.about.step for member in found] == [7, 500, 1000]


def test_hidden_folders_are_passed_over_and_nested_ones_found(tmp_path):
    checkpoint(tmp_path / "run" / "one", tokens=1)
    checkpoint(tmp_path / "run" / "deeper" / "two", tokens=2)
    checkpoint(tmp_path / "run" / ".part-x1" / "three", tokens=3)
    assert names(tmp_path / "run") == ["one", "deeper/two"]
    assert trajectory(tmp_path / "run").name == "run"


def test_one_checkpoint_is_a_trajectory_of_one(tmp_path):
    tiny.save(tmp_path / "only")
    assert names(str(tmp_path / "only")) == ["only"]


def test_no_folder_or_no_checkpoints(tmp_path):
    with pytest.raises(CheckpointError, match=r"no folder at .*nowhere; give a folder of Hugging Face checkpoints"):
        trajectory(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"no folder with config.json at or below"):
        trajectory(tmp_path)


def test_a_member_without_weights_is_refused_when_listed(tmp_path):
    checkpoint(tmp_path / "one", tokens=1)
    (tmp_path / "one" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"one has no model.safetensors"):
        trajectory(tmp_path)


def test_an_audit_lists_damaged_members_with_what_can_be_read_of_them(tmp_path):
    checkpoint(tmp_path / "step3", tokens=3)
    (tmp_path / "step3" / "model.safetensors").unlink()
    checkpoint(tmp_path / "step2")
    (tmp_path / "step2" / "pliant.json").write_text("{")
    checkpoint(tmp_path / "step1")
    (tmp_path / "step1" / "trainer_state.json").write_text("[]")
    found = trajectory(tmp_path, damaged=True).members
    assert [(member.name, member.about) for member in found] == [
        ("step3", About(tokens=3, step=3)),
        ("step1", About(step=1)),
        ("step2", About(step=2)),
    ]


def test_counts_that_are_no_whole_numbers_are_refused(tmp_path):
    checkpoint(tmp_path / "one")
    (tmp_path / "one" / "pliant.json").write_text('{"tokens": "4B"}')
    with pytest.raises(CheckpointError, match=r"pliant.json: tokens is '4B'; expected a whole number"):
        trajectory(tmp_path)
