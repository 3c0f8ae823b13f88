"""Instruction data through full fine-tuning and adapters, on a tiny checkpoint and on weights that are not ours."""

from pathlib import Path

import pytest
import yaml

import pliant
import tiny
from glass import save_as_llama
from instruction_files import conversations, jsonl, talks
from pliant.checkpoints.architecture import build_model
from pliant.checkpoints.folder import save_weights
from pliant.checkpoints.weights import stored_fingerprint
from pliant.statistics import readings, sweeps

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def glass(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import glassllm

    return save_as_llama(*glassllm.load_pretrained("en"), tmp_path_factory.mktemp("glass") / "en")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ours")
    shape = tiny.architecture(context=64)
    network = build_model(shape, 256, seed=0)
    save_weights(network, folder)
    tiny.about(network, shape, tokens=100, weights=stored_fingerprint(folder)).write(folder)
    return folder


@pytest.mark.parametrize("checkpoint", ["glass", "ours"])
@pytest.mark.parametrize("shape", ["hh", "tulu"])
def test_dialogues_are_learned_by_all_weights_and_by_adapters(
    checkpoint: str, shape: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLIANT_CACHE", str(tmp_path / "cache"))
    folder = request.getfixturevalue(checkpoint)
    rows = [row for row in talks(200) if not str(row["chosen"]).endswith(": ")] if shape == "hh" else conversations(200)
    (tmp_path / f"{shape}.jsonl").write_bytes(jsonl(rows))
    (tmp_path / "text.jsonl").write_bytes(jsonl([{"text": f"Document {n} tells of {n % 7} seas."} for n in range(900)]))
    task = {"path": f"{shape}.jsonl", "drop_empty": True} if shape == "hh" else {"path": f"{shape}.jsonl"}
    tuning = {"task": task, "steps": 12, "batch": 8, "learning_rates": [0.0, 0.01]}
    content: dict[str, object] = {
        "study": "methods",
        "corpus": "text.jsonl",
        "held_out": {"tokens": 512, "task_rows": 16, "context": 64},
        "trajectories": [{"name": "one", "checkpoints": [{"path": str(folder), "tokens": 1000}]}],
        "modifications": [
            {"fine_tune": tuning},
            {"fine_tune": {**tuning, "adapter": {"rank": 2}}},
            {"fine_tune": {**tuning, "adapter": {"rank": 2, "dora": True}}},
        ],
    }
    if checkpoint == "ours":
        content["tokenizer"] = "bytes"
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    results = pliant.study(tmp_path / "study.yaml", out=tmp_path / "runs").run(workers=0)
    (table,) = results.tables
    assert (table.failed, table.missing, results.failures) == ((), 0, ())
    found = sweeps(readings(table.rows))
    assert {sweep.method for sweep in found} == {None, "LoRA rank 2", "DoRA rank 2"}
    for sweep in found:
        ((before, after),) = sweep.rates.values()
        assert (before.rate, after.rate) == (0.0, 0.01)
        assert after.task_loss < before.task_loss - 0.1
        assert before.pretraining_loss != after.pretraining_loss
