"""What reads bytes from outside: each target takes some, and may raise its documented error and no other."""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment

from pliant.checkpoints.about import CheckpointError, read_about
from pliant.checkpoints.config import check_config
from pliant.checkpoints.hub.pins import read_pins
from pliant.checkpoints.names import natural_order, read_name
from pliant.checkpoints.public.runs import public_runs
from pliant.checkpoints.sources import read_source
from pliant.checkpoints.trainer_state import read_trainer_state
from pliant.checkpoints.weights import in_safetensors, stored_tensors
from pliant.data.chat import ChatError, render
from pliant.data.samples import Columns, SampleError, check_unicode, sample_of
from pliant.data.table_files import rows_of
from pliant.data.tokenizers import open_tokenizer
from pliant.evaluation.choices import ItemError, read_items
from pliant.execution.store import StoreError
from pliant.execution.table import read_table
from pliant.records.outside import parse_json
from pliant.records.redaction import redacted
from pliant.studies.spec import SpecError
from pliant.studies.study_file import parse_study, to_yaml

_FOLDER = Path(tempfile.mkdtemp(prefix="pliant-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))

LONGEST_ERROR = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`run` reads bytes; `documented` is what it may raise; `seeds` are inputs that it takes."""

    run: Callable[[bytes], object]
    documented: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]

    def check(self, data: bytes) -> None:
        """Raises what is not documented, and an error that is not one line."""
        said = "taken"
        try:
            self.run(data)
        except self.documented as error:
            said = str(error)
        assert said.strip(), "an error says what is wrong"
        assert len(said) < LONGEST_ERROR, "an error quotes no more than a line or two"


def written(name: str, data: bytes) -> Path:
    """The folder below which `name` now holds `data`."""
    place = _FOLDER / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return _FOLDER / name.split("/")[0]


def text_of(data: bytes) -> str:
    """Any text: half characters, too, which JSON can write."""
    return data.decode("utf-8", errors="surrogateescape")


def spec(data: bytes) -> None:
    """What is read is written so that it reads the same again."""
    study = parse_study(data.decode("utf-8", errors="replace"), "a study")
    assert parse_study(to_yaml(study), "again") == study


STUDY: dict[str, Any] = {
    "study": "mine",
    "held_out": {"tokens": "8K", "context": 32},
    "trajectories": [
        {
            "name": "ladder",
            "ladder": {
                "architecture": {"width": 8, "layers": 1, "heads": 1, "feed_forward": 16, "context": 32},
                "recipe": {"learning_rate": 0.01, "batch_windows": 2, "schedule": {"kind": "wsd"}},
                "budgets": ["1K", "2K"],
            },
        },
        {"name": "own", "checkpoints": [{"path": "a/step1", "tokens": "1B"}, {"path": "org/name@main"}]},
        {"name": "sums", "merge": {"of": "ladder", "window": 2, "weights": "ema(0.5)"}},
    ],
    "modifications": [
        {"noise": {"scaling": "init", "strengths": [0.1], "draws": 2}},
        {"quantise": {"bits": [4]}},
        {"fine_tune": {"task": "python", "steps": 4, "learning_rates": [0.01]}},
    ],
    "evaluations": [{"divergence": {"tokens": "2K"}}, {"choices": {"file": "items.jsonl"}, "on": ["none"]}],
}

PLAN: dict[str, Any] = {
    "study": "mine",
    "notes": ["a note"],
    "cells": [
        {
            "cell": "0123456789abcdef",
            "labels": {
                "trajectory": "t", "checkpoint": "1M", "tokens": 1000000, "parameters": 100, "annealed": True,
                "pretraining_seed": 1, "modification": "none", "label": "none", "strength": 0.0, "seed": 0,
                "bytes_per_token": 1.0, "line": None,
            },
            "evaluations": {"aaaa": {"evaluation": "pretraining-loss", "split": "test"}},
        }
    ],
}  # fmt: skip

RECORD: dict[str, Any] = {
    "schema": 1,
    "cell": {},
    "evaluation": {},
    "weights": "sha256:00",
    "status": "ok",
    "result": {
        "measurements": [
            {"metric": "loss_nats", "value": 1.5, "split": "test", "draw": 0, "sign": 1, "tensor": None,
             "blocks": [3.0, "nan"], "count": [1, 1], "linear": [0.1]}
        ],
        "details": {},
    },
}  # fmt: skip


def plan(data: bytes) -> None:
    folder = written("plan/plan.json", data)
    written("plan/records/0123456789abcdef/aaaa.json", json.dumps(RECORD).encode())
    read_table(folder)


def record(data: bytes) -> None:
    folder = written("record/plan.json", json.dumps(PLAN).encode())
    written("record/records/0123456789abcdef/aaaa.json", data)
    read_table(folder)


def name(data: bytes) -> None:
    found = read_name(text_of(data))
    assert all(fact is None or fact >= 0 for fact in (found.step, found.tokens, found.index))
    assert sorted([natural_order(text_of(data)), natural_order("part 10")])


def source(data: bytes) -> None:
    text, _, revisions = text_of(data).partition("\n")
    read_source(text, below=_FOLDER / "empty", revisions=revisions or None)


HEADER: dict[str, Any] = {
    "__metadata__": {"format": "pt"},
    "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b.weight": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
}


def safetensors(content: dict[str, Any], data: bytes = bytes(32)) -> bytes:
    """A file of that header."""
    text = json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text + data


def header(data: bytes) -> None:
    """Every tensor lies within the file."""
    for tensor in stored_tensors(written("header/model.safetensors", data)).values():
        assert 0 <= tensor.start <= tensor.stop <= len(data)


INDEX: dict[str, Any] = {"metadata": {"total_size": 32}, "weight_map": {"a.weight": "model-00001-of-00001.safetensors"}}


def index(data: bytes) -> None:
    """Every shard lies in the folder of its index."""
    written("index/model-00001-of-00001.safetensors", safetensors(HEADER))
    folder = written("index/model.safetensors.index.json", data)
    in_safetensors(folder)
    assert all(tensor.file.parent == folder for tensor in stored_tensors(folder).values())


ABOUT: dict[str, Any] = {
    "tokens": 4096, "step": 10, "learning_rate": 0.1, "annealed": True, "epochs": 0.5, "seed": 1, "recipe": "wsd",
    "data": "english", "bytes_per_token": 1.0, "weights": "sha256:00", "init_stds": {"a": 0.5}, "norms": {"a": 2.0},
}  # fmt: skip
TRAINER: dict[str, Any] = {
    "global_step": 10, "epoch": 0.5, "num_input_tokens_seen": 4096, "log_history": [{"learning_rate": 1e-3, "step": 5}],
}  # fmt: skip


def facts(data: bytes) -> None:
    written("facts/trainer_state.json", data)
    about = read_about(written("facts/pliant.json", data))
    about.filled(read_trainer_state(_FOLDER / "facts"))


def trainer(data: bytes) -> None:
    read_trainer_state(written("trainer/trainer_state.json", data))


CONFIG: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 2, "vocab_size": 3, "num_hidden_layers": 1, "intermediate_size": 4,
    "attn_implementation": "sdpa", "max_position_embeddings": 32,
}  # fmt: skip


def config(data: bytes) -> None:
    written("config/model.safetensors", safetensors(HEADER))
    folder = written("config/config.json", data)
    check_config(folder, stored_tensors(folder), trust_remote_code=False)


PINS: dict[str, Any] = {
    "org/name": {
        "revisions": [
            {"repo": "org/name", "revision": "main", "commit": "0" * 40,
             "files": [{"path": "model.safetensors", "size": 8, "blob": "0" * 40, "sha256": None}]}
        ],
        "missing": [["old", "no weights"]],
        "shapes": {"a": [2, 3]},
        "source": "hub",
    }
}  # fmt: skip


def pins(data: bytes) -> None:
    """Nothing that a revision names leads out of its repository's folder."""
    for pinned in read_pins(written("pins/revisions.json", data)).values():
        for revision in pinned.revisions:
            assert ".." not in Path(revision.revision).parts + Path(revision.commit).parts
            assert all(Path(file.path).name == file.path for file in revision.files)


def runs(data: bytes) -> None:
    public_runs(written("runs/runs.yaml", data) / "runs.yaml")


def rows(data: bytes) -> None:
    for place, row in rows_of(written("rows/rows.jsonl", data) / "rows.jsonl"):
        assert place
        try:
            check_unicode(sample_of(row, Columns()))
        except SampleError:
            continue


def items(data: bytes) -> None:
    read_items(written("items/items.jsonl", data) / "items.jsonl")


_TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"


class _Backend(SimpleNamespace):
    """A tokenizer's chat template, in the sandbox that transformers uses."""

    eos_token = "</s>"

    def apply_chat_template(self, messages: list[dict[str, str]], **options: object) -> str:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        return environment.from_string(self.chat_template).render(messages=messages, **options)


CHAT: dict[str, Any] = {
    "template": _TEMPLATE,
    "row": {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
}


def chat(data: bytes) -> None:
    """A row of messages, written by the default template and by one that came with a tokenizer."""
    given = parse_json(data)
    if not isinstance(given, dict) or not isinstance(given.get("row"), dict):
        raise SampleError("no row")
    sample = sample_of(given["row"], Columns())
    check_unicode(sample)
    template = given.get("template")
    tokenizer = replace(open_tokenizer("bytes"), name="t", backend=_Backend(chat_template=str(template)))
    for kind in ("default", "model"):
        shown = render(sample.messages, kind, tokenizer)  # type: ignore[arg-type]
        assert all(0 <= start <= stop <= len(shown.text) for start, stop in shown.responses)


def secrets(data: bytes) -> None:
    """No password of an address, and no token of the Hub, is left."""
    token = "hf_" + "a" * 20
    assert token not in redacted(text_of(data) + " " + token)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _yaml(value: Any) -> bytes:
    import yaml

    return str(yaml.safe_dump(value)).encode()


_NAMES = (b"stage2-ingredient1-step11931-tokens100B", b"TinyLlama-1.1B-step-50K-105b", b"ckpt_100", b"checkpoint-500")
_SOURCES = (
    b"org/name\nstep*",
    b"org/name@step*\nmain",
    b"pretrained=org/name,revision=main",
    b"~/x",
    b"../up",
    b"~nobody-here/x",
)
_RUN = [{"name": "r", "repos": ["o/*"], "source": "s", "phases": [{"tokens_per_step": "4M"}], "init": {"rule": "normal", "std": 0.02}}]  # noqa: E501  # fmt: skip
_ITEM = {"context": "a", "choices": ["b", "c"], "answer": 0}

TARGETS: Mapping[str, Target] = {
    "spec": Target(run=spec, documented=(SpecError,), seeds=(_yaml(STUDY), b"a: &a [1]\nb: [*a, *a]")),
    "record": Target(run=record, documented=(StoreError,), seeds=(_json(RECORD),)),
    "plan": Target(run=plan, documented=(StoreError,), seeds=(_json(PLAN),)),
    "name": Target(run=name, documented=(), seeds=_NAMES),
    "source": Target(run=source, documented=(CheckpointError,), seeds=_SOURCES),
    "header": Target(run=header, documented=(CheckpointError,), seeds=(safetensors(HEADER),)),
    "index": Target(run=index, documented=(CheckpointError,), seeds=(_json(INDEX),)),
    "facts": Target(run=facts, documented=(CheckpointError,), seeds=(_json(ABOUT | TRAINER),)),
    "trainer": Target(run=trainer, documented=(CheckpointError,), seeds=(_json(TRAINER),)),
    "config": Target(run=config, documented=(CheckpointError,), seeds=(_json(CONFIG),)),
    "pins": Target(run=pins, documented=(CheckpointError,), seeds=(_json(PINS),)),
    "runs": Target(run=runs, documented=(CheckpointError,), seeds=(_yaml(_RUN),)),
    "rows": Target(run=rows, documented=(ValueError,), seeds=(_json(CHAT["row"]) + b"\n" + _json({"text": "a"}),)),
    "items": Target(run=items, documented=(ItemError,), seeds=(_json(_ITEM),)),
    "chat": Target(run=chat, documented=(SampleError, ChatError, ValueError), seeds=(_json(CHAT),)),
    "secrets": Target(run=secrets, documented=(), seeds=(b"https://user:word@host/x Bearer abcdefgh",)),
}
