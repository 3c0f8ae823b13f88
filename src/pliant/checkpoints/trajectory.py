"""The checkpoints of one run in a folder, in order of tokens."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pliant.checkpoints.about import About, CheckpointError, read_about
from pliant.checkpoints.folder import check_files
from pliant.checkpoints.hub.revision import HubRevision
from pliant.checkpoints.names import natural_order, read_name
from pliant.checkpoints.trainer_state import read_trainer_state
from pliant.records.outside import clipped, is_shown_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One checkpoint of a trajectory: where it is, or will be once it is fetched, and what is known of it."""

    name: str
    folder: Path
    about: About
    revision: HubRevision | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """The ordered checkpoints of one pre-training run (or of a ladder, whose members are all annealed)."""

    name: str
    members: tuple[Member, ...]


def trajectory(path: str | Path, *, damaged: bool = False) -> Trajectory:
    """The checkpoint folders at or below `path`, ordered by tokens, then step, then name.

    Tokens and step come from `pliant.json`, else from `trainer_state.json`, else from the folder's name
    (`step1000-tokens4B`, `checkpoint-500`). `damaged` lists folders without weights or with damaged facts, too, as
    an audit does.

    Raises:
        CheckpointError: no checkpoint folder there, or a damaged one.
    """
    root = Path(path)
    if not root.is_dir():
        raise CheckpointError(f"no folder at {root}; give a folder of Hugging Face checkpoints")
    folders = [config.parent for config in sorted(root.glob("**/config.json"))]
    visible = [f for f in folders if not any(part.startswith(".") for part in f.relative_to(root).parts)]
    members = [_member(root, folder, damaged) for folder in visible]
    if not members:
        raise CheckpointError(f"no folder with config.json at or below {root}; expected Hugging Face checkpoints")
    return Trajectory(name=root.name, members=in_order(members))


def _member(root: Path, folder: Path, damaged: bool) -> Member:
    if not damaged:
        check_files(folder, allow_pickle=True)  # pickled weights are refused when they are opened, not when listed
    about = _facts(read_about, folder, damaged).filled(_facts(read_trainer_state, folder, damaged))
    name = folder.name if folder == root else str(folder.relative_to(root))
    if not is_shown_name(name):
        raise CheckpointError(f"{root} holds a checkpoint called {clipped(name)}; rename it, in plain characters")
    return Member(name=name, folder=folder, about=_with_name(about, folder.name))


def _facts(read: Callable[[Path], About], folder: Path, damaged: bool) -> About:
    try:
        return read(folder)
    except CheckpointError:
        if not damaged:
            raise
        return About()


def _with_name(about: About, name: str) -> About:
    said = read_name(name)
    return about.filled(About(tokens=said.tokens, step=said.step))


def in_order(members: Iterable[Member]) -> tuple[Member, ...]:
    """By tokens, then step, then name; what is not known comes last."""
    return tuple(sorted(members, key=_order))


def _order(member: Member) -> tuple[float, float, list[int | str]]:
    tokens, step = (float("inf") if fact is None else fact for fact in (member.about.tokens, member.about.step))
    return tokens, step, natural_order(member.name)
