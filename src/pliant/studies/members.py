"""The checkpoints of a trajectory from outside: folders and Hub revisions, chosen, and what is known of each."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pliant.checkpoints.about import About, CheckpointError
from pliant.checkpoints.choosing import Place, choose
from pliant.checkpoints.config import read_config
from pliant.checkpoints.hub.cache import DownloadCache
from pliant.checkpoints.hub.client import shapes_of
from pliant.checkpoints.hub.errors import FAILURES, or_nearest
from pliant.checkpoints.hub.listing import list_revisions
from pliant.checkpoints.hub.pins import Pinned, Shapes, read_pins
from pliant.checkpoints.hub.revision import HubRevision
from pliant.checkpoints.names import read_name
from pliant.checkpoints.public.runs import PublicRun, disagrees, facts, init_stds, public_runs, run_of
from pliant.checkpoints.sources import Folder, Repository, read_source
from pliant.checkpoints.trajectory import Member, in_order, trajectory
from pliant.checkpoints.weights import NO_PARAMETERS, stored_parameters, stored_tensors
from pliant.records.places import cache_folder
from pliant.studies.spec import CheckpointSpec, ChooseSpec, SpecError, StudySpec, TrajectorySpec

Progress = Callable[[int, int], None]
"""Called with revisions listed and revisions in all."""
Purpose = Literal["study", "list", "audit"]
"""study: of a repository with names that tell tokens or steps these only, and whatever a study has to know of them;
list: all revisions, and not a byte of their weights is read; audit: damaged folders, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """The chosen checkpoints in order, and sentences on what was left out.

    `pinned` holds the Hub listings they come from, for the study to keep.
    """

    members: tuple[Member, ...]
    notes: tuple[str, ...] = ()
    pinned: Mapping[str, Pinned] = field(default_factory=dict)


def downloads() -> DownloadCache:
    """pliant's own cache of Hub checkpoints, below `$PLIANT_CACHE`; one a process, which knows what it has in use."""
    return _cache_at(cache_folder() / "hub")


@functools.cache
def _cache_at(root: Path) -> DownloadCache:
    return DownloadCache(root)


def members_of(
    entry: TrajectorySpec,
    *,
    pins: Mapping[str, Pinned] | None = None,
    runs: Path | None = None,
    progress: Progress | None = None,
    purpose: Purpose = "study",
) -> Members:
    """The members that `entry` names and chooses. Hub repositories are taken from `pins`, or else listed.

    Raises:
        ValueError: nothing there, a repository that cannot be listed, or a choice that cannot be met.
    """
    given = entry.checkpoints
    assert given is not None, "only trajectories from outside have members to gather"
    sources = _Sources(entry=entry, runs=public_runs(runs), pins=dict(pins or {}), progress=progress, purpose=purpose)
    found = sources.members(given, entry.revisions) if isinstance(given, str) else [sources.one(e) for e in given]
    chosen, notes = _chosen(entry, in_order(found))
    return Members(
        members=tuple(sources.initialised(member) for member in chosen) if purpose == "study" else chosen,
        notes=(*sources.notes, *notes),
        pinned=sources.used,
    )


Gathered = Mapping[str, Members]
"""The members of each trajectory from outside, by its name."""


def gather(
    spec: StudySpec,
    folder: Path,
    progress: Progress | None = None,
    pins: Mapping[str, Pinned] = MappingProxyType({}),
) -> Gathered:
    """The members of every trajectory from outside; Hub revisions as the study in `folder` pinned them, else as `pins`
    has them, else as of now.

    Raises:
        ValueError: see `members_of`.
    """
    known = {**pins, **read_pins(folder)}
    outside = [entry for entry in spec.trajectories if entry.checkpoints is not None]
    return {entry.name: members_of(entry, pins=known, runs=spec.runs, progress=progress) for entry in outside}


def described(member: Member) -> Path:
    """The folder of a member with its config.json and tokenizer: of a Hub revision these small files are fetched."""
    return member.folder if member.revision is None else downloads().describe(member.revision)


def parameters_of(member: Member, members: Members) -> int:
    """How many numbers the member's tensors hold: from the headers of its files, else from their size and dtype.

    Raises:
        CheckpointError: the files on disk are damaged.
    """
    revision = member.revision
    if revision is None:
        return stored_parameters(member.folder)
    shapes = next(pinned.shapes for pinned in members.pinned.values() if revision in pinned.revisions)
    if shapes:
        return sum(prod(shape) for shape in shapes.values())
    config = read_config(described(member))
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    return revision.weight_bytes // (2 if dtype.endswith("16") else 4)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sources:
    """Opens sources one after another, and gathers what is to be said and kept of them."""

    entry: TrajectorySpec
    runs: tuple[PublicRun, ...]
    pins: dict[str, Pinned]
    progress: Progress | None
    purpose: Purpose
    notes: list[str] = field(default_factory=list)
    used: dict[str, Pinned] = field(default_factory=dict)

    def members(self, text: str, revisions: str | None = None) -> list[Member]:
        source = read_source(text, revisions=revisions)
        if isinstance(source, Folder):
            there = trajectory(source.path, damaged=self.purpose == "audit").members
            return [self._completed(member, self._named_run()) for member in there]
        pinned = self._pinned(source)
        run = self._named_run() or run_of(source.repo, self.runs)
        found = [self._revision(revision, run) for revision in pinned.revisions]
        placed = [m for m in found if m.about.tokens is not None or m.about.step is not None]
        if self.purpose != "study":
            return [self._completed(member, run) for member in found]
        if placed and (others := [m.name for m in found if m not in placed]):
            self.notes.append(f"left out, since nothing says how far they were trained: {_some(others)}")
        return [self._completed(member, run) for member in placed or found]

    def one(self, given: CheckpointSpec) -> Member:
        """The one checkpoint that `given` names, with the facts given by hand before all others."""
        found = self.members(given.path)
        if len(found) != 1:
            raise CheckpointError(
                f"{given.path} holds {len(found)} checkpoints; give each by its own path or revision, or all of them "
                "as checkpoints"
            )
        member, by_hand = found[0], About(tokens=given.tokens, seed=given.seed, annealed=given.annealed)
        name = Path(given.path).name if member.revision is None else member.name
        return replace(member, name=name, about=by_hand.filled(member.about))

    def _named_run(self) -> PublicRun | None:
        name = self.entry.run
        if name is None:
            return None
        known = {run.name: run for run in self.runs}
        if name not in known:
            near = or_nearest(get_close_matches(name, known, n=1))
            raise SpecError(f"{self.entry.name}: no run {name!r} in the table of public runs{near}")
        return known[name]

    def _pinned(self, source: Repository) -> Pinned:
        key = str(source)
        if key not in self.pins:
            self.pins[key] = _listed(source, self.progress, self.purpose)
        pinned = self.used[key] = self.pins[key]
        for name, why in pinned.missing if self.purpose != "audit" else ():  # where they are findings
            self.notes.append(f"{source.repo}@{name} is left out: {why}")
        return pinned

    def _revision(self, revision: HubRevision, run: PublicRun | None) -> Member:
        said = read_name(revision.revision)
        about = facts(run, said) if run is not None else About(tokens=said.tokens, step=said.step)
        if run is not None and (doubt := disagrees(run, said)):
            self.notes.append(f"{revision.name}: {doubt}")
        return Member(name=revision.revision, folder=downloads().folder(revision), about=about, revision=revision)

    def _completed(self, member: Member, run: PublicRun | None) -> Member:
        about = member.about
        if run is not None:
            about = about.filled(facts(run, read_name(member.name)))
        if about.tokens is None and about.step is not None and self.entry.tokens_per_step is not None:
            about = replace(about, tokens=about.step * self.entry.tokens_per_step)
        return replace(member, about=about)

    def initialised(self, member: Member) -> Member:
        """The member with the std of each tensor at initialisation, where its run's is known and it brings none."""
        repo = None if member.revision is None else member.revision.repo
        run = self._named_run() or (run_of(repo, self.runs) if repo is not None else None)
        if run is None or run.init is None or member.about.init_stds is not None:
            return member
        folder, shapes = member.folder, Shapes()
        if member.revision is None:
            shapes = _stored_shapes(folder)
        else:
            folder = described(member)
            shapes = next(pinned.shapes for pinned in self.used.values() if member.revision in pinned.revisions)
        config = read_config(folder)
        stds = init_stds(run, config, shapes) if shapes else None
        return replace(member, about=replace(member.about, init_stds=stds))


def _listed(source: Repository, progress: Progress | None, purpose: Purpose) -> Pinned:
    listing = list_revisions(source.repo, source.revisions, caches=[downloads().root], progress=progress)
    if not listing.revisions:
        reasons = "; ".join(f"{name}: {why}" for name, why in listing.missing[:3])
        raise CheckpointError(f"{source}: none of its revisions can be used ({reasons})")
    shapes = _shapes(listing.revisions[0]) if purpose == "study" else {}
    return Pinned(revisions=listing.revisions, missing=listing.missing, shapes=shapes)


def _shapes(revision: HubRevision) -> Shapes:
    """The shapes of the tensors where the Hub can be asked for them or they are on disk; else none."""
    folder = downloads().folder(revision)
    if all((folder / file.path).exists() for file in revision.safetensors):
        return _stored_shapes(folder) if revision.safetensors else {}
    try:
        return _trained(shapes_of(revision))
    except FAILURES:
        return {}


def _stored_shapes(folder: Path) -> Shapes:
    return _trained({name: tensor.shape for name, tensor in stored_tensors(folder).items()})


def _trained(shapes: Shapes) -> Shapes:
    return {name: shape for name, shape in shapes.items() if not NO_PARAMETERS.search(name)}


def _chosen(entry: TrajectorySpec, members: tuple[Member, ...]) -> tuple[tuple[Member, ...], tuple[str, ...]]:
    choice = entry.choose
    if choice == ChooseSpec():
        return members, ()
    places = [Place(name=m.name, tokens=m.about.tokens, step=m.about.step) for m in members]
    found = choose(
        places, first=choice.first, last=choice.to, every=choice.every, count=choice.count, spacing=choice.spacing
    )
    kept = {id(place) for place in found.places}  # two repositories may have a revision of one name
    return tuple(member for member, place in zip(members, places, strict=True) if id(place) in kept), found.notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


_NAMED = 4
