"""Which task starts now: of equal ones the nearest, after an interruption again, and how many could."""

from dataclasses import replace

from pliant.execution.engine import Event, Task
from pliant.execution.queue import LOOK_AHEAD, LOSSES, Queue


def task(key: str, cost: float = 1.0, needs: tuple[str, ...] = ()) -> Task:
    return Task(key=key, label=key, payload=None, cost_seconds=cost, needs=needs)


def quiet(event: Event) -> None:
    pass


def keys(queue: Queue, near: set[str]) -> list[str]:
    taken = []
    while (found := queue.next("work", lambda one: one.key in near)) is not None:
        taken.append(found.key)
    return taken


def test_of_equal_tasks_the_near_one_comes_first_and_the_others_keep_their_order():
    queue = Queue([task(key) for key in "abcd"])
    assert keys(queue, {"c"}) == ["c", "a", "b", "d"]
    assert keys(Queue([task(key) for key in "abcd"]), set()) == list("abcd")


def test_a_near_task_does_not_overtake_one_with_more_behind_it():
    queue = Queue([task("short"), task("long", cost=2.0), task("near")])
    assert keys(queue, {"near"}) == ["long", "near", "short"]


def test_only_so_many_are_looked_through():
    many = [task(f"{number:03}") for number in range(3 * LOOK_AHEAD)]
    assert keys(Queue(many), {many[LOOK_AHEAD].key})[:2] == ["000", many[LOOK_AHEAD].key]
    assert keys(Queue(many), {many[LOOK_AHEAD - 1].key})[0] == many[LOOK_AHEAD - 1].key


def test_how_many_could_start():
    queue = Queue([task("a"), task("b"), task("after", needs=("a",))])
    assert (queue.startable("work"), queue.startable("fetch")) == (2, 0)
    first = queue.next("work")
    assert first is not None
    assert (first.key, queue.startable("work")) == ("a", 1)
    queue.succeeded(first)
    assert queue.startable("work") == 2
    queue.failed(first, "no", True, quiet)


def test_in_a_full_fetch_lane_none_could():
    some = [task(key) for key in "ab"]
    fetches = [replace(one, lane="fetch", holds=2, until=f"release {one.key}") for one in some]
    releases = [replace(task(one.until), lane="fetch", needs=("use",), cleans_up=True) for one in fetches]
    queue = Queue([*fetches, task("use", needs=("a", "b")), *releases], room=3)
    assert queue.startable("fetch") == 2
    queue.next("fetch")
    assert queue.startable("fetch") == 0


def test_an_interruption_is_no_attempt_but_the_last_of_many_is_a_failure():
    queue = Queue([task("a"), task("b")])
    failed: list[Event] = []
    for _ in range(LOSSES - 1):
        found = queue.next("work")
        assert found is not None
        assert found.key == "a", "what was interrupted comes first again"
        queue.interrupted(found, "its node went away", failed.append)
    assert queue.failures == []
    found = queue.next("work")
    assert found is not None
    queue.failed(found, "once", False, failed.append)
    assert queue.failures == [], "of its own two attempts none was used before"
    found = queue.next("work")
    assert found is not None
    queue.interrupted(found, "its node went away", failed.append)
    (failure,) = queue.failures
    assert (failure.key, failure.error) == ("a", f"its node went away, {LOSSES} times")
    assert [event.kind for event in failed] == ["failed"]
