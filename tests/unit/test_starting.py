"""Tests of how worker processes begin."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pliant.execution import starting
from pliant.execution.starting import PRELOADED, context_for


def test_what_is_forked_from_has_one_thread() -> None:
    """A fork copies the calling thread only: whatever another held, or was to do, would be lost."""
    count = f"import os, {PRELOADED}; print(len(os.listdir('/proc/self/task')))"
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    found = subprocess.run(
        [sys.executable, "-c", count], env=os.environ | one, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["1"]


def test_workers_are_forked_where_their_libraries_would_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert context_for(1).get_start_method() == "spawn"
    monkeypatch.setattr(starting, "_WARM", [dict(os.environ)])
    assert context_for(1).get_start_method() == "forkserver"
    assert context_for(2).get_start_method() == "spawn"
    monkeypatch.setenv("HF_ENDPOINT", "http://elsewhere")
    assert context_for(1).get_start_method() == "spawn"


def test_the_warm_process_ends_with_the_one_that_began_it() -> None:
    """While it imports it would hold the output open, and keep waiting whoever reads that to its end."""
    begin = """
import multiprocessing.forkserver as server
from pliant.execution.starting import warm_up
warm_up()
print(server._forkserver._forkserver_pid)
"""
    found = subprocess.run([sys.executable, "-c", begin], check=True, capture_output=True, text=True)
    status = Path("/proc", found.stdout.strip(), "status")
    # killed, though whoever inherited it may not have asked how it ended
    assert not status.exists() or "State:\tZ" in status.read_text()
