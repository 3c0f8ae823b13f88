"""Processes that do one piece of work together, started inside a worker: all of them end, or none is left.

This module loads no torch: a process that starts from it can be ended at once.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from pliant.execution.engine import ProcessDied, Progress, UserError
from pliant.execution.local import describe

LOOPBACK = "127.0.0.1"
TELLING_SECONDS = 1.0
"""When one fails the others fail too, at the connection to it: so long they may tell before it is said who began."""
GRACE_SECONDS = 5.0
_START = "import sys; from pliant.studies.ranks import serve; serve(int(sys.argv[1]))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Which of how many processes this is, and the port on loopback where they find one another."""

    rank: int
    ranks: int
    port: int

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.ranks}"


RankWork = Callable[[Seat, Any, Progress], None]
"""A module-level callable that every rank runs on the same payload."""


def run_ranks(work: RankWork, payload: Any, ranks: int, progress: Progress) -> None:
    """Have so many `ranks`, processes of their own, do `work` on `payload`; `progress` hears the first.

    Raises:
        UserError: a rank raised it.
        ProcessDied: a rank ended without a word; it is named. The others are ended.
        RuntimeError: a rank failed in another way.
    """
    meeting = _meeting_place()  # held until all have ended
    started: list[_Rank] = []
    try:
        for rank in range(ranks):
            started.append(_Rank(Seat(rank=rank, ranks=ranks, port=meeting.port), work, payload))
        _listen(started, progress)
    finally:
        for one in started:
            one.stop()


def _meeting_place() -> Any:
    """Where the ranks tell one another their addresses: a store of torch's, which would listen on every interface."""
    import torch.distributed as dist

    listening = socket.create_server((LOOPBACK, 0))
    return dist.TCPStore(  # type: ignore[attr-defined]
        LOOPBACK,
        listening.getsockname()[1],
        is_master=True,
        wait_for_workers=False,
        master_listen_fd=listening.detach(),
    )


class _Rank:
    """A process, and the pipe over which it is told its work and tells how it goes."""

    def __init__(self, seat: Seat, work: RankWork, payload: Any) -> None:
        self.seat = seat
        self.pipe, theirs = multiprocessing.Pipe()
        path = os.pathsep.join(folder for folder in sys.path if folder)
        self.process = subprocess.Popen(  # multiprocessing lets no daemon have children, and workers are daemons
            [sys.executable, "-c", _START, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={"TORCH_CPP_LOG_LEVEL": "ERROR", **os.environ, "PYTHONPATH": path},
        )
        theirs.close()
        with contextlib.suppress(ConnectionError):  # it died just now: noticed when it is listened to
            self.pipe.send_bytes(pickle.dumps((seat, work, payload)))

    def hear(self) -> tuple[str, Any]:
        """Its next message; ("died", how) when it has."""
        try:
            message: tuple[str, Any] = self.pipe.recv()
        except (EOFError, OSError):
            return "died", _ending(self.process.wait(timeout=GRACE_SECONDS))
        return message

    def stop(self) -> None:
        self.pipe.close()  # upon which it ends by itself
        try:
            self.process.wait(timeout=GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}" + ("; out of memory?" if -code == signal.SIGKILL else "")


def _listen(ranks: Sequence[_Rank], progress: Progress) -> None:
    """Until all have finished, or shortly after the first trouble."""
    busy = {rank.pipe: rank for rank in ranks}
    troubles: list[tuple[Seat, str, Any]] = []
    until: float | None = None
    while busy and (until is None or time.monotonic() < until):
        for pipe in wait(list(busy), None if until is None else until - time.monotonic()):
            rank = busy[pipe]  # type: ignore[index]
            kind, content = rank.hear()
            if kind == "progress":
                progress(*content)
                continue
            del busy[rank.pipe]
            if kind != "finished":
                troubles.append((rank.seat, kind, content))
                until = until or time.monotonic() + TELLING_SECONDS
    if troubles:
        raise _cause(troubles)


def _cause(troubles: Sequence[tuple[Seat, str, Any]]) -> Exception:
    """What began it: what the user must mend, else a death, else the first failure."""
    for _, kind, content in troubles:
        if kind == "failed" and content[1]:
            return UserError(content[0])
    for seat, kind, content in troubles:
        if kind == "died":
            return ProcessDied(f"{seat} {content}")
    seat, _, content = troubles[0]
    return RuntimeError(f"{seat}: {content[0]}")


def serve(descriptor: int) -> None:
    """What a rank runs: take the work from the pipe at `descriptor`, do it, say how it went; end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    pipe = Connection(descriptor)
    told = pipe.recv_bytes()
    threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()
    try:
        seat, work, payload = pickle.loads(told)  # from our own parent; this imports torch
        work(seat, payload, _reporter(pipe, seat))
    except Exception as error:  # the boundary at which a failure becomes data
        pipe.send(("failed", describe(error)))
    else:
        pipe.send(("finished", None))


def _reporter(pipe: Connection, seat: Seat) -> Progress:
    def report(share: float, figures: Mapping[str, float]) -> None:
        if seat.rank == 0:
            pipe.send(("progress", (share, dict(figures))))

    return report


def _end_with_parent(pipe: Connection) -> None:
    """The parent says nothing more: what is heard is that its end of the pipe was closed."""
    pipe.poll(None)
    os._exit(1)
