"""A recipe in a folder that may hold its study already: what was asked of it before stays."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pliant.data.hub_text import HubText
from pliant.data.task_setting import TaskDataset, task_source
from pliant.studies.growth import bare
from pliant.studies.modification_spec import ModificationSpec
from pliant.studies.recipes.recipe import StudyRecipe
from pliant.studies.settling import study_of
from pliant.studies.spec import SpecError, StudySpec

_SAME = ("corpus", "tokenizer", "held_out", "trajectories")
"""What recipes of one study share; a study in which one of them differs has been adapted."""


def grown(recipe: StudyRecipe, folder: Path) -> StudySpec:
    """The study of `recipe` for `folder`: with the modifications and evaluations that the folder asks for already.

    Raises:
        SpecError: the folder holds a study of that name whose ladder, checkpoints or text differ.
    """
    wanted, before = recipe.study(), study_of(folder)
    if before is None or before.study != wanted.study:  # another study is refused when the folder is settled
        return wanted
    differing = [name for name in _SAME if _unpinned(getattr(before, name)) != _unpinned(getattr(wanted, name))]
    if differing:
        raise SpecError(
            f"{folder} holds {before.study} with another {differing[0]} than the recipe {recipe.name}; "
            f"run its own study (pliant run {folder}), or give another --out folder"
        )
    known = [as_asked(entry) for entry in before.modifications]
    return wanted.model_copy(
        update={
            "modifications": (*before.modifications, *(e for e in wanted.modifications if as_asked(e) not in known)),
            "evaluations": (*before.evaluations, *(e for e in wanted.evaluations if e not in before.evaluations)),
        }
    )


def as_asked(entry: ModificationSpec) -> ModificationSpec:
    """The entry without what a folder settles: added rates and draws, the commit of its task's data."""
    return bare(entry).with_task(lambda task: _unpinned(task_source(task)))


def _unpinned(value: Any) -> Any:
    """Hub data without the commit that a folder has settled."""
    return replace(value, revision=None) if isinstance(value, (HubText, TaskDataset)) else value
