"""Processes that work together: what one hears of them, and that none is left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import shard_work
from pliant.execution.engine import ProcessDied, UserError
from pliant.execution.local import describe
from pliant.studies.ranks import run_ranks


def processes(folder: Path) -> list[int]:
    return [int(file.read_text()) for file in folder.iterdir() if "-of-" in file.name]


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z" if Path("/proc").is_dir() else True


def until(condition: Callable[[], bool], seconds: float = 300.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def nothing(share: float, figures: object) -> None:
    """Progress that nobody hears."""


def test_every_rank_works_and_the_first_tells_how_far(tmp_path: Path) -> None:
    heard = []
    run_ranks(shard_work.greet, tmp_path, 3, lambda share, figures: heard.append((share, dict(figures))))
    assert {file.name for file in tmp_path.iterdir()} == {"0-of-3", "1-of-3", "2-of-3"}
    assert len(set(processes(tmp_path)) | {os.getpid()}) == 4
    assert heard == [(0.5, {"rank": 0.0})]


def test_a_rank_that_dies_is_named_in_a_line_and_the_others_are_ended(tmp_path: Path) -> None:
    with pytest.raises(ProcessDied) as caught:
        run_ranks(shard_work.die_in_the_second, tmp_path, 2, nothing)
    assert describe(caught.value) == ("rank 1 of 2 was killed by SIGKILL; out of memory?", False)
    assert not any(alive(process) for process in processes(tmp_path))


def test_what_the_user_must_mend_comes_before_what_follows_from_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^this cannot be$"):
        run_ranks(shard_work.refuse_in_the_second, tmp_path, 2, nothing)


def test_ranks_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; import shard_work; from pliant.studies.ranks import run_ranks\n"
        "run_ranks(shard_work.wait_for_ever, Path(sys.argv[1]), 2, print)"
    )
    path = os.pathsep.join(sys.path)
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], env={**os.environ, "PYTHONPATH": path})
    started = until(lambda: len([file for file in tmp_path.iterdir() if file.read_text()]) == 2)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert started
    assert until(lambda: not any(alive(process) for process in processes(tmp_path)))
