"""The whole audit: of checkpoints on disk, and of Hub revisions by their metadata or fetched one at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from pliant.checkpoints.audit.audit import Audit, Depth, audit_files, audit_weights
from pliant.checkpoints.audit.finding import Finding
from pliant.checkpoints.audit.metadata import audit_metadata, combined
from pliant.checkpoints.audit.reading import AtHand, Progress, on_disk
from pliant.checkpoints.hub.revision import HubRevision
from pliant.checkpoints.names import read_name
from pliant.checkpoints.trajectory import Member
from pliant.execution.engine import UserError
from pliant.studies.members import Members, downloads
from pliant.studies.spec import ChooseSpec, TrajectorySpec
from pliant.studies.text_loss import text_losses

CORPUS = "english"
TOKENS = 4096


def audit(
    members: Sequence[Member],
    *,
    depth: Depth | None = None,
    corpus: str | None = None,
    tokenizer: str | None = None,
    tokens: int | None = None,
    absent: Sequence[Finding] = (),
    progress: Progress = lambda name, fetched: None,
) -> Audit:
    """Audit the checkpoints of one source. `depth` metadata reads each weight file once, weights also takes norms, loss
    also measures `tokens` held-out tokens of `corpus` with the checkpoints' own `tokenizer` or another.

    Of Hub revisions, metadata (their default) looks at names, sizes and hashes and fetches nothing; the others fetch
    one checkpoint at a time and delete it when it is read. A broken checkpoint is a finding, and so is one that cannot
    be fetched. Pickled weights are not opened. `absent` is put before what is found.

    Raises:
        ValueError: the corpus or the tokenizer does not open or has no effect, or the text is too short.
    """
    published = [(one.name, one.about, one.revision) for one in members if one.revision is not None]
    depth = depth or ("metadata" if published else "loss")
    for option, given in (("--corpus", corpus), ("--tokenizer", tokenizer), ("--tokens", tokens)):
        if depth != "loss" and given is not None:
            raise UserError(
                f"{option} {given} has no effect at --depth {depth}, which measures no loss; "
                "leave it out, or give --depth loss"
            )
    listed = audit_metadata(published) if published else None
    if depth == "metadata":
        result = listed or audit_files(members, progress)
    else:
        wanted = _whole(members, listed) if listed else members
        measure = None
        if depth == "loss":
            safe = [one for one in wanted if _in_safetensors(one)]
            measure = text_losses(safe, corpus=corpus or CORPUS, tokenizer=tokenizer, tokens=tokens or TOKENS)
        at_hand = _fetched(progress) if listed else on_disk
        read = replace(audit_weights(wanted, progress, at_hand=at_hand, measure=measure), depth=depth)
        result = combined(listed, read) if listed else read
    return replace(result, findings=(*absent, *result.findings))


def to_fetch(members: Sequence[Member]) -> list[HubRevision]:
    """The revisions that a deeper audit than that of metadata fetches."""
    published = [(one.name, one.about, one.revision) for one in members if one.revision is not None]
    wanted = _whole(members, audit_metadata(published)) if published else []
    return [one.revision for one in wanted if one.revision is not None]


def absent_findings(found: Members, entry: TrajectorySpec) -> tuple[Finding, ...]:
    """Revisions that a study on `entry` would leave out, and globs that match none, with the reason.

    A warning where the name tells tokens or a step and all of them are asked for, else a note.
    """
    everything = entry.choose == ChooseSpec()
    return tuple(
        Finding(
            check="missing-shard",
            level="warning" if everything and _placed(name) else "note",
            checkpoints=(name,),
            message=f"is left out: {why}",
        )
        for pinned in found.pinned.values()
        for name, why in pinned.missing
    )


def _placed(name: str) -> bool:
    said = read_name(name)
    return said.tokens is not None or said.step is not None


def _whole(members: Sequence[Member], listed: Audit) -> list[Member]:
    """Those whose weights are worth fetching: in safetensors, and by their names every shard is there."""
    lacking = {name for one in listed.findings if one.check == "missing-shard" for name in one.checkpoints}
    return [one for one in members if one.name not in lacking and _in_safetensors(one)]


def _in_safetensors(member: Member) -> bool:
    if member.revision is not None:
        return bool(member.revision.safetensors)
    return any(member.folder.glob("model*.safetensors"))


def _fetched(progress: Progress) -> AtHand:
    """Revisions are fetched when their turn comes, and deleted after it. What killed runs left goes first."""
    cache = downloads()
    cache.sweep()

    @contextmanager
    def at_hand(member: Member) -> Iterator[None]:
        revision = member.revision
        assert revision is not None, "the checkpoints of one source are all on the Hub, or none is"
        try:
            cache.fetch(revision, progress=lambda done, total: progress(member.name, done / max(total, 1)))
            yield
        finally:
            cache.release(revision)

    return at_hand
