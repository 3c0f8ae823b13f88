"""The benchmark of opening checkpoints runs, and its contestants open the same models."""

import os

import pytest

from pliant.benchmarks import loading
from pliant.benchmarks.rows import BENCHMARKS


@pytest.mark.slow
def test_it_runs_on_the_least_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLIANT_CACHE", "/nowhere")
    row = BENCHMARKS["loading"].measure("smoke", lambda _: None)
    (figure,) = row.figures
    assert figure.target == loading.TARGET
    assert {name: len(seconds) for name, seconds in row.measured.items()} == {
        f"{way}, smoke": 2 for way in loading.WAYS
    }
    assert os.environ["PLIANT_CACHE"] == "/nowhere"


def test_other_weights_are_noticed() -> None:
    same = [(0.1, 1, 2.5), (0.1, 1, 2.25)]
    loading._agree({"one": same, "other": same})
    with pytest.raises(AssertionError, match=r"differ by 2\.5e-01 nats"):
        loading._agree({"one": same, "other": [(0.1, 1, 2.5), (0.1, 1, 2.5)]})


@pytest.mark.skipif(not loading._STATUS.exists(), reason="the peak is read from Linux's /proc")
def test_the_peak_is_of_what_was_in_use() -> None:
    before = loading._peak_since_reset()
    held = bytearray(40_000_000)
    assert 35e6 < loading._peak() - before < 60e6
    del held
    assert loading._peak() - before > 35e6
    assert loading._peak_since_reset() - before < 10e6
