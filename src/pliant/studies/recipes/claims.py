"""The recipes that a study follows: their claims judged, their stand-in defaults told beside its report."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pliant.execution.table import Table
from pliant.records.expectation import ExpectationResult
from pliant.studies.expectations import REGISTERED, judge_expectations

if TYPE_CHECKING:
    from pliant.studies.recipes.recipe import StudyRecipe

STUDIES = frozenset(
    {
        *(f"springer2025-{model}-{data}" for model in ("amber-7b", "olmo-1b", "olmo-2-7b") for data in ("hh", "tulu")),
        *(f"springer2025-controlled{ladder}" for ladder in ("", "-mini", "-markov-mini")),
        *(f"tokens-or-decay-{corpus}" for corpus in ("markov", "text")),
    }
)
"""What the recipes' studies are called: the report of any other does without what recipes are made of, torch too."""


def recipes_of(table: Table) -> tuple["StudyRecipe", ...]:
    """The recipes of the study's name, as far as a modification of theirs is in it unchanged."""
    if table.study not in STUDIES or not table.settings:
        return ()
    from pliant.studies.recipes.opening import as_asked
    from pliant.studies.recipes.registry import RECIPES
    from pliant.studies.study_file import parse_study

    named = [(recipe, wanted) for recipe in RECIPES.values() if (wanted := recipe.study()).study == table.study]
    there = [as_asked(entry) for entry in parse_study(table.settings, str(table.folder)).modifications]
    return tuple(recipe for recipe, wanted in named if any(as_asked(entry) in there for entry in wanted.modifications))


def judge_claims(tables: Sequence[Table]) -> tuple[ExpectationResult, ...]:
    """Every registered sign of the studies in `tables`, the demo's and those of recipes, against their own records."""
    return tuple(
        result
        for table in tables
        for result in judge_expectations([table], (*REGISTERED, *(c for r in recipes_of(table) for c in r.claims)))
    )


def recipe_notes(tables: Sequence[Table]) -> tuple[str, ...]:
    """What stands in for settings that the publication does not give, each once."""
    lines = (
        line
        for table in tables
        for recipe in recipes_of(table)
        for line in (*recipe.notes, *(f"Stands in: {default}." for default in recipe.defaults))
    )
    return tuple(dict.fromkeys(lines))
