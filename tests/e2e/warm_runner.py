"""A process with everything imported that forks a child for every attempt at a study, so that attempts are cheap.

Reads a line of JSON per attempt from standard input: the study folder and the point at which to stop, such as
{"kind": "replace", "number": 7, "when": "after"}, or null. The child runs the study; at the point it says so and
waits to be killed by whoever reads. It ends by telling how often each point was passed.
"""

import functools
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import safetensors.torch
import transformers  # noqa: F401  (imported here once instead of in every child)
from transformers import AutoModelForCausalLM, LlamaForCausalLM  # noqa: F401

from pliant.training.by_kernel import learner, losses
from tiny_studies import plan, run, tiny

CHANGES = {
    "trajectories.0.ladder.seeds": [1, 2],
    "trajectories.0.ladder.members": ["annealed", "trunk"],
    "snapshot_seconds": 0.005,
}
STUDY = tiny(CHANGES)


def say(**message: Any) -> None:
    os.write(1, (json.dumps(message) + "\n").encode())


class Points:
    """The places at which a run may be stopped, each wrapped so that it counts its calls."""

    def __init__(self, stop: dict[str, Any] | None) -> None:
        self.stop = stop
        self.passed: dict[str, int] = {}
        for owner, name, half in (
            (os, "replace", None),
            (os, "fsync", None),
            (shutil, "rmtree", _delete_one_file),
            (safetensors.torch, "save_file", _write_half),
            (losses, "run", None),
            (learner, "update", None),
        ):
            setattr(owner, name, self._counted(getattr(owner, name), name, half))

    def _counted(self, function: Callable[..., Any], name: str, half: Callable[..., None] | None) -> Callable[..., Any]:
        @functools.wraps(function)
        def counted(*given: Any, **named: Any) -> Any:
            self.passed[name] = self.passed.get(name, 0) + 1
            here = self.stop is not None and (name, self.passed[name]) == (self.stop["kind"], self.stop["number"])
            if here and self.stop["when"] == "half-way" and half is not None:
                half(function, *given, **named)
            if here and self.stop["when"] != "after":
                wait_to_be_killed(name)
            result = function(*given, **named)
            if here:
                wait_to_be_killed(name)
            return result

        return counted


def wait_to_be_killed(name: str) -> None:
    say(stopped_at=name)
    time.sleep(60)
    os._exit(9)  # nobody came


def _write_half(function: Callable[..., Any], tensors: Any, path: Any, **named: Any) -> None:
    function(tensors, path, **named)
    os.truncate(path, os.path.getsize(path) // 2)


def _delete_one_file(function: Callable[..., Any], path: Any, **named: Any) -> None:
    files = sorted(file for file in Path(path).rglob("*") if file.is_file())
    if files:
        files[0].unlink()


def attempt(folder: Path, stop: dict[str, Any] | None) -> None:
    """In the child: its own process group, then the study."""
    os.setsid()
    say(process=os.getpid())
    points = Points(stop)
    table, failures, _ = run(STUDY, folder)
    say(missing=table.missing, failures=[failure.error for failure in failures], passed=points.passed)


def main() -> None:
    plan(STUDY, Path("nowhere"))  # opens the data, which every child then has
    say(ready=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        if (child := os.fork()) == 0:
            os.close(0)
            try:
                attempt(Path(wanted["folder"]), wanted["stop"])
            except BaseException as error:
                say(crashed=f"{type(error).__name__}: {error}")
            os._exit(0)
        say(status=os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main()
