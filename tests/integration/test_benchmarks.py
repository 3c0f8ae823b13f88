"""A smoke run of every benchmark: that it runs, and that pliant and its peers compute the same thing."""

import dataclasses
import json
import math
import subprocess
import sys

import pytest

from pliant.benchmarks.outcome import row_from
from pliant.benchmarks.rows import BENCHMARKS


@pytest.mark.filterwarnings("ignore")  # of the peers
@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_least_of_each(name: str) -> None:
    told: list[str] = []
    row = BENCHMARKS[name].measure("smoke", told.append)
    assert row_from(json.loads(json.dumps(dataclasses.asdict(row)))) == row
    assert row.figures
    for figure in row.figures:
        assert math.isfinite(figure.value)
        assert figure.low <= figure.value <= figure.high
        assert figure.target > 0
        assert figure.peak_share is None or figure.peak_share > 0


def test_one_from_the_command_line(tmp_path) -> None:
    command = [sys.executable, "-m", "pliant", "bench", "choices", "--smoke", "--json", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (outcome,) = json.loads(done.stdout)["rows"]
    assert outcome["row"]["work"] == "multiple choice"
    assert outcome["gemm_peak"]["float32"] > 1e9
    assert (tmp_path / "choices.smoke.json").is_file()
    assert "[1/1] choices" in done.stderr
