"""The audit of Hub revisions from file metadata: each check fires on what it is for, and not otherwise."""

import time

import pytest

from pliant.checkpoints.about import About
from pliant.checkpoints.audit.metadata import audit_metadata
from pliant.checkpoints.hub.revision import HubFile, HubRevision


def revision(name, content, *, size=1000, config="c", tokenizer="t", files=None):
    files = files or (HubFile(path="model.safetensors", size=size, blob=content, sha256=content),)
    beside = (("config.json", config), ("tokenizer.json", tokenizer))
    files += tuple(HubFile(path=path, size=10, blob=blob) for path, blob in beside if blob)
    return HubRevision(repo="a/b", revision=name, commit="0" * 40, files=files)


def member(step, content=None, *, tokens=None, prefix="", **changes):
    name = f"{prefix}step{step}"
    about = About(step=step, tokens=step * 4_000 if tokens is None else tokens)
    return name, about, revision(name, content or f"weights {prefix}{step}", **changes)


RUN = [member(step) for step in range(1000, 9000, 1000)]


def findings(members):
    return {(one.check, one.level, one.checkpoints) for one in audit_metadata(members).findings}


def test_a_sound_run_has_no_finding_and_every_figure():
    audit = audit_metadata(RUN)
    assert audit.findings == ()
    assert not audit.refused
    assert (audit.rows[0].step, audit.rows[0].tokens, audit.rows[0].bytes) == (1000, 4_000_000, 1000)
    assert audit.rows[0].format == "safetensors"


def test_86_of_154_with_the_final_weights_in_less_than_a_second():
    run = [member(1000 * i, "final" if i <= 86 or i == 154 else None) for i in range(1, 155)]
    run.append(("main", About(), revision("main", "final")))
    begun = time.monotonic()
    audit = audit_metadata(run)
    assert time.monotonic() - begun < 1
    (finding,) = audit.findings
    assert (finding.check, finding.level, len(finding.checkpoints)) == ("duplicate", "error", 88)
    assert finding.message == (
        "hold the same weights: those of step154000 and main, so final weights under early names (86 of them)"
    )


def test_main_is_the_last_one():
    assert findings([*RUN, ("main", About(), revision("main", "weights 8000"))]) == {
        ("duplicate", "note", ("step8000", "main"))
    }


def test_two_early_ones_alike():
    (finding,) = audit_metadata([*RUN[:2], member(3000, "weights 2000"), *RUN[3:]]).findings
    assert finding.message == "hold the same weights: at most one of them is what its name says"


def test_missing_shards():
    shards = tuple(HubFile(path=f"model-0000{i}-of-00004.safetensors", size=250, blob=f"{i}") for i in (1, 2, 4))
    found = audit_metadata([*RUN[:-1], member(8000, files=shards)]).findings
    assert {(one.check, one.level) for one in found} == {("missing-shard", "error"), ("size", "warning")}
    assert found[0].message == "lacks 1 of 4 shards (number 3 first)"


def test_whole_shards_are_no_finding():
    shards = tuple(HubFile(path=f"model-0000{i}-of-00004.safetensors", size=250, blob=f"{i}") for i in (1, 2, 3, 4))
    assert findings([*RUN[:-1], member(8000, files=shards)]) == set()


def test_no_weights_and_pickled_weights():
    bare = HubRevision(repo="a/b", revision="step8000", commit="0" * 40, files=())
    assert findings([*RUN[:-1], ("step8000", About(step=8000, tokens=32_000_000), bare)]) == {
        ("missing-shard", "error", ("step8000",))
    }
    pickled = (HubFile(path="pytorch_model.bin", size=1000, blob="p"),)
    assert findings([*RUN[:-1], member(8000, files=pickled)]) == {("format", "warning", ("step8000",))}


@pytest.mark.parametrize(("size", "odd"), [(1004, False), (2000, True), (500, True)])
def test_sizes(size, odd):
    expected = {("size", "warning", ("step3000",))} if odd else set()
    assert findings([*RUN[:2], member(3000, size=size), *RUN[3:]]) == expected


def test_config_and_tokenizer():
    assert findings([*RUN[:2], member(3000, config="d"), *RUN[3:]]) == {("config", "note", ("step3000",))}
    assert findings([*RUN[:2], member(3000, tokenizer="u"), *RUN[3:]]) == {("tokenizer", "warning", ("step3000",))}
    assert findings([*RUN[:2], member(3000, tokenizer=None), *RUN[3:]]) == set()


def test_gaps_of_a_regular_sequence():
    assert findings([*RUN[:3], *RUN[5:]]) == {("gap", "note", ("step3000", "step6000"))}
    (finding,) = audit_metadata([*RUN[:3], *RUN[5:]]).findings
    assert finding.message == "follow each other, though steps come every 1,000: 2 are missing"
    doubling = [member(2**i) for i in range(8)]
    assert findings(doubling) == set()


def test_tokens_must_not_fall_with_steps_within_a_stage():
    assert findings([*RUN[:2], member(3000, tokens=5), *RUN[3:]]) == {("order", "error", ("step2000", "step3000"))}
    stages = [member(step, prefix="stage1-") for step in (1000, 2000, 3000)]
    stages += [member(step, prefix="stage2-", tokens=10**9 + step) for step in (500, 1000, 1500)]
    assert findings(stages) == set()
