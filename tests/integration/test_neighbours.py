"""Merged trajectories, interpolation and pruning by activations as a study runs them: cells, weights, records."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import pliant
from pliant.checkpoints.folder import open_checkpoint
from pliant.checkpoints.weights import stored_fingerprint
from pliant.modifications.merge import open_parts
from pliant.report import summarise
from pliant.studies.confirm import confirming_study
from pliant.studies.runner import set_aside_changed
from pliant.studies.schedule import schedule
from pliant.studies.spec import SpecError, StudySpec
from theirs import change_weights, save_checkpoint
from tiny_studies import TOKENS_PER_STEP, cells, content, of_checkpoints, plan, record_files, run, tiny

BUDGETS = [8 * TOKENS_PER_STEP, 16 * TOKENS_PER_STEP, 32 * TOKENS_PER_STEP]
MERGED = {"name": "merged 2", "merge": {"of": "main", "window": 2}}
CHANGES = [
    {"prune": {"shares": [0.0, 0.5], "criterion": "wanda", "calibration_tokens": 256}},
    {"interpolate": {"with": "last", "weights": [0.0, 0.5, 1.0]}},
    {"interpolate": {"with": "previous", "weights": [0.5]}},
]


def study(*, members: tuple[str, ...] = ("trunk",), **changes: Any) -> StudySpec:
    main = content({"trajectories.0.ladder.budgets": BUDGETS, "trajectories.0.ladder.members": list(members)})
    return tiny({"trajectories": [*main["trajectories"], MERGED], "modifications": CHANGES, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("neighbours") / "study"
    pliant.study(study(), out=folder).run(workers=0)
    return folder


def losses(folder: Path) -> dict[tuple[str, str, str, float], float]:
    rows = pliant.study(folder).results().tables[0].rows
    return {
        (row["trajectory"], row["checkpoint"], row["label"], row["strength"]): row["value"]
        for row in rows
        if row["evaluation"] == "pretraining-loss"
    }


def test_every_cell_is_measured_and_no_strength_changes_nothing(finished: Path) -> None:
    (table,) = pliant.study(finished).results().tables
    assert (table.missing, table.failed) == (0, ())
    found = losses(finished)
    names = {"main": ["512 trunk", "1.02K trunk", "2.05K trunk"], "merged 2": ["1.02K trunk", "2.05K trunk"]}
    for trajectory, checkpoints in names.items():
        for place, name in enumerate(checkpoints):
            base = found[trajectory, name, "none", 0.0]
            assert found[trajectory, name, "prune, wanda on 256 tokens", 0.0] == base
            assert found[trajectory, name, "prune, wanda on 256 tokens", 0.5] != base
            lines = {label for t, c, label, _ in found if (t, c) == (trajectory, name) and "interpolate" in label}
            assert ("interpolate with last" in lines) == (place < len(checkpoints) - 1), "the last is its own partner"
            assert ("interpolate with previous" in lines) == (place > 0)
            if place < len(checkpoints) - 1:
                last = found[trajectory, checkpoints[-1], "none", 0.0]
                assert found[trajectory, name, "interpolate with last", 0.0] == base
                assert found[trajectory, name, "interpolate with last", 1.0] == last
                assert found[trajectory, name, "interpolate with last", 0.5] not in (base, last)
    # half of the way to the one before is the uniform merge of two
    for name in names["merged 2"]:
        half = found["main", name, "interpolate with previous", 0.5]
        assert half == found["merged 2", name, "none", 0.0]
    assert {key[:2] for key in found} == {(t, c) for t, checkpoints in names.items() for c in checkpoints}


def test_the_records_say_what_was_merged_and_with_whom(finished: Path) -> None:
    groups = {group.name: group for group in plan(study(), finished).groups}
    assert list(groups)[3:] == ["merged 2, 1.02K trunk seed 1", "merged 2, 2.05K trunk seed 1"]
    mains, merged = list(groups.values())[:3], groups["merged 2, 2.05K trunk seed 1"]
    assert [part.folder for part in merged.parts] == [group.place for group in mains[1:]]
    opened, (older, newer) = open_parts(merged.parts), [open_checkpoint(group.place).model for group in mains[1:]]
    for name, tensor in opened.model.named_parameters():
        mean = (older.get_parameter(name).double() + newer.get_parameter(name).double()) / 2
        assert torch.equal(tensor, mean.float())
    records = [json.loads(text) for text in record_files(finished).values()]
    mine = [r for r in records if r["cell"]["checkpoint"]["kind"] == "merge"]
    assert {r["weights"] for r in mine if r["cell"]["checkpoint"]["members"][1]["tokens"] == 2048} == {opened.weights}
    assert all(r["cell"]["checkpoint"]["weights"] == [0.5, 0.5] for r in mine)
    partners = {
        r["result"]["details"]["partner_weights"]
        for r in records
        if r["cell"]["modification"].get("partner") == "last" and r["cell"]["checkpoint"]["kind"] == "ladder"
    }
    assert partners == {stored_fingerprint(mains[2].place)}


def test_running_again_is_a_no_op_and_one_record_comes_back_to_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "study")
    before = record_files(folder)
    assert run(study(), folder)[2] == []
    gone = next(name for name, text in before.items() if b'"kind":"merge"' in text and b"Interpolate" in text)
    (folder / gone).unlink()
    _, failures, started = run(study(), folder)
    assert (failures, len(started)) == ([], 1)
    assert record_files(folder) == before


def test_the_weights_of_partners_and_members_are_made_first(finished: Path, tmp_path: Path) -> None:
    tasks = {task.key: task for task in schedule([plan(study(), tmp_path / "new")]).tasks}
    groups = {task.label: task for task in tasks.values() if task.key.startswith("group ")}
    ends = {name: {Path(need).name for need in task.needs} for name, task in groups.items()}
    assert ends["measure main, 512 trunk seed 1"] == {"trunk-tokens-512", "trunk-tokens-2048"}
    assert ends["measure main, 2.05K trunk seed 1"] == {"trunk-tokens-1024", "trunk-tokens-2048"}
    assert ends["measure merged 2, 1.02K trunk seed 1"] == {f"trunk-tokens-{n}" for n in BUDGETS}
    # what is freed is trained again for the cells that read it, and only for those
    folder = shutil.copytree(finished, tmp_path / "study")
    before = record_files(folder)
    shutil.rmtree(plan(study(), folder).groups[2].place)
    wanted = cells(study(), folder)["main, 512 trunk seed 1 | interpolate with last 0.5 | 0"]
    shutil.rmtree(folder / "records" / wanted.key)
    _, failures, started = run(study(), folder)
    assert failures == []
    assert [Path(key).name if not key.startswith("group") else "group" for key in started] == [
        "trunk-tokens-2048",
        "group",
    ]
    assert record_files(folder) == before


def test_a_merge_of_changed_weights_is_measured_again_only_when_told(finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "study")
    place = plan(study(), folder).groups[0].place
    change_weights(place, lambda tensor: tensor.mul_(2.0))
    (place / "pliant.json").unlink()
    merged = cells(study(), folder)["merged 2, 1.02K trunk seed 1 | interpolate with last 0.5 | 0"]
    shutil.rmtree(folder / "records" / merged.key)
    _, failures, _ = run(study(), folder)
    assert "merged 2, 1.02K trunk seed 1: its weights are merge:" in failures[0].error
    moved = set_aside_changed(plan(study(), folder))
    assert set(moved) == {"main, 512 trunk seed 1", "merged 2, 1.02K trunk seed 1"}


def test_the_report_shows_one_more_trajectory(finished: Path, tmp_path: Path) -> None:
    results = pliant.study(finished).results()
    (found,) = summarise(results.tables).studies
    assert {finding.trajectory for finding in found.findings} == {"main", "merged 2"}
    assert {finding.modification for finding in found.findings} == {"none", "prune", "interpolate"}
    assert "merged 2" in results.report(tmp_path / "report.html").read_text()


def test_a_contrast_of_a_merge_is_confirmed_with_the_ladder_that_it_merges(finished: Path) -> None:
    from pliant.records.contrast import FrozenContrast

    contrast = FrozenContrast(
        trajectory="merged 2", members="undecayed trunk", modification="prune", label="prune, wanda on 256 tokens",
        strength=0.5, rate="fixed", quantity="pre-training loss", budget=2048.0, against=1024.0, seen=0.1, low=None,
        high=None, seeds=(1,),
    )  # fmt: skip
    fresh = confirming_study(study(), [contrast], (2, 3))
    assert [trajectory.name for trajectory in fresh.trajectories] == ["main", "merged 2"]
    ladder = fresh.trajectories[0].ladder
    assert ladder is not None
    assert (ladder.seeds, list(ladder.budgets)) == ((2, 3), BUDGETS)
    assert [entry.prune is not None for entry in fresh.modifications] == [True]


def test_identity_follows_the_partner_the_members_and_the_text(tmp_path: Path) -> None:
    def keys(spec: StudySpec, part: str) -> set[str]:
        return {cell.key for name, cell in cells(spec, tmp_path / "study").items() if part in name}

    longer = study()
    ladder = longer.trajectories[0].ladder
    assert ladder is not None
    main = longer.trajectories[0].model_copy(
        update={"ladder": ladder.model_copy(update={"budgets": (*ladder.budgets, 64 * TOKENS_PER_STEP)})}
    )
    longer = longer.model_copy(update={"trajectories": (main, longer.trajectories[1])})
    assert keys(study(), "with last").isdisjoint(keys(longer, "with last"))
    for kept in ("with previous", "wanda", "none"):
        assert keys(study(), kept) < keys(longer, kept)
    other_text = [{"prune": {"shares": [0.0, 0.5], "criterion": "wanda", "calibration_tokens": 512}}]
    assert keys(study(), "wanda").isdisjoint(keys(study(modifications=other_text), "wanda"))


# checkpoints from outside


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    for seed in (1, 2, 3):
        save_checkpoint(tmp_path / "theirs" / f"tokens-{seed}K", seed=seed, tokens=1000 * seed)
    return tmp_path / "theirs"


def merging(folder: Path, **merge: Any) -> StudySpec:
    both = [{"name": "run", "checkpoints": str(folder)}, {"name": "merged", "merge": {"of": "run", **merge}}]
    return of_checkpoints([], trajectories=both)


def test_the_neighbours_of_given_checkpoints(theirs: Path, tmp_path: Path) -> None:
    spec = of_checkpoints(theirs, modifications=[{"interpolate": {"with": "tokens-2K", "weights": [1.0]}}])
    table, failures, _ = run(spec, tmp_path / "study")
    assert not failures
    found = {(row["checkpoint"], row["label"]): row["value"] for row in table.rows if row["metric"] == "loss_nats"}
    assert {name for name, label in found if label == "interpolate with tokens-2K"} == {"tokens-1K", "tokens-3K"}
    assert {v for (_, label), v in found.items() if label != "none"} == {found["tokens-2K", "none"]}


def test_a_window_of_one_is_the_trajectory_itself(theirs: Path, tmp_path: Path) -> None:
    table, failures, _ = run(merging(theirs, window=1), tmp_path / "study")
    assert not failures
    by: dict[str, dict[tuple[Any, ...], float]] = {"run": {}, "merged": {}}
    for row in table.rows:
        by[row["trajectory"]][row["checkpoint"], row["metric"], row["tensor"]] = row["value"]
    assert by["run"] == by["merged"]
    assert len({row["tokens"] for row in table.rows}) == 3


@pytest.mark.parametrize(
    ("merge", "said"),
    [
        ({"window": 4}, "run has 3 checkpoint.s. of one seed, the window takes 4; lower window"),
        ({"weights": "linear"}, "weights: linear needs window"),
        ({"weights": [0.5, 0.6]}, "sum to 1"),
        ({"weights": [0.5, 0.5], "window": 3}, "2 merge weights for 3 checkpoints"),
        ({"window": 2, "weights": "mean"}, "'mean' are not known"),
        ({"window": 2, "wieghts": "linear"}, "did you mean weights?"),
        ({"window": 2, "of": "walk"}, "merged merges 'walk'; give the name of a ladder .* in this study .run."),
        ({"window": 2, "of": "merged"}, "merged merges 'merged'"),
    ],
)
def test_merges_that_make_no_sense_are_refused(theirs: Path, tmp_path: Path, merge: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        plan(merging(theirs, **merge), tmp_path / "study")


def test_a_partner_that_is_not_there_is_refused(theirs: Path, tmp_path: Path) -> None:
    spec = of_checkpoints(theirs, modifications=[{"interpolate": {"with": "tokens-9K"}}])
    with pytest.raises(
        SpecError, match="no checkpoint is called 'tokens-9K'; give one of first, last, previous, tokens-1K"
    ):
        plan(spec, tmp_path / "study")


def test_more_calibration_text_than_there_is_is_refused(theirs: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.jsonl"
    text.write_text("".join(f'{{"text": "{"word " * 24}number {n}"}}\n' for n in range(300)))
    wanda = [{"prune": {"shares": [0.5], "criterion": "wanda", "calibration_tokens": "10M"}}]
    with pytest.raises(ValueError, match=r"calibration_tokens is 10,000,000, the training split has .* give more text"):
        plan(tiny({"corpus": str(text), "modifications": wanda}), tmp_path / "study")


def test_a_member_of_another_shape_is_a_failure_in_one_line_and_the_rest_goes_on(theirs: Path, tmp_path: Path) -> None:
    change = theirs / "tokens-1K" / "model.safetensors"
    from safetensors.torch import load_file, save_file

    save_file({n: t[:, :4].contiguous() if n == "lm_head.weight" else t for n, t in load_file(change).items()}, change)
    table, failures, _ = run(merging(theirs, weights=[0.5, 0.5]), tmp_path / "study")
    assert any("tokens-1K does not hold the tensors" in f.error and "(64, 4)" in f.error for f in failures)
    assert {(row["trajectory"], row["checkpoint"]) for row in table.rows} >= {
        ("merged", "tokens-3K"),
        ("run", "tokens-2K"),
    }
