"""All recipes by name."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from pliant.studies.recipes import holding_on, springer_controlled, springer_mini, springer_public, tokens_or_decay
from pliant.studies.recipes.recipe import StudyRecipe
from pliant.studies.spec import SpecError

RECIPES: Mapping[str, StudyRecipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            *springer_public.RECIPES,
            *springer_controlled.RECIPES,
            *springer_mini.RECIPES,
            *tokens_or_decay.RECIPES,
            *holding_on.RECIPES,
        )
    }
)


def find_recipe(name: str) -> StudyRecipe:
    """The recipe `name`.

    Raises:
        SpecError: there is none; the nearest known one is suggested.
    """
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(RECIPES)}"
    raise SpecError(f"no recipe {name!r}; {hint} `pliant recipes` lists all")
