"""benchmarks/faults.py, which measures docs/reliability.md, in small: every fault is survived, and told as it is."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "faults.py"
ENDS = {
    "record edited by hand": "",
    "half-written file": "",
    "disk full": "no room left on the disk while writing",
    "permission lost": "no permission while writing",
    "two runners on one folder": "records were measured twice",
    "clock jumps": "",
    "killed at a random moment": "",
}


def faults(*arguments: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--json", *arguments],
        capture_output=True,
        text=True,
        timeout=3600,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_every_fault_is_survived():
    tallies = faults("--kills", "20")
    assert {tally["fault"] for tally in tallies} == set(ENDS)
    for tally in tallies:
        assert (tally["lost"], tally["duplicates"], tally["differing"], tally["problems_left"]) == (0, 0, 0, 0), tally
        assert tally["tried"] > 0 or "no right to mount" in tally["note"]
        assert ENDS[tally["fault"]] in tally["note"] or not tally["tried"] or "ended before" in tally["note"], tally


@pytest.mark.slow
def test_two_hundred_kills():
    (tally,) = faults("--only", "kills", "--kills", "200")
    assert (tally["tried"], tally["lost"], tally["duplicates"], tally["differing"]) == (200, 0, 0, 0)
