"""What the engines cost by themselves: no-op tasks of one cell each, and sleeping cells on more and more workers.

    python benchmarks/engine.py                                  # worker processes and Ray, 10,000 no-op tasks each
    python benchmarks/engine.py --engine ray --tasks 1000 --json

The cost of a task is the time from the first one's start to the end, over their number: a cell of a larger group costs
less. Weak scaling: so many cells a worker, each sleeping as long; efficiency is the time slept over the time taken.
Leaves with 1 where a cost misses its target.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

os.environ.setdefault("OMP_NUM_THREADS", "1")

from idle_work import gather_or_sleep, nothing
from pliant.execution.engine import Engine, Event, Task
from pliant.execution.local import LocalEngine
from pliant.execution.ray_engine import RayEngine
from pliant.execution.resources import Resources

TARGET_MILLISECONDS = {"local": 2.0, "ray": 10.0}
WORKERS = (1, 2, 4, 8)
SLEEPS, SLEEP_SECONDS = 20, 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Milliseconds a no-op task, of the clock and of the driving process's processor."""

    engine: str
    tasks: int
    milliseconds: float
    processor_milliseconds: float
    target: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Sleeping cells, as many a worker."""

    engine: str
    workers: int
    seconds: float
    efficiency: float


@dataclass
class Stopwatch:
    """An observer that begins with the first task whose key starts with `of`."""

    of: str = ""
    begun: float = 0.0
    processor: float = 0.0

    def __call__(self, event: Event) -> None:
        if not self.begun and event.kind == "started" and event.key.startswith(self.of):
            self.begun, self.processor = time.perf_counter(), time.process_time()
        if event.kind == "finished":
            self.ended, self.processor_ended = time.perf_counter(), time.process_time()


def engine_of(kind: str, workers: int) -> Engine:
    """A quarter of a processor each on Ray: what sleeps takes none."""
    return (
        LocalEngine(workers=workers) if kind == "local" else RayEngine(workers=workers, resources=Resources(cpus=0.25))
    )


def cost(kind: str, tasks: int) -> Cost:
    idle = [Task(key=f"{number}", label="no-op", payload=None, cost_seconds=1.0) for number in range(tasks)]
    watch = Stopwatch()
    assert engine_of(kind, 2).run(idle, nothing, watch) == []
    return Cost(
        engine=kind,
        tasks=tasks,
        milliseconds=1e3 * (watch.ended - watch.begun) / tasks,
        processor_milliseconds=1e3 * (watch.processor_ended - watch.processor) / tasks,
        target=TARGET_MILLISECONDS[kind],
    )


def scaling(kind: str, workers: int) -> Scaling:
    """The clock begins when every worker is there."""
    with tempfile.TemporaryDirectory() as folder:
        gather = [
            Task(key=f"gather {number}", label="gather", payload=(folder, workers), cost_seconds=1.0)
            for number in range(workers)
        ]
        needs = tuple(task.key for task in gather)
        sleeps = [
            Task(key=f"sleep {number}", label="sleep", payload=SLEEP_SECONDS, cost_seconds=1.0, needs=needs)
            for number in range(SLEEPS * workers)
        ]
        watch = Stopwatch(of="sleep")
        assert engine_of(kind, workers).run([*gather, *sleeps], gather_or_sleep, watch) == []
    seconds = watch.ended - watch.begun
    return Scaling(engine=kind, workers=workers, seconds=seconds, efficiency=SLEEPS * SLEEP_SECONDS / seconds)


def told(costs: Sequence[Cost], scalings: Sequence[Scaling]) -> str:
    lines = ["engine  tasks   ms a task  of it processor  target"]
    for one in costs:
        lines.append(
            f"{one.engine:6} {one.tasks:6,} {one.milliseconds:11.2f} {one.processor_milliseconds:16.2f} "
            f"{one.target:7.1f}"
        )
    lines.append(f"\n{SLEEPS} cells a worker, asleep for {SLEEP_SECONDS} s each\nengine  workers  seconds  efficiency")
    lines += [f"{one.engine:6} {one.workers:8} {one.seconds:8.2f} {one.efficiency:11.1%}" for one in scalings]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("local", "ray"), action="append", help="by default both")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--workers", type=int, nargs="*", default=list(WORKERS), help="for weak scaling")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    kinds = given.engine or ["local", "ray"]
    costs = [cost(kind, given.tasks) for kind in kinds]
    scalings = [scaling(kind, workers) for kind in kinds for workers in given.workers]
    figures = {"costs": [asdict(one) for one in costs], "scaling": [asdict(one) for one in scalings]}
    print(json.dumps(figures) if given.json else told(costs, scalings))
    return int(any(one.milliseconds > one.target for one in costs))


if __name__ == "__main__":
    sys.exit(main())
