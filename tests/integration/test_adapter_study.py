"""Full fine-tuning and LoRA on one task: two sweeps with grids of their own."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pliant.modifications.adapters import AdapterError, LowRank
from pliant.report.study import Study, open_study
from pliant.report.tuning import short_grids
from pliant.studies.growth import extend_grids
from pliant.studies.spec import SpecError
from pliant.studies.study_file import parse_study, to_yaml
from tiny_studies import content, plan, record_files, run, tiny

FULL, LORA = "fine-tune skip, 6 steps", "fine-tune skip, 6 steps, LoRA rank 4"


def tuning(rates: list[float], **more: Any) -> dict[str, Any]:
    return {"fine_tune": {"task": "skip", "learning_rates": rates, "steps": 6, "batch": 8, **more}}


def both(**adapter: Any) -> list[dict[str, Any]]:
    return [tuning([0, 1e-3, 2e-3]), tuning([0, 1e-2, 2e-2], adapter={"rank": 4, **adapter})]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study]:
    folder = tmp_path_factory.mktemp("study") / "both"
    table, failures, _ = run(tiny({"modifications": both()}), folder)
    assert not failures
    assert not table.missing
    return folder, open_study(table)


def test_each_method_is_a_sweep_of_its_own(ran: tuple[Path, Study]) -> None:
    _, study = ran
    found = {sweep.label: sweep for sweep in study.sweeps}
    assert set(found) == {FULL, LORA}
    for label, rates in ((FULL, [0, 1e-3, 2e-3]), (LORA, [0, 1e-2, 2e-2])):
        assert [[p.rate for p in points] for points in found[label].rates.values()] == [rates, rates]
    zero = {label: [points[0] for points in sweep.rates.values()] for label, sweep in found.items()}
    assert zero[FULL] == zero[LORA]  # rate 0 is the base, bit for bit
    last = {label: [points[-1] for points in sweep.rates.values()] for label, sweep in found.items()}
    assert all(a.task_loss != b.task_loss for a, b in zip(last[FULL], last[LORA], strict=True))
    assert all(a.task_loss < b.task_loss for a, b in zip(last[LORA], zero[LORA], strict=True))


def test_a_grid_that_is_too_short_grows_alone(ran: tuple[Path, Study]) -> None:
    """Both are short at the top after so few steps; each goes on in its own steps."""
    folder, study = ran
    ends = short_grids(study)
    assert ends == {FULL: {"high"}, LORA: {"high"}}
    longer = extend_grids(tiny({"modifications": both()}), {LORA: ends[LORA]})
    assert [m.fine_tune.added_rates for m in longer.modifications if m.fine_tune] == [(), (0.04, 0.08, 0.16)]
    before = record_files(folder)
    table, failures, _ = run(longer, folder)
    after = record_files(folder)
    assert not failures
    assert before.items() <= after.items()
    grown = {sweep.label: sweep for sweep in open_study(table).sweeps}
    assert {len(points) for points in grown[LORA].rates.values()} == {6}
    assert {len(points) for points in grown[FULL].rates.values()} == {3}


def test_the_number_of_trained_parameters_is_recorded(ran: tuple[Path, Study]) -> None:
    folder, _ = ran
    found = [json.loads(text) for text in record_files(folder).values()]
    tuned = [r for r in found if r["cell"]["modification"].get("strength") and r["evaluation"]["kind"] == "task-loss"]
    counts = {("adapter" in r["cell"]["modification"], r["result"]["details"].get("trained_parameters")) for r in tuned}
    assert counts == {(False, None), (True, 4 * 7 * (8 + 8))}  # one block of seven matrices 8 x 8, rank 4


def test_a_study_file_keeps_its_adapter() -> None:
    spec = tiny({"modifications": both(dora=True, alpha=8, targets=["q_proj", "v_proj"])})
    again = parse_study(to_yaml(spec), "study.yaml")
    assert again == spec
    assert again.modifications[1].fine_tune is not None
    assert again.modifications[1].fine_tune.adapter == LowRank(
        rank=4, dora=True, alpha=8.0, targets=("q_proj", "v_proj")
    )


def test_an_unknown_setting_of_an_adapter_is_named() -> None:
    whole = content({"modifications": both(rnak=3)})
    with pytest.raises(SpecError, match="rnak"):
        parse_study(yaml.safe_dump(whole), "study.yaml")


def test_without_peft_nothing_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pliant.modifications.adapters.find_spec", lambda name: None)
    with pytest.raises(AdapterError, match=r"LoRA and DoRA need peft: pip install 'pliant\[peft\]'"):
        run(tiny({"modifications": both()}), tmp_path / "study")
    assert not (tmp_path / "study").exists()
    plan(tiny(), tmp_path / "study")  # full fine-tuning does without it


def test_modules_that_the_class_has_not_fail_their_cells_alone(tmp_path: Path) -> None:
    spec = tiny({"modifications": both(targets=["c_attn"]), "trajectories.0.ladder.budgets": [512]})
    table, _, _ = run(spec, tmp_path / "study")
    errors = {(cell.labels["label"], cell.error) for cell in table.failed}
    assert errors == {
        (
            LORA + ", on c_attn",
            "LlamaForCausalLM has no linear layer c_attn in its blocks; "
            "targets can be q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj",
        )
    }
    assert {sweep.label for sweep in open_study(table).sweeps if all(len(p) == 3 for p in sweep.rates.values())} == {
        FULL
    }
