"""Checkpoints, data and study folders made to do harm: each is refused in one line, and does nothing."""

import contextlib
import gzip
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import tiny_studies
from pliant.api import study
from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.folder import open_checkpoint
from pliant.checkpoints.hub.revision import HubFile, HubRevision
from pliant.checkpoints.trajectory import trajectory
from pliant.checkpoints.weights import LONGEST_HEADER, stored_tensors
from pliant.data import table_files
from pliant.data.table_files import rows_of
from pliant.data.tokenizers import TokenizerError, open_tokenizer
from pliant.execution.store import Store, StoreError
from pliant.execution.table import read_table
from pliant.studies.spec import SpecError
from theirs import save_checkpoint

HARM = "import pathlib; pathlib.Path({!r}).write_text('ran')"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "checkpoint")


@pytest.fixture
def harm(tmp_path: Path) -> Path:
    """The file that is there once foreign code has run."""
    return tmp_path / "harm"


def refused(call: Any, says: str, error: type[Exception] = CheckpointError) -> str:
    with pytest.raises(error, match=says) as caught:
        call()
    assert tiny_studies.is_one_line(str(caught.value))
    return str(caught.value)


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


class Payload:
    """Runs when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (HARM.format(str(self.place)),)


# pickles and code


def test_a_pickle_is_not_opened_and_if_it_may_be_only_its_tensors(saved: Path, harm: Path) -> None:
    (saved / "model.safetensors").unlink()
    (saved / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(harm), protocol=2))  # torch's own
    refused(lambda: open_checkpoint(saved), "holds pickled weights, which can run code when opened")
    refused(lambda: open_checkpoint(saved, allow_pickle=True), "hold more than tensors, which would run code")
    assert not harm.exists()


def test_a_pickle_beside_safetensors_is_left_alone(saved: Path, harm: Path) -> None:
    for name in ("pytorch_model.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        (saved / name).write_bytes(pickle.dumps(Payload(harm)))
    open_checkpoint(saved)
    assert not harm.exists()


def test_the_code_of_a_tokenizer_never_runs(saved: Path, harm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (saved / "own.py").write_text(HARM.format(str(harm)))
    edit(saved / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Own", "own.Own"]}, tokenizer_class="Own")
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # whoever is at the terminal is not asked
    with contextlib.suppress(TokenizerError):
        open_tokenizer(str(saved))
    assert not harm.exists()


def test_adapters_do_not_open_a_model_that_lies_elsewhere(saved: Path, tmp_path: Path) -> None:
    other = save_checkpoint(tmp_path / "other", seed=2)
    (saved / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(other), "peft_type": "LORA", "target_modules": ["q_proj"]})
    )
    refused(lambda: open_checkpoint(saved), r"holds adapters \(adapter_config.json\) of a model that lies elsewhere")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"transformers_weights": "../other/model.safetensors"}, "names other weights, '../other/model.safetensors'"),
        ({"attn_implementation": "evil/kernel"}, "names code of the Hub repository 'evil/kernel'"),
        ({"text_config": {"_attn_implementation": "evil/kernel@main"}}, "names code of the Hub repository"),
        ({"num_hidden_layers": 10**9}, r"disagree \(1,000,000,000 layers and 12 tensors\)"),
        ({"vocab_size": 10**12}, r"disagree \(vocab_size 1,000,000,000,000 and [0-9,]+ stored numbers\)"),
        ({"hidden_size": 1024}, "64 x 1,024 embeddings and"),
    ],
)
def test_a_config_that_asks_for_what_it_must_not(saved: Path, changes: dict[str, Any], says: str) -> None:
    edit(saved / "config.json", **changes)
    refused(lambda: open_checkpoint(saved), says)


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "{", '"x"', "\xff"])
def test_a_config_that_is_none(saved: Path, content: str) -> None:
    (saved / "config.json").write_bytes(content.encode("latin-1"))
    refused(lambda: open_checkpoint(saved), r"config.json (cannot be read|holds a)")


def asking(tmp_path: Path, changes: dict[str, Any]) -> Path:
    whole = tiny_studies.content() | {"trajectories": [{"name": "theirs", "checkpoints": "org/name"}]}
    whole["trajectories"][0] |= changes.pop("trajectory", {})
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(whole | changes))
    return tmp_path / "study.yaml"


@pytest.mark.parametrize(
    ("changes", "option", "says"),
    [
        ({"trajectory": {"allow_pickle": True}}, "allow_pickle", r"\(allow_pickle of theirs\); .* add --allow-pickle"),
        ({"trajectory": {"trust_remote_code": True}}, "trust_remote_code", "of theirs.* add --trust-remote-code"),
        (
            {"evaluations": [{"harness": {"tasks": ["mine"], "include_path": "tasks"}}]},
            "trust_remote_code",
            r"runs code that comes with it \(benchmarks of .*tasks\)",
        ),
    ],
)
def test_a_study_file_cannot_allow_itself_anything(
    changes: dict[str, Any], option: str, says: str, tmp_path: Path
) -> None:
    file = asking(tmp_path, changes)
    refused(lambda: study(file), says, SpecError)
    refused(lambda: study(tmp_path), says, SpecError)  # a folder copied from elsewhere
    assert study(file, **{option: True}).spec.study == "tiny"  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["allow_pickle", "trust_remote_code"])
def test_allowing_what_nobody_asks_for_is_an_error(option: str, tmp_path: Path) -> None:
    file = asking(tmp_path, {})
    words = f"--{option.replace('_', '-')} has no effect on .*study.yaml"
    refused(lambda: study(file, **{option: True}), words, SpecError)  # type: ignore[arg-type]


# sizes


def header(text: bytes, length: int | None = None, data: bytes = b"") -> bytes:
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def one(**changes: Any) -> bytes:
    return json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}).encode()


@pytest.mark.parametrize(
    "content",
    [
        header(one(shape=[10**12]), data=bytes(8)),
        header(one(shape=[2**62, 2**62]), data=bytes(8)),
        header(one(shape=[-2]), data=bytes(8)),
        header(one(shape=["2"]), data=bytes(8)),
        header(one(data_offsets=[8, 0]), data=bytes(8)),
        header(one(data_offsets=[-8, 0]), data=bytes(8)),
        header(one(data_offsets=[0]), data=bytes(8)),
        header(one(dtype=["F32"]), data=bytes(8)),
        header(one(), length=1 << 62),
        header(b"[" * 100_000),
        header(b"\xff\xff"),
        b"",
    ],
)
def test_a_header_that_lies_is_damaged(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    refused(lambda: stored_tensors(tmp_path), "is no safetensors file .*; fetch it again")


def test_a_header_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write((8_000_000_000).to_bytes(8, "little"))
        file.truncate(9_000_000_000)  # sparse: nothing is on the disk
    assert LONGEST_HEADER < 8_000_000_000
    refused(lambda: stored_tensors(tmp_path), "is no safetensors file")


def test_offsets_beyond_the_file_are_cut_short(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(header(one(), data=bytes(4)))
    refused(lambda: stored_tensors(tmp_path), "is cut short")


def test_one_line_that_expands_to_gigabytes_is_not_held_in_memory(tmp_path: Path) -> None:
    file = tmp_path / "bomb.jsonl.gz"
    with gzip.open(file, "wb", compresslevel=1) as stream:
        for _ in range(80):
            stream.write(b" " * (1 << 20))
    refused(lambda: list(rows_of(file)), "a line of more than 67,108,864 characters", ValueError)


def test_many_lines_out_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "_HARMLESS", 1 << 20)
    file = tmp_path / "bomb.jsonl.gz"
    with gzip.open(file, "wb") as stream:
        stream.write(b'{"text": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}\n' * 40_000)
    refused(lambda: list(rows_of(file)), r"more than [0-9,]+ characters, which no text for training has", ValueError)


def test_rows_that_no_file_of_that_size_holds(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    count = 3_000_000
    pq.write_table(pa.table({"text": pa.array([None] * count, pa.null())}), file)
    refused(lambda: next(iter(rows_of(file))), r"claims 3,000,000 rows, at most [0-9,]+ fit into it", ValueError)


# names that lead elsewhere


@pytest.mark.parametrize(
    "shard", ["../../etc/passwd", "/etc/passwd", "..", "a\x00b", "x" * 300, "a\nb", 5, ["x"], None]
)
def test_an_index_names_files_beside_it_only(shard: Any, saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    (saved / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    refused(lambda: open_checkpoint(saved), "names the shard|is no index of shards")


@pytest.mark.parametrize("path", ["../x.json", "/etc/x.json", "a/b.json", "..", "a\x00.json", "x" * 256])
def test_a_repository_cannot_list_files_elsewhere(path: str) -> None:
    refused(lambda: HubFile(path=path, size=1, blob="0" * 40), "which is no name of a file at its top")
    refused(lambda: HubFile(path="config.json", size=1, blob=path), "which is no name of a file at its top")


@pytest.mark.parametrize(
    "changes",
    [
        {"repo": "../../x"}, {"repo": "a/../b"}, {"repo": "/etc"}, {"revision": "../../../.bashrc"},
        {"revision": "/etc/passwd"}, {"revision": "a\nb"}, {"commit": "../.."}, {"commit": ""},
    ],
)  # fmt: skip
def test_nor_revisions(changes: dict[str, Any]) -> None:
    plain: dict[str, Any] = {"repo": "org/name", "revision": "refs/pr/1", "commit": "0" * 40, "files": ()}
    assert HubRevision(**plain).name == "org/name@refs/pr/1"
    refused(lambda: HubRevision(**(plain | changes)), "is no name of a Hub repository, revision or commit")


def test_a_checkpoint_whose_name_writes_on_the_terminal(saved: Path, tmp_path: Path) -> None:
    saved.rename(tmp_path / "step\x1b[2J1")
    message = refused(lambda: trajectory(tmp_path), "holds a checkpoint called")
    assert "\x1b" not in message


def plan_of(folder: Path, **changes: Any) -> None:
    cell = {"cell": "aa", "labels": {"trajectory": "t", "checkpoint": "1M"}, "evaluations": {"bb": {}}} | changes
    folder.mkdir(exist_ok=True)
    (folder / "plan.json").write_text(json.dumps({"study": "s", "cells": [cell]}))


@pytest.mark.parametrize(
    "changes",
    [
        {"cell": "../../elsewhere"},
        {"cell": "/etc"},
        {"evaluations": {"../../secret": {}}},
        {"cell": "a\x00b"},
        {"cell": 5},
        {"labels": {"checkpoint": "a\nb"}},
        {"labels": {"tokens": "many"}},
        {"labels": {"strength": 1e400}},
        {"labels": []},
    ],
)
def test_a_plan_from_elsewhere(changes: dict[str, Any], tmp_path: Path) -> None:
    plan_of(tmp_path / "study", **changes)
    refused(lambda: read_table(tmp_path / "study"), "plan.json cannot be read", StoreError)


def test_weights_in_a_record_name_no_folder_elsewhere(tmp_path: Path) -> None:
    store = Store(tmp_path / "study")
    (store.records / "aa").mkdir(parents=True)
    refused(lambda: store.supersede("../../../../x", ["aa"]), "was measured on the weights '../../", StoreError)
    assert (store.records / "aa").is_dir()


@pytest.mark.parametrize("place", ["records", "artifacts", "superseded", "records/aa", "artifacts/main/seed-1"])
def test_no_link_leads_out_of_a_study(place: str, tmp_path: Path) -> None:
    spec, folder, elsewhere = tiny_studies.tiny(), tmp_path / "study", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".part-mine").write_text("mine")
    (folder / place).parent.mkdir(parents=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(tiny_studies.content()))
    (folder / place).symlink_to(elsewhere)
    refused(lambda: tiny_studies.run(spec, folder), "is a link to .*elsewhere, outside of the study", StoreError)
    assert os.listdir(elsewhere) == [".part-mine"]


def test_a_leftover_that_is_a_link_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    store = Store(tmp_path / "study")
    store.folder.mkdir()
    (store.folder / ".part-x").symlink_to(tmp_path / "kept")
    assert store.sweep_leftovers() == 1
    assert (tmp_path / "kept").is_dir()
