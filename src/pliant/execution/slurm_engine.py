"""The engine for a cluster's queue: ready tasks are packed into parcels, and each parcel is a job."""

import contextlib
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from pliant.execution.clusters import Cluster, SubmissionError, log_of
from pliant.execution.engine import Event, Observer, Task, TaskFailure, UserError, Work, critical_path, dependants
from pliant.execution.fetcher import Fetcher
from pliant.execution.flight import Flight, take_over
from pliant.execution.packing import JOB_SECONDS, followed, pack
from pliant.execution.parcel import Parcel
from pliant.execution.parcel_files import ParcelFiles, TaskReport
from pliant.execution.queue import Queue
from pliant.execution.starting import thread_environment

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
            with Fetcher(work, self.threads, tasks, observer) as fetcher:
                driver = _Driver(self, work, queue, observer, tasks, fetcher)
                with driver.cancelling():
                    driver.drive()
        return queue.failures


@final
class _Driver:
    """One run: what is in flight, and what waits for a place."""

    def __init__(
        self,
        engine: SlurmEngine,
        work: Work,
        queue: Queue,
        observer: Observer,
        tasks: Sequence[Task],
        fetcher: Fetcher,
    ) -> None:
        self._engine, self._work, self._queue, self._observer = engine, work, queue, observer
        self._rank = critical_path(tasks)
        self._behind = dependants(tasks)
        self._succeeded: set[str] = set()
        self._fetcher = fetcher
        self._folder = engine.folder.absolute()
        self._tasks = tasks
        self._flights: list[Flight] = []
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

    def drive(self) -> None:
        engine = self._engine
        self._flights += take_over(
            self._folder,
            engine.cluster,
            self._tasks,
            poll_seconds=engine.poll_seconds,
            lag_seconds=engine.lag_seconds,
        )
        while self._under_way() or self._queue.give_up(self._observer):
            self._fetcher.listen(self._queue, engine.poll_seconds)
            for flight in list(self._flights):
                self._look_at(flight)
            self._ask_the_cluster()

    def _under_way(self) -> bool:
        """Start what can start; whether there is anything to wait for."""
        self._fetcher.fetch(self._queue)
        self._take_ready()
        self._submit()
        return bool(self._flights or self._backlog or self._fetcher.busy)

    def _take_ready(self) -> None:
        """Tasks that a job has already, behind what they need or from an earlier driver, go to its flight; the others
        wait to be packed."""
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
        asked = self._asked(parcels)
        try:
            with thread_environment(engine.threads):
                jobs = engine.cluster.submit(self._folder, asked)
            self._flights += [_flown(parcel, job) for parcel, job in zip(asked, jobs, strict=True)]
        except BaseException as error:  # Ctrl-C too: what may have been submitted all the same does nothing
            for parcel in asked:
                parcel.files.forget()
            if not isinstance(error, SubmissionError):
                raise
            self._refused(error)
        else:
            self._submitted(parcels)

    def _asked(self, parcels: Sequence[Sequence[Task]]) -> list[Parcel]:
        """The parcels, with what can follow in them, written down for their jobs."""
        taken = {key for flight in self._flights for key in flight.keys}
        asked = []
        for parcel in parcels:
            tasks = followed(
                parcel,
                behind=self._behind,
                ended=self._succeeded,
                taken=taken,
                job_seconds=self._engine.job_seconds,
            )
            taken |= {task.key for task in tasks}
            files = ParcelFiles(folder=self._folder, name=uuid.uuid4().hex)
            files.ask(tasks)
            asked.append(Parcel(files=files, tasks=tuple(tasks), work=self._work))
        return asked

    def _submitted(self, parcels: Sequence[Sequence[Task]]) -> None:
        """The tasks of `parcels` are in flight; the queue gives those that follow in them when they can start."""
        self._taken_once, self._refusals = True, 0
        for parcel, flight in zip(parcels, self._flights[-len(parcels) :], strict=True):
            flight.tasks = dict(enumerate(parcel))
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

    def _look_at(self, flight: Flight) -> None:
        """Tell what the report has that was not heard yet."""
        reports = flight.files.reported()
        while self._hear(flight, reports):
            self._take_ready()  # what ended may have made ready what follows in the same parcel
        flight.heard = reports
        if reports and all(report.ended for report in reports):
            self._land(flight)

    def _hear(self, flight: Flight, reports: Sequence[TaskReport]) -> bool:
        """Whether a task of the flight has ended."""
        before = len(flight.tasks)
        for place, task in list(flight.tasks.items()):
            report = reports[place] if reports else TaskReport()
            heard = flight.heard[place] if flight.heard else TaskReport()
            if report.share and (report.share, report.figures) != (heard.share, heard.figures):
                self._observer(Event(kind="progress", key=task.key, share=report.share, figures=report.figures))
            if report.ended:
                del flight.tasks[place]
                flight.keys[place] = ""  # tried again, it travels anew
                self._end(task, report, flight)
        return len(flight.tasks) < before

    def _end(self, task: Task, report: TaskReport, flight: Flight) -> None:
        if report.state == "finished":
            self._succeeded.add(task.key)
            self._queue.succeeded(task)
            self._observer(Event(kind="finished", key=task.key, share=1.0))
        elif report.state == "skipped":  # what it needs has been done since, elsewhere
            self._backlog.append(task)
        else:
            error = report.error if report.user_error else f"{report.error.rstrip()}\nlog: {self._log(flight)}"
            self._queue.failed(task, error, report.user_error, self._observer)

    def _land(self, flight: Flight) -> None:
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

    def _died(self, flight: Flight) -> None:
        """The task that was begun has failed, or all of them where none was; those behind it are packed again."""
        flight.files.forget()
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

    def _log(self, flight: Flight) -> Path:
        return log_of(self._folder, flight.job)


def _flown(parcel: Parcel, job: str) -> Flight:
    parcel.files.submitted(job)
    return Flight(files=parcel.files, job=job, keys=[task.key for task in parcel.tasks])
