"""Idempotent work in small steps, importable by a cluster's jobs: each step is a file, written once."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from pliant.execution.engine import Progress, Task, UserError

PATIENCE_SECONDS = 120


def cell(
    folder: Path, name: str, *, act: str = "succeed", steps: int = 1, pause_after: int | None = None, **settings: Any
) -> Task:
    """A task of so many steps; after `pause_after` of them it waits for the file `go on`."""
    payload = {"folder": str(folder), "name": name, "act": act, "steps": steps, "pause_after": pause_after}
    return Task(key=name, label=f"cell {name}", payload=payload, cost_seconds=1.0, **settings)


def do(payload: dict[str, Any], progress: Progress) -> None:
    folder, name, steps = Path(payload["folder"]), payload["name"], payload["steps"]
    with (folder / "starts").open("a") as file:
        file.write(f"{name}\n")
    if payload["act"] == "killed" or (payload["act"] == "killed once" and starts(folder)[name] == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if payload["act"] == "user error":
        raise UserError("not to be had")
    if payload["act"] == "error" or (payload["act"] == "error once" and starts(folder)[name] == 1):
        raise RuntimeError("gone wrong")
    (folder / "done").mkdir(exist_ok=True)
    for step in range(steps):
        if step == payload["pause_after"]:
            _wait_for(folder / "go on")
        record = folder / "done" / (name if steps == 1 else f"{name}.{step}")
        if not record.exists():
            record.open("x").close()  # a second writer of the same record would fail here
        progress((step + 1) / steps, {"cells": step + 1.0})


def _wait_for(path: Path) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.02)


def done(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "done").glob("*"))


def starts(folder: Path) -> dict[str, int]:
    """How often each task was begun."""
    names = (folder / "starts").read_text().split()
    return {name: names.count(name) for name in sorted(set(names))}
