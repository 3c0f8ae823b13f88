"""Holding on to the base while fine-tuning: does it move the turn, and at what price? The theory on a ladder."""

from pliant.studies.expectations import Expectation
from pliant.studies.modification_spec import FineTuneSpec, ModificationSpec, RegulariseSpec
from pliant.studies.recipes.recipe import Default, StudyRecipe
from pliant.studies.signs.judged import Rule, on
from pliant.studies.signs.methods import costs, turns_later
from pliant.studies.small_ladders import COSINE, LANGUAGE_SEED, consecutive, geometric, ladder, shrunk
from pliant.studies.spec import HeldOutSpec, StudySpec

STEPS = (160, 320, 640, 1280, 2560)  # x 1,024 tokens: 164K-2.62M, 70-1,118 tokens per parameter
SEEDS = consecutive(601, 6)
METHODS = (
    None,
    RegulariseSpec(anchor=(0.001, 0.003, 0.01)),
    RegulariseSpec(ewc=(0.3, 1.0, 3.0)),
    RegulariseSpec(replay=(0.1, 0.3)),
    RegulariseSpec(kl=(0.3, 1.0)),
    RegulariseSpec(wise_ft=(0.25, 0.5)),
)
RATES = geometric(1e-3, 2.0, 7)


def study(*, seeds: tuple[int, ...] = SEEDS, scale: float = 1.0) -> StudySpec:
    """The Markov language, fine-tuned on `skip`, which contradicts it, plainly and in five ways of holding on."""
    main = ladder(
        "cosine to zero",
        "width-8-markov",
        steps=STEPS,
        seeds=seeds,
        schedule=COSINE,
        weight_decay=0.0,
        scale=scale,
    )
    return StudySpec(
        study="holding-on-mini",
        corpus=f"markov:{LANGUAGE_SEED}",
        held_out=HeldOutSpec(tokens=shrunk(8192, scale), task_rows=256),
        trajectories=(main,),
        modifications=tuple(_tuning(method, scale) for method in METHODS),
    )


def _tuning(method: RegulariseSpec | None, scale: float) -> ModificationSpec:
    steps = max(2, round(30 * scale))
    return ModificationSpec(
        fine_tune=FineTuneSpec(task="skip", learning_rates=RATES, steps=steps, batch=8, regularise=method)
    )


def _expected(text: str, rule: Rule) -> Expectation:
    return Expectation(text=text, study="holding-on-mini", judge=on("cosine to zero", rule))


_NAMES = ("anchor", "EWC", "replay", "KL", "WiSE-FT")
_CLAIMS = (
    _expected("Theorem 4.7: with a growing anchor pre-training loss turns later", turns_later("anchor")),
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
                setting="everything",
                stands_in="a Markov language, width 8, six seeds, five methods at two or three amounts, seven rates",
                reason="the paper proves it for a linear network and tests none of these methods",
            ),
        ),
        claims=_CLAIMS,
    ),
)
