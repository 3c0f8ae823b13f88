"""Which tasks travel together: by hand-computed loads."""

import pytest

from pliant.execution.engine import Task, dependants
from pliant.execution.packing import MOST_TASKS, followed, pack


def tasks(*seconds: float) -> list[Task]:
    return [Task(key=str(n), label="", payload=None, cost_seconds=cost) for n, cost in enumerate(seconds)]


def loads(parcels: list[list[Task]]) -> list[float]:
    return [sum(task.cost_seconds for task in parcel) for parcel in parcels]


@pytest.mark.parametrize(
    ("seconds", "free", "expected"),
    [
        ([10.0] * 6, 4, [60.0]),  # less than one job's worth: one job
        ([50.0] * 6, 4, [100.0, 100.0, 100.0]),
        ([60.0] * 6, 4, [120.0, 120.0, 120.0]),
        ([400.0, 30.0, 30.0, 30.0], 4, [400.0, 90.0]),
        ([500.0, 500.0], 4, [500.0, 500.0]),
        ([500.0, 500.0, 500.0], 2, [500.0, 500.0]),  # the third waits for a place
    ],
)
def test_jobs_have_their_minutes_and_work_stays_side_by_side(seconds: list[float], free: int, expected: list[float]):
    found = loads(pack(tasks(*seconds), free=free, places=4, job_seconds=100.0))
    assert sorted(found, reverse=True) == expected


def test_much_work_goes_in_shares_of_a_quarter_of_a_place():
    """1,000 tasks of 1 s on 5 places: 1000 / (4 x 5) = 50 s a job, and the rest waits."""
    parcels = pack(tasks(*[1.0] * 1000), free=5, places=5, job_seconds=10.0)
    assert loads(parcels) == [50.0] * 5


def test_the_most_urgent_go_to_different_jobs():
    parcels = pack(tasks(*[60.0] * 6), free=3, places=3, job_seconds=100.0)
    assert [task.key for parcel in parcels for task in parcel[:1]] == ["0", "1", "2"]


def test_tasks_of_no_cost_are_packed_up_to_the_most_of_one_job():
    assert [len(parcel) for parcel in pack(tasks(*[0.0] * 500), free=4, places=4)] == [MOST_TASKS]


def test_without_minimum_each_place_gets_its_own():
    assert loads(pack(tasks(1.0, 1.0, 1.0), free=2, places=2, job_seconds=0.0)) == [1.0, 1.0]


def chain(*needs: tuple[str, ...], seconds: float = 10.0) -> list[Task]:
    return [Task(key=str(n), label="", payload=None, cost_seconds=seconds, needs=need) for n, need in enumerate(needs)]


@pytest.mark.parametrize(
    ("job_seconds", "ended", "taken", "expected"),
    [
        (100.0, (), (), "01243"),  # 3 needs 0 and 2, 4 needs 1
        (30.0, (), (), "012"),
        (0.0, (), (), "0"),
        (100.0, (), ("2",), "014"),  # what needs a task that travels elsewhere waits for it
        (100.0, (), ("1", "2"), "0"),
    ],
)
def test_a_chain_of_short_tasks_follows_in_the_same_job(
    job_seconds: float, ended: tuple[str, ...], taken: tuple[str, ...], expected: str
):
    all_tasks = chain((), ("0",), ("0",), ("0", "2"), ("1",))
    found = followed(all_tasks[:1], behind=dependants(all_tasks), ended=ended, taken=taken, job_seconds=job_seconds)
    assert sorted(task.key for task in found) == sorted(expected)
    place = {task.key: number for number, task in enumerate(found)}
    assert all(place[need] < place[task.key] for task in found for need in task.needs)
