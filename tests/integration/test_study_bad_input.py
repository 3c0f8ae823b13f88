"""Bad input in a study: one clear line that names the place and the remedy, and nothing lost."""

import errno
import os
import pickle
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pliant.execution.engine import UserError
from theirs import change_weights, save_checkpoint
from tiny_studies import content, is_one_line, of_checkpoints, record_files, run, tiny

NOISE = [{"noise": {"scaling": "relative", "strengths": [0.05], "draws": 1}}]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLIANT_CACHE", str(tmp_path / "cache"))


def refused(spec: Any, folder: Path) -> str:
    with pytest.raises(ValueError) as caught:
        run(spec, folder)
    assert is_one_line(str(caught.value))
    assert not folder.exists(), "nothing is begun"
    return str(caught.value)


def text_study(corpus: Path, **changes: Any) -> Any:
    return tiny({"corpus": str(corpus), "modifications": [], **changes})


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """About 40 KB in 300 documents, so that each split has some."""
    file = tmp_path / "text.jsonl"
    file.write_text("".join(f'{{"text": "{"word " * 24}number {n}"}}\n' for n in range(300)))
    return file


def test_a_corpus_too_small_for_the_budget(text: Path, tmp_path: Path):
    budgets = {"trajectories.0.ladder.budgets": [512, "1M"]}
    says = refused(text_study(text, **budgets), tmp_path / "study")
    assert "a budget of 1M tokens is" in says
    assert f"epochs of {text}" in says
    assert "lower budgets, give more text, or set max_epochs" in says


def test_more_epochs_can_be_allowed(text: Path, tmp_path: Path):
    ladder = {"budgets": [2048, 64_000], "max_epochs": 3, "recipe.batch_windows": 128}
    changes = {f"trajectories.0.ladder.{name}": value for name, value in ladder.items()}
    table, failures, _ = run(text_study(text, **changes), tmp_path / "study")
    assert (table.missing, failures) == (0, [])
    assert 1 < max(row["epochs"] for row in table.rows) < 3


def test_held_out_text_that_is_too_short(text: Path, tmp_path: Path):
    says = refused(text_study(text, **{"held_out.tokens": "1M"}), tmp_path / "study")
    assert "lower held_out.tokens or give more text" in says
    assert str(text) in says


def test_no_such_corpus(tmp_path: Path):
    says = refused(text_study(tmp_path / "nowhere.txt"), tmp_path / "study")
    assert str(tmp_path / "nowhere.txt") in says


def test_a_training_split_shorter_than_a_window(tmp_path: Path):
    # one-word documents train; the held-out ones are long enough to be measured on
    from pliant.data.corpora import split_of

    words = (f"w{n}" for n in range(10_000))
    long = (f"{'long ' * 200}{n}" for n in range(10_000))
    chosen = [next(w for w in words if split_of(w) == "train")]
    chosen += [next(d for d in long if split_of(d) == split) for split in ("validation", "test")]
    corpus = tmp_path / "text.jsonl"
    corpus.write_text("".join(f'{{"text": "{document}"}}\n' for document in chosen))
    assert "lower budgets, give more text" in refused(text_study(corpus), tmp_path / "study")


def test_a_corpus_in_no_known_form(tmp_path: Path):
    file = tmp_path / "text.csv"
    file.write_text("a,b")
    assert "expected .txt, .jsonl, .jsonl.gz or .parquet" in refused(text_study(file), tmp_path / "study")


def test_a_language_without_a_number(tmp_path: Path):
    assert "expected markov:SEED" in refused(tiny({"corpus": "markov:x"}), tmp_path / "study")


def test_no_such_tokenizer(text: Path, tmp_path: Path):
    says = refused(text_study(text, tokenizer=str(tmp_path / "tok")), tmp_path / "study")
    assert f"no tokenizer opens at '{tmp_path / 'tok'}'" in says


def test_no_such_task(tmp_path: Path):
    tuning = {"fine_tune": content()["modifications"][1]["fine_tune"] | {"task": "python"}}
    assert "no task 'python'" in refused(tiny({"modifications": [tuning]}), tmp_path / "study")


def test_no_checkpoints_there(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    assert "no folder with config.json" in refused(of_checkpoints(tmp_path / "empty"), tmp_path / "study")
    assert "no checkpoint folder at" in refused(of_checkpoints(tmp_path / "nowhere"), tmp_path / "study")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    for seed in (1, 2, 3):
        save_checkpoint(tmp_path / "theirs" / f"tokens-{seed}K", seed=seed)
    return tmp_path / "theirs"


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))


def not_a_number(folder: Path) -> None:
    change_weights(folder, lambda tensor: tensor[3, 3].fill_(float("nan")))


def of_another_shape(folder: Path) -> None:
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"intermediate_size": 8', '"intermediate_size": 12'))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (not_a_number, "tensor lm_head.weight holds NaN or infinity"),
        (pickled, "holds pickled weights"),
        (of_another_shape, "config.json and the tensors disagree"),
    ],
)
def test_a_damaged_checkpoint_is_one_line_and_the_others_are_measured(
    damage: Any, says: str, theirs: Path, tmp_path: Path
):
    damage(theirs / "tokens-2K")
    table, failures, _ = run(of_checkpoints(theirs, modifications=NOISE), tmp_path / "study")
    (failure,) = failures
    assert says in failure.error
    assert "tokens-2K" in failure.error
    assert is_one_line(failure.error)
    assert (failure.user_error, failure.attempts) == (True, 1)
    assert {row["checkpoint"] for row in table.rows} == {"tokens-1K", "tokens-3K"}
    assert table.missing == table.planned // 3


def test_truncated_weights_are_found_before_anything_runs(theirs: Path, tmp_path: Path):
    file = theirs / "tokens-2K" / "model.safetensors"
    os.truncate(file, file.stat().st_size - 100)
    says = refused(of_checkpoints(theirs, modifications=NOISE), tmp_path / "study")
    assert "tokens-2K cannot be read: model.safetensors is cut short" in says
    assert "fetch it again" in says


def test_a_tokenizer_with_more_tokens_than_the_model_embeds(tmp_path: Path):
    fits = save_checkpoint(tmp_path / "theirs" / "tokens-1K")
    save_checkpoint(tmp_path / "theirs" / "tokens-2K", vocabulary_size=60)
    table, failures, _ = run(of_checkpoints(tmp_path / "theirs"), tmp_path / "study")
    (failure,) = failures
    assert "has 64 tokens, the model embeds 60; set tokenizer to the one" in failure.error
    assert is_one_line(failure.error)
    assert {row["checkpoint"] for row in table.rows} == {fits.name}


def test_a_learning_rate_at_which_pre_training_diverges(tmp_path: Path):
    spec = tiny({"trajectories.0.ladder.recipe.learning_rate": 1e30, "modifications": []})
    table, failures, _ = run(spec, tmp_path / "study")
    first = failures[0]
    assert "pre-training diverged at step" in first.error
    assert "give a lower learning_rate" in first.error
    assert is_one_line(first.error)
    assert table.missing == table.planned
    assert {f.attempts for f in failures[1:]} == {0}


@pytest.mark.parametrize("room_for", [1, 4, 8, 13])
def test_a_disk_that_fills_up_loses_nothing(room_for: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    expected = tmp_path / "expected"
    run(tiny(), expected)
    renames = 0
    rename = os.replace

    def full(*names: Any) -> None:
        nonlocal renames
        renames += 1
        if renames > room_for + 2:  # study.yaml and plan.json
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(names[1]))
        rename(*names)

    monkeypatch.setattr(os, "replace", full)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pliant.studies.runner.write_parquet", lambda table, path: path)
        table, failures, _ = run(tiny(), tmp_path / "study")
    monkeypatch.undo()
    errors = {failure.error for failure in failures if failure.attempts}
    assert table.missing > 0
    assert all(e.startswith("no room left on the disk while writing") and is_one_line(e) for e in errors), errors
    assert all(failure.user_error for failure in failures if failure.attempts)
    kept = record_files(tmp_path / "study") if (tmp_path / "study" / "records").is_dir() else {}
    assert kept.items() <= record_files(expected).items()
    table, failures, _ = run(tiny(), tmp_path / "study")
    assert (table.missing, failures) == (0, [])
    assert record_files(tmp_path / "study") == record_files(expected)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KB, with a study of its own inside."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a file system that is small enough to fill")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def errors_of(folder: Path) -> list[str]:
    """What running the study says went wrong: its failed tasks, or the one error that ended it."""
    try:
        _, failures, _ = run(tiny(), folder)
    except UserError as error:
        return [str(error)]
    return [failure.error for failure in failures if failure.attempts]


@pytest.mark.parametrize("free_kilobytes", [16, 60, 120, 200])
def test_a_real_disk_that_is_full(free_kilobytes: int, small_disk: Path, tmp_path: Path):
    (small_disk / "filler").write_bytes(b"0" * 1024 * (300 - free_kilobytes))
    errors = errors_of(small_disk / "study")
    assert errors
    for error in errors:
        assert error.startswith("no room left on the disk while writing"), error
        assert is_one_line(error)
    (small_disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    table, failures, _ = run(tiny(), small_disk / "study")
    assert (table.missing, failures) == (0, [])
    run(tiny(), tmp_path / "expected")
    assert record_files(small_disk / "study") == record_files(tmp_path / "expected")
    assert list(small_disk.rglob(".part-*")) == []


def test_memory_that_runs_out_fails_the_cell_alone_and_names_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def run_out(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr("pliant.studies.variants.quantised_variant", run_out)
    save_checkpoint(tmp_path / "theirs", tokens=1000)
    study, folder = (
        of_checkpoints(tmp_path / "theirs", modifications=[*NOISE, {"quantise": {"bits": [4]}}]),
        tmp_path / "s",
    )
    table, failures, _ = run(study, folder)
    assert failures == []
    (failed,) = table.failed
    assert (failed.labels["modification"], failed.attempts) == ("quantise", 1)
    assert failed.error == (
        "out of memory with 2,048 tokens a forward pass; start a study with fewer: "
        f"pliant run {folder}/study.yaml --batch-tokens 1024 --out {folder}-1024"
    )
    assert {row["modification"] for row in table.rows} == {"none", "noise"}
