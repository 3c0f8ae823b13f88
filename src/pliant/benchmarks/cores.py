"""A whole study with one worker and with as many as there are cores, as `pliant run` runs it, by the wall clock."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pliant.benchmarks.result import Row, Scale
from pliant.benchmarks.rows import Tell
from pliant.benchmarks.turns import in_turns, ratio, times_as_fast
from pliant.studies.demo import english_study
from pliant.studies.study_file import to_yaml

TARGET = 1.85
LOOP = "x = 0\nfor i in range({:d}): x += i"
TURNS = 100_000_000
"""Of the loop, about ten seconds: what two processes with nothing in common do, of which no study can do more."""


def measure(scale: Scale, tell: Tell) -> Row:
    """Seconds of `pliant run --workers 1` over those of `--workers 2`, the start of the workers and the report in."""
    smoke = scale == "smoke"
    rounds, size = (1, 0.01) if smoke else (6, 1.0)
    spec = english_study(scale=size)
    if smoke:
        spec = spec.model_copy(update={"modifications": spec.modifications[:1]})
    place = Path(tempfile.mkdtemp(prefix="pliant-cores-"))
    study = place / "study.yaml"
    study.write_text(to_yaml(spec), encoding="utf-8")

    def run(workers: int) -> None:
        tell(f"{workers} worker(s)")
        out = place / f"workers-{workers}"
        shutil.rmtree(out, ignore_errors=True)
        command = [sys.executable, "-m", "pliant", "run", str(study), "--out", str(out), "--workers", str(workers)]
        subprocess.run([*command, "--log", "none"], check=True, stdout=subprocess.DEVNULL)

    try:
        turns = TURNS // (1_000 if smoke else 1)
        contestants = {
            "1 loop": lambda: _loops(1, turns),
            "1 worker": lambda: run(1),
            "2 loops": lambda: _loops(2, turns),
            "2 workers": lambda: run(2),
        }
        seconds = in_turns(contestants, rounds, clock="wall", warm=False)
        same = _records(place / "workers-1") == _records(place / "workers-2")
        assert same, "one worker and two wrote different records"
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return Row(
        work="two cores against one",
        figures=(
            times_as_fast(
                f"the demo's English study at scale {size:g}",
                "one worker",
                seconds["1 worker"],
                seconds["2 workers"],
                TARGET,
            ),
        ),
        measured=seconds,
        notes=(
            f"{os.cpu_count()} cores; by the wall clock, so nothing else may run",
            f"two processes of a bare loop do {_of_loops(seconds)} the work of one in the same time: what is beyond "
            "that, the machine does not give",
        ),
    )


def _loops(processes: int, turns: int) -> None:
    """Run the bare loop in so many processes at once."""
    command = [sys.executable, "-S", "-c", LOOP.format(turns)]
    for process in [subprocess.Popen(command) for _ in range(processes)]:
        process.wait()


def _of_loops(seconds: dict[str, list[float]]) -> str:
    each = ratio([2 * one for one in seconds["1 loop"]], seconds["2 loops"])
    return f"{each.value:.2f}x [{each.low:.2f}, {each.high:.2f}]"


def _records(folder: Path) -> dict[str, bytes]:
    files = (path for path in (folder / "records").rglob("*.json") if path.name != "run.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
