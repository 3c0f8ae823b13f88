"""Freezing what a study suggests, the study that repeats it, and grids that grow where they are too short."""

import math
from pathlib import Path

import pytest

from pliant.execution.engine import UserError
from pliant.execution.table import read_table
from pliant.records.contrast import FrozenContrast
from pliant.report import summarise
from pliant.report.confirmation import FOLDER, Frozen, confirmations, freeze, read_frozen, suggest
from pliant.report.finding import find
from pliant.report.study import open_study
from pliant.studies.confirm import confirming_study, fresh_seeds
from pliant.studies.growth import extend_grids, keep_added
from pliant.studies.spec import SpecError
from synthetic_study import BUDGETS, Plan, write_study
from tiny_studies import TOKENS_PER_STEP, of_checkpoints, tiny


def frozen(budget: float, against: float, **changes: object) -> FrozenContrast:
    given = {
        "trajectory": "main",
        "members": "annealed",
        "modification": "noise",
        "label": "noise, init scaling",
        "strength": 0.05,
        "rate": "fixed",
        "quantity": "pre-training loss",
        "seen": 0.1,
        "low": None,
        "high": None,
        "seeds": (1,),
    }
    return FrozenContrast(budget=budget, against=against, **{**given, **changes})  # type: ignore[arg-type]


def test_the_confirming_study_keeps_only_what_is_compared() -> None:
    spec = tiny({"trajectories.0.ladder.budgets": [8 * 64, 16 * 64, 32 * 64], "trajectories.0.ladder.seeds": [1, 4]})
    fresh = confirming_study(spec, [frozen(32 * 64, 8 * 64)], fresh_seeds(spec, 3))
    ladder = fresh.trajectories[0].ladder
    assert ladder is not None
    assert (ladder.seeds, ladder.budgets) == ((5, 6, 7), (8 * 64, 32 * 64))
    assert [m.fine_tune for m in fresh.modifications] == [None]
    assert fresh.study == "tiny-confirm"
    tuned = confirming_study(
        spec, [frozen(1.0, 2.0, modification="fine-tune", label="fine-tune skip, 4 steps", strength=None)], (7, 8)
    )
    (entry,) = tuned.modifications
    assert entry.fine_tune is not None
    assert entry.fine_tune.learning_rates == (0.01, 0.02)


def test_what_cannot_be_confirmed_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="suggests nothing to confirm"):
        confirming_study(tiny(), [], (2, 3))
    with pytest.raises(SpecError, match="needs 2 or more"):
        fresh_seeds(tiny(), 1)
    with pytest.raises(SpecError, match="seed 1 was frozen as a fresh one"):
        confirming_study(tiny(), [frozen(2.0, 1.0)], (1, 2))
    outside = of_checkpoints(tmp_path)
    with pytest.raises(SpecError, match="cannot be trained again with other seeds"):
        fresh_seeds(outside, 2)
    with pytest.raises(SpecError, match="cannot be trained again with other seeds"):
        confirming_study(outside, [frozen(2.0, 1.0, trajectory=outside.trajectories[0].name)], (2, 3))


def test_what_is_frozen_is_kept_as_it_was(tmp_path: Path) -> None:
    assert read_frozen(tmp_path) is None
    one = Frozen(contrasts=(frozen(2.0, 1.0),), seeds=(7, 8), margin=0.01)
    freeze(tmp_path, one)
    assert read_frozen(tmp_path) == one
    with pytest.raises(UserError, match="not changed afterwards"):
        freeze(tmp_path, one)
    (tmp_path / "confirm.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be read"):
        read_frozen(tmp_path)


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("explored") / "english"
    write_study(folder, Plan(seeds=(0, 1), gammas=(0.05, 0.2), draws=4))
    return folder


def test_a_confirmed_effect_is_said_to_be(explored: Path) -> None:
    study = open_study(read_table(explored))
    assert suggest(find(study), 1e9) == ()
    suggested = suggest(find(study), 0.01)
    assert {c.strength for c in suggested} >= {0.2}
    assert all(c.seen > 0 and c.budget == BUDGETS[-1] for c in suggested)
    before = summarise([read_table(explored)]).studies[0]
    assert all(advice.words.endswith("(exploratory)") for advice in before.advice)

    freeze(explored, Frozen(contrasts=suggested, seeds=(2, 3, 4, 5), margin=0.01))
    waiting = confirmations(study)
    assert {c.outcome for c in waiting} == {"not measured"}
    assert all(math.isnan(c.p) for c in waiting)
    write_study(explored / FOLDER, Plan(name="english-confirm", seeds=(2, 3, 4, 5), gammas=(0.05, 0.2), draws=4))
    after = summarise([read_table(explored)]).studies[0]
    strongest = next(c for c in after.confirmations if c.frozen.strength == 0.2)
    assert strongest.outcome == "confirmed"
    assert strongest.fresh is not None
    assert strongest.fresh.seeds == (2, 3, 4, 5)
    assert strongest.p <= strongest.p_holm < 0.05
    assert strongest.fresh.levels[0] == "pre-training seeds"
    assert any("(confirmed on fresh seeds)" in advice.words for advice in after.advice)


def test_grids_grow_in_their_own_ratio_and_stop() -> None:
    longer = extend_grids(tiny(), {"fine-tune skip, 4 steps": {"high", "low"}})
    entry = longer.modifications[1].fine_tune
    assert entry is not None
    assert entry.learning_rates == (0.01, 0.02)
    assert sorted(entry.added_rates) == [0.00125, 0.0025, 0.005, 0.04, 0.08, 0.16]
    assert sorted(m.strength for m in entry.modifications()) == sorted((*entry.learning_rates, *entry.added_rates))
    assert keep_added(tiny(), longer) == longer
    other = tiny({"modifications.1.fine_tune.steps": 5})
    assert keep_added(other, longer) == other
    assert extend_grids(tiny(), {"fine-tune other": {"high"}}) == tiny()
    top = tiny({"modifications.1.fine_tune.learning_rates": [0.5, 1.0]})
    assert extend_grids(top, {"fine-tune skip, 4 steps": {"high"}}) == top
    assert TOKENS_PER_STEP == 64
