"""Joining a Ray cluster, or one started here for as long as it is needed."""

import contextlib
import importlib
import importlib.util
import logging
import math
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pliant.execution.engine import UserError
from pliant.execution.resources import Resources

HERE = "local"
REACH_SECONDS = 10.0
OBJECT_STORE_BYTES = 256_000_000
"""Tasks pass through it, weights never do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The cluster that this process is connected to; `ours` where it was started here and ends with the run."""

    ray: Any
    ours: bool

    def alive(self) -> dict[str, dict[str, float]]:
        """What each living node offers, by the node's id."""
        return {node["NodeID"]: node["Resources"] for node in self.ray.nodes() if node["Alive"]}

    def room(self, wanted: Resources) -> int:
        """How many workers fit into all nodes together, were nobody else there."""
        return sum(wanted.fit_into(offered) for offered in self.alive().values())


def import_ray() -> Any:
    """Ray, quiet: no usage statistics, no advice on standard error.

    Raises:
        UserError: it is not installed.
    """
    for name, value in _QUIETER.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise UserError("--engine ray needs Ray, which is not installed: pip install 'pliant[ray]'") from error


@contextlib.contextmanager
def joined(address: str | None, *, workers: int | None, resources: Resources) -> Iterator[Cluster]:
    """Be connected to the cluster at `address` (`auto`, `HOST:PORT`, `ray://HOST:PORT`), or at `$RAY_ADDRESS`; without
    either, start one on this machine with room for `workers`. A connection that is there already is used and kept.

    Raises:
        UserError: no Ray, or no cluster at `address`.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield Cluster(ray=ray, ours=False)
        return
    place = address or os.environ.get("RAY_ADDRESS") or HERE
    with _signals_kept(), _begun_here(ray, workers, resources) if place == HERE else _connected(ray, place):
        try:
            yield Cluster(ray=ray, ours=place == HERE)
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray ends its process on SIGTERM in a way of its own; what was there before comes back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _begun_here(ray: Any, workers: int | None, resources: Resources) -> Iterator[None]:
    """A cluster of this machine. Its folder is its own, so that `--address auto` elsewhere never finds it."""
    cpus = max(os.cpu_count() or 1, math.ceil((workers or 0) * resources.amounts.get("CPU", 0.0)))
    # sockets lie below it, and their paths may have 107 bytes only
    with tempfile.TemporaryDirectory(prefix="pliant-ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        try:
            ray.init(
                address=HERE,
                num_cpus=cpus,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                _temp_dir=folder,
                **_QUIET,
            )
        except Exception as error:  # its own class for this: a machine too busy to start Ray within its 30 s
            raise UserError(
                f"Ray did not start on this machine ({_line(error)}); start it by hand with `ray start --head` and "
                "give --address auto"
            ) from error
        yield


@contextlib.contextmanager
def _connected(ray: Any, place: str) -> Iterator[None]:
    if place.startswith("ray://") and importlib.util.find_spec("grpc") is None:
        raise UserError(f"--address {place} needs Ray's client: pip install 'ray[client]'")
    try:
        _reach(place)
        ray.init(address=place, **_QUIET)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"no Ray cluster to join at {place} ({_line(error)}); `ray start --head` starts one, "
            "and without --address this machine is used"
        ) from error
    yield


def _reach(place: str) -> None:
    """Knock where `place` names a port: Ray itself would try, and complain, for minutes.

    Raises:
        OSError: nobody answers.
    """
    host, _, port = place.removeprefix("ray://").partition("/")[0].rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


_QUIETER = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # what the cluster says of dead workers goes to standard output otherwise
}
"""Read when Ray is imported."""
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
