"""A recipe: a study of a published result by name, with what stands in where the publication is silent."""

from collections.abc import Callable
from dataclasses import dataclass

from pliant.studies.expectations import Expectation
from pliant.studies.spec import StudySpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Default:
    """A setting that the publication does not give: what stands in, and why."""

    setting: str
    stands_in: str
    reason: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.stands_in} ({self.reason})"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecipe:
    """The study that repeats `place` of a publication. Recipes of one study name share a folder and its ladder.

    `claims` are the signs that the publication reports, registered before the runs; each names this study.
    """

    name: str
    title: str
    place: str
    study: Callable[[], StudySpec]
    defaults: tuple[Default, ...]
    claims: tuple[Expectation, ...] = ()
    notes: tuple[str, ...] = ()
