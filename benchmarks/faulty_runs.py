"""Runs of one small real study that are killed, starved and disturbed, and what is left of its records after."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from transformers import LlamaForCausalLM  # noqa: F401  (imported once, here, for every run)

from pliant.execution.local import SerialEngine
from pliant.execution.store import Store
from pliant.records.record import Record
from pliant.studies.fsck import examine, repair
from pliant.studies.runner import run_studies
from pliant.studies.settling import planned
from pliant.studies.spec import StudySpec
from pliant.studies.study_file import parse_study

STUDY = """
study: faults
corpus: markov:3
held_out: {tokens: 512, task_rows: 16}
snapshot_seconds: 0.005
trajectories:
  - name: main
    ladder:
      architecture: {width: 8, layers: 1, heads: 2, feed_forward: 8, context: 16}
      recipe:
        learning_rate: 0.01
        batch_windows: 4
        schedule: {kind: wsd, warmup_steps: 2, decay_fraction: 0.25}
      budgets: [512, 1024]
      seeds: [1]
      members: [annealed, trunk]
modifications:
  - noise: {strengths: [0.05], draws: 2}
  - fine_tune: {task: skip, learning_rates: [0.01, 0.02], steps: 4, batch: 4}
"""
Files = dict[str, bytes]
Disturbance = Callable[[], None]


def study() -> StudySpec:
    return parse_study(STUDY, "faults.yaml")


def warm_up() -> None:
    """Open the data and compile, once for every run to come."""
    planned(study(), Path("nowhere"))


def files(folder: Path) -> Files:
    """Records and weights: what must come out the same whatever happens meanwhile. What was being written has no name
    of its own yet, and does not count."""
    records = (path for path in (folder / "records").rglob("[!.]*.json") if path.name != "run.json")
    weights = (p for p in (folder / "artifacts").rglob("model.safetensors") if "snapshots" not in p.parts)
    found = {str(path.relative_to(folder)): path for path in (*records, *weights)}
    return {name: path.read_bytes() for name, path in found.items() if "/." not in name}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended: killed, or what it said; and how many records it wrote."""

    killed: bool
    error: str = ""
    missing: int = 0
    failures: tuple[str, ...] = ()
    written: int = 0


@dataclass(frozen=True, slots=True)
class Child:
    """A run in a process and process group of its own."""

    process: int
    said: int

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it had ended
            os.killpg(self.process, signal.SIGKILL)

    def wait(self) -> Outcome:
        with os.fdopen(self.said) as pipe:
            told = pipe.read()
        _, status = os.waitpid(self.process, 0)
        if not told:
            assert os.WIFSIGNALED(status), f"the run ended with status {status} and said nothing"
            return Outcome(killed=True)
        found = json.loads(told)
        return Outcome(killed=False, **found | {"failures": tuple(found.get("failures", ()))})


def begin(folder: Path, disturb: Disturbance | None = None) -> Child:
    """Start a run of the study in `folder`, disturbed by what `disturb` does in its process first."""
    read, write = os.pipe()
    if (process := os.fork()) == 0:
        os.close(read)
        os.setsid()
        with contextlib.suppress(BaseException):
            told = _run(folder, disturb)
            os.write(write, json.dumps(told).encode())
        os._exit(0)
    os.close(write)
    return Child(process, read)


def _run(folder: Path, disturb: Disturbance | None) -> dict[str, object]:
    written = [0]
    with_count(written)
    try:
        if disturb is not None:
            disturb()
        (table,), failures = run_studies([(study(), folder)], engine=SerialEngine(), observe=lambda _: lambda _: None)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "written": written[0]}
    return {"missing": table.missing, "failures": [one.error for one in failures], "written": written[0]}


def with_count(written: list[int]) -> None:
    """Count the records that this process measures, in `written`."""
    write = Store.write

    def counting(store: Store, cell: str, evaluation: str, record: Record, *through: object) -> None:
        written[0] += 1
        write(store, cell, evaluation, record, *through)  # type: ignore[arg-type]

    Store.write = counting  # type: ignore[method-assign,assignment]


def finish(folder: Path, disturb: Disturbance | None = None) -> Outcome:
    """Run the study in `folder` to its end."""
    return begin(folder, disturb).wait()


def uninterrupted(folder: Path) -> tuple[Files, float]:
    """What the study leaves when nothing happens, and the seconds it takes."""
    finish(folder.with_name("first"))  # compiles
    begun = time.monotonic()
    outcome = finish(folder)
    assert (outcome.killed, outcome.missing, outcome.failures, outcome.error) == (False, 0, (), ""), outcome
    return files(folder), time.monotonic() - begun


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What is wrong with a folder after a fault, a repair and a resumed run, and what the repair found."""

    found: int
    left: int
    lost: int
    duplicates: int
    differing: int
    said: str


def mended(folder: Path, expected: Files) -> Left:
    """Check, repair and resume the study in `folder`, and compare it with the uninterrupted one, byte for byte."""
    damage = examine(folder).problems if folder.is_dir() and any(folder.iterdir()) else ()
    if damage:
        repair(examine(folder))
    outcome = finish(folder)
    now = files(folder)
    extra = [name for name in now if name not in expected]
    return Left(
        found=len(damage),
        left=len(examine(folder).problems) + len(list((folder / "records").rglob(".part-*"))),
        lost=sum(name.startswith("records/") for name in expected.keys() - now.keys()),
        duplicates=len(extra),
        differing=sum(now[name] != content for name, content in expected.items() if name in now),
        said=outcome.error or "; ".join(outcome.failures),
    )
