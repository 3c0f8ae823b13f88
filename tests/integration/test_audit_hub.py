"""`pliant audit` on Hub repositories: by metadata without a byte of weights, or fetched one checkpoint at a time."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants
from typer.testing import CliRunner

import pliant
import tiny
from loopback_hub import Fault
from pliant.checkpoints.architecture import build_model
from pliant.checkpoints.folder import save_weights
from pliant.cli import app
from pliant.execution.engine import UserError
from pliant.studies.auditing import audit
from pliant.studies.members import downloads, members_of
from pliant.studies.spec import SpecError, TrajectorySpec

REPO = "tiny/run"
LANGUAGE = "markov:7"
STEPS = (10, 20, 30, 40, 50, 60)


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """Six real checkpoints of a random walk of the weights, a folder each."""
    root = tmp_path_factory.mktemp("walk")
    network = build_model(tiny.architecture(), 64, 0)
    for step in STEPS:
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step))
            parameter.data.add_(0.1 * parameter.data.std(unbiased=False).clamp(min=0.1) * noise)
        folder = root / name(step)
        folder.mkdir()
        save_weights(network, folder)
        (folder / "README.md").write_text("read me")
    return root


@pytest.fixture
def published(hub, walk):
    for step in STEPS:
        hub.add(REPO, name(step), folder=walk / name(step))
    return hub


@pytest.fixture
def impatient(monkeypatch):
    """The client's waits between its own attempts are skipped."""
    no_wait = SimpleNamespace(sleep=lambda seconds: None, time=lambda: 0.0)
    monkeypatch.setattr("huggingface_hub.file_download.time", no_wait)
    monkeypatch.setattr("huggingface_hub.utils._http.time", no_wait)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)


def name(step):
    return f"step{step}-tokens{step}M"


def members():
    return members_of(TrajectorySpec(name="run", checkpoints=REPO), purpose="audit").members


def called(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)


def named(found):
    return {(one.check, one.level, one.checkpoints) for one in found.findings}


def weights_below(root):
    return [path for path in Path(root).rglob("*") if path.is_file() and path.suffix == ".safetensors"]


# metadata


def test_150_revisions_are_audited_without_a_byte_of_any_file(hub):
    for step in range(1000, 151_000, 1000):
        content = b"final" if step <= 86_000 or step == 150_000 else b"%d" % step
        hub.add(REPO, f"step{step}-tokens{step // 250}B", {"config.json": b"{}", "model.safetensors": content * 100})
    hub.add(REPO, "main", {"config.json": b"{}", "model.safetensors": b"final" * 100})
    done = called("audit", REPO, "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["depth"], len(found["checkpoints"])) == ("metadata", 151)
    (duplicate,) = [one for one in found["findings"] if one["check"] == "duplicate"]
    assert len(duplicate["checkpoints"]) == 88
    assert "final weights under early names (86 of them)" in duplicate["message"]
    assert hub.bytes_served == 0
    assert hub.count("/resolve/") == 0


def test_a_sound_repository_is_clean_and_the_options_choose(published):
    done = called("audit", REPO, "--count", 3, "--from", "20M", "--json")
    assert done.exit_code == 0
    assert [row["tokens"] for row in json.loads(done.stdout)["checkpoints"]] == [20_000_000, 40_000_000, 60_000_000]
    shown = called("audit", REPO)
    assert "clean" in shown.stdout
    assert re.search(r"no weights were read; --depth weights fetches 6 checkpoints, 0\.000\d+ GB", shown.stderr)
    assert published.bytes_served == 0


def test_other_configs_and_revisions_without_weights_are_told(published, walk):
    files = {"config.json": b"{}", "model.safetensors": walk / name(60) / "model.safetensors"}
    published.add(REPO, name(60), files)
    published.add(REPO, name(70), {"README.md": b"soon"})
    published.add(REPO, "main", {"README.md": b"see the branches"})
    found = pliant.audit(REPO)
    assert named(found) == {
        ("config", "note", (name(60),)),
        ("missing-shard", "warning", (name(70),)),
        ("missing-shard", "note", ("main",)),
    }
    assert found.findings[0].message.startswith("is left out: no weights")
    assert called("audit", REPO).exit_code == 0
    assert called("audit", REPO, "--strict").exit_code == 1


def test_listing_asks_for_no_file(published):
    assert [member.name for member in pliant.trajectory(REPO).members] == [name(step) for step in STEPS]
    (one,) = pliant.trajectory(f"{REPO}@{name(30)}").members
    assert one.about.tokens == 30_000_000
    assert one.revision is not None
    assert called("ls", REPO, "--json").exit_code == 0
    assert published.bytes_served == 0


# fetched


def test_a_deep_audit_holds_one_checkpoint_at_a_time(published, walk):
    root, largest = downloads().root, (walk / name(10) / "model.safetensors").stat().st_size
    found, used, open_before = members(), [], []
    killed = root / "models--tiny--run" / "blobs" / "left.incomplete"
    killed.parent.mkdir(parents=True)
    killed.write_bytes(b"half" * largest)

    def watch(name, fetched):
        used.append(downloads().usage())
        if fetched == 0.0:
            open_before.append(str(root) in Path("/proc/self/maps").read_text())

    result = audit(found, depth="loss", corpus=LANGUAGE, progress=watch)
    assert result.findings == ()
    assert max(used) == largest
    assert used.count(0) >= len(STEPS), "before each checkpoint the last one is gone"
    assert downloads().usage() == 0
    assert not weights_below(root)
    assert not any(open_before), "a mapped file takes room though it is deleted"
    on_disk = pliant.audit(walk, corpus=LANGUAGE)
    assert result.rows == on_disk.rows
    assert all(row.loss_nats and row.norm for row in result.rows)


def test_findings_of_metadata_and_weights_are_said_once(published, walk, tmp_path):
    twice = tmp_path / "twice"
    shutil.copytree(walk / name(20), twice)
    shutil.copy(walk / name(60) / "model.safetensors", twice)
    config = json.loads((twice / "config.json").read_text())
    (twice / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    published.add(REPO, name(20), folder=twice)
    pickled = {"config.json": walk / name(10) / "config.json", "pytorch_model.bin": b"p" * 39_000}
    published.add(REPO, name(70), pickled)
    found = pliant.audit(REPO, depth="weights")
    duplicate = ("duplicate", "error", (name(20), name(60)))
    listed = named(pliant.audit(REPO))
    assert {duplicate, ("config", "note", (name(20),)), ("format", "warning", (name(70),))} <= listed
    seen = named(found)
    assert {duplicate, ("config", "warning", (name(20),)), ("format", "warning", (name(70),))} <= seen
    assert len(seen) == len(found.findings)
    assert [one.check for one in found.findings].count("duplicate") == 1
    assert ("config", "note", (name(20),)) not in seen, "the settings were compared, so their hashes need no mention"
    assert published.count(f"GET /{REPO}/resolve/{commit(published, 70)}/pytorch_model.bin") == 0


def commit(hub, step):
    return hub.repos["models", REPO].branches[name(step)]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(status=404), "could not be fetched: "),
        (Fault(cut=3000), "could not be fetched: no whole answer from "),
        (Fault(content=b"other" * 10), "could not be fetched: "),
    ],
    ids=["gone", "cut", "other"],
)
def test_a_revision_that_cannot_be_fetched_is_a_finding_and_the_rest_is_audited(published, impatient, fault, says):
    published.faults[f"/{REPO}/resolve/{commit(published, 30)}/model.safetensors"] = fault
    used = []
    found = audit(members(), depth="weights", progress=lambda *_: used.append(downloads().usage()))
    (failure,) = [one for one in found.findings if one.level == "error"]
    assert (failure.check, failure.checkpoints) == ("fetch", (name(30),))
    assert says in failure.message
    assert "\n" not in failure.message
    assert [row.norm is None for row in found.rows] == [step == 30 for step in STEPS]
    assert max(used) <= max(row.bytes or 0 for row in found.rows)
    assert downloads().usage() == 0


def test_what_came_of_a_revision_before_it_failed_is_deleted(published, walk):
    whole = (walk / name(30) / "model.safetensors").read_bytes()
    shards = {"model-00001-of-00002.safetensors": whole, "model-00002-of-00002.safetensors": whole + b" "}
    published.add(REPO, name(30), {"config.json": b"{}"} | shards)
    published.faults[f"{commit(published, 30)}/model-00002"] = Fault(status=403)
    used = []
    found = audit(members(), depth="weights", progress=lambda *now: used.append((*now, downloads().usage())))
    assert ("fetch", "error", (name(30),)) in named(found)
    assert any(at == name(30) and usage == len(whole) for at, _, usage in used)
    assert (name(40), 0.0, 0) in used


def test_weights_that_are_damaged_as_published_are_named_as_on_disk(published, walk):
    cut = (walk / name(30) / "model.safetensors").read_bytes()[:20_000]
    published.add(REPO, name(30), {"config.json": walk / name(30) / "config.json", "model.safetensors": cut})
    done = called("audit", REPO, "--depth", "loss", "--corpus", LANGUAGE, "--json")
    assert done.exit_code == 1
    assert "fetching 6 checkpoints, " in done.stderr
    errors = [one for one in json.loads(done.stdout)["findings"] if one["level"] == "error"]
    assert [(one["check"], one["checkpoints"]) for one in errors] == [("cut-short", [name(30)])]


def test_a_gated_repository_is_said_once(published):
    published.gated.add(REPO)
    (finding,) = pliant.audit(REPO, depth="weights").findings
    assert len(finding.checkpoints) == len(STEPS)
    assert "is gated; accept its terms" in finding.message


# damaged folders, and options without effect


def test_the_audit_goes_past_damaged_folders(walk, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(walk, run)
    (run / name(20) / "model.safetensors").unlink()
    (run / name(40) / "pliant.json").write_text('{"tokens": ')
    found = pliant.audit(run, corpus=LANGUAGE)
    errors = {one.checkpoints: one for one in found.findings if one.level == "error"}
    assert set(errors) == {(name(20),), (name(40),)}
    assert errors[name(20),].message == "has no weight files"
    assert re.match(
        r"comes with facts that are damaged: pliant.json cannot be read .*; mend it", errors[name(40),].message
    )
    assert [row.name for row in found.rows] == [name(step) for step in STEPS]
    assert [row.loss_nats is None for row in found.rows] == [step in (20, 40) for step in STEPS]
    with pytest.raises(ValueError, match=r"has no model.safetensors"):
        pliant.trajectory(run)


@pytest.mark.parametrize("option", [["--corpus", LANGUAGE], ["--tokens", "99"], ["--tokenizer", "bytes"]])
@pytest.mark.parametrize("depth", ["metadata", "weights"])
def test_options_for_the_loss_have_no_effect_without_it(walk, option, depth):
    says = f"{' '.join(option)} has no effect at --depth {depth}, which measures no loss; leave it out"
    with pytest.raises(UserError, match=says):
        called("audit", walk, "--depth", depth, *option)


def test_options_for_the_loss_have_no_effect_on_a_repository_by_default(published):
    with pytest.raises(UserError, match="--tokens 99 has no effect at --depth metadata"):
        called("audit", REPO, "--tokens", 99)


def test_choices_that_have_no_effect_are_refused(walk, tmp_path):
    with pytest.raises(SpecError, match="--spacing has an effect with --count only"):
        called("audit", walk, "--spacing", "linear")
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(SpecError, match=r"--every 2B has no effect on .*, a study folder, .*; leave it out"):
        called("ls", tmp_path, "--every", "2B")
