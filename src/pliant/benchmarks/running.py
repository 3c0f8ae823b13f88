"""Running a benchmark in a process of its own, and saying how it goes."""

import datetime
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time

from pliant.benchmarks.machine import Machine
from pliant.benchmarks.outcome import Outcome, row_from
from pliant.benchmarks.result import Scale
from pliant.benchmarks.rows import Benchmark, Tell

TRACEBACK = "Traceback (most recent call last):"


class Crashed(Exception):
    """A benchmark ended without its row: the message is its last line of standard error, `told` all of it."""

    def __init__(self, told: str, code: int) -> None:
        lines = [line for line in told.splitlines() if line.strip()]
        super().__init__(lines[-1].strip() if lines else f"it ended with exit code {code} and said nothing")
        self.told = told


def lacking(benchmark: Benchmark) -> str:
    """What it needs and is not installed, as a line; empty where it can run."""
    missing = [name.replace("_", "-") for name in benchmark.needs if importlib.util.find_spec(name) is None]
    verb = "is" if len(missing) == 1 else "are"
    packages = " and ".join(missing)
    return f"needs {packages}, which {verb} not installed: pip install 'pliant[bench]'" if missing else ""


def run(name: str, benchmark: Benchmark, scale: Scale, machine: Machine, tell: Tell) -> Outcome:
    """Run it; `tell` hears each line that it says.

    Raises:
        Crashed: it ended without a row.
    """
    load, begun = os.getloadavg()[0], time.monotonic()
    date = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    content = _finish([sys.executable, "-m", "pliant.benchmarks", name, scale], benchmark.threads, tell)
    return Outcome(
        name=name,
        scale=scale,
        row=row_from(content["row"]),
        gemm_peak=content["gemm_peak"],
        machine=machine,
        load=load,
        seconds=time.monotonic() - begun,
        date=date,
    )


def _finish(command: list[str], threads: int, tell: Tell) -> dict[str, dict[str, float]]:
    """What `command` printed last; its progress until a traceback, if any, goes to `tell`."""
    environment = os.environ | {"PYTHONWARNINGS": "ignore", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment |= {"TOKENIZERS_PARALLELISM": "false"}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    told, failing = "", False
    with (
        tempfile.TemporaryFile("w+") as printed,
        subprocess.Popen(command, stdout=printed, stderr=subprocess.PIPE, text=True, env=environment) as process,
    ):
        try:
            assert process.stderr is not None, "a pipe was asked for"
            for line in process.stderr:
                told, failing = told + line, failing or line.startswith(TRACEBACK)
                if line.strip() and not failing:
                    tell(line.rstrip())
            code = process.wait()
        finally:  # also when the reader is interrupted
            process.kill()
        if code:
            raise Crashed(told, code)
        printed.seek(0)
        found: dict[str, dict[str, float]] = json.loads(printed.read().splitlines()[-1])
    return found
