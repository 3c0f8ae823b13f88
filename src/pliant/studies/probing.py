"""What is measured on this machine when a study is created: once, and remembered for the next study of the kind."""

import contextlib
import json
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from pliant.execution.writing import write_atomically
from pliant.records.identity import Json, digest
from pliant.records.places import cache_folder

PATIENCE_SECONDS = 2.0
"""What takes longer is told."""


def remembered(name: str, question: Mapping[str, Json], measure: Callable[[], Json]) -> Json:
    """The answer of `measure` to `question`, from the cache folder where this machine was asked before.

    So a dry run and the run agree, and two studies created on one machine have one plan. `name` says in a line what is
    measured, where that takes more than `PATIENCE_SECONDS`; deleting the file, below probes/, measures again.
    """
    asked: dict[str, Json] = {"name": name, "question": dict(question), "machine": machine()}
    file = cache_folder() / "probes" / f"{name.replace(' ', '-')}-{digest(asked)}.json"
    known = _read(file)
    if known is not None:
        return known["answer"]
    with _told(name):
        answer = measure()
    with contextlib.suppress(OSError):  # nowhere to remember it: it is asked again
        write_atomically(file, json.dumps({**asked, "answer": answer}, indent=1, sort_keys=True) + "\n")
    return answer


def machine() -> dict[str, Json]:
    """What a measurement of speed depends on, beside what is asked."""
    return {"processor": _processor(), "cores": os.cpu_count(), "torch": torch.__version__}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _read(file: Path) -> dict[str, Json] | None:
    """None also where a machine that lost its power left half a file: then it is measured again."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return content if "answer" in content else None
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def _told(name: str) -> Iterator[None]:
    line = f"measuring {name} on this machine, once ..."
    timer = threading.Timer(PATIENCE_SECONDS, lambda: print(line, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
