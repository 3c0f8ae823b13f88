"""Studies of regularised fine-tuning: what is planned, shared, recorded, estimated and refused."""

from pathlib import Path
from typing import Any

import pytest

from pliant.data.corpora import Corpus, Document, Split
from pliant.modifications import finetune
from pliant.studies import materials
from pliant.studies.schedule import schedule
from theirs import save_checkpoint
from tiny_studies import is_one_line, of_checkpoints, plan, record_files, run, tiny

TASK = {"task": "skip", "learning_rates": [0.01, 0.02], "steps": 4, "batch": 4}
WHOLE = {"anchor": 0.1, "ewc": 0.1, "replay": 0.5, "kl": 0.1, "wise_ft": 0.5}
LABELS = {"anchor": "anchor", "ewc": "EWC", "replay": "replay", "kl": "KL", "wise_ft": "WiSE-FT"}


def tuned(method: str, *amounts: float, **changes: Any) -> dict[str, Any]:
    return {"fine_tune": {**TASK, **changes, "regularise": {method: list(amounts)}}}


def losses(table: Any, evaluation: str = "pretraining-loss") -> dict[tuple[str, float, str], float]:
    return {
        (row["checkpoint"], row["strength"], row["label"]): row["value"]
        for row in table.rows
        if row["evaluation"] == evaluation and row["metric"] == "loss_nats" and row["modification"] == "fine-tune"
    }


def test_every_method_is_measured_and_a_second_run_finds_nothing_to_do(tmp_path: Path):
    entries = [tuned(method, 0, amount) for method, amount in WHOLE.items()]
    spec = tiny({"modifications": entries, "trajectories.0.ladder.budgets": [512]})
    table, failures, _ = run(spec, tmp_path / "study")
    assert (failures, table.missing, table.failed) == ([], 0, ())
    found = {row["label"].removeprefix("fine-tune skip, 4 steps") for row in table.rows} - {"none"}
    assert found == {"", *(f", {LABELS[method]} {amount:g}" for method, amount in WHOLE.items())}
    before = record_files(tmp_path / "study")
    again, _, started = run(spec, tmp_path / "study")
    assert started == []
    assert record_files(tmp_path / "study") == before
    assert losses(again) == losses(table)
    assert len({round(loss, 9) for loss in losses(table).values()}) == 2 * (1 + len(WHOLE))


def test_a_record_tells_what_the_method_held(tmp_path: Path):
    run(tiny({"modifications": [tuned("kl", 0.1)]}), tmp_path / "study")
    details = [content for content in record_files(tmp_path / "study").values() if b'"divergence_nats_last"' in content]
    assert len(details) == 2 * 2 * 4


@pytest.mark.parametrize("sweep", ["stacked", "single"])
def test_all_of_the_way_back_is_the_base(tmp_path: Path, sweep: str):
    spec = tiny({"modifications": [tuned("wise_ft", 0.5, 1)], "numerics": {"sweep": sweep}})
    table, failures, _ = run(spec, tmp_path / "study")
    assert failures == []
    base = {
        row["checkpoint"]: row["value"]
        for row in table.rows
        if row["evaluation"] == "pretraining-loss" and row["modification"] == "none"
    }
    found = losses(table)
    for (checkpoint, rate, label), value in found.items():
        assert (value == base[checkpoint]) == label.endswith("WiSE-FT 1"), (checkpoint, rate, label)


def test_the_amounts_of_wise_ft_and_plain_share_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trained: list[float] = []
    real = finetune.train

    def counted(*arguments: Any, **settings: Any) -> None:
        trained.append(1)
        real(*arguments, **settings)

    monkeypatch.setattr(finetune, "train", counted)
    spec = tiny({"modifications": [tuned("wise_ft", 0, 0.25, 0.5, seeds=[0, 1])], "numerics": {"sweep": "single"}})
    table, failures, _ = run(spec, tmp_path / "study")
    assert (failures, table.missing) == ([], 0)
    assert len(trained) == 2 * 2 * 2  # budgets, rates, seeds


def test_probing_first_in_a_text_study(tmp_path: Path):
    entry = {"fine_tune": {**TASK, "task": "book", "regularise": {"probe_first": [0, 0.5]}}}
    budgets = {"trajectories.0.ladder.budgets": [512]}
    table, failures, _ = run(tiny({"corpus": "english", "modifications": [entry], **budgets}), tmp_path / "study")
    assert (failures, table.missing, table.failed) == ([], 0, ())
    assert {row["label"] for row in table.rows if row["modification"] == "fine-tune"} == {
        "fine-tune book, 4 steps",
        "fine-tune book, 4 steps, LP-FT 0.5",
    }


def seconds(entry: dict[str, Any], folder: Path) -> float:
    return schedule([plan(tiny({"modifications": [entry]}), folder)]).seconds


def test_estimates_count_the_extra_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pliant.studies.schedule.machine_factor", lambda: 1.0)
    much = {"steps": 2000, "learning_rates": [0.01]}
    by_kernel = seconds({"fine_tune": {**TASK, **much}}, tmp_path / "by kernel")
    monkeypatch.setattr("pliant.studies.numerics.kernel_works", lambda: False)
    monkeypatch.setenv("PLIANT_CACHE", str(tmp_path / "cache"))  # asks again
    plain = seconds({"fine_tune": {**TASK, **much}}, tmp_path / "none")
    assert by_kernel < plain / 4
    cost = {name: seconds(tuned(name, 0.5, **much), tmp_path / name) / plain for name in WHOLE}
    assert cost["anchor"] == pytest.approx(1)
    assert cost["replay"] == pytest.approx(2, abs=0.1)
    assert cost["kl"] == pytest.approx(2.3, abs=0.1)
    assert 1 < cost["ewc"] < 1.5
    shared = seconds(tuned("wise_ft", 0, 0.25, 0.5, 0.75, **much), tmp_path / "wise") / plain
    assert 1 < shared < 1.1


def refused(spec: Any, folder: Path) -> str:
    with pytest.raises(ValueError) as caught:
        run(spec, folder)
    assert is_one_line(str(caught.value))
    assert not folder.exists(), "nothing is begun"
    return str(caught.value)


def test_probing_first_without_labels_is_refused_before_anything_runs(tmp_path: Path):
    says = refused(tiny({"modifications": [tuned("probe_first", 0.5)]}), tmp_path / "study")
    assert says == "probe_first is for classification, and task skip has no labels; take another task"


@pytest.mark.parametrize("method", ["replay", "kl", "ewc"])
def test_text_that_is_held_out_only_cannot_be_looked_back_at(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "held-out.txt"
    file.write_text("as a Hub dataset's test split, whose documents are all held out")
    halves: list[Split] = ["validation", "test"] * 30
    documents = [
        Document(title="", text=f"sentence {n} " * 9, split=s, source="", year=None) for n, s in enumerate(halves)
    ]
    corpus = Corpus(name=str(file), fingerprint=f"sha256:{method}", read=lambda: iter(documents))
    monkeypatch.setattr(materials, "open_corpus", lambda name: corpus)
    save_checkpoint(tmp_path / "theirs", vocabulary_size=256)
    entry = tuned(method, 0.5, task="arithmetic")
    spec = of_checkpoints(
        [{"path": str(tmp_path / "theirs")}], modifications=[entry], corpus=str(file), tokenizer="bytes"
    )
    says = refused(spec, tmp_path / "study")
    assert says == f"{file} has no train text; name a corpus or a split of it that has"
