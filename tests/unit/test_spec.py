"""A study as YAML: what is refused, in which words, and that nothing changes on the way out and in again."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pliant.data.hub_text import HubText
from pliant.data.text_files import TextFiles
from pliant.studies.demo import english_study, markov_study
from pliant.studies.spec import CheckpointSpec, SpecError, StudySpec
from pliant.studies.study_file import parse_study, read_study, to_yaml
from tiny_studies import content, is_one_line, tiny

LADDER = "trajectories.0.ladder"
NOISE = "modifications.0.noise"
TUNING = "modifications.1.fine_tune"


def refusal(changes: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as caught:
        tiny(changes)
    text = str(caught.value)
    assert is_one_line(text), text
    assert text.startswith("tiny.yaml: ")
    return text


@pytest.mark.parametrize(
    ("place", "near"),
    [
        ("modification", "modifications"),
        ("held_out.token", "tokens"),
        (f"{LADDER}.budget", "budgets"),
        (f"{LADDER}.recipe.learning_rates", "learning_rate"),
        (f"{LADDER}.recipe.schedule.warmup_step", "warmup_steps"),
        (f"{LADDER}.architecture.widht", "width"),
        (f"{NOISE}.strenghts", "strengths"),
        (f"{TUNING}.learning_rate", "learning_rates"),
        ("numerics", None),
    ],
)
def test_an_unknown_key_is_refused_and_the_nearest_known_one_named(place: str, near: str | None):
    text = refusal({place: {"thread": 1}} if near is None else {place: 1})
    assert f"did you mean {near or 'threads'}?" in text
    assert (place.split(".")[-1] if near else "numerics.thread") in text


def test_a_key_like_no_other_is_refused_without_a_guess():
    text = refusal({"zzzzqq": 1})
    assert "unknown key zzzzqq" in text
    assert "did you mean" not in text


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (f"{NOISE}.strengths", [-0.1], "noise strength must be a finite number >= 0, got -0.1"),
        (f"{NOISE}.strengths", [math.nan], "finite number >= 0, got nan"),
        (f"{NOISE}.strengths", [math.inf], "finite number >= 0, got inf"),
        (f"{NOISE}.strengths", [], "at least 1"),
        (f"{NOISE}.draws", 0, "draws must be at least 1"),
        (f"{NOISE}.blocks", 0, "greater than or equal to 1"),
        (f"{NOISE}.scaling", "absolute", "'init' or 'relative'"),
        (f"{TUNING}.learning_rates", [0.01, -1], "learning rate must be a finite number >= 0, got -1"),
        (f"{TUNING}.learning_rates", [math.nan], "finite number >= 0, got nan"),
        (f"{TUNING}.steps", 0, "at least 1"),
        (f"{TUNING}.schedule", {"kind": "wsd"}, "wsd is for ladders"),
        (f"{TUNING}.seeds", [0, 0], "twice"),
        (f"{LADDER}.recipe.learning_rate", -0.01, "learning_rate must be a finite number above 0, got -0.01"),
        (f"{LADDER}.recipe.learning_rate", math.nan, "above 0, got nan"),
        (f"{LADDER}.recipe.optimisation", {"weight_decay": -1}, "weight_decay must be a finite number >= 0"),
        (f"{LADDER}.recipe.schedule.decay_fraction", 1.5, "between 0 and 1, got 1.5"),
        (f"{LADDER}.budgets", [1024, 512], "budgets must grow"),
        (f"{LADDER}.budgets", [512, 512], "budgets must grow"),
        (f"{LADDER}.budgets", [512, 513], "both 8 steps of 64 tokens"),
        (f"{LADDER}.budgets", ["many"], "'many' is not a token count"),
        (f"{LADDER}.budgets", [0], "0 is not a token count"),
        (f"{LADDER}.budgets", [-512], "-512 is not a token count"),
        (f"{LADDER}.budgets", ["1.5 parsecs"], "write a positive number such as 500K"),
        (f"{LADDER}.budgets", [math.nan], "is not a token count"),
        (f"{LADDER}.budgets", [], "at least 1"),
        (f"{LADDER}.seeds", [], "at least 1"),
        (f"{LADDER}.seeds", [2, 2], "2 is there twice"),
        (f"{LADDER}.seeds", [-1], "greater than or equal to 0"),
        (f"{LADDER}.members", ["annealed", "annealed"], "twice"),
        (f"{LADDER}.members", [], "at least 1"),
        (f"{LADDER}.architecture", "width-9", "no preset 'width-9'; known are width-8"),
        (f"{LADDER}.architecture.heads", 3, "even head size"),
        ("held_out.tokens", "none", "is not a token count"),
        ("held_out.context", 0, "greater than or equal to 1"),
        ("held_out.split", "train", "'validation' or 'test'"),
        ("snapshot_seconds", 0, "greater than 0"),
        ("study", "a/b", "match pattern"),
        ("study", "", "match pattern"),
        ("trajectories", [], "at least 1"),
        ("modifications.0", {}, "one of noise, quantise, prune, interpolate, fine_tune"),
        ("trajectories.0", {"name": "neither"}, "give either ladder, checkpoints or merge"),
        ("numerics", {"threads": 0}, "threads must be at least 1"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_place(place: str, value: object, says: str):
    assert says in refusal({place: value})


def test_a_trunk_needs_a_schedule_that_has_one():
    changes = {f"{LADDER}.members": ["trunk"], f"{LADDER}.recipe.schedule": {"kind": "cosine"}}
    assert "members: trunk needs schedule kind wsd" in refusal(changes)


def test_a_warm_up_that_would_have_no_effect_is_refused():
    changes = {f"{LADDER}.recipe.schedule": {"kind": "constant", "warmup_fraction": 0.1}}
    assert "give warmup_steps" in refusal(changes)


def test_two_trajectories_need_two_names():
    (one,) = content()["trajectories"]
    assert "different names" in refusal({"trajectories": [one, one]})


def test_a_checkpoint_listed_twice_is_refused():
    twice = [{"path": "/a", "tokens": "1K"}, {"path": "/a", "tokens": "2K"}]
    assert "'/a' is there twice" in refusal({"trajectories": [{"name": "theirs", "checkpoints": twice}]})


@pytest.mark.parametrize("text", ["study: [", "a: b: c", "\t- x", "study: 'open"])
def test_text_that_is_no_yaml_is_refused_in_a_line(text: str):
    with pytest.raises(SpecError, match=r"mine.yaml is not YAML") as caught:
        parse_study(text, "mine.yaml")
    assert is_one_line(str(caught.value))


@pytest.mark.parametrize(("text", "found"), [("", "NoneType"), ("- a", "list"), ("word", "str")])
def test_yaml_that_is_no_mapping_is_refused(text: str, found: str):
    with pytest.raises(SpecError, match=f"expected a mapping .* found {found}"):
        parse_study(text, "mine.yaml")


def test_on_is_a_key_and_not_a_boolean():
    text = yaml.safe_dump(content({})) + "evaluations:\n- divergence: {tokens: 512}\n  on: [none, noise]\n"
    (found,) = parse_study(text, "tiny.yaml").evaluations
    assert found.on == ("none", "noise")


@pytest.mark.parametrize(("written", "read"), [("yes", True), ("No", False), ("false", False), ("True", True)])
def test_booleans_as_people_write_them_stay_booleans(written: str, read: bool):
    text = yaml.safe_dump(content({})) + f"allow_suspect: {written}\n"
    assert parse_study(text, "tiny.yaml").allow_suspect is read


def test_rates_as_people_write_them_are_numbers():
    tuning = tiny({f"{TUNING}.learning_rates": ["1e-3", "2E-3"]}).modifications[1].fine_tune
    assert tuning is not None
    assert tuning.learning_rates == (1e-3, 2e-3)
    ladder = tiny({f"{LADDER}.budgets": ["0.5K", "1_024", "1.5M"]}).trajectories[0].ladder
    assert ladder is not None
    assert ladder.budgets == (500, 1024, 1_500_000)


@pytest.mark.parametrize(
    "spec",
    [
        tiny(),
        tiny({f"{LADDER}.recipe.optimisation": {"clip_norm": math.inf}}),
        tiny({f"{TUNING}.learning_rates": [1e-7, 0.1 + 0.2]}),
        tiny({"tokenizer": "markov", "numerics": {"threads": 3, "attention": "eager", "forward": "transformers"}}),
        english_study(full=True, control=True),
        markov_study(full=True),
    ],
    ids=["tiny", "infinite", "floats", "numerics", "english", "markov"],
)
def test_a_study_written_and_read_is_the_same(spec: StudySpec):
    assert parse_study(to_yaml(spec), "again") == spec


def test_a_study_to_start_from_leaves_the_numerics_plan_to_its_folder():
    spec = tiny()
    assert "numerics" not in yaml.safe_load(to_yaml(spec))
    settled = spec.model_copy(update={"numerics": replace(spec.numerics, threads=2)})
    assert yaml.safe_load(to_yaml(settled))["numerics"]["threads"] == 2


def test_the_resolved_study_has_every_default_written_out():
    written = yaml.safe_load(to_yaml(tiny()))
    assert written["held_out"]["tokens"] > 0
    assert written["modifications"][0]["noise"]["antithetic"] is True
    assert written["trajectories"][0]["ladder"]["recipe"]["optimisation"]["beta2"] == 0.95


def test_relative_paths_are_taken_from_the_folder_of_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "text.txt").write_text("text")
    (tmp_path / "tok").mkdir()
    (tmp_path / "theirs" / "a").mkdir(parents=True)
    whole = content() | {"corpus": "text.txt", "tokenizer": "tok"}
    whole["trajectories"] = [
        {"name": "folder", "checkpoints": "theirs"},
        {"name": "list", "checkpoints": [{"path": "theirs/a"}, {"path": "/elsewhere/b"}]},
    ]
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(whole))
    monkeypatch.chdir(tmp_path.parent)
    spec = read_study(Path(tmp_path.name) / "study.yaml")
    root = tmp_path.resolve()
    assert (spec.corpus, spec.tokenizer) == (str(root / "text.txt"), str(root / "tok"))
    assert spec.trajectories[0].checkpoints == str(root / "theirs")
    listed = spec.trajectories[1].checkpoints
    assert isinstance(listed, tuple)
    assert [entry.path for entry in listed] == [str(root / "theirs/a"), "/elsewhere/b"]


def test_names_on_the_hub_are_no_paths(tmp_path: Path):
    whole = content()
    whole["trajectories"] = [
        {"name": "whole", "checkpoints": "org/name", "revisions": "step*", "choose": {"from": "1B", "every": "250B"}},
        {"name": "list", "checkpoints": [{"path": "org/name@step1"}]},
    ]
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(whole))
    spec = read_study(file)
    assert spec.trajectories[0].checkpoints == "org/name"
    assert spec.trajectories[0].choose.first == 10**9
    assert spec.trajectories[1].checkpoints == (CheckpointSpec(path="org/name@step1"),)


@pytest.mark.parametrize(
    "modification",
    [
        {"noise": {"strengths": [0.1]}},
        {"quantise": {"bits": [8]}},
        {"quantise": {"bits": [8], "per": "group", "group": 64}},
        {"prune": {"shares": [0.5]}},
        {"fine_tune": {"task": "arithmetic", "learning_rates": [0.1]}},
    ],
)
def test_a_study_written_out_reads_back_the_same(modification: dict[str, Any]):
    whole = content() | {"modifications": [modification]}
    whole["trajectories"] = [*whole["trajectories"], {"name": "theirs", "checkpoints": "a/b", "choose": {"to": "1B"}}]
    spec = parse_study(yaml.safe_dump(whole), "a.yaml")
    assert parse_study(to_yaml(spec), "b.yaml") == spec


def test_names_that_are_no_paths_stay_names(tmp_path: Path):
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(content({"tokenizer": "markov"})))
    spec = read_study(file)
    assert (spec.corpus, spec.tokenizer) == ("markov:3", "markov")


# Text.


def test_a_corpus_may_name_its_column_or_a_dataset_of_the_hub():
    files = tiny({"corpus": {"path": "/text", "column": "content"}})
    assert files.corpus == TextFiles(path="/text", column="content")
    hub = tiny({"corpus": {"dataset": "allenai/c4", "name": "en", "split": "validation", "documents": 500}})
    assert hub.corpus == HubText(dataset="allenai/c4", name="en", split="validation", documents=500)
    for spec in (files, hub, tiny({"held_out": {"by": "documents", "bytes": "64K"}})):
        assert parse_study(to_yaml(spec), "again") == spec


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"corpus": {"path": "/text", "colum": "content"}}, "unknown key corpus.path.colum; did you mean column?"),
        ({"corpus": {"dataset": "a/b", "documents": 0}}, "documents is 0, expected at least 1"),
        ({"corpus": {"column": "content"}}, "corpus.path.path"),
        ({"corpus": 7}, "corpus"),
        ({"held_out": {"by": "documents", "tokens": 4096}}, "tokens has no effect with by: documents"),
        ({"held_out": {"bytes": "64K"}}, "bytes has no effect with by: windows"),
        ({"held_out": {"by": "documents", "bytes": 100}}, "held_out.bytes: Input should be greater than or equal"),
    ],
)
def test_what_a_text_setting_may_not_say(changes, complaint):
    with pytest.raises(SpecError) as raised:
        tiny(changes)
    assert complaint in str(raised.value)
    assert is_one_line(str(raised.value))


def test_the_path_of_a_mapping_is_taken_from_the_folder_of_the_study(tmp_path: Path):
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(content({"corpus": {"path": "text", "column": "content"}})))
    assert read_study(file).corpus == TextFiles(path=str(tmp_path.resolve() / "text"), column="content")


@pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
def test_a_study_file_that_cannot_be_read_is_named(kind: str, tmp_path: Path):
    file = tmp_path / "study.yaml"
    if kind == "folder":
        file.mkdir()
    if kind == "binary":
        file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError) as caught:
        read_study(file)
    assert str(file) in str(caught.value)
    assert is_one_line(str(caught.value))


def test_tasks_are_named_once_in_order():
    tuning = content()["modifications"][1]["fine_tune"]
    entries = [{"fine_tune": tuning | {"task": task}} for task in ("skip", "sibling", "skip")]
    assert tiny({"modifications": entries}).tasks == ("skip", "sibling")
