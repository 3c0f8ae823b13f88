"""The engine for a cluster's queue: ready tasks are packed into parcels, and each parcel is a job."""

import contextlib
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import final

from pliant.execution.clusters import Cluster, SubmissionError, log_of
from pliant.execution.engine import Event, Observer, Task, TaskFailure, UserError, Work, critical_path
from pliant.execution.local import Worker, hear, thread_environment
from pliant.execution.packing import JOB_SECONDS, pack
from pliant.execution.parcel import Parcel
from pliant.execution.parcel_files import ParcelFiles, TaskReport, parcels_in, payload_digest
from pliant.execution.queue import Queue

REFUSALS = 30
"""A cluster that has taken jobs may refuse for a while: a full queue, a controller that restarts."""
REFUSED_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmEngine:
    """Runs tasks as jobs of `cluster`, at most `workers` at once; what is fetched is fetched by the driver's machine.

    `folder` is shared with the jobs and holds what job and driver know of one another, and the logs. A driver that is
    killed leaves its jobs alone: the next one takes over those that do what is asked still, and cancels the others.
    A task counts as started when its job is submitted. `poll_seconds` is between looks at the jobs' reports,
    `state_seconds` between questions to the cluster, and `lag_seconds` how late a file of a job that has ended may be
    seen here.
    """

    folder: Path
    cluster: Cluster
    workers: int
    threads: int = 1
    job_seconds: float = JOB_SECONDS
    poll_seconds: float = 2.0
    state_seconds: float = 20.0
    lag_seconds: float = 60.0

    def run(
        self, tasks: Sequence[Task], work: Work, observer: Observer, *, room: int | None = None
    ) -> list[TaskFailure]:
        """Raises:
        UserError: the cluster takes no jobs.
        """
        queue = Queue(tasks, room)
        if tasks:
            with _fetching(work, self.threads, tasks) as fetcher:
                driver = _Driver(self, work, queue, observer, critical_path(tasks), fetcher)
                with driver.cancelling():
                    driver.take_over(tasks)
                    driver.drive()
        return queue.failures


@contextlib.contextmanager
def _fetching(work: Work, threads: int, tasks: Iterable[Task]) -> Iterator[list[Worker]]:
    """The process that fetches, where there is anything to fetch; in a list, since one that dies is replaced."""
    found = [Worker(work, threads, "fetch")] if any(task.lane == "fetch" for task in tasks) else []
    try:
        yield found
    finally:
        for worker in found:
            worker.stop()


@final
@dataclass(slots=True)
class _Flight:
    """A parcel whose job waits or runs; its tasks by place, those of an earlier driver once the queue gives them."""

    files: ParcelFiles
    job: str
    keys: list[str]
    tasks: dict[int, Task]
    heard: list[TaskReport] = field(default_factory=list)
    gone_since: float | None = None


def _flight(parcel: Parcel, job: str) -> _Flight:
    parcel.files.submitted(job)
    keys = [task.key for task in parcel.tasks]
    return _Flight(files=parcel.files, job=job, keys=keys, tasks=dict(enumerate(parcel.tasks)))


@final
class _Driver:
    """One run: what is in flight, and what waits for a place."""

    def __init__(
        self,
        engine: SlurmEngine,
        work: Work,
        queue: Queue,
        observer: Observer,
        rank: dict[str, float],
        fetcher: list[Worker],
    ) -> None:
        self._engine, self._work, self._queue, self._observer = engine, work, queue, observer
        self._rank = rank
        self._fetcher = fetcher
        self._folder = engine.folder.absolute()
        self._flights: list[_Flight] = []
        self._backlog: list[Task] = []
        self._refusals = 0
        self._taken_once = False
        self._not_before = 0.0
        self._asked_last = 0.0

    @contextlib.contextmanager
    def cancelling(self) -> Iterator[None]:
        """Where the run is left before its end, Ctrl-C included, so are its jobs."""
        try:
            yield
        finally:
            for flight in self._flights:
                flight.files.forget()
            self._engine.cluster.cancel(self._folder, {flight.job for flight in self._flights})

    def take_over(self, tasks: Sequence[Task]) -> None:
        """Fly on with the jobs of an earlier driver that do what is asked now; cancel the others, and see them end."""
        asked_now = {task.key: task for task in tasks}
        strangers = set()
        for files in parcels_in(self._folder):
            asked, job = files.asked(), files.job()
            wanted = [key for key in asked if key in asked_now]
            same = all(payload_digest(asked_now[key]) == asked[key] for key in wanted)
            if job and wanted and same and job in self._alive({job}):
                self._flights.append(_Flight(files=files, job=job, keys=list(asked), tasks={}))
                continue
            if not files.withdraw() and not job:
                job = self._named_late(files)
            files.forget()
            strangers |= {job} - {""}
        self._engine.cluster.cancel(self._folder, strangers)
        while self._alive(strangers):
            time.sleep(self._engine.poll_seconds)

    def _named_late(self, files: ParcelFiles) -> str:
        """The number of a job that took its parcel just as its driver died, and writes its number next."""
        until = time.monotonic() + self._engine.lag_seconds
        while not files.job() and time.monotonic() < until:
            time.sleep(0.05)
        return files.job()

    def _alive(self, jobs: set[str]) -> set[str]:
        while (alive := self._engine.cluster.alive(self._folder, jobs)) is None:
            time.sleep(self._engine.state_seconds)
        return alive

    def drive(self) -> None:
        while True:
            self._fetch()
            self._take_ready()
            self._submit()
            if not self._flights and not self._backlog and not self._busy_fetching():
                if not self._queue.give_up(self._observer):
                    return
                continue
            self._wait()
            for flight in list(self._flights):
                self._look_at(flight)
            self._ask_the_cluster()

    def _busy_fetching(self) -> bool:
        return any(worker.task is not None for worker in self._fetcher)

    def _fetch(self) -> None:
        if self._fetcher and not self._busy_fetching() and (task := self._queue.next("fetch")) is not None:
            if not self._fetcher[0].process.is_alive():  # killed while it had nothing to do
                self._replace_fetcher()
            self._observer(Event(kind="started", key=task.key))
            self._fetcher[0].start(task)

    def _wait(self) -> None:
        """Until the time of the next look, or the end of what is fetched."""
        until = time.monotonic() + self._engine.poll_seconds
        while (left := until - time.monotonic()) > 0 and self._busy_fetching():
            if wait([self._fetcher[0].pipe], timeout=left) and not hear(self._fetcher[0], self._queue, self._observer):
                self._replace_fetcher()
            if not self._busy_fetching():
                return
        time.sleep(max(0.0, until - time.monotonic()))

    def _replace_fetcher(self) -> None:
        self._fetcher[0].stop()
        self._fetcher[0] = Worker(self._work, self._engine.threads, "fetch")

    def _take_ready(self) -> None:
        """Tasks that an earlier driver's job has already go to its flight, the others wait to be packed."""
        while (task := self._queue.next("work")) is not None:
            flying = next((flight for flight in self._flights if task.key in flight.keys), None)
            if flying is None:
                self._backlog.append(task)
                continue
            flying.tasks[flying.keys.index(task.key)] = task
            self._observer(Event(kind="started", key=task.key))
        self._backlog.sort(key=lambda task: -self._rank[task.key])

    def _submit(self) -> None:
        engine = self._engine
        free = engine.workers - len(self._flights)
        if free <= 0 or not self._backlog or time.monotonic() < self._not_before:
            return
        parcels = pack(self._backlog, free=free, places=engine.workers, job_seconds=engine.job_seconds)
        self._folder.mkdir(parents=True, exist_ok=True)
        asked = [self._asked(parcel) for parcel in parcels]
        try:
            with thread_environment(engine.threads):
                jobs = engine.cluster.submit(self._folder, asked)
            self._flights += [_flight(parcel, job) for parcel, job in zip(asked, jobs, strict=True)]
        except BaseException as error:  # Ctrl-C too: what may have been submitted all the same does nothing
            for parcel in asked:
                parcel.files.forget()
            if not isinstance(error, SubmissionError):
                raise
            self._refused(error)
        else:
            self._submitted(parcels)

    def _asked(self, tasks: Sequence[Task]) -> Parcel:
        files = ParcelFiles(folder=self._folder, name=uuid.uuid4().hex)
        files.ask(tasks)
        return Parcel(files=files, tasks=tuple(tasks), work=self._work)

    def _submitted(self, parcels: Sequence[Sequence[Task]]) -> None:
        self._taken_once, self._refusals = True, 0
        packed = {task.key for parcel in parcels for task in parcel}
        started = [task for task in self._backlog if task.key in packed]
        self._backlog = [task for task in self._backlog if task.key not in packed]
        for task in started:
            self._observer(Event(kind="started", key=task.key))

    def _refused(self, error: SubmissionError) -> None:
        """A first refusal is the user's to mend; later ones may pass, while the jobs in flight go on."""
        self._refusals += 1
        if not self._taken_once or self._refusals > REFUSALS:
            raise UserError(f"the cluster took no jobs: {error}") from error
        self._not_before = time.monotonic() + REFUSED_SECONDS

    def _look_at(self, flight: _Flight) -> None:
        """Tell what the report has that was not heard yet."""
        reports = flight.files.reported()
        for place, report in enumerate(reports):
            task = flight.tasks.get(place)
            before = flight.heard[place] if place < len(flight.heard) else TaskReport()
            if task is None:
                continue
            if (report.share, report.figures) != (before.share, before.figures) and report.share:
                self._observer(Event(kind="progress", key=task.key, share=report.share, figures=report.figures))
            if report.ended:
                del flight.tasks[place]
                self._end(task, report, flight)
        flight.heard = reports
        if reports and all(report.ended for report in reports):
            self._land(flight)

    def _end(self, task: Task, report: TaskReport, flight: _Flight) -> None:
        if report.state == "finished":
            self._queue.succeeded(task)
            self._observer(Event(kind="finished", key=task.key, share=1.0))
            return
        error = report.error if report.user_error else f"{report.error.rstrip()}\nlog: {self._log(flight)}"
        self._queue.failed(task, error, report.user_error, self._observer)

    def _land(self, flight: _Flight) -> None:
        self._flights.remove(flight)
        flight.files.forget()
        self._backlog += flight.tasks.values()

    def _ask_the_cluster(self) -> None:
        """Whether the jobs are alive; one that is not, and has not reported an end, has died."""
        if not self._flights or time.monotonic() - self._asked_last < self._engine.state_seconds:
            return
        self._asked_last = time.monotonic()
        alive = self._engine.cluster.alive(self._folder, {flight.job for flight in self._flights})
        if alive is None:
            return
        for flight in list(self._flights):
            if flight.job in alive:
                flight.gone_since = None
            elif flight.gone_since is None:
                flight.gone_since = time.monotonic()  # its last report may not be seen here yet
                self._folder.chmod(self._folder.stat().st_mode)  # has a network file system look afresh
            elif time.monotonic() - flight.gone_since >= self._engine.lag_seconds:
                self._died(flight)

    def _died(self, flight: _Flight) -> None:
        """The task that was begun has failed, or all of them where none was; those behind it are packed again."""
        self._engine.cluster.cancel(self._folder, {flight.job})  # it may have been put back into the queue just now
        states = {place: flight.heard[place].state if flight.heard else "waiting" for place in flight.tasks}
        words = self._engine.cluster.last_words(self._folder, flight.job)
        error = (
            f"job {flight.job} ended with no result{f' ({words})' if words else ''}: out of memory, killed, or not "
            f"able to start? log: {self._log(flight)}"
        )
        none_begun = not flight.heard
        for place, task in list(flight.tasks.items()):
            if none_begun or states[place] == "begun":
                del flight.tasks[place]
                self._queue.failed(task, error, False, self._observer)
        self._land(flight)

    def _log(self, flight: _Flight) -> Path:
        return log_of(self._folder, flight.job)
