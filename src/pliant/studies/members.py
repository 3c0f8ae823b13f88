"""The checkpoints of a trajectory from outside: folders and Hub revisions, the chosen ones, and what is known of each."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pliant.checkpoints.about import About, CheckpointError
from pliant.checkpoints.choosing import Place, choose
from pliant.checkpoints.hub_cache import DownloadCache
from pliant.checkpoints.hub_client import shapes_of
from pliant.checkpoints.hub_errors import FAILURES
from pliant.checkpoints.hub_listing import list_revisions
from pliant.checkpoints.names import read_name
from pliant.checkpoints.pins import Pinned, read_pins
from pliant.checkpoints.public_runs import PublicRun, facts, init_stds, public_runs, run_of
from pliant.checkpoints.revision import HubRevision
from pliant.checkpoints.sources import ALL_REVISIONS, Folder, Repository, read_source
from pliant.checkpoints.trajectory import Member, in_order, trajectory
from pliant.checkpoints.weights import stored_tensors
from pliant.data.streams import cache_folder
from pliant.studies.spec import CheckpointSpec, SpecError, TrajectorySpec

Progress = Callable[[int, int], None]
"""Called with revisions listed and revisions in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """The chosen checkpoints in order, and sentences on what was left out. `parameters` of Hub members, by their name.

    `pinned` holds the Hub listings they come from, for the study to keep.
    """

    members: tuple[Member, ...]
    notes: tuple[str, ...] = ()
    pinned: Mapping[str, Pinned] = field(default_factory=dict)


def downloads() -> DownloadCache:
    """pliant's own cache of Hub checkpoints, below `$PLIANT_CACHE`."""
    return DownloadCache(cache_folder() / "hub")


def members_of(
    entry: TrajectorySpec, *, pins: Mapping[str, Pinned] | None = None, runs: Path | None = None,
    progress: Progress | None = None,
) -> Members:
    """The members that `entry` names and chooses. Hub repositories are listed, or taken from `pins`.

    Raises:
        ValueError: nothing there, a repository that cannot be listed, or a choice that cannot be met.
    """
    given = entry.checkpoints
    assert given is not None, "only trajectories from outside have members to gather"
    table = public_runs(runs)
    gathering = _Gathering(entry=entry, table=table, pins=dict(pins or {}), progress=progress)
    if isinstance(given, str):
        members = gathering.of_source(read_source(given, revisions=entry.revisions))
    else:
        members = [gathering.by_hand(one) for one in given]
    members = _chosen(entry, in_order(members), gathering.notes)
    return Members(members=members, notes=tuple(gathering.notes), pinned=gathering.used)
