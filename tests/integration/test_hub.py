"""Checkpoints from a Hub repository, through the real client against a Hub on loopback."""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from huggingface_hub import constants, hf_hub_download, snapshot_download

import tiny
from hub_fixtures import turn_to
from loopback_hub import Fault
from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.folder import open_checkpoint
from pliant.checkpoints.hub.cache import DownloadCache
from pliant.checkpoints.hub.listing import list_revisions, repo_revision
from pliant.checkpoints.hub.local import cached_revisions, user_cache

REPO = "tiny/OLMo-tiny"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A real checkpoint, whole and in shards."""
    root = tmp_path_factory.mktemp("saved")
    model = tiny.save(root / "whole")
    model.save_pretrained(root / "sharded", max_shard_size="8KB")
    assert len(list((root / "sharded").glob("model-*.safetensors"))) > 2
    for kind in ("whole", "sharded"):
        (root / kind / "tokenizer.json").write_text('{"version": "1.0"}')
        (root / kind / "README.md").write_text("read me")
        (root / kind / "modeling_tiny.py").write_text("raise SystemExit")
    return root


@pytest.fixture
def cache(tmp_path):
    return DownloadCache(tmp_path / "pliant" / "hub")


@pytest.fixture
def impatient(monkeypatch):
    """The client's waits between its own attempts are skipped, its timeouts short, its chunks small."""
    no_wait = SimpleNamespace(sleep=lambda seconds: None, time=time.time)
    monkeypatch.setattr("huggingface_hub.file_download.time", no_wait)
    monkeypatch.setattr("huggingface_hub.utils._http.time", no_wait)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)


def checkpoint(seed=0, size=4000):
    """Files that look like a checkpoint; nothing opens them."""
    return {"config.json": b"{}", "model.safetensors": bytes([seed % 251]) * size, "README.md": b"hello"}


def refused(says, action, *arguments, **settings):
    """The action fails with one line; returns it."""
    with pytest.raises(CheckpointError, match=says) as raised:
        action(*arguments, **settings)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def names(listing):
    return [revision.revision for revision in listing.revisions]


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# listing


def test_branches_and_tags_are_listed_each_pinned_to_its_commit(hub):
    commits = {name: hub.add(REPO, name, checkpoint(i)) for i, name in enumerate(["main", "step1000", "step2000"])}
    hub.tag(REPO, "v1.0", "step2000")
    listing = list_revisions(REPO)
    assert {r.revision: r.commit for r in listing.revisions} == commits | {"v1.0": commits["step2000"]}
    assert (listing.missing, listing.source) == ((), "hub")
    step = next(r for r in listing.revisions if r.revision == "step1000")
    weights = step.file("model.safetensors")
    assert weights.sha256 == hashlib.sha256(b"\1" * 4000).hexdigest()
    assert (weights.size, step.weight_bytes) == (4000, 4000)
    # git's own hash of a file that LFS does not keep, by hand
    assert step.file("config.json").blob == hashlib.sha1(b"blob 2\0{}").hexdigest()
    assert step.file("config.json").sha256 is None


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("step*", ["step1", "step20"]),
        ("main", ["main"]),
        ("step?,v*", ["v1", "step1"]),
        (" main , step20 ", ["main", "step20"]),
        ("[sm]*", ["main", "step1", "step20"]),
    ],
)
def test_globs_and_names_choose_among_the_revisions(hub, pattern, expected):
    for i, name in enumerate(["main", "step1", "step20", "old/step1"]):
        hub.add(REPO, name, checkpoint(i))
    hub.tag(REPO, "v1")
    assert sorted(names(list_revisions(REPO, pattern))) == sorted(expected)


def test_a_name_among_several_that_is_not_there_is_told_apart(hub):
    hub.add(REPO, "step1000", checkpoint())
    listing = list_revisions(REPO, "step1000,step1001")
    assert names(listing) == ["step1000"]
    assert listing.missing == (("step1001", "no branch or tag of that name; nearest: step1000"),)


def test_revisions_without_weights_or_metadata_are_told_apart(hub, impatient):
    for i, name in enumerate(["step1", "step2", "step3"]):
        commit = hub.add(REPO, name, checkpoint(i))
    hub.add(REPO, "main", {"README.md": b"see the branches"})
    hub.faults[f"tree/{commit}"] = Fault(status=503)
    listing = list_revisions(REPO)
    assert names(listing) == ["step1", "step2"]
    reasons = dict(listing.missing)
    assert sorted(reasons) == ["main", "step3"]
    assert reasons["main"] == "no weights (model*.safetensors or pytorch_model*.bin) among its 1 files"
    assert reasons["step3"] == f"{REPO}@step3: {hub.url} answered 503; try again later"


def test_a_passing_fault_of_the_hub_is_survived(hub, impatient):
    commit = hub.add(REPO, "step1", checkpoint())
    hub.faults[f"tree/{commit}"] = Fault(status=502, times=2)
    assert names(list_revisions(REPO)) == ["step1"]
    assert hub.count(f"tree/{commit}") == 3


def test_150_revisions_take_seconds_and_no_weights(hub):
    for step in range(150):
        hub.add(REPO, f"step{step}", checkpoint(step))
    seen, began = [], time.monotonic()
    listing = list_revisions(REPO, "step*", progress=lambda done, total: seen.append((done, total)))
    assert time.monotonic() - began < 10
    assert len(listing.revisions) == 150
    assert seen == [(done, 150) for done in range(1, 151)]
    assert hub.count("resolve") == 0
    assert hub.bytes_served == 0
    assert hub.count(REPO) == 151


def test_one_revision_is_found_by_branch_tag_and_commit(hub):
    commit = hub.add(REPO, "step1", checkpoint())
    hub.tag(REPO, "v1", "step1")
    for name in ("step1", "v1", commit):
        found = repo_revision(REPO, name)
        assert (found.revision, found.commit) == (name, commit)
    assert found.fingerprint == list_revisions(REPO).revisions[0].fingerprint


# what can be wrong, in one line


def test_unknown_repository_suggests_the_nearest(hub):
    hub.add("tiny/OLMo-1B-hf", "main", checkpoint())
    hub.add("else/Qwen", "main", checkpoint())
    line = refused("no repository tiny/OLMo-1B-fh at", list_revisions, "tiny/OLMo-1B-fh")
    assert "nearest: tiny/OLMo-1B-hf; check the name" in line
    assert "Qwen" not in line
    assert "nearest" not in refused("no repository zz/zz at", list_revisions, "zz/zz")
    assert "nearest: tiny/OLMo-1B-hf" in refused("no repository", repo_revision, "tiny/OLMo-1B", "main")


def test_unknown_revision_and_pattern_suggest_the_nearest(hub):
    for step in (1000, 2000):
        hub.add(REPO, f"step{step}", checkpoint())
    line = refused("has no branch, tag or commit stp1000; nearest", repo_revision, REPO, "stp1000")
    assert "step1000" in line
    line = refused("no branch or tag of tiny/OLMo-tiny matches 'ckpt_\\*'", list_revisions, REPO, "ckpt_*")
    assert "(of 2); give names or globs" in line


@pytest.mark.parametrize("name", ["no spaces", "a/b/c", "--x"])
def test_what_is_no_name_of_a_repository_is_said(hub, name):
    refused("is no name of a Hub repository; expected owner/name", list_revisions, name)


def test_private_repositories_look_unknown_until_logged_in(hub, monkeypatch):
    hub.add(REPO, "main", checkpoint())
    hub.private.add(REPO)
    refused("or `hf auth login` if it is private", list_revisions, REPO)
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert names(list_revisions(REPO)) == ["main"]


def test_gated_repositories_list_but_say_how_to_get_in(hub, cache, monkeypatch):
    hub.add(REPO, "main", checkpoint())
    hub.gated.add(REPO)
    revision = repo_revision(REPO, "main")
    line = refused("is gated; accept its terms at", cache.fetch, revision)
    assert f"{hub.url}/{REPO}, then log in with `hf auth login` or set HF_TOKEN" in line
    assert cache.usage() == 0
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert (cache.fetch(revision) / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("status", "says"),
    [(429, "429 .too many requests.; wait a few minutes"), (500, "500; try again later"), (403, "403 .no access.")],
)
def test_the_hubs_own_trouble_is_told(hub, status, says):
    hub.add(REPO, "main", checkpoint())
    hub.faults["refs"] = Fault(status=status)
    refused(says, list_revisions, REPO)


def test_a_hub_that_does_not_answer_is_not_waited_for(hub, impatient, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections, says nothing
        turn_to(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path, monkeypatch)
        began = time.monotonic()
        refused("no whole answer from .*timed out.*check the network", list_revisions, REPO)
        assert time.monotonic() - began < 3


@pytest.fixture
def closed(hub, tmp_path, monkeypatch, impatient):
    """Call it, and the Hub is gone: nothing listens where it was."""

    def close():
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        turn_to(f"http://127.0.0.1:{port}", tmp_path, monkeypatch)

    return close


def test_no_network_and_nothing_cached(hub, cache, closed):
    hub.add(REPO, "main", checkpoint())
    revision = repo_revision(REPO, "main")
    closed()
    line = refused("no whole answer from http://127.0.0.1", list_revisions, REPO, caches=[cache.root])
    assert "check the network and try again, or set HF_HUB_OFFLINE=1" in line
    refused("no whole answer", repo_revision, REPO, "main")
    refused("no whole answer", cache.fetch, revision)


def test_offline_mode_and_nothing_cached(hub, cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused("is not in the local cache, and offline mode is on; unset HF_HUB_OFFLINE", list_revisions, REPO)
    refused("OLMo-tiny@main is not in the local cache", repo_revision, REPO, "main")
    assert hub.count(REPO) == 0


# fetching


@pytest.mark.parametrize("kind", ["whole", "sharded"])
def test_what_is_fetched_is_what_was_published(hub, cache, saved, kind):
    hub.add(REPO, "step1", folder=saved / kind)
    revision = repo_revision(REPO, "step1")
    seen = []
    folder = cache.fetch(revision, progress=lambda there, total: seen.append((there, total)))
    published = content(saved / kind)
    published.pop("README.md")
    published.pop("modeling_tiny.py")  # code comes only where it is asked for
    assert content(folder) == published
    assert seen[-1] == (revision.weight_bytes, revision.weight_bytes)
    assert seen == sorted(seen)
    model = open_checkpoint(saved / "whole").model
    assert tiny.same_bits(tiny.weights_of(open_checkpoint(folder).model), tiny.weights_of(model))
    assert "modeling_tiny.py" in content(cache.describe(revision, remote_code=True))


def test_describing_fetches_no_weights_and_fetching_twice_fetches_once(hub, cache):
    hub.add(REPO, "step1", checkpoint())
    revision = repo_revision(REPO, "step1")
    folder = cache.describe(revision)
    assert content(folder) == {"config.json": b"{}"}
    assert cache.usage() == 0
    assert hub.bytes_served == 2
    assert cache.fetch(revision) == folder
    served, asked = hub.bytes_served, hub.count(REPO)
    assert cache.fetch(revision) == folder
    assert (hub.bytes_served, hub.count(REPO)) == (served, asked) == (4002, asked)


def test_the_commit_listed_is_fetched_though_the_branch_moved_on(hub, cache):
    hub.add(REPO, "main", checkpoint(1))
    revision = repo_revision(REPO, "main")
    hub.add(REPO, "main", checkpoint(2))
    assert content(cache.fetch(revision))["model.safetensors"] == b"\1" * 4000


def test_a_truncated_body_is_resumed_where_it_broke_off(hub, cache, impatient):
    weights = os.urandom(8000)
    hub.add(REPO, "step1", checkpoint() | {"model.safetensors": weights})
    revision = repo_revision(REPO, "step1")
    hub.faults["model.safetensors"] = Fault(cut=5000, times=1)
    assert content(cache.fetch(revision))["model.safetensors"] == weights
    assert hub.count("GET /tiny/OLMo-tiny/resolve") == 3
    # 4 chunks of 1024 had been written when it broke off: the rest came by range
    assert hub.bytes_served - 2 == 5000 + 8000 - 4096


def test_a_body_that_always_breaks_off_or_stalls_is_given_up(hub, cache, impatient):
    hub.add(REPO, "step1", checkpoint())
    revision = repo_revision(REPO, "step1")
    hub.faults["model.safetensors"] = Fault(cut=2500)
    refused("no whole answer from .*check the network and try again", cache.fetch, revision)
    hub.faults["model.safetensors"] = Fault(stall=2500)
    began = time.monotonic()
    refused("no whole answer from .*timed out", cache.fetch, revision)
    assert time.monotonic() - began < 6
    assert cache.usage() == 0  # nothing half-fetched stays
    hub.faults.clear()
    assert content(cache.fetch(revision))["model.safetensors"] == bytes(4000)


def test_a_stall_that_passes_is_survived(hub, cache, impatient):
    hub.add(REPO, "step1", checkpoint(7))
    hub.faults["model.safetensors"] = Fault(stall=1500, times=1)
    assert content(cache.fetch(repo_revision(REPO, "step1")))["model.safetensors"] == b"\7" * 4000


@pytest.mark.parametrize("times", [1, 2])
def test_other_content_than_was_published_is_fetched_once_more_and_then_refused(hub, cache, times):
    hub.add(REPO, "step1", checkpoint())
    revision = repo_revision(REPO, "step1")
    hub.faults["model.safetensors"] = Fault(content=b"\1" * 4000, times=times)
    if times == 1:
        assert content(cache.fetch(revision))["model.safetensors"] == bytes(4000)
    else:
        line = refused("what arrived as model.safetensors is not what was published", cache.fetch, revision)
        assert line.startswith(f"{REPO}@step1: ")
        assert cache.usage() == 0
    assert hub.count("GET /tiny/OLMo-tiny/resolve") == 3


def test_content_of_another_length_is_refused(hub, cache):
    hub.add(REPO, "step1", checkpoint())
    hub.faults["model.safetensors"] = Fault(content=b"short")
    refused("could not be fetched .Consistency check failed", cache.fetch, repo_revision(REPO, "step1"))
    assert cache.usage() == 0


def test_a_file_damaged_on_disk_is_fetched_again(hub, cache):
    hub.add(REPO, "step1", checkpoint())
    revision = repo_revision(REPO, "step1")
    folder = cache.fetch(revision)
    (folder / "model.safetensors").resolve().write_bytes(b"\1" * 4000)
    assert content(cache.fetch(revision))["model.safetensors"] == bytes(4000)


def test_a_file_that_has_gone_since_it_was_listed(hub, cache):
    commit = hub.add(REPO, "step1", checkpoint())
    revision = repo_revision(REPO, "step1")
    del hub.repos["models", REPO].commits[commit]["model.safetensors"]
    refused("a file that was listed is gone from", cache.fetch, revision)
    del hub.repos["models", REPO].commits[commit]  # the branch was rewritten, and what it had is collected
    line = refused("has no branch, tag or commit step1; list its revisions", cache.fetch, revision)
    assert "nearest" not in line


def test_pickled_weights_come_only_where_they_are_allowed(hub, cache):
    hub.add(REPO, "old", {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    hub.add(REPO, "both", checkpoint() | {"pytorch_model.bin": b"pickle"})
    old = repo_revision(REPO, "old")
    line = refused("holds pickled weights, which can run code when opened; convert them", cache.fetch, old)
    assert "set allow_pickle: true if you trust their source" in line
    assert hub.count("resolve") == 0
    assert content(cache.fetch(old, allow_pickle=True))["pytorch_model.bin"] == b"pickle"
    assert cache.usage() == 6
    assert "pytorch_model.bin" not in content(cache.fetch(repo_revision(REPO, "both"), allow_pickle=True))
    cache.release(old)
    assert cache.usage() == 4000


def test_revisions_that_cannot_be_opened_are_refused_before_any_download(hub, cache):
    hub.add(REPO, "bare", {"model.safetensors": b"w"})
    refused("has no config.json; expected a checkpoint", cache.fetch, repo_revision(REPO, "bare"))
    hub.add(REPO, "main", {"README.md": b"see the branches"})
    refused("@main: no weights .* choose another revision", repo_revision, REPO, "main")
    assert hub.count("resolve") == 0


def test_a_full_disk_is_told_before_the_download(hub, cache, monkeypatch):
    hub.add(REPO, "step1", checkpoint())
    revision = repo_revision(REPO, "step1")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3999))
    line = refused("step1 needs 4e-06 GB and 4e-06 GB are free at", cache.fetch, revision)
    assert f"{cache.root}; free some, or point PLIANT_CACHE to a larger disk" in line
    assert hub.count("GET /tiny/OLMo-tiny/resolve") == 1  # config.json
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=4000))
    cache.fetch(revision)


# the user's own cache, and offline


def test_what_the_user_has_is_used_and_never_deleted(hub, cache):
    commit = hub.add(REPO, "step1", checkpoint() | {"tokenizer.json": b"tokens"})
    hf_hub_download(REPO, "model.safetensors", revision="step1")
    served = hub.bytes_served
    revision = repo_revision(REPO, "step1")
    folder = cache.fetch(revision)
    assert hub.bytes_served - served == len(b"{}") + len(b"tokens")
    assert cache.usage() == 0
    assert content(folder) == {"config.json": b"{}", "tokenizer.json": b"tokens", "model.safetensors": bytes(4000)}
    cache.release(revision)
    cache.sweep()
    assert not (folder / "model.safetensors").exists()
    theirs = f"{constants.HF_HUB_CACHE}/models--tiny--OLMo-tiny/snapshots/{commit}/model.safetensors"
    with open(theirs, "rb") as kept:
        assert kept.read() == bytes(4000)


def test_the_users_own_cache_cannot_be_made_pliants(hub):
    refused("is your own Hugging Face cache, .* point PLIANT_CACHE elsewhere", DownloadCache, user_cache())


def test_where_both_copies_exist_and_pliants_is_damaged_the_users_is_used(hub, cache):
    hub.add(REPO, "step1", checkpoint())
    revision = repo_revision(REPO, "step1")
    folder = cache.fetch(revision)
    (folder / "model.safetensors").resolve().write_bytes(b"damaged")
    hf_hub_download(REPO, "model.safetensors", revision="step1")
    assert content(cache.fetch(revision))["model.safetensors"] == bytes(4000)
    assert cache.usage() == 0


def test_a_damaged_file_in_the_users_cache_is_neither_used_nor_touched(hub, cache):
    hub.add(REPO, "step1", checkpoint())
    theirs = hf_hub_download(REPO, "model.safetensors", revision="step1")
    with open(theirs, "wb") as damaged:
        damaged.write(b"\1" * 4000)
    assert content(cache.fetch(repo_revision(REPO, "step1")))["model.safetensors"] == bytes(4000)
    with open(theirs, "rb") as kept:
        assert kept.read() == b"\1" * 4000


@pytest.mark.parametrize("how", ["offline mode", "no network"])
@pytest.mark.parametrize("whose", ["user", "pliant"])
def test_offline_the_cache_alone_gives_the_same_revisions(hub, cache, saved, monkeypatch, closed, how, whose):
    for name in ("step1", "org/step2"):
        hub.add(REPO, name, folder=saved / ("whole" if name == "step1" else "sharded"))
    online = {revision.revision: revision for revision in list_revisions(REPO).revisions}
    for name, revision in online.items():
        if whose == "user":
            snapshot_download(REPO, revision=name)
        else:
            cache.fetch(revision)
    if how == "offline mode":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        closed()
    asked = hub.count(REPO)
    listing = list_revisions(REPO, "*step*", caches=[cache.root])
    assert listing.source == "cache"
    cached = {revision.revision: revision for revision in listing.revisions}
    assert cached.keys() == online.keys()
    for name in online:
        assert cached[name].commit == online[name].commit
        assert cached[name].fingerprint == online[name].fingerprint
        assert {(f.path, f.size, f.sha256) for f in cached[name].weights} == {
            (f.path, f.size, f.sha256) for f in online[name].weights
        }
        assert repo_revision(REPO, name, caches=[cache.root]) == cached[name]
        folder = cache.fetch(cached[name])
        assert "tokenizer.json" in content(folder)
        assert tiny.same_bits(
            tiny.weights_of(open_checkpoint(folder).model), tiny.weights_of(open_checkpoint(saved / "whole").model)
        )
    assert hub.count(REPO) == asked


def test_offline_a_revision_without_some_of_its_weights_is_told_apart(hub, cache, saved, monkeypatch):
    for name in ("step1", "step2", "step3"):
        hub.add(REPO, name, {"which.txt": name.encode()}, folder=saved / "sharded")
    revisions = {revision.revision: revision for revision in list_revisions(REPO).revisions}
    for revision in revisions.values():
        cache.fetch(revision)
    cache.release(revisions["step1"])
    shard = revisions["step2"].weights[1].path
    (cache.describe(revisions["step2"]) / shard).unlink()
    cache.release(revisions["step3"])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    listing = list_revisions(REPO, caches=[cache.root])
    missing = dict(listing.missing)
    assert missing["step2"] == f"shard {shard} is not in the local cache (1 missing)"
    assert "no weights" in missing["step1"]
    refused(f"@step2: shard {shard} is not in the local cache", repo_revision, REPO, "step2", caches=[cache.root])


# releasing


def test_released_weights_leave_the_disk_and_small_files_stay(hub, cache, saved):
    for i, name in enumerate(["step1", "step2"]):
        hub.add(REPO, name, checkpoint(i, size=4000 + i))
    one, two = list_revisions(REPO).revisions
    folder = cache.fetch(one)
    cache.fetch(two)
    assert cache.usage() == 8001
    cache.release(one)
    assert cache.usage() == 4001
    assert content(folder) == {"config.json": b"{}"}
    assert content(cache.fetch(one))["model.safetensors"] == bytes(4000)


def test_weights_that_two_revisions_share_stay_until_both_are_released(hub, cache):
    for name in ("step1", "step2"):
        hub.add(REPO, name, checkpoint() | {"note.txt": name.encode()})
    one, two = list_revisions(REPO).revisions
    cache.fetch(one)
    folder = cache.fetch(two)
    assert cache.usage() == 4000
    cache.release(one)
    assert cache.usage() == 4000
    assert content(folder)["model.safetensors"] == bytes(4000)
    cache.release(two)
    assert cache.usage() == 0


def test_a_blob_in_the_store_that_repositories_share_is_released_with_its_last_user(hub, cache):
    """hf_xet keeps a file at blobs/XX/HASH of the cache, and a symbolic link to it where the blob would be."""
    folders = {}
    for repo in (REPO, "tiny/fork"):
        hub.add(repo, "main", checkpoint())
        folders[repo] = cache.fetch(repo_revision(repo, "main"))
    shared = cache.root / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    for folder in folders.values():
        blob = folder / (folder / "model.safetensors").readlink()
        os.replace(blob, shared)
        blob.symlink_to(os.path.relpath(shared, blob.resolve().parent))
    assert cache.usage() == 4000
    cache.release(repo_revision(REPO, "main"))
    assert content(folders["tiny/fork"])["model.safetensors"] == bytes(4000)
    cache.release(repo_revision("tiny/fork", "main"))
    assert cache.usage() == 0
    assert not shared.exists()


def test_a_second_process_that_uses_the_weights_keeps_them(hub, cache):
    hub.add(REPO, "step1", checkpoint())
    revision = repo_revision(REPO, "step1")
    folder = cache.fetch(revision)
    other = DownloadCache(cache.root)  # claims are kept by lock files, so one process can stand for two
    other.release(revision)
    assert other.sweep() == 0
    assert (folder / "model.safetensors").is_file()
    other.fetch(revision)
    cache.release(revision)
    assert (folder / "model.safetensors").is_file()
    other.release(revision)
    assert not (folder / "model.safetensors").exists()


def test_what_a_killed_process_left_is_swept(hub, cache):
    """A real process is killed with weights in use and a download under way."""
    for i, name in enumerate(["step1", "step2", "step3"]):
        hub.add(REPO, name, checkpoint(i, size=50_000))
    _, two, three = list_revisions(REPO).revisions
    hub.faults[f"{two.commit}/model.safetensors"] = Fault(stall=20_000)
    program = f"""
from pathlib import Path
from huggingface_hub import constants
from pliant.checkpoints.hub.cache import DownloadCache
from pliant.checkpoints.hub.listing import repo_revision
constants.DOWNLOAD_CHUNK_SIZE = 1024
cache = DownloadCache(Path({str(cache.root)!r}))
cache.fetch(repo_revision({REPO!r}, "step1"))
cache.fetch(repo_revision({REPO!r}, "step3"))
print("fetched", flush=True)
cache.fetch(repo_revision({REPO!r}, "step2"))
"""
    environment = os.environ | hub.environment(cache.root.parent.parent)
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout.readline() == b"fetched\n"
        deadline = time.monotonic() + 10
        while cache.usage() < 110_000 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert 110_000 <= cache.usage() < 150_000  # two whole ones and a part
        assert cache.sweep() == 0  # all of it is in use
        process.kill()
    freed = cache.sweep(keep=[three])
    assert freed >= 60_000
    assert cache.usage() == 50_000
    assert [r.revision for r in cached_revisions(REPO, [cache.root]) if r.weights] == ["step3"]
    assert cache.sweep() == 50_000
    assert cache.usage() == 0


def test_prefetching_and_releasing_from_threads_leaves_nothing_behind(hub, cache):
    """Twelve revisions, each the same weights as another, go through two threads; what is fetched is always whole."""
    for step in range(12):
        hub.add(REPO, f"step{step:02}", checkpoint(step // 2) | {"note.txt": str(step).encode()})
    revisions = list_revisions(REPO).revisions
    failures = []

    def use(chosen):
        for revision in chosen:
            try:
                folder = cache.fetch(revision)
                step = int(revision.revision.removeprefix("step"))
                assert content(folder)["model.safetensors"] == bytes([step // 2]) * 4000
                cache.release(revision)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=use, args=(revisions[start::2],)) for start in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert cache.usage() == 0
