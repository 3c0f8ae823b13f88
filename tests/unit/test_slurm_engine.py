"""The driver's decisions, with jobs that run at once in this process."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from at_once import AtOnce
from pliant.execution import slurm_engine
from pliant.execution.engine import Event, Task, UserError
from pliant.execution.parcel import STALLS, Parcel
from pliant.execution.parcel_files import ParcelFiles, TaskReport, parcels_in
from pliant.execution.slurm_engine import SlurmEngine
from slurm_chores import cell, do, done, starts


def engine(folder: Path, cluster: AtOnce, job_seconds: float = 100.0) -> SlurmEngine:
    return SlurmEngine(
        folder=folder / "jobs",
        cluster=cluster,
        workers=4,
        job_seconds=job_seconds,
        poll_seconds=0.0,
        state_seconds=0.0,
        lag_seconds=0.0,
    )


def unheard(event: Event) -> None:
    pass


def test_a_chain_travels_in_one_job(tmp_path: Path):
    cluster, heard = AtOnce(), []
    tasks = [cell(tmp_path, "a"), cell(tmp_path, "b", needs=("a",)), cell(tmp_path, "c", needs=("a", "b"))]
    assert engine(tmp_path, cluster).run(tasks, do, heard.append) == []
    assert cluster.jobs == [["a", "b", "c"]]
    kinds = [(event.kind, event.key) for event in heard if event.kind != "progress"]
    assert kinds == [(kind, key) for key in "abc" for kind in ("started", "finished")]


def test_a_chain_behind_a_failure_is_skipped(tmp_path: Path):
    tasks = [cell(tmp_path, "a", act="user error"), cell(tmp_path, "b", needs=("a",)), cell(tmp_path, "c")]
    failures = engine(tmp_path, AtOnce()).run(tasks, do, unheard)
    assert [(failure.key, failure.error) for failure in failures] == [
        ("a", "not to be had"),
        ("b", "not started, because cell a failed"),
    ]
    assert done(tmp_path) == ["c"]


def test_a_chain_behind_what_succeeds_the_second_time_is_done(tmp_path: Path):
    cluster = AtOnce()
    tasks = [cell(tmp_path, "a", act="error once"), cell(tmp_path, "b", needs=("a",)), cell(tmp_path, "c")]
    assert engine(tmp_path, cluster).run(tasks, do, unheard) == []
    assert cluster.jobs == [["a", "c", "b"], ["a", "b"]]
    assert starts(tmp_path) == {"a": 2, "b": 1, "c": 1}


def test_an_error_names_the_log(tmp_path: Path):
    (failure,) = engine(tmp_path, AtOnce()).run([cell(tmp_path, "a", act="error")], do, unheard)
    assert failure.error.splitlines()[0] == "RuntimeError: gone wrong"
    assert failure.error.endswith(f"log: {tmp_path}/jobs/1_0_log.err")


def test_a_job_that_does_not_start_is_submitted_once_more(tmp_path: Path):
    cluster = AtOnce(dies=(0,))
    assert engine(tmp_path, cluster).run([cell(tmp_path, key) for key in "ab"], do, unheard) == []
    assert [sorted(job) for job in cluster.jobs] == [["a", "b"], ["a", "b"]]


def test_jobs_that_never_start_fail_their_tasks_and_say_where_to_look(tmp_path: Path):
    failures = engine(tmp_path, AtOnce(dies=range(9))).run([cell(tmp_path, key) for key in "ab"], do, unheard)
    assert sorted((failure.key, failure.attempts) for failure in failures) == [("a", 2), ("b", 2)]
    assert "job 1 ended with no result (NODE_FAIL)" in failures[0].error
    assert failures[0].error.endswith("/jobs/1_0_log.err")


def test_a_refusal_at_first_is_the_users_and_later_one_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(slurm_engine, "REFUSED_SECONDS", 0.0)
    tasks = [cell(tmp_path, "a"), cell(tmp_path, "b", needs=("a",))]
    with pytest.raises(UserError, match="the cluster took no jobs: sbatch: error: QOSMax"):
        engine(tmp_path, AtOnce(refuses=(0,))).run(tasks, do, unheard)
    cluster = AtOnce(refuses=(1, 2))
    assert engine(tmp_path, cluster, job_seconds=0.0).run(tasks, do, unheard) == []
    assert cluster.jobs == [["a"], ["b"]]
    assert parcels_in(tmp_path / "jobs") == [], "what was refused is forgotten"


def test_never_more_jobs_than_workers(tmp_path: Path):
    cluster = AtOnce()
    engine(tmp_path, cluster, job_seconds=0.0).run([cell(tmp_path, f"{n}") for n in range(50)], do, unheard)
    assert max(cluster.arrays) == 4
    assert len(done(tmp_path)) == 50


# --- a parcel: what the job does


def parcel(folder: Path, tasks: Sequence[Task], work: Callable[..., None] = do) -> Parcel:
    files = ParcelFiles(folder=folder, name="p")
    files.ask(tasks)
    files.submitted("7")
    return Parcel(files=files, tasks=tuple(tasks), work=work)


def test_a_withdrawn_parcel_does_nothing(tmp_path: Path):
    late = parcel(tmp_path, [cell(tmp_path, "a")])
    assert late.files.withdraw()
    late()
    assert done(tmp_path) == []


def test_a_parcel_taken_before_it_was_withdrawn_is_known_as_taken(tmp_path: Path):
    taken = parcel(tmp_path, [cell(tmp_path, "a")])
    assert taken.files.take()
    assert taken.files.take(), "the same job, put back"
    assert not taken.files.withdraw()
    assert not taken.files.take()


def test_a_parcel_called_again_does_only_what_has_not_ended(tmp_path: Path):
    tasks = [cell(tmp_path, "a"), cell(tmp_path, "b")]
    again = parcel(tmp_path, tasks)
    again.files.report([TaskReport(state="failed", error="x"), TaskReport(state="begun", share=0.5)])
    again()
    assert starts(tmp_path) == {"b": 1}
    assert [task.state for task in again.files.reported()] == ["failed", "finished"]


def test_a_job_stopped_with_nothing_gained_is_put_back_only_so_often(tmp_path: Path):
    stuck = parcel(tmp_path, [cell(tmp_path, "a"), cell(tmp_path, "b")])
    stuck.files.report([TaskReport(state="finished"), TaskReport(state="begun")])
    stuck = stuck.checkpoint().function  # one task has ended since it was submitted
    for _ in range(STALLS - 1):
        stuck = stuck.checkpoint().function
    stuck.files.report([TaskReport(state="finished"), TaskReport(state="begun", share=0.1)])
    stuck = stuck.checkpoint().function
    assert stuck.stalled == 0, "something was gained"
    stuck.files.report([TaskReport(state="finished"), TaskReport(state="begun")])
    for _ in range(STALLS - 1):
        stuck = stuck.checkpoint().function
    with pytest.raises(SystemExit):
        stuck.checkpoint()
    last = stuck.files.reported()[1]
    assert (last.state, last.user_error) == ("failed", True)
    assert "give jobs more time: --slurm time=MINUTES" in last.error
