"""A study kept on an S3 server: the same records as in a folder, whatever dies, and whoever else runs it."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pliant.execution.engine import Observer, Task, TaskFailure, Work
from pliant.execution.local import SerialEngine
from pliant.execution.mirrors import mirror_at
from pliant.execution.remote import Unreachable
from s3_server import DENIED, HERE, S3, SLOW_DOWN, running, use
from tiny_studies import is_one_line, plan, record_files, run, tiny

BUCKET = "studies"
STUDY = tiny()
PATIENCE_SECONDS = 900


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with running() as s3:
        s3.make_bucket(BUCKET)
        yield s3


@pytest.fixture
def s3(server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    use(server, tmp_path / "cache", monkeypatch)
    server.done.clear()
    server.fault = server.heard = lambda method, path: None
    yield server
    server.fault = server.heard = lambda method, path: None


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """A folder of the bucket for one test."""
    return f"s3://{BUCKET}/{request.node.name.removeprefix('test_')}"


@pytest.fixture(scope="module")
def at_home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the study in a folder of this machine."""
    folder = tmp_path_factory.mktemp("home") / "study"
    run(STUDY, folder)
    return whole_study(folder)


def whole_study(folder: Path) -> dict[str, bytes]:
    weights = (path for path in (folder / "artifacts").rglob("*") if path.is_file())
    return record_files(folder) | {str(path.relative_to(folder)): path.read_bytes() for path in weights}


def at_remote(s3: S3, url: str) -> dict[str, bytes]:
    """Records and weights at the server."""
    found = s3.objects(BUCKET, url.removeprefix(f"s3://{BUCKET}/"))
    return {name: c for name, c in found.items() if "/" in name and not name.endswith("/run.json")}


def opened(url: str) -> Path:
    mirror = mirror_at(url)
    mirror.pull()
    return mirror.folder


def test_holds_what_a_folder_would_and_running_it_again_writes_nothing(s3: S3, url: str, at_home: dict[str, bytes]):
    table, failures, _ = run(STUDY, opened(url))
    assert (table.missing, failures) == (0, [])
    assert at_remote(s3, url) == at_home
    top = {name for name in s3.objects(BUCKET, url.removeprefix(f"s3://{BUCKET}/")) if "/" not in name}
    assert top == {"study.yaml", "plan.json", "results.parquet"}
    order = s3.written("/")
    records = [place for place, path in enumerate(order) if "/records/" in path]
    assert max(order.index(path) for path in s3.written("study.yaml")) < records[0]
    for path in s3.written("/pliant.json"):
        beside = [order.index(other) for other in s3.written(os.path.dirname(path) + "/") if other != path]
        assert max(beside) < order.index(path)

    s3.done.clear()
    _, _, started = run(STUDY, opened(url))
    assert (started, s3.written("/")) == ([], [])


def test_another_machine_fetches_no_weights_that_it_does_not_need(s3, url, at_home, monkeypatch, tmp_path):
    run(STUDY, opened(url))
    use(s3, tmp_path / "elsewhere", monkeypatch)
    s3.done.clear()
    more = tiny({"modifications.0.noise.strengths": [0.05, 0.1]})
    table, failures, started = run(more, opened(url))
    assert (table.missing, failures, len(started)) == (0, [], 2)  # no segment is trained again
    fetched = [path for method, path in s3.done if method == "GET"]
    assert sum("model.safetensors" in path for path in fetched) == 2
    assert not any("trunk" in path for path in fetched)
    assert at_home.items() <= at_remote(s3, url).items()
    assert len(s3.written("/records/")) == 2 * 2


@pytest.mark.slow
def test_killed_midway_and_finished_by_another_machine(s3, url, at_home, monkeypatch, tmp_path):
    enough = threading.Event()

    def heard(method: str, path: str) -> None:
        if len(s3.written("/records/")) >= 6:
            enough.set()

    s3.heard = heard
    command = [sys.executable, "-c", IN_WORKERS.format(places=[HERE], url=url)]
    environment = os.environ | s3.environment(tmp_path / "killed")
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        assert enough.wait(PATIENCE_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
    before = s3.written("/records/")
    assert 6 <= len(before) < sum(name.startswith("records/") for name in at_home)

    use(s3, tmp_path / "fresh", monkeypatch)
    there = at_remote(s3, url)
    whole = {os.path.dirname(name) for name in there if name.endswith("/pliant.json")}
    there = {name: c for name, c in there.items() if name.startswith("records/") or os.path.dirname(name) in whole}
    s3.done.clear()
    table, failures, _ = run(STUDY, opened(url))
    assert (table.missing, failures) == (0, [])
    again = {path for path in s3.written("/") if not path.endswith("run.json")}
    assert not {f"/{BUCKET}/{url.rpartition('/')[2]}/{name}" for name in there} & again
    assert at_remote(s3, url) == at_home


IN_WORKERS = """
import sys
sys.path[:0] = {places!r}
from tiny_studies import run, tiny
from pliant.execution.local import LocalEngine
from pliant.execution.mirrors import local_folder
if __name__ == "__main__":
    table, failures, _ = run(tiny(), local_folder({url!r}), LocalEngine(workers=1))
    sys.exit(table.missing + len(failures))
"""


class Elsewhere:
    """An engine whose every task is done by a machine that has nothing, and sees no file of the driver's."""

    def __init__(self, caches: Path, patch: pytest.MonkeyPatch) -> None:
        self._caches, self._patch = caches, patch

    def run(
        self, tasks: Sequence[Task], work: Work, observer: Observer, *, room: int | None = None
    ) -> list[TaskFailure]:
        def there(payload: Any, progress: Any) -> None:
            home = Path(os.environ["PLIANT_CACHE"])
            away = home.rename(home.with_name("out of sight"))
            self._patch.setenv("PLIANT_CACHE", str(self._caches / str(len(list(self._caches.glob("*"))))))
            try:
                work(pickle.loads(pickle.dumps(payload)), progress)
            finally:
                self._patch.setenv("PLIANT_CACHE", str(home))
                away.rename(home)

        return SerialEngine().run(tasks, there, observer, room=room)


def test_workers_without_a_shared_file_system(s3, url, at_home, monkeypatch, tmp_path):
    table, failures, _ = run(STUDY, opened(url), Elsewhere(tmp_path / "machines", monkeypatch))
    assert (table.missing, failures) == (0, [])
    assert at_remote(s3, url) == at_home
    assert len(s3.written("/records/")) == len(set(s3.written("/records/")))


@pytest.mark.slow
def test_two_runners_end_with_the_same_records(s3, url, at_home, tmp_path):
    command = [sys.executable, "-c", IN_WORKERS.format(places=[HERE], url=url)]
    runners = [
        subprocess.Popen(command, env=os.environ | s3.environment(tmp_path / machine)) for machine in ("one", "two")
    ]
    assert [runner.wait(PATIENCE_SECONDS) for runner in runners] == [0, 0]
    assert at_remote(s3, url) == at_home


def test_a_record_deleted_at_the_remote_is_measured_again(s3, url, at_home):
    run(STUDY, opened(url))
    victim = sorted(name for name in at_home if name.startswith("records/"))[0]
    s3.delete(BUCKET, f"{url.rpartition('/')[2]}/{victim}")
    s3.done.clear()
    table, _, started = run(STUDY, opened(url))
    assert (table.missing, len(started)) == (0, 1)
    assert [path for path in s3.written("/records/") if not path.endswith("run.json")] == [
        f"/{BUCKET}/{url.rpartition('/')[2]}/{victim}"
    ]
    assert at_remote(s3, url) == at_home


def test_what_never_got_there_is_pushed_and_not_computed_again(s3, url, at_home, monkeypatch):
    monkeypatch.setattr("pliant.execution.remote.WAITS_SECONDS", ())
    s3.fault = lambda method, path: SLOW_DOWN if method == "PUT" and "/records/" in path else None
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(Unreachable, match="what is finished is kept on this machine"):
        run(STUDY, opened(url))
    assert not any(name.startswith("records/") for name in at_remote(s3, url))
    s3.fault = lambda method, path: None
    mirror = mirror_at(url)
    kept = {path.relative_to(mirror.folder).as_posix() for path in mirror.unpushed()}
    assert any(name.startswith("records/") for name in kept)
    s3.done.clear()
    folder = opened(url)
    table, failures, _ = run(STUDY, folder)
    assert (table.missing, failures) == (0, [])
    assert at_remote(s3, url) == at_home
    written = [path for path in s3.written("/records/") if not path.endswith("run.json")]
    assert len(written) == len(set(written))


def test_a_server_that_fails_every_third_request(s3, url, at_home):
    count = 0
    lock = threading.Lock()

    def third(method: str, path: str) -> tuple[int, str, str] | None:
        nonlocal count
        with lock:
            count += 1
            return SLOW_DOWN if count % 3 == 0 else None

    s3.fault = third
    table, failures, _ = run(STUDY, opened(url))
    assert (table.missing, failures) == (0, [])
    assert at_remote(s3, url) == at_home
    assert count > 100


def command_line(*words: str) -> Any:
    from pliant.cli import app

    return CliRunner().invoke(app, list(words))


def test_commands_take_the_url(s3, url, tmp_path, monkeypatch):
    run(STUDY, opened(url))
    use(s3, tmp_path / "elsewhere", monkeypatch)
    summary = command_line("show", url, "--json")
    assert summary.exit_code == 0, summary.output
    assert json.loads(summary.stdout)
    reported = command_line("report", url)
    assert reported.exit_code == 0, reported.output
    assert f"{url}/report.html" in reported.stdout
    page = s3.objects(BUCKET, url.rpartition("/")[2])["report.html"].decode()
    for secret in ("AKIAFORTESTS", "a-secret-for-tests"):
        assert secret not in page
        assert not any(secret.encode() in content for content in s3.objects(BUCKET, url.rpartition("/")[2]).values())
    assert str(tmp_path) not in page
    verdict = command_line("verdict", url, "--json")
    assert verdict.exit_code == 0, verdict.output
    again = command_line("run", url, "--dry-run")
    assert again.exit_code == 0, again.output
    assert "0 of 8 cells to measure" in again.stdout


def test_a_remote_that_may_only_be_read(s3, url, tmp_path, monkeypatch):
    run(STUDY, opened(url))
    use(s3, tmp_path / "reader", monkeypatch)
    s3.fault = lambda method, path: DENIED if method in ("PUT", "POST", "DELETE") else None
    done = command_line("report", url, "--out", str(tmp_path / "mine.html"))
    assert done.exit_code == 0, done.output
    assert (tmp_path / "mine.html").stat().st_size > 10_000
    with pytest.raises(ValueError, match=r"no permission to write s3://.*/report.html") as caught:
        _raise(command_line("report", url))
    assert is_one_line(str(caught.value))
    more = tiny({"modifications.0.noise.strengths": [0.05, 0.1]})
    with pytest.raises(ValueError, match=r"no permission to write s3://.*/study.yaml"):
        run(more, opened(url))
    with pytest.raises(ValueError, match=r"no permission to delete"):
        _raise(command_line("gc", url))


def _raise(result: Any) -> None:
    raise result.exception


def test_freeing_and_setting_aside_reach_the_remote(s3, url, tmp_path, monkeypatch, at_home):
    run(STUDY, opened(url))
    use(s3, tmp_path / "elsewhere", monkeypatch)
    freed = command_line("gc", url, "--weights")
    assert freed.exit_code == 0, freed.output
    assert not any(name.startswith("artifacts/") for name in at_remote(s3, url))
    assert command_line("gc", url, "--weights").stdout.startswith("freed 0.00 MB")


def test_records_of_other_weights_are_set_aside_at_the_remote(s3, url, at_home, monkeypatch):
    from pliant.studies.runner import set_aside_changed

    folder = opened(url)
    run(STUDY, folder)
    monkeypatch.setattr("pliant.studies.runner.parts_weights", lambda parts: "sha256:" + "0" * 64)
    set_aside_changed(plan(STUDY, folder))
    there = at_remote(s3, url)
    measured = {name.split("/")[1] for name in at_home if name.startswith("records/")}
    assert {name.split("/")[2] for name in there if name.startswith("superseded/")} == measured
    assert not any(name.startswith("records/") for name in there)
    mirror_at(url).pull()
    assert not record_files(folder)


@pytest.mark.parametrize(
    ("place", "change", "says"),
    [
        pytest.param("s3://no-such-bucket-here/x", {}, "does not exist; make the bucket", id="no bucket"),
        pytest.param(
            f"s3://{BUCKET}/x",
            {
                "AWS_ACCESS_KEY_ID": None,
                "AWS_SECRET_ACCESS_KEY": None,
                "AWS_CONFIG_FILE": "/nowhere",
                "HOME": "/nowhere",
            },
            "no credentials for s3://studies/x .*AWS_ACCESS_KEY_ID",
            id="no credentials",
        ),
        pytest.param(f"s3://key:secret@{BUCKET}/x", {}, "must not hold credentials", id="credentials in the URL"),
        pytest.param("nosuch://bucket/x", {}, "no place that can be opened", id="unknown protocol"),
        pytest.param("gs://bucket/x", {}, "needs a package that is not installed", id="missing package"),
        pytest.param(f"s3://{BUCKET}/empty", {}, "holds no study.yaml", id="no study"),
    ],
)
def test_what_cannot_be_had_is_one_line(s3, place, change, says, monkeypatch):
    for name, value in change.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    result = command_line("run", place)
    with pytest.raises(ValueError, match=says) as caught:
        _raise(result)
    assert is_one_line(str(caught.value))
    assert "key:secret" not in str(caught.value)
