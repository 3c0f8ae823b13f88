"""Some tasks that travel to a cluster as one job."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, final

from pliant.execution.engine import Task, Work
from pliant.execution.local import describe
from pliant.execution.parcel_files import ParcelFiles, TaskReport

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

REPORT_SECONDS = 1.0
STALLS = 5
"""A job stopped so often in a row with nothing gained is given up: it needs more time than it gets."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What a job runs: the tasks one after another. One that fails is reported, and those that need it are skipped.

    Called again after it was stopped, it goes on: what its report says has ended is not begun again.
    """

    files: ParcelFiles
    tasks: tuple[Task, ...]
    work: Work
    ended: int = 0
    stalled: int = 0

    def __call__(self) -> None:
        if not self.files.take():
            return
        _name_the_job(self.files)
        report = _Report(self.files, len(self.tasks))
        for number, task in enumerate(self.tasks):
            if not report.tasks[number].ended:
                report.say(number, self._attempt(task, number, report))

    def _attempt(self, task: Task, number: int, report: "_Report") -> TaskReport:
        states = {other.key: told.state for other, told in zip(self.tasks, report.tasks, strict=True)}
        if any(states.get(need) in ("failed", "skipped") for need in task.needs):
            return TaskReport(state="skipped")
        report.say(number, TaskReport(state="begun"))
        try:
            self.work(task.payload, partial(report.progress, number))
        except Exception as problem:  # the boundary at which a failure becomes data
            error, user_error = describe(problem)
            return replace(report.tasks[number], state="failed", error=error, user_error=user_error)
        return replace(report.tasks[number], state="finished")

    def checkpoint(self) -> "DelayedSubmission":
        """Called by submitit when the job is about to be stopped: what is to run when it starts again.

        Raises:
            SystemExit: it was stopped `STALLS` times in a row without getting on; the task at fault is reported.
        """
        from submitit.helpers import DelayedSubmission

        tasks = self.files.reported()
        ended = sum(task.ended for task in tasks)
        gained = ended > self.ended or any(task.state == "begun" and task.share > 0 for task in tasks)
        stalled = 0 if gained else self.stalled + 1
        if stalled >= STALLS:
            self.files.report([_given_up(task) if task.state == "begun" else task for task in tasks])
            raise SystemExit("given up: stopped too often with nothing gained")
        return DelayedSubmission(replace(self, ended=ended, stalled=stalled))


def _given_up(task: TaskReport) -> TaskReport:
    error = (
        f"its job was stopped {STALLS} times in a row, by its time limit or for other jobs, with nothing gained; "
        "give jobs more time: --slurm time=MINUTES"
    )
    return replace(task, state="failed", error=error, user_error=True)


def _name_the_job(files: ParcelFiles) -> None:
    """The driver may have died before it wrote down the number of the job it had just submitted."""
    if not files.job():
        from submitit import JobEnvironment

        files.submitted(JobEnvironment().job_id)


@final
class _Report:
    """The parcel's report as the job keeps it; progress is written at most every `REPORT_SECONDS`."""

    def __init__(self, files: ParcelFiles, size: int) -> None:
        self._files = files
        self._last = 0.0
        self.tasks = files.reported() or [TaskReport() for _ in range(size)]

    def say(self, number: int, task: TaskReport) -> None:
        self.tasks[number] = task
        self._files.report(self.tasks)

    def progress(self, number: int, share: float, figures: Mapping[str, float]) -> None:
        self.tasks[number] = replace(self.tasks[number], share=share, figures=dict(figures))
        if time.monotonic() - self._last >= REPORT_SECONDS:
            self._last = time.monotonic()
            self._files.report(self.tasks)
