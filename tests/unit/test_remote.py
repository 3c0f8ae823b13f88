"""Remote and Mirror over fsspec's memory file system: what is fetched, pushed, dropped, repeated and refused."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pliant.execution import remote as remote_module
from pliant.execution.mirror import Mirror
from pliant.execution.mirrors import here, local_folder, mirror_at, mirror_of, publish, shown
from pliant.execution.remote import NotAllowed, Remote, Unreachable
from pliant.execution.write_behind import WriteBehind

RECORD = "records/cell/loss.json"
_numbers = itertools.count()


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("PLIANT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_module, "WAITS_SECONDS", (0.0, 0.0))
    return f"memory://study-{next(_numbers)}/of/mine"


@pytest.fixture
def there(url: str) -> Remote:
    return Remote(url)


def content(there: Remote) -> dict[str, bytes]:
    system = fsspec.filesystem("memory")
    return {name: system.cat_file(there.at(name).removeprefix("memory://")) for name in there.list()}


def pulled(url: str) -> Mirror:
    mirror = mirror_at(url)
    mirror.pull()
    return mirror


def here_in(mirror: Mirror) -> dict[str, bytes]:
    files = (path for path in mirror.folder.rglob("*") if path.is_file())
    named = {path.relative_to(mirror.folder).as_posix(): path.read_bytes() for path in files}
    return {name: found for name, found in named.items() if not name.startswith(".remote/")}


def weights(folder: Path, word: bytes = b"w") -> Path:
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "pliant.json", "optimizer.safetensors"):
        (folder / name).write_bytes(word + name.encode())
    return folder


def test_pull_fetches_what_differs_and_nothing_else(url, there, monkeypatch):
    there.put("study.yaml", b"a")
    there.put(RECORD, b"{}")
    mirror = pulled(url)
    assert here_in(mirror) == {"study.yaml": b"a", RECORD: b"{}"}
    there.put("study.yaml", b"b")
    fetched: list[str] = []
    fetch = Remote.fetch

    def counted(self: Remote, files: Any, *more: Any) -> Iterator[str]:
        fetched.extend(files)
        return fetch(self, files, *more)

    monkeypatch.setattr(Remote, "fetch", counted)
    mirror.pull()
    assert (fetched, here_in(mirror)["study.yaml"]) == (["study.yaml"], b"b")


def test_what_was_deleted_at_the_remote_goes_and_what_never_got_there_stays(url, there):
    mirror = pulled(url)
    mirror.write(mirror.folder / RECORD, "{}")
    mine = mirror.folder / "records" / "other" / "loss.json"
    mine.parent.mkdir()
    mine.write_text("{1}")
    there.delete([RECORD])
    mirror.pull()
    assert here_in(mirror) == {"records/other/loss.json": b"{1}"}
    assert mirror.unpushed() == [mine]
    mirror.push(mirror.unpushed())
    assert (content(there), mirror.unpushed()) == ({"records/other/loss.json": b"{1}"}, [])


def test_what_was_deleted_there_and_made_again_here_is_pushed(url, there):
    mirror = pulled(url)
    mirror.write(mirror.folder / RECORD, "{}")
    there.delete([RECORD])
    mirror.pull()
    (mirror.folder / RECORD).write_text("{2}")  # and then the machine stops
    mirror.pull()
    assert mirror.unpushed() == [mirror.folder / RECORD]


def test_a_file_that_both_have_and_the_journal_does_not_know_is_the_remotes(url, there):
    mirror = pulled(url)
    there.put(RECORD, b"theirs")
    (mirror.folder / RECORD).parent.mkdir(parents=True)
    (mirror.folder / RECORD).write_text("mine")  # as after a kill between the put and its line in the journal
    mirror.pull()
    assert here_in(mirror) == {RECORD: b"theirs"}


def test_half_a_line_in_the_journal_makes_a_file_unknown_not_wrong(url, there):
    mirror = pulled(url)
    mirror.write(mirror.folder / RECORD, "{}")
    journal = mirror.folder / ".remote" / "known.jsonl"
    journal.write_text(journal.read_text()[:-9])
    assert mirror.unpushed() == [mirror.folder / RECORD]
    mirror.pull()
    assert (here_in(mirror), mirror.unpushed()) == ({RECORD: b"{}"}, [])


def test_weights_are_fetched_when_needed_and_only_if_whole(url, there, monkeypatch, tmp_path):
    mirror = pulled(url)
    place = weights(mirror.folder / "artifacts" / "main" / "seed-1" / "tokens-8")
    put: list[str] = []
    look = Mirror._put
    monkeypatch.setattr(Mirror, "_put", lambda self, name: (put.append(name), look(self, name)))
    mirror.push_folder(place)
    assert (len(put), put[-1]) == (4, "artifacts/main/seed-1/tokens-8/pliant.json")

    monkeypatch.setenv("PLIANT_CACHE", str(tmp_path / "elsewhere"))
    other = pulled(url)
    theirs = other.folder / place.relative_to(mirror.folder)
    assert not theirs.exists()
    assert (other.holds()(theirs), other.holds()(theirs / "optimizer.safetensors")) == (True, True)
    other.fetch_folder(theirs)
    assert here_in(other) == here_in(mirror)

    there.delete(["artifacts/main/seed-1/tokens-8/optimizer.safetensors"])
    other.pull()
    assert sorted(path.name for path in theirs.iterdir()) == ["config.json", "model.safetensors", "pliant.json"]
    there.delete(["artifacts/main/seed-1/tokens-8/pliant.json"])  # a deletion that was cut short
    other.pull()
    assert not theirs.exists()
    assert not other.holds()(theirs)
    other.fetch_folder(theirs)
    assert not theirs.exists()


def test_weights_that_were_made_again_elsewhere_are_the_remotes(url, there):
    mirror = pulled(url)
    place = weights(mirror.folder / "artifacts" / "main" / "seed-1" / "tokens-8")
    mirror.push_folder(place)
    there.put_file("artifacts/main/seed-1/tokens-8/model.safetensors", __file__ and Path(__file__))
    mirror.pull()
    assert not place.exists()
    mirror.fetch_folder(place)
    assert (place / "model.safetensors").read_bytes() == Path(__file__).read_bytes()


def test_snapshots_and_unfinished_files_stay_here_and_the_study_is_there_before_records(url, there, monkeypatch):
    mirror = pulled(url)
    for name in ("artifacts/snapshots/a/x", ".part-1", "records/cell/.part-2", RECORD, "study.yaml"):
        (mirror.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (mirror.folder / name).write_text("x")
    put: list[str] = []
    look = Mirror._put
    monkeypatch.setattr(Mirror, "_put", lambda self, name: (put.append(name), look(self, name)))
    mirror.push(mirror.unpushed())
    assert put == ["study.yaml", RECORD]
    mirror.push([mirror.folder / "study.yaml"])
    assert put == ["study.yaml", RECORD]
    mirror.push([mirror.folder / "study.yaml"], anyway=True)
    (mirror.folder / "study.yaml").write_text("y")
    mirror.push([mirror.folder / "study.yaml"])
    assert put == ["study.yaml", RECORD, "study.yaml", "study.yaml"]


def test_deleting_takes_folders_that_were_never_fetched(url, there, tmp_path, monkeypatch):
    mirror = pulled(url)
    place = weights(mirror.folder / "artifacts" / "main" / "seed-1" / "tokens-8")
    mirror.push_folder(place)
    monkeypatch.setenv("PLIANT_CACHE", str(tmp_path / "elsewhere"))
    other = pulled(url)
    sizes = other.sizes(other.folder / "artifacts")
    assert sum(sizes.values()) == sum(path.stat().st_size for path in place.iterdir())
    other.delete([other.folder / "artifacts" / "main"])
    assert content(there) == {}
    mirror.pull()
    assert not place.exists()


def test_names_that_lead_out_of_the_folder_are_not_fetched(url, there):
    mirror = mirror_at(url)
    system = fsspec.filesystem("memory")
    root = url.removeprefix("memory://")
    for name in ("records/../../../out.json", ".remote/mirror.json", "records/.part-1", "ok.json"):
        system.store[f"/{root}/{name}"] = fsspec.implementations.memory.MemoryFile(system, f"/{root}/{name}", b"x")
    before = (mirror.folder / ".remote" / "mirror.json").read_bytes()
    mirror.pull()
    assert here_in(mirror) == {"ok.json": b"x"}
    assert (mirror.folder / ".remote" / "mirror.json").read_bytes() == before


def test_records_written_beside_the_computation_are_there_when_it_ends(url, there):
    mirror = pulled(url)
    with WriteBehind(mirror.write) as write:
        for number in range(20):
            write(mirror.folder / "records" / str(number) / "loss.json", str(number))
    assert content(there) == {f"records/{n}/loss.json": str(n).encode() for n in range(20)}


def failing(times: int, error: Exception) -> Callable[..., Any]:
    left = itertools.count(times, -1)

    def put(self: Any, path: str, value: bytes, *more: Any, **options: Any) -> None:
        if next(left) > 0:
            raise error
        self.store[path] = fsspec.implementations.memory.MemoryFile(self, path, value)

    return put


MEMORY = "fsspec.implementations.memory.MemoryFileSystem.pipe_file"


def test_what_may_pass_is_repeated(url, there, monkeypatch, caplog):
    monkeypatch.setattr(MEMORY, failing(2, OSError(16, "busy")))
    there.put("a", b"x")
    assert (content(there), len(caplog.records)) == ({"a": b"x"}, 2)


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        pytest.param(OSError(16, "busy"), Unreachable, "write failed 3 times", id="busy for ever"),
        pytest.param(ConnectionResetError("reset"), Unreachable, "reset", id="no connection"),
        pytest.param(PermissionError("Access Denied"), NotAllowed, "no permission to write memory://", id="denied"),
        pytest.param(OSError(28, "disk full"), OSError, "disk full", id="not of the network"),
    ],
)
def test_what_does_not_pass_is_one_line(url, there, monkeypatch, error, kind, says):
    monkeypatch.setattr(MEMORY, failing(9, error))
    with pytest.raises(kind, match=says) as caught:
        there.put("a", b"x")
    assert "\n" not in str(caught.value)


def test_a_file_is_fetched_whole_or_not_at_all(url, there, monkeypatch, tmp_path):
    there.put("a", b"whole")

    def half(self: Any, path: str, place: str, **options: Any) -> None:
        Path(place).write_bytes(b"wh")
        raise ConnectionResetError("gone")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.get_file", half)
    with pytest.raises(Unreachable, match="gone"):
        list(there.fetch({"a": tmp_path / "a"}))
    assert list(tmp_path.glob("*")) == []


def test_a_url_with_credentials_is_refused_without_them():
    with pytest.raises(ValueError, match="must not hold credentials") as caught:
        Remote("s3://key:secret@bucket/x")
    assert "secret" not in str(caught.value).replace("AWS_SECRET_ACCESS_KEY", "")


def test_a_mirror_is_known_by_its_folder_and_one_endpoint(url, monkeypatch, tmp_path):
    mirror = mirror_at(url)
    inside = mirror.folder / "confirm" / "records"
    assert (mirror_of(inside), mirror_of(tmp_path)) == (mirror, None)
    assert shown(inside) == f"{url}/confirm/records"
    assert shown(tmp_path) == str(tmp_path)
    assert here(mirror) == mirror
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert mirror_at(url).folder != mirror.folder
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("PLIANT_CACHE", str(tmp_path / "elsewhere"))
    mirror.folder.rename(tmp_path / "away")
    assert here(mirror).folder.is_relative_to(tmp_path / "elsewhere")


def test_a_folder_is_itself_and_a_file_url_too(tmp_path):
    assert local_folder(tmp_path) == local_folder(str(tmp_path)) == local_folder(f"file://{tmp_path}") == tmp_path
    publish(tmp_path)


def test_a_file_changed_here_and_not_pushed_gives_way_to_the_remotes(url, there):
    there.put("study.yaml", b"theirs")
    mirror = pulled(url)
    (mirror.folder / "study.yaml").write_text("mine, of a run that may not write there")
    mirror.pull()
    assert here_in(mirror) == {"study.yaml": b"theirs"}
