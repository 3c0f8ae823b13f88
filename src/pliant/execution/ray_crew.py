"""The workers of one run on a cluster, as the process that drives it knows them."""

import os
import time
from collections.abc import Iterator
from typing import Any, final

from pliant.execution.engine import Lane, Task
from pliant.execution.ray_cluster import Cluster
from pliant.execution.ray_worker import NEWS_SECONDS, Driver, Place, Worker
from pliant.execution.resources import Resources

THREAD_NAMES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
PASSED_ON = (
    "PYTHONPATH",
    "PLIANT_CACHE",
    "NUMBA_CACHE_DIR",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HF_DATASETS_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_HUB_DISABLE_PROGRESS_BARS",
    "TRANSFORMERS_VERBOSITY",
    "TOKENIZERS_PARALLELISM",
)
"""Settings of the environment that workers have from here where they are set; never a token."""


@final
class Hired:
    """One worker: the actor, where it is once it has said hello, the task it is busy with, and what it was asked."""

    def __init__(self, actor: Any, lane: Lane, driver: Any) -> None:
        self.lane = lane
        self.actor = actor
        self.place: Place | None = None
        self.task: Task | None = None
        self.begun = time.monotonic()
        self.asked: dict[Any, str] = {actor.hello.remote(driver): "hello"}

    @property
    def fits(self) -> bool:
        return self.place is not None and not self.place.misfit

    def start(self, task: Task) -> None:
        self.task, self.begun = task, time.monotonic()
        self.asked[self.actor.do.remote(task.key, task.payload)] = "do"

    def ask_for_news(self, now: float) -> None:
        """Where its task has gone on for a while: short ones are never asked."""
        if self.task is not None and len(self.asked) == 1 and now - self.begun >= NEWS_SECONDS:
            self.asked[self.actor.news.options(concurrency_group="news").remote()] = "news"


@final
class Crew:
    """Hires and dismisses workers; those that do not fit stay, idle, so that no other is sent to where they are."""

    def __init__(self, cluster: Cluster, resources: Resources, threads: int, driver: Driver) -> None:
        self.members: list[Hired] = []
        self._cluster = cluster
        self._resources = resources
        self._driver = cluster.ray.put(driver)
        variables = dict.fromkeys(THREAD_NAMES, str(threads))
        variables |= {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        # before the process starts: numeric libraries read them once, on import
        actor = cluster.ray.remote(runtime_env={"env_vars": variables}, concurrency_groups={"news": 1})
        self._actor = actor(Worker)

    def of(self, lane: Lane) -> list[Hired]:
        return [member for member in self.members if member.lane == lane]

    def hire(self, lane: Lane) -> None:
        """Ask the cluster for one more; it says hello once there is room for it."""
        settings = self._beside_this() if lane == "fetch" else self._spread()
        self.members.append(Hired(self._actor.options(**settings).remote(), lane, self._driver))

    def _spread(self) -> dict[str, Any]:
        wanted = self._resources
        return {
            "num_cpus": wanted.amounts.get("CPU", 0.0),
            "num_gpus": wanted.gpus,
            "memory": wanted.memory,
            "resources": dict(wanted.custom),
            "scheduling_strategy": "SPREAD",
        }

    def _beside_this(self) -> dict[str, Any]:
        """What fetches takes no processor, and is on the node of this process: where a Hub can be reached."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        node = self._cluster.ray.get_runtime_context().get_node_id()
        return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node_id=node, soft=True)}

    def dismiss(self, member: Hired) -> None:
        self.members.remove(member)
        self._cluster.ray.kill(member.actor)

    def asked(self) -> Iterator[tuple[Any, Hired]]:
        """Every question that has no answer yet, and who was asked."""
        for member in self.members:
            for question in member.asked:
                yield question, member
