"""Quantisation and pruning as a study runs them: cells, records, sentences, and settings that have no effect."""

from pathlib import Path

import pytest

from pliant.report import summarise
from pliant.studies.spec import SpecError
from tiny_studies import run, tiny

CHANGES = [{"quantise": {"bits": [8, 2]}}, {"prune": {"shares": [0.0, 0.9], "per": "channel"}}]


def test_a_study_quantises_and_prunes(tmp_path: Path) -> None:
    table, failures, _ = run(tiny({"modifications": CHANGES}), tmp_path / "study")
    assert not failures
    losses = {
        (row["label"], row["checkpoint"], round(row["strength"], 4)): row["value"]
        for row in table.rows
        if row["evaluation"] == "pretraining-loss"
    }
    names = {row["checkpoint"] for row in table.rows}
    for name in names:
        base = losses["none", name, 0.0]
        assert losses["prune, magnitude per channel", name, 0.0] == base
        assert losses["prune, magnitude per channel", name, 0.9] != base
        fine, coarse = (abs(losses["quantise, per channel", name, s] - base) for s in (0.0079, 1.0))
        assert 0 < fine < coarse
    (study,) = summarise([table]).studies
    assert {f.modification for f in study.findings} == {"none", "quantise", "prune"}
    assert any("Quantise, per channel strength" in advice.words for advice in study.advice)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"quantise": {"bits": [1]}}, "bits must be 2 to 16"),
        ({"quantise": {"bits": [4], "group": 64}}, "group has no effect"),
        ({"prune": {"shares": [2.0]}}, "between 0 and 1"),
        ({"prune": {"shares": [0.1], "bits": [4]}}, "unknown key"),
        ({"prune": {"shares": [0.1]}, "noise": {"strengths": [0.1]}}, "is one of noise, quantise, prune, interpolate, fine_tune"),
        ({"quantize": {"bits": [4]}}, "did you mean quantise"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        tiny({"modifications": [change]})
