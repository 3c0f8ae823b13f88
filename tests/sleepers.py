"""Groups of cells that sleep and write a record each: a cell whose record is there is left alone, and every write is
logged with its process and node."""

import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pliant.execution.engine import Event, Progress, Task, UserError
from pliant.execution.writing import write_atomically

SLOW = "PLIANT_TEST_SLOW"
ELSEWHERE = "PLIANT_TEST_ELSEWHERE"


def groups(folder: Path, count: int, cells: int, seconds: float) -> list[Task]:
    return [
        Task(
            key=f"group {number}",
            label=f"group {number}",
            payload={"folder": str(folder), "cells": [f"{number}-{cell}" for cell in range(cells)], "seconds": seconds},
            cost_seconds=cells * seconds,
        )
        for number in range(count)
    ]


def measure(payload: dict[str, Any], progress: Progress) -> None:
    import ray

    node = ray.get_runtime_context().get_node_id()
    folder = Path(payload["folder"])
    slower = float(os.environ.get(SLOW, "1"))
    for done, cell in enumerate(payload["cells"], start=1):
        record = folder / "records" / f"{cell}.json"
        if record.is_file():
            continue
        with (folder / "begun").open("a") as log:
            log.write(f"{cell} {os.getpid()} {node}\n")
        time.sleep(payload["seconds"] * slower)
        write_atomically(record, f"{cell}\n")
        with (folder / "written").open("a") as log:
            log.write(f"{cell} {os.getpid()} {node}\n")
        progress(done / len(payload["cells"]), {})


def nothing(payload: Any, progress: Progress) -> None:
    pass


def check_place() -> None:
    """Raises:
    UserError: this node is marked as one that does not see the folder.
    """
    if ELSEWHERE in os.environ:
        raise UserError("the study folder is not to be seen from there")


def said(folder: Path, log: str) -> list[list[str]]:
    file = folder / log
    return [line.split() for line in file.read_text().splitlines()] if file.is_file() else []


def lost(folder: Path, tasks: Sequence[Task]) -> list[str]:
    """Cells that have no record."""
    cells = [cell for task in tasks for cell in task.payload["cells"]]
    return [cell for cell in cells if not (folder / "records" / f"{cell}.json").is_file()]


def duplicated(folder: Path) -> list[str]:
    """Cells whose record was written more than once."""
    written = Counter(cell for cell, *_ in said(folder, "written"))
    return [cell for cell, times in written.items() if times > 1]


def quiet(event: Event) -> None:
    pass
