"""lm-eval on the model in memory against lm-eval's own Hugging Face model, on tasks made here."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pliant.checkpoints.architecture import Architecture, build_model
from pliant.data.tokenizers import open_tokenizer
from pliant.evaluation.benchmarks import BenchmarkError, folder_fingerprint, task_name
from pliant.evaluation.harness import harness_measurements

pytest.importorskip("lm_eval")
# lm-eval and datasets warn of what is theirs alone
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

WORDS = ["tree", "river", "stone", "cloud", "apple", "wolf", "lamp", "snow"]
CHOICE = """task: local_choice
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
fewshot_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""
DOCUMENTS = """task: local_documents
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list:
  - {metric: word_perplexity}
  - {metric: bits_per_byte}
"""
GENERATE = """task: local_generation
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["."], max_gen_toks: 3}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    random = np.random.default_rng(0)
    items = [
        {
            "question": " ".join(random.choice(WORDS, size=random.integers(3, 30))),
            "choices": [" ".join(random.choice(WORDS, size=random.integers(1, 4))) for _ in range(4)],
            "answer": int(random.integers(4)),
        }
        for _ in range(24)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    for text in (CHOICE, DOCUMENTS, GENERATE):
        (folder / f"{text.split()[1]}.yaml").write_text(text.replace("DATA", str(folder / "items.jsonl")))
    (folder / "both.yaml").write_text(
        "group: local_group\ntask: [local_choice]\naggregate_metric_list:\n  - {metric: acc, weight_by_size: true}\n"
    )
    return folder


@pytest.fixture(scope="module")
def model() -> Any:
    return build_model(Architecture(width=16, layers=2, heads=2, feed_forward=24, context=96), 256, 0).eval()


def ours(model: Any, task: str, folder: Path | None, **changes: Any) -> Any:
    settings = {"limit": None, "num_fewshot": None, "batch_tokens": 512, "draw": 3, "sign": -1} | changes
    found = harness_measurements(model, open_tokenizer("bytes"), task, include_path=folder, **settings)
    return {(m.split, m.metric): m for m in found}


def theirs(model: Any, task: str, folder: Path, **changes: Any) -> Any:
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    tokenizer = copy.deepcopy(open_tokenizer("bytes").backend)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(10)
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(10)
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, prefix_token_id=10)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)  # it runs pip
        return lm_eval.simple_evaluate(model=lm, tasks=[task], task_manager=manager, bootstrap_iters=100, **changes)


def differing_choices(mine: Any, other: Any, tolerance: float = 1e-4) -> list[int]:
    """The items at which the two choose differently although their best two are further apart than `tolerance`."""
    return [
        number
        for number, (a, b) in enumerate(zip(mine, other, strict=True))
        if np.argmax(a) != np.argmax(b) and np.diff(np.sort(b)[-2:])[0] > tolerance
    ]


def test_differing_choices_are_listed():
    assert differing_choices([[1.0, 2.0], [2.0, 1.0]], [[1.0, 2.0], [1.0, 2.0]]) == [1]
    assert differing_choices([[1.00001, 1.0]], [[1.0, 1.00001]]) == []


@pytest.mark.parametrize("num_fewshot", [None, 2])
def test_the_same_scores_as_lm_evals_own_model(model: Any, tasks: Path, num_fewshot: int | None):
    expected = theirs(model, "local_choice", tasks, num_fewshot=num_fewshot)
    for _ in range(2):  # the second time from the loaded tasks
        found = ours(model, "local_choice", tasks, num_fewshot=num_fewshot)
        for key in ("acc,none", "acc_norm,none", "acc_stderr,none"):
            assert found[None, key].value == pytest.approx(expected["results"]["local_choice"][key])
    items = sorted(expected["samples"]["local_choice"], key=lambda sample: sample["doc_id"])
    assert found[None, "acc,none"].blocks == tuple(sample["acc"] for sample in items)
    assert (found[None, "acc,none"].draw, found[None, "acc,none"].sign) == (3, -1)


def test_the_same_log_probabilities_and_choices(model: Any, tasks: Path):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from pliant.evaluation.harness import _own
    from pliant.evaluation.resident import ResidentLM

    tokenizer = _own(open_tokenizer("bytes"), 10)
    items = [json.loads(line) for line in (tasks / "items.jsonl").read_text().splitlines()]
    pairs = [(item["question"], " " + choice) for item in items for choice in item["choices"]] + [
        ("", "wolf"),
        ("a ", "b"),
    ]
    requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
    mine = ResidentLM(model, tokenizer, start=10, batch_tokens=512).loglikelihood(requests, disable_tqdm=True)
    their = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, prefix_token_id=10).loglikelihood(
        requests, disable_tqdm=True
    )
    assert [nats for nats, _ in mine] == pytest.approx([nats for nats, _ in their], abs=1e-4)
    assert [greedy for _, greedy in mine] == [greedy for _, greedy in their]
    by_item = [np.array([nats for nats, _ in found[:-2]]).reshape(-1, 4) for found in (mine, their)]
    assert differing_choices(*by_item) == []


def test_documents_longer_than_the_model_reads(model: Any, tasks: Path):
    expected = theirs(model, "local_documents", tasks)["results"]["local_documents"]
    found = ours(model, "local_documents", tasks)
    for key in ("bits_per_byte,none", "word_perplexity,none"):
        assert found[None, key].value == pytest.approx(expected[key], rel=1e-6)
    bits = found[None, "bits_per_byte,none"]
    assert sum(bits.blocks) / sum(bits.count) == pytest.approx(bits.value)
    assert found[None, "word_perplexity,none"].blocks == ()


def test_generation_is_lm_evals(model: Any, tasks: Path):
    expected = theirs(model, "local_generation", tasks, limit=4)["results"]["local_generation"]
    found = ours(model, "local_generation", tasks, limit=4)
    assert found[None, "exact_match,none"].value == expected["exact_match,none"]
    assert len(found[None, "exact_match,none"].blocks) == 4


def test_a_group_has_its_members_beside_it(model: Any, tasks: Path):
    found = ours(model, "local_group", tasks)
    assert found[None, "acc,none"].value == found["local_choice", "acc,none"].value
    assert found[None, "acc,none"].blocks == found["local_choice", "acc,none"].blocks


def test_the_weights_stay(model: Any, tasks: Path):
    before = {name: value.clone() for name, value in model.named_parameters()}
    ours(model, "local_choice", tasks, limit=2)
    assert all(torch.equal(before[name], value) for name, value in model.named_parameters())
    assert open_tokenizer("bytes").backend.pad_token is None


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("ARC-Easy", "arc_easy"),
        ("arc_challenge", "arc_challenge"),
        ("commonsense-qa", "commonsense_qa"),
        ("my-task", "my-task"),
    ],
)
def test_names_as_people_write_them(given: str, name: str):
    assert task_name(given) == name


def test_a_misspelt_task_is_told_from_its_neighbours(model: Any, tasks: Path, monkeypatch: pytest.MonkeyPatch):
    from lm_eval.tasks import TaskManager

    from pliant.evaluation import benchmarks

    own = TaskManager(include_path=str(tasks), include_defaults=False)  # all of lm-eval's take half a minute to read
    monkeypatch.setattr(benchmarks, "_manager", lambda include_path, defaults, state: own)
    with pytest.raises(BenchmarkError, match="did you mean local_choice") as caught:
        ours(model, "local_choise", tasks)
    assert "\n" not in str(caught.value)


def test_data_that_are_not_here_are_told_in_a_line(model: Any):
    with pytest.raises(BenchmarkError, match="the data of the benchmark sciq are not to be had here") as caught:
        ours(model, "sciq", None)
    assert "\n" not in str(caught.value)


def test_a_folder_of_tasks_is_what_its_files_and_data_are(tasks: Path, tmp_path: Path):
    import shutil

    before = folder_fingerprint(tasks)
    copied = shutil.copytree(tasks, tmp_path / "copy")
    assert folder_fingerprint(tasks) == before
    outside = tmp_path / "outside.jsonl"
    outside.write_text("{}")
    (copied / "local_choice.yaml").write_text(CHOICE.replace("DATA", str(outside)))
    changed = folder_fingerprint(copied)
    outside.write_text("{ }")
    assert len({before, changed, folder_fingerprint(copied)}) == 3
    with pytest.raises(BenchmarkError, match="no task files"):
        folder_fingerprint(tmp_path / "nowhere")


@pytest.mark.slow
def test_every_known_benchmark_is_where_we_look():
    from pliant.evaluation import benchmarks

    for name, folder in benchmarks._KNOWN.values():
        assert name in benchmarks._manager(benchmarks._shipped() / folder, False).all_tasks
