"""Quantisation and pruning as a study runs them: cells, records, sentences, and settings that have no effect."""

from pathlib import Path

import pytest

from pliant.report import summarise
from pliant.studies.spec import SpecError
from pliant.studies.study_file import parse_study, to_yaml
from tiny_studies import run, tiny

CHANGES = [{"quantise": {"bits": [8, 2]}}, {"prune": {"shares": [0.0, 0.9], "per": "channel"}}]


def test_a_study_written_and_read_again_says_nothing_without_effect() -> None:
    wanda = {"shares": [0.5], "criterion": "wanda"}
    spec = tiny({"modifications": [*CHANGES, {"prune": wanda}, {"interpolate": {"with": "last"}}]})
    assert parse_study(to_yaml(spec), "again") == spec


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
    assert any("Quantisation, per channel, 2 bits" in advice.words for advice in study.advice)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"quantise": {"bits": [1]}}, "bits must be 2 to 16"),
        ({"quantise": {"bits": [4], "group": 64}}, "group has no effect"),
        ({"prune": {"shares": [2.0]}}, "between 0 and 1"),
        ({"prune": {"shares": [0.1], "bits": [4]}}, "unknown key"),
        (
            {"prune": {"shares": [0.1]}, "noise": {"strengths": [0.1]}},
            "is one of noise, quantise, prune, interpolate",
        ),
        ({"quantize": {"bits": [4]}}, "did you mean quantise"),
        (
            {"prune": {"shares": [0.1], "criterion": "wanda", "per": "channel"}},
            "per has no effect with criterion: wanda",
        ),
        ({"prune": {"shares": [0.1], "criterion": "wanda", "embeddings": True}}, "embeddings has no effect"),
        ({"prune": {"shares": [0.1], "calibration_tokens": 64}}, "no effect with criterion: magnitude"),
        ({"prune": {"shares": [0.1], "criterion": "wanda", "calibration_tokens": 0}}, "0 is not a token count"),
        ({"interpolate": {"with": "last", "weights": [1.5]}}, "must lie between 0 and 1, got 1.5"),
        ({"interpolate": {"wiht": "last"}}, "did you mean with?"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        tiny({"modifications": [change]})
