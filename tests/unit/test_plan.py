"""What a cell's id depends on: all that changes theta', and nothing else."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pliant.checkpoints.about import CheckpointError
from pliant.execution.engine import UserError
from pliant.studies.cells import CellPlan
from pliant.studies.materials import open_materials
from pliant.studies.spec import SpecError
from theirs import change_weights, save_checkpoint
from tiny_studies import TOKENS_PER_STEP, cells, content, of_checkpoints, plan, run, tiny

LADDER = "trajectories.0.ladder"
NOISE = {"noise": {"strengths": [0.05], "draws": 2}}
TUNING = content()["modifications"][1]


def keys(changes: dict[str, Any] | None, folder: Path) -> set[str]:
    return {cell.key for cell in cells(tiny(changes), folder).values()}


@pytest.mark.parametrize(
    "changes",
    [
        {f"{LADDER}.budgets": [8 * TOKENS_PER_STEP, 16 * TOKENS_PER_STEP, 32 * TOKENS_PER_STEP]},
        {f"{LADDER}.seeds": [1, 2]},
        {f"{LADDER}.members": ["annealed", "trunk"]},
        {"modifications.0.noise.strengths": [0.05, 0.1]},
        {"modifications.0.noise.blocks": 2},
        {"modifications.1.fine_tune.learning_rates": [0.01, 0.02, 0.04]},
        {"modifications.1.fine_tune.seeds": [0, 1]},
        {"modifications": [NOISE, TUNING, {"fine_tune": TUNING["fine_tune"] | {"task": "sibling"}}]},
    ],
    ids=["budget", "seed", "members", "strength", "block", "rate", "fine-tuning seed", "task"],
)
def test_a_study_that_grows_moves_no_cell(changes: dict[str, Any], tmp_path: Path):
    before, after = keys(None, tmp_path / "study"), keys(changes, tmp_path)
    assert before < after


@pytest.mark.parametrize(
    "changes",
    [
        {"study": "renamed"},
        {"trajectories.0.name": "renamed"},
        {"snapshot_seconds": 1},
        {f"{LADDER}.max_epochs": 2},
        {"held_out.tokens": 1024},
        {"held_out.split": "validation"},
    ],
    ids=["study", "trajectory", "snapshots", "epochs allowed", "more held out", "another held-out split"],
)
def test_what_does_not_change_the_weights_moves_no_cell(changes: dict[str, Any], tmp_path: Path):
    assert keys(changes, tmp_path / "study") == keys(None, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"corpus": "markov:4"},
        {"numerics": {"threads": 2}},
        {"numerics": {"forward": "transformers"}},
        {"numerics": {"evaluation_batch_tokens": 64}},
        {f"{LADDER}.seeds": [2]},
        {f"{LADDER}.recipe.learning_rate": 0.02},
        {f"{LADDER}.recipe.schedule.warmup_steps": 3},
        {f"{LADDER}.recipe.optimisation": {"weight_decay": 0.0}},
        {f"{LADDER}.architecture.feed_forward": 16},
        {f"{LADDER}.architecture.tied": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_changes_the_weights_or_the_bits_moves_every_cell(changes: dict[str, Any], tmp_path: Path):
    assert keys(changes, tmp_path / "study").isdisjoint(keys(None, tmp_path))


@pytest.mark.parametrize(
    ("changes", "modification"),
    [
        ({"modifications.0.noise.draws": 3}, "noise"),
        ({"modifications.0.noise.antithetic": False}, "noise"),
        ({"modifications.0.noise.embeddings": False}, "noise"),
        ({"modifications.0.noise.scaling": "relative"}, "noise"),
        ({"modifications.1.fine_tune.steps": 5}, "fine-tune"),
        ({"modifications.1.fine_tune.batch": 8}, "fine-tune"),
        ({"modifications.1.fine_tune.schedule": {"kind": "constant"}}, "fine-tune"),
        ({"modifications.1.fine_tune.optimisation": {"weight_decay": 0.1}}, "fine-tune"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_setting_of_a_modification_moves_its_cells_alone(changes: dict[str, Any], modification: str, tmp_path: Path):
    def split(found: dict[str, CellPlan]) -> tuple[set[str], set[str]]:
        own = {cell.key for cell in found.values() if cell.labels["modification"] == modification}
        return own, {cell.key for cell in found.values()} - own

    mine, others = split(cells(tiny(), tmp_path / "study"))
    mine_after, others_after = split(cells(tiny(changes), tmp_path / "study"))
    assert mine.isdisjoint(mine_after)
    assert others == others_after


def test_another_held_out_set_is_another_evaluation_of_the_same_cells(tmp_path: Path):
    def evaluations(changes: dict[str, Any] | None) -> set[tuple[str, str]]:
        return {(c.key, e.key) for c in cells(tiny(changes), tmp_path / "study").values() for e in c.evaluations}

    before, after = evaluations(None), evaluations({"held_out.tokens": 1024})
    kept = before & after
    assert kept
    assert len(before - after) == len(after - before) == len(cells(tiny(), tmp_path / "study"))


def test_the_cells_of_a_study(tmp_path: Path):
    found = cells(tiny(), tmp_path / "study")
    assert len(found) == 2 * (1 + 1 + 2)
    base = next(cell for name, cell in found.items() if name.startswith("main, 512 seed 1 | none"))
    assert [e.kind for e in base.evaluations] == ["pretraining-loss", "weights", "task-loss"]
    assert base.labels["tokens"] == 512
    assert base.labels["tokens_per_parameter"] == pytest.approx(512 / base.labels["parameters"])  # type: ignore[operator]


def test_two_sweeps_that_overlap_share_their_cells(tmp_path: Path):
    again = {"fine_tune": TUNING["fine_tune"] | {"learning_rates": [0.02, 0.04]}}
    listed = [cell.cell for cell in plan(tiny({"modifications": [TUNING, again]}), tmp_path / "study").cells()]
    assert len(listed) == len(set(listed)) == 2 * (1 + 3)


def test_a_plan_is_the_same_every_time_and_everywhere(tmp_path: Path):
    assert [c.key for c in cells(tiny(), tmp_path / "a").values()] == [
        c.key for c in cells(tiny(), tmp_path / "b").values()
    ]


def test_a_checkpoint_from_outside_is_identified_by_its_weights(tmp_path: Path):
    first = save_checkpoint(tmp_path / "a" / "tokens-1K")
    copy = shutil.copytree(first, tmp_path / "b" / "another name")

    def ids(folder: Path) -> list[str]:
        return [cell.key for cell in cells(of_checkpoints(folder, modifications=[TUNING]), tmp_path / "study").values()]

    assert ids(first) == ids(copy)

    def one_weight(tensor: Any) -> None:
        tensor[0, 0] += 1e-6

    change_weights(copy, one_weight)
    assert set(ids(first)).isdisjoint(ids(copy))


def test_facts_by_hand_are_labels_not_identity(tmp_path: Path):
    folder = save_checkpoint(tmp_path / "final")
    (by_name,) = cells(of_checkpoints(folder), tmp_path / "study").values()
    entry = {"path": str(folder), "tokens": "2M", "seed": 5, "annealed": True}
    (by_hand,) = cells(of_checkpoints([entry]), tmp_path / "study").values()
    assert by_name.key == by_hand.key
    assert (by_name.labels["tokens"], by_hand.labels["tokens"]) == (None, 2_000_000)
    assert (by_hand.labels["pretraining_seed"], by_hand.labels["annealed"]) == (5, True)


def test_init_scaled_noise_depends_on_the_stds_that_pliant_json_gives(tmp_path: Path):
    folder = save_checkpoint(tmp_path / "known", known_init=True)
    spec = of_checkpoints(folder, modifications=[NOISE, {"noise": {"scaling": "relative", "strengths": [0.05]}}])
    before = cells(spec, tmp_path / "study")
    about = json.loads((folder / "pliant.json").read_text())
    about["init_stds"]["lm_head.weight"] *= 2
    (folder / "pliant.json").write_text(json.dumps(about))
    after = cells(spec, tmp_path / "study")
    moved = {name for name in before if before[name].key != after[name].key}
    assert moved == {name for name in before if "init scaling" in name}
    assert len(moved) == 1


def test_checkpoints_of_one_name_in_different_folders_are_both_measured(tmp_path: Path):
    listed = [
        {"path": str(save_checkpoint(tmp_path / run_name / "final", seed=seed)), "tokens": "1K", "seed": seed}
        for seed, run_name in enumerate("ab")
    ]
    table, failures, started = run(of_checkpoints(listed), tmp_path / "study")
    assert (table.missing, failures, len(started)) == (0, [], 2)


def test_one_checkpoint_in_two_trajectories_is_measured_for_both(tmp_path: Path):
    folder = str(save_checkpoint(tmp_path / "base"))
    both = [{"name": name, "checkpoints": folder} for name in ("one", "other")]
    table, failures, _ = run(of_checkpoints([], trajectories=both), tmp_path / "study")
    assert (table.missing, failures) == (0, [])
    assert {row["trajectory"] for row in table.rows} == {"one", "other"}


def test_a_list_entry_that_holds_several_checkpoints_is_refused(tmp_path: Path):
    for name in ("tokens-1K", "tokens-2K"):
        save_checkpoint(tmp_path / "all" / name)
    with pytest.raises(CheckpointError, match="holds 2 checkpoints"):
        cells(of_checkpoints([{"path": str(tmp_path / "all")}]), tmp_path / "study")


@pytest.mark.parametrize("content_", ["{", "[]", '{"max_position_embeddings": "many"}'])
def test_a_config_that_cannot_be_read_is_named(content_: str, tmp_path: Path):
    folder = save_checkpoint(tmp_path / "theirs")
    (folder / "config.json").write_text(content_)
    spec = of_checkpoints(folder, held_out={"tokens": 512, "task_rows": 16})
    with pytest.raises(CheckpointError, match=r"config.json (cannot be read|holds a list, expected an object)"):
        cells(spec, tmp_path / "study")


def test_a_context_beyond_the_checkpoints_is_refused(tmp_path: Path):
    folder = save_checkpoint(tmp_path / "theirs")
    spec = of_checkpoints(folder, held_out={"tokens": 512, "task_rows": 16, "context": 17})
    with pytest.raises(SpecError, match=r"held_out.context is 17, .* takes 16 tokens"):
        cells(spec, tmp_path / "study")


def test_a_ladder_has_the_context_of_its_architecture(tmp_path: Path):
    with pytest.raises(SpecError, match=r"held_out.context is 8, the ladder main has 16"):
        cells(tiny({"held_out.context": 8}), tmp_path / "study")


def test_the_rows_of_a_fine_tune_say_its_method_amount_and_epochs(tmp_path: Path):
    tuned = TUNING["fine_tune"] | {"learning_rates": [0.02], "steps": 128, "batch": 4}
    entries = [
        {"fine_tune": tuned},
        {"fine_tune": tuned | {"regularise": {"anchor": [0.1]}}},
        {"fine_tune": tuned | {"adapter": {"rank": 4}}},
    ]
    found = [c.labels for c in cells(tiny({"modifications": entries}), tmp_path / "study").values() if c.labels["task"]]
    assert {(label["method"], label["amount"]) for label in found} == {
        (None, None),
        ("anchor", 0.1),
        ("LoRA rank 4", None),
    }
    rows = len(open_materials(_only_materials(tmp_path)).tasks["skip"].splits["train"])
    assert {label["task_epochs"] for label in found} == {128 * 4 / rows}


def _only_materials(folder: Path):
    return plan(tiny(), folder / "study").groups[0].materials


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"batch": 8}, r"both called 'fine-tune .*' at rate .* differ in what the name does not tell"),
        ({"schedule": {"kind": "constant"}}, "give one a study of its own"),
        ({"steps": None, "epochs": 0.001}, "are the same fine-tune; give the length of both in steps"),
    ],
    ids=["batch", "schedule", "epochs that are as many steps"],
)
def test_two_fine_tunes_that_would_be_averaged_or_lost_are_refused(
    change: dict[str, Any], complaint: str, tmp_path: Path
):
    given = TUNING["fine_tune"] | ({"steps": 3, "batch": 8} if "epochs" in change else {})
    other = {key: value for key, value in (given | change).items() if value is not None}
    with pytest.raises(UserError, match=complaint):
        cells(tiny({"modifications": [{"fine_tune": given}, {"fine_tune": other}]}), tmp_path)
    again = {"modifications": [{"fine_tune": given}, {"fine_tune": given | {"learning_rates": [0.5, 0.6]}}]}
    assert cells(tiny(again), tmp_path)
