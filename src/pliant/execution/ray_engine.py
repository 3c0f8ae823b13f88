"""The engine beyond one machine: workers on the nodes of a Ray cluster, kept warm, replaced when they die."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from pliant.execution.engine import Event, Observer, Task, TaskFailure, UserError, Work
from pliant.execution.queue import Queue
from pliant.execution.ray_cluster import Cluster, joined
from pliant.execution.ray_crew import Crew, Hired
from pliant.execution.ray_worker import Driver
from pliant.execution.resources import Resources

LISTEN_SECONDS = 0.25
STAFF_SECONDS = 1.0
ROOM_SECONDS = 600.0
"""How long a run waits for a node on which a worker fits at all."""
DOUBT_SECONDS = 60.0
FALSE_STARTS = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RayEngine:
    """Workers on a Ray cluster, each taking `resources`, with `threads` torch threads, kept warm to the last task.

    There are as many as the cluster has room for and the tasks need, `workers` at most; nodes that join get some too.
    A worker that dies fails its task, which is tried once more elsewhere; a node that dies fails none. Every worker
    makes `check` before its first task, and gets none where that raises a UserError. `address` as Ray has it; by
    default `$RAY_ADDRESS`, else a cluster of this machine for as long as the run lasts.
    """

    address: str | None = None
    workers: int | None = None
    resources: Resources = field(default_factory=Resources)
    threads: int = 1
    check: Callable[[], None] | None = None

    def run(
        self, tasks: Sequence[Task], work: Work, observer: Observer, *, room: int | None = None
    ) -> list[TaskFailure]:
        queue = Queue(tasks, room)
        if not tasks:
            return []
        with joined(self.address, workers=self.workers, resources=self.resources) as cluster:
            crew = Crew(cluster, self.resources, self.threads, Driver.here(work, self.check))
            drive = _Drive(self, cluster, crew, queue, observer)
            try:
                drive.to_the_end()
                while queue.give_up(observer):
                    drive.to_the_end()
            finally:
                for member in list(crew.members):
                    crew.dismiss(member)
        return queue.failures


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doubt:
    """A task whose worker is gone: whether its node lives decides whose fault that was."""

    task: Task
    node: str
    error: str
    cut_off: bool
    since: float


@final
class _Drive:
    """One run: hands out tasks, listens, and staffs the crew."""

    def __init__(self, engine: RayEngine, cluster: Cluster, crew: Crew, queue: Queue, observer: Observer) -> None:
        self._engine = engine
        self._cluster = cluster
        self._ray = cluster.ray
        self._crew = crew
        self._queue = queue
        self._observer = observer
        self._made: dict[str, str] = {}
        self._doubts: dict[Any, _Doubt] = {}
        self._false_starts = 0
        self._told: set[str] = set()
        self._staffed = self._empty_since = -ROOM_SECONDS

    def to_the_end(self) -> None:
        """Until nothing runs and nothing more can start."""
        while True:
            self._hand_out()
            busy = any(member.task is not None for member in self._crew.members)
            if not busy and not self._doubts and not self._queue.startable("work") + self._queue.startable("fetch"):
                return
            now = time.monotonic()
            if now - self._staffed >= STAFF_SECONDS:
                self._staffed = now
                self._staff(now)
            for member in self._crew.members:
                member.ask_for_news(now)
            self._listen()

    def _hand_out(self) -> None:
        for member in self._crew.members:
            if member.task is None and member.fits and (task := self._next(member)) is not None:
                self._observer(Event(kind="started", key=task.key))
                member.start(task)

    def _next(self, member: Hired) -> Task | None:
        assert member.place is not None, "only those that said hello are given work"
        node = member.place.node
        return self._queue.next(member.lane, lambda task: any(self._made.get(need) == node for need in task.needs))

    def _staff(self, now: float) -> None:
        """Hire for the tasks that could start; without a number of workers, one more than there is room for, which
        waits for a node to join."""
        fetchers = self._crew.of("fetch")
        if self._queue.startable("fetch") and not fetchers:
            self._crew.hire("fetch")
        for fetcher in fetchers:
            _refuse(fetcher)
        crew = self._crew.of("work")
        misfits = [member for member in crew if member.place is not None and member.place.misfit]
        busy = sum(member.task is not None for member in crew)
        wanted = busy + self._queue.startable("work")
        room = self._cluster.room(self._engine.resources)
        most = room + (not self._cluster.ours) if self._engine.workers is None else self._engine.workers + len(misfits)
        for _ in range(min(wanted + len(misfits), most) - len(crew)):
            self._crew.hire("work")
        if wanted and not any(member.fits for member in crew):
            self._check_room(room, misfits, now)
        else:
            self._empty_since = now

    def _check_room(self, room: int, misfits: Sequence[Hired], now: float) -> None:
        """Raises:
        UserError: no node takes a worker, or none of those that take one fits.
        """
        if len(misfits) >= room:
            for misfit in misfits:
                _refuse(misfit)
        if room:
            self._empty_since = now
            return
        asked = f"no node of the Ray cluster offers what a worker takes ({self._engine.resources})"
        if self._cluster.ours or now - self._empty_since >= ROOM_SECONDS:
            raise UserError(f"{asked}; ask for less under resources, or give the --address of a larger cluster")
        self._tell(f"{asked}; waiting {ROOM_SECONDS / 60:.0f} minutes for one to join")

    def _tell(self, line: str) -> None:
        """Once a run."""
        if line not in self._told:
            self._told.add(line)
            _log.warning(line)

    def _listen(self) -> None:
        """Take the next answer there is, if one comes soon."""
        members = dict(self._crew.asked())
        asked = [*members, *self._doubts]
        if not asked:
            time.sleep(LISTEN_SECONDS)
            return
        for answer in self._ray.wait(asked, num_returns=1, timeout=LISTEN_SECONDS)[0]:
            if answer in self._doubts:
                self._judge(answer)
            else:
                self._hear(members[answer], answer)
        late = [w for w, doubt in self._doubts.items() if time.monotonic() - doubt.since >= DOUBT_SECONDS]
        for witness in late:
            self._judge(witness)

    def _hear(self, member: Hired, answer: Any) -> None:
        kind = member.asked.pop(answer)
        try:
            content = self._ray.get(answer)
        except self._ray.exceptions.RayTaskError as error:  # of ours or of what is sent, not of the worker
            self._ended(member, False, (str(error), False))
        except self._ray.exceptions.RayError as error:
            if kind != "news":  # what it is busy with tells the same
                self._lost(member, error)
        else:
            if kind == "hello":
                self._greet(member, content)
            elif kind == "news":
                self._pass_on(member, content)
            else:
                done, problem, told = content
                self._pass_on(member, told)
                self._ended(member, done, problem)

    def _greet(self, member: Hired, place: Any) -> None:
        member.place = place
        self._false_starts = 0
        self._staffed = -ROOM_SECONDS
        if place.misfit:
            self._tell(f"no work for a node: {place.misfit}")

    def _pass_on(self, member: Hired, told: Any) -> None:
        if told is not None and member.task is not None and told[0] == member.task.key:
            self._observer(Event(kind="progress", key=told[0], share=told[1], figures=told[2]))

    def _ended(self, member: Hired, done: bool, problem: tuple[str, bool]) -> None:
        task, member.task = member.task, None
        assert task is not None, "only busy workers end a task"
        assert member.place is not None, "only those that said hello are busy"
        if done:
            self._made[task.key] = member.place.node
            self._queue.succeeded(task)
            self._observer(Event(kind="finished", key=task.key, share=1.0))
        else:
            self._queue.failed(task, *problem, self._observer)

    def _lost(self, member: Hired, error: Any) -> None:
        """Its task waits for a word on its node; another worker is hired."""
        self._crew.dismiss(member)
        self._staffed = -ROOM_SECONDS
        if member.place is None:
            self._false_start(error)
        elif member.task is not None:
            cut_off = not isinstance(error, self._ray.exceptions.ActorDiedError) or error.preempted
            self._doubts[self._witness(member.place.node)] = _Doubt(
                task=member.task,
                node=member.place.node,
                error=f"the worker process {member.place.process} died on {member.place.host}; out of memory?",
                cut_off=cut_off,
                since=time.monotonic(),
            )

    def _false_start(self, error: Any) -> None:
        """Raises:
        UserError: one worker after the other ends before it has said hello.
        """
        self._false_starts += 1
        if self._false_starts >= FALSE_STARTS:
            last = str(error).strip().splitlines()[-1]
            raise UserError(f"no worker starts on the Ray cluster: {last}")

    def _witness(self, node: str) -> Any:
        """Something to be done on `node`, which a dead one does not do."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        return self._ray.remote(_nothing).options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote()

    def _judge(self, witness: Any) -> None:
        doubt = self._doubts.pop(witness)
        try:
            self._ray.get(witness, timeout=0)
            lives = True
        except (self._ray.exceptions.RayError, self._ray.exceptions.GetTimeoutError):
            lives = doubt.node in self._cluster.alive()
        if lives and not doubt.cut_off:
            self._queue.failed(doubt.task, doubt.error, False, self._observer)
        else:
            self._queue.interrupted(doubt.task, f"its node went away ({doubt.error})", self._observer)


def _refuse(member: Hired) -> None:
    """Raises:
    UserError: what keeps `member` from working where it is.
    """
    if member.place is not None and member.place.misfit:
        raise UserError(member.place.misfit)


def _nothing() -> None:
    pass
