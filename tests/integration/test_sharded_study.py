"""A checkpoint that two processes share gives the records of one process: losses, weights, structure."""

import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pliant.checkpoints.about import About
from pliant.checkpoints.folder import open_checkpoint, save_weights
from pliant.execution.local import LocalEngine
from pliant.execution.store import RUN_FILE
from pliant.modifications.finetune import FineTune
from pliant.studies.ranks import run_ranks
from pliant.training.decoder import transformers_logits
from pliant.training.early_stop import EarlyStop
from pliant.training.loop import Optimisation
from shard_work import Tuning, tune_and_gather, tuned
from tiny_studies import is_one_line, of_checkpoints, record_files, run

VOCABULARY = 65  # that of the Markov language and one more: the shards differ in rows
CLOSE = 1e-5
Record = dict[str, Any]


def llama(**changes: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"vocab_size": VOCABULARY, "hidden_size": 24, "intermediate_size": 35, "num_hidden_layers": 2}
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**shape, num_attention_heads=4, num_key_value_heads=2, **changes))


def neox() -> Any:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    shape = {"vocab_size": VOCABULARY, "hidden_size": 24, "intermediate_size": 35, "num_hidden_layers": 3}
    torch.manual_seed(0)
    return GPTNeoXForCausalLM(GPTNeoXConfig(**shape, num_attention_heads=4))


def saved(model: Any, folder: Path) -> Path:
    folder.mkdir(parents=True)
    save_weights(model, folder)
    About(tokens=1000).write(folder)
    return folder


def study(folder: Path, shards: int | None, *more: dict[str, Any], **changes: Any) -> Any:
    numerics = {"forward": "transformers", "sweep": "single", **({"shards": shards} if shards else {})}
    modifications = [
        {"noise": {"scaling": "relative", "strengths": [0.0, 0.1], "draws": 1}},
        {"fine_tune": {"task": "skip", "learning_rates": [0.0, 0.003, 0.03], "steps": 4, "batch": 5}},
        *more,
    ]
    whole = {"tokenizer": "markov", "modifications": modifications, "numerics": numerics}
    return of_checkpoints([{"path": str(folder)}], **{**whole, **changes})


def records(folder: Path) -> dict[tuple[str, str], Record]:
    """By what a reader calls them, since the numerics plan is part of the keys."""
    found: dict[tuple[str, str], Record] = {}
    for content in map(json.loads, record_files(folder).values()):
        cell = {name: value for name, value in content["cell"].items() if name != "numerics"}
        found[json.dumps(cell, sort_keys=True), json.dumps(content["evaluation"], sort_keys=True)] = content
    return found


def numbers(record: Record) -> list[float]:
    """Every number that was measured, in order."""
    measured = record["result"]["measurements"]
    return [number for one in measured for number in (one["value"], *one["blocks"])] + [
        value for _, value in sorted(record["result"]["details"].items())
    ]


def without_numbers(record: Record) -> Record:
    measured = [{**one, "value": 0, "blocks": len(one["blocks"])} for one in record["result"]["measurements"]]
    return {"status": record["status"], "weights": record["weights"], "measured": measured}


def assert_alike(shared: Path, alone: Path) -> None:
    ours, theirs = records(shared), records(alone)
    assert ours.keys() == theirs.keys()
    for key, record in ours.items():
        assert without_numbers(record) == without_numbers(theirs[key])
        assert numbers(record) == pytest.approx(numbers(theirs[key]), rel=CLOSE), key


def value(folder: Path, kind: str, strength: float, evaluation: str = "pretraining-loss") -> float:
    (found,) = {
        one["value"]
        for record in records(folder).values()
        if record["cell"]["modification"].get("strength", -1) == strength
        and record["cell"]["modification"]["type"] == kind
        and record["evaluation"]["kind"] == evaluation
        for one in record["result"]["measurements"]
    }
    return float(found)


def test_two_processes_give_the_records_of_one(tmp_path: Path) -> None:
    folder = saved(llama(tie_word_embeddings=True), tmp_path / "theirs")
    shared, alone = study(folder, 2), study(folder, None)
    for spec, out in ((shared, tmp_path / "shared"), (alone, tmp_path / "alone")):
        table, failures, _ = run(spec, out)
        assert (table.missing, failures, table.failed) == (0, [], ())
    assert_alike(tmp_path / "shared", tmp_path / "alone")
    base = value(tmp_path / "shared", "none", -1)
    assert value(tmp_path / "shared", "Noise", 0.0) == base
    assert value(tmp_path / "shared", "FineTune", 0.0) == base
    assert value(tmp_path / "shared", "FineTune", 0.0, "displacement") == 0.0
    assert value(tmp_path / "shared", "FineTune", 0.03) != pytest.approx(base, rel=1e-3)
    assert not run(shared, tmp_path / "shared")[2]  # finished: nothing to do


@pytest.mark.slow
def test_another_class_in_worker_processes(tmp_path: Path) -> None:
    """GPT-NeoX, untied, three layers; the ranks are children of a worker that is a daemon."""
    folder = saved(neox(), tmp_path / "theirs")
    for shards, out, engine in (2, "shared", LocalEngine(workers=1)), (None, "alone", None):
        table, failures, _ = run(study(folder, shards), tmp_path / out, engine)
        assert (table.missing, failures, table.failed) == (0, [], ())
    assert_alike(tmp_path / "shared", tmp_path / "alone")


def relative_distance(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    assert ours.keys() == theirs.keys()
    moved = sum(float((ours[name].double() - theirs[name].double()).square().sum()) for name in theirs)
    return float((moved / sum(float(tensor.double().square().sum()) for tensor in theirs.values())) ** 0.5)


PLAIN = FineTune(task="random", strength=3e-3, steps=12, batch=6)
SETTINGS = {
    "plain": PLAIN,
    "a batch of one": FineTune(task="random", strength=3e-3, steps=4, batch=1),
    "an odd batch in parts": FineTune(task="random", strength=3e-3, steps=8, batch=7, micro_batch=3),
    "clipped and decayed": FineTune(
        task="random", strength=3e-3, steps=8, batch=6, optimisation=Optimisation(weight_decay=0.1, clip_norm=0.05)
    ),
    "recomputed": FineTune(task="random", strength=3e-3, steps=12, batch=6, gradient_checkpointing=True),
    "stopped early": FineTune(
        task="random", strength=0.01, steps=9, batch=6, stop_early=EarlyStop(every=2, patience=1)
    ),
    "bfloat16": FineTune(task="random", strength=3e-3, steps=8, batch=6, precision="bfloat16"),
    "diverged": FineTune(
        task="random", strength=1e30, steps=9, batch=6, optimisation=Optimisation(clip_norm=float("inf"))
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("make", ["llama", "tied llama", "neox"])
def test_fine_tuned_weights_are_those_of_one_process(make: str, tmp_path: Path) -> None:
    model = neox() if make == "neox" else llama(tie_word_embeddings=make == "tied llama")
    folder = saved(model, tmp_path / "theirs")
    out, settings = tmp_path / "gathered.pt", tuple(SETTINGS.values())
    work = Tuning(folder=folder, settings=settings, vocabulary=VOCABULARY, out=out)
    run_ranks(tune_and_gather, work, 2, lambda share, figures: None)
    # in bfloat16 what a batch's gradient is depends on how the batch is divided, so one process divides it as two do
    divided = tuple(replace(one, micro_batch=one.batch // 2) if one.precision else one for one in settings)
    theirs = tuned(open_checkpoint(folder), transformers_logits, replace(work, settings=divided))
    for name, (losses, tensors), (variant, expected) in zip(SETTINGS, torch.load(out), theirs, strict=True):
        close = 1e-4 if name == "bfloat16" else CLOSE
        assert losses == pytest.approx(variant.losses, rel=close), name
        assert variant.diverged == (name == "diverged")
        if not variant.diverged:
            assert relative_distance(tensors, expected) < close, name


@pytest.mark.slow
def test_a_rank_that_is_killed_fails_its_checkpoint_in_a_line_and_a_second_run_resumes(tmp_path: Path) -> None:
    folder, out = saved(llama(), tmp_path / "theirs"), tmp_path / "study"
    long = {"fine_tune": {"task": "skip", "learning_rates": [0.001], "steps": 100_000, "batch": 4}}
    killed: list[int] = []
    over = threading.Event()

    def kill_ranks() -> None:
        """Twice: a death is tried again."""
        while len(killed) < 2 and not over.wait(0.2):
            done = list(out.glob(f"records/*/{RUN_FILE}"))
            ranks = [one for one in children() if one not in killed]
            if len(done) >= 3 and len(ranks) == 2:
                killed.append(max(ranks))
                os.kill(max(ranks), signal.SIGKILL)

    thread = threading.Thread(target=kill_ranks)
    thread.start()
    table, failures, _ = run(study(folder, 2, long), out)
    over.set()
    thread.join()
    (failure,) = failures
    assert is_one_line(failure.error)
    assert "rank 1 of 2 was killed by SIGKILL" in failure.error
    assert failure.attempts == 2
    assert not children()
    before = record_files(out)
    assert len(before) > 0
    assert table.missing > 0
    run(study(folder, 2), tmp_path / "whole")
    shorter, failures, _ = run(study(folder, 2), out)
    assert (shorter.missing, failures) == (0, [])
    assert record_files(tmp_path / "whole").items() <= record_files(out).items()


def children() -> list[int]:
    """Ranks that this process has started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            command = (entry / "cmdline").read_bytes()
        except (OSError, IndexError):  # it ended just now
            continue
        if parent == os.getpid() and b"pliant.studies.ranks" in command:
            found.append(int(entry.name))
    return found
