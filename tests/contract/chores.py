"""Work for engines to do, importable by their workers: each chore writes down when it began and when it ended."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pliant.execution.engine import Event, Progress, Task, UserError


def chore(
    folder: Path, key: str, act: str = "succeed", needs: tuple[str, ...] = (), cost: float = 1.0, **settings: Any
) -> Task:
    payload = {"folder": str(folder), "key": key, "act": act}
    return Task(key=key, label=f"chore {key}", payload=payload, cost_seconds=cost, needs=needs, **settings)


def fetched(folder: Path, names: str, holds: int = 1, **acts: str) -> list[Task]:
    """For each name a fetch that holds room, the use of it, and its release, which gives the room back."""
    tasks = []
    for name in names:
        fetch, use, release = f"fetch-{name}", f"use-{name}", f"release-{name}"
        fetch_act = acts.get(f"fetch_{name}", "succeed")
        tasks += [
            chore(folder, fetch, fetch_act, lane="fetch", holds=holds, until=release),
            chore(folder, use, acts.get(f"use_{name}", "succeed"), needs=(fetch,)),
            chore(folder, release, lane="fetch", needs=(use,), cleans_up=True),
        ]
    return tasks


def do(payload: dict[str, str], progress: Progress) -> None:
    attempt = note(payload, "begin")
    act, _, other = payload["act"].partition(":")
    if act == "wait for":
        _wait_for(Path(payload["folder"]), other)
    else:
        _ACTS[act](attempt, progress)
    note(payload, "end")


def note(payload: dict[str, str], what: str) -> int:
    """Append a line to the log; how many times this key has said this now."""
    log = Path(payload["folder"]) / "log"
    threads = os.environ.get("OMP_NUM_THREADS", "")
    with log.open("a") as file:
        file.write(f"{payload['key']} {what} {os.getpid()} {threads}\n")
    return sum(line[:2] == [payload["key"], what] for line in lines(log.parent))


def lines(folder: Path) -> list[list[str]]:
    log = folder / "log"
    return [line.split() for line in log.read_text().splitlines()] if log.is_file() else []


def _succeed(attempt: int, progress: Progress) -> None:
    progress(0.5, {"loss": 1.25})


def _user_error(attempt: int, progress: Progress) -> None:
    raise UserError("the corpus is too small; give more text")


def _error(attempt: int, progress: Progress) -> None:
    raise RuntimeError(f"attempt {attempt} went wrong")


def _error_once(attempt: int, progress: Progress) -> None:
    if attempt == 1:
        raise RuntimeError("only the first attempt")


def _exit(attempt: int, progress: Progress) -> None:
    os._exit(3)


def _killed(attempt: int, progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _killed_once(attempt: int, progress: Progress) -> None:
    if attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def _killed_afterwards(attempt: int, progress: Progress) -> None:
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()


def _slow(attempt: int, progress: Progress) -> None:
    time.sleep(1.0)


def _wait_for(folder: Path, other: str) -> None:
    """Until the chore `other` has ended, which it does only if it runs beside this one."""
    give_up = time.monotonic() + 60
    while not any(line[:2] == [other, "end"] for line in lines(folder)):
        if time.monotonic() > give_up:
            raise UserError(f"{other} did not end")
        time.sleep(0.01)


def _endless(attempt: int, progress: Progress) -> None:
    while True:
        progress(0.1, {})
        time.sleep(0.05)


_ACTS: dict[str, Any] = {
    "succeed": _succeed,
    "user error": _user_error,
    "error": _error,
    "error once": _error_once,
    "exit": _exit,
    "killed": _killed,
    "killed once": _killed_once,
    "killed afterwards": _killed_afterwards,
    "slow": _slow,
    "endless": _endless,
}


def run_endless_chores(folder: Path) -> None:
    """Two workers that never finish: called by a script with no `__main__` guard, and interrupted from outside."""
    from pliant.execution.local import LocalEngine

    def quiet(event: Event) -> None:
        pass

    print("running", flush=True)
    LocalEngine(workers=2).run([chore(folder, key, "endless") for key in "ab"], do, quiet)
    sys.exit("unreachable: the chores are endless")
