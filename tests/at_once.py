"""A cluster whose jobs have ended when they are submitted: they run in this process, one after another."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pliant.execution.clusters import SubmissionError
from pliant.execution.parcel import Parcel


@dataclass(frozen=True)
class AtOnce:
    """`jobs` has the keys of each job's tasks; the submissions numbered in `refuses` are refused, the jobs numbered in
    `dies` never run."""

    refuses: Collection[int] = ()
    dies: Collection[int] = ()
    jobs: list[list[str]] = field(default_factory=list)
    arrays: list[int] = field(default_factory=list)

    def submit(self, folder: Path, calls: Sequence[Callable[[], None]]) -> list[str]:
        self.arrays.append(len(calls))
        if len(self.arrays) - 1 in self.refuses:
            raise SubmissionError("sbatch: error: QOSMaxSubmitJobPerUserLimit")
        return [self._run(call) for call in calls]

    def _run(self, call: Callable[[], None]) -> str:
        assert isinstance(call, Parcel)
        number = len(self.jobs)
        self.jobs.append([task.key for task in call.tasks])
        call.files.submitted(str(number))
        if number not in self.dies:
            call()
        return str(number)

    def alive(self, folder: Path, jobs: Collection[str]) -> set[str]:
        return set()

    def cancel(self, folder: Path, jobs: Collection[str]) -> None:
        pass

    def last_words(self, folder: Path, job: str) -> str:
        return "NODE_FAIL"
