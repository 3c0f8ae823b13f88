"""Holding on to the base while fine-tuning: does it move the turn, and at what price? The theory on a ladder."""

from pliant.studies.expectations import Expectation
from pliant.studies.modification_spec import FineTuneSpec, ModificationSpec, RegulariseSpec
from pliant.studies.recipes.recipe import Default, StudyRecipe
from pliant.studies.recipes.springer_mini import SEEDS, text_study
from pliant.studies.signs.judged import Rule, on
from pliant.studies.signs.methods import costs, turns_later
from pliant.studies.small_ladders import geometric, tuned
from pliant.studies.spec import StudySpec

METHODS = (
    RegulariseSpec(anchor=(0.001, 0.01, 0.1)),
    RegulariseSpec(ewc=(1.0, 10.0)),
    RegulariseSpec(replay=(0.2, 0.5)),
    RegulariseSpec(kl=(0.3, 1.0)),
    RegulariseSpec(wise_ft=(0.25, 0.5)),
)
RATES = geometric(0.016, 2**0.5, 6)
TURNING_RATE = 0.064
"""Where plain fine-tuning on Python turns within the ladder, so that a later turn can be seen."""


def study(*, seeds: tuple[int, ...] = SEEDS, scale: float = 1.0) -> StudySpec:
    """English, fine-tuned on Python: plainly, and in five ways of holding on. The ladder of the small section 3."""
    plain = tuned("python", 5.66e-3, 10, steps=100, batch=4, scale=scale)
    return text_study((plain, *(_tuning(method, scale) for method in METHODS)), seeds, scale)


def _tuning(method: RegulariseSpec, scale: float) -> ModificationSpec:
    steps = max(2, round(100 * scale))
    return ModificationSpec(
        fine_tune=FineTuneSpec(task="python", learning_rates=RATES, steps=steps, batch=4, regularise=method)
    )


def _expected(text: str, rule: Rule) -> Expectation:
    return Expectation(text=text, study="springer2025-controlled-mini", judge=on("cosine to zero", rule))


_NAMES = ("anchor", "EWC", "replay", "KL", "WiSE-FT")
_CLAIMS = (
    _expected(
        "Theorem 4.7: with a growing anchor pre-training loss turns later (rate .064)",
        turns_later("anchor", TURNING_RATE),
    ),
    _expected("Theorem 4.7: ... and task loss is higher", costs("anchor", "task loss", +1)),
    *(_expected(f"{name}: task loss is higher than plain", costs(name, "task loss", +1)) for name in _NAMES[1:]),
    *(
        _expected(f"{name}: pre-training loss is lower than plain", costs(name, "pre-training loss", -1))
        for name in _NAMES
    ),
    *(
        _expected(f"{name}: ... and lower where the task is learned equally well", costs(name, "matched", -1))
        for name in ("replay", "KL")
    ),
)
RECIPES = (
    StudyRecipe(
        name="holding-on-mini",
        title="Holding on to the base while fine-tuning: its price, what it saves, whether the turn moves",
        place="Springer et al. 2025, section 4 (theorem 4.7) and section 6",
        study=study,
        defaults=(
            Default(
                setting="holding on",
                stands_in="English and Python, width 8, six seeds, five methods at two or three amounts, six rates",
                reason="the paper proves it for a linear network and tests none of these methods",
            ),
        ),
        claims=_CLAIMS,
    ),
)
