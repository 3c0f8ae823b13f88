"""A Ray cluster of several raylets on this host, held by a process of its own: nodes join it and are killed.

Run as a script it is that process: a line of JSON in is a command, a line out its answer; it ends with its input.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pliant

HEALTH = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3, "health_check_initial_delay_ms": 0}


@dataclass
class Nodes:
    """The process, the cluster's address, and the raylets' process ids by node."""

    process: subprocess.Popen[str]
    address: str = ""

    def ask(self, **command: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the process that holds the cluster has ended"
        return json.loads(line)

    def add(self, **settings: Any) -> str:
        """A node joins; its id."""
        return str(self.ask(do="add", settings=settings))

    def kill(self, node: str) -> None:
        """Every process of the node, with SIGKILL."""
        self.ask(do="kill", node=node)


@contextlib.contextmanager
def nodes(*, seen: Sequence[Path] = (), **head: Any) -> Iterator[Nodes]:
    """A cluster with one node; its workers import pliant from where this process does, and what lies in `seen`."""
    places = [str(Path(pliant.__file__).parents[1]), *map(str, seen), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(filter(None, places))
    environment = os.environ | {"PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        holder = Nodes(process)
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = path  # what an engine passes on to its workers
        try:
            holder.address = str(holder.ask(do="begin", settings=head))
            yield holder
        finally:
            os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=60)


def _ports() -> dict[str, int]:
    """Given beforehand: a raylet that must ask its agent for them gives up after 15 s, on a busy machine too early."""
    names = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
    sockets = [socket.socket() for _ in names]
    for one in sockets:
        one.bind(("", 0))
    found = dict(zip(names, (one.getsockname()[1] for one in sockets), strict=True))
    for one in sockets:
        one.close()
    return found


def _hold() -> None:
    import ray.cluster_utils

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Ray prints
    cluster: Any = None
    joined: dict[str, Any] = {}
    for line in sys.stdin:
        command = json.loads(line)
        answer: Any = None
        if command["do"] == "begin":
            settings = {**_ports(), "include_dashboard": False, "_system_config": HEALTH, **command["settings"]}
            cluster = ray.cluster_utils.Cluster(initialize_head=True, head_node_args=settings)
            answer = cluster.address
        elif command["do"] == "add":
            node = cluster.add_node(**_ports(), **command["settings"])
            joined[node.node_id] = node
            answer = node.node_id
        else:
            cluster.remove_node(joined.pop(command["node"]), allow_graceful=False)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    if cluster is not None:
        cluster.shutdown()


if __name__ == "__main__":
    _hold()
