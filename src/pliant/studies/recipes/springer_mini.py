"""Section 3 of Springer et al. on embedded data: the same questions at the paper's tokens per parameter, in minutes.

One run a budget, each annealed by its own cosine to zero, so that the last learning rate is no confound.
"""

from collections.abc import Callable

from pliant.studies.expectations import Expectation
from pliant.studies.modification_spec import ModificationSpec
from pliant.studies.recipes.recipe import Default, StudyRecipe
from pliant.studies.signs.judged import Rule, on
from pliant.studies.signs.noise import earlier_for_larger, noisy_loss_turns_up, sensitivity_rises
from pliant.studies.signs.tuning import (
    every_rate,
    fixed_rate_turns_up,
    forgetting_grows,
    no_later_for_larger_rate,
    tuned_gets_worse,
)
from pliant.studies.small_ladders import COSINE, LANGUAGE_SEED, consecutive, ladder, noise, shrunk, tuned
from pliant.studies.spec import HeldOutSpec, StudySpec

TEXT_STEPS = (100, 200, 400, 800, 1600, 3200)  # x 2,048 bytes: 205K-6.55M, 38-1,210 tokens per parameter
MARKOV_STEPS = (80, 160, 320, 640, 1280, 2560)  # x 1,024 tokens: 82K-2.62M, 35-1,118 tokens per parameter
SEEDS = consecutive(501, 6)


def noise_study(*, seeds: tuple[int, ...] = SEEDS, scale: float = 1.0) -> StudySpec:
    """Figure 3: noise at three strengths, in init scaling as the paper has it and relative to the weights."""
    noises = (noise("init", 0.02, 0.05, 0.1), noise("relative", 0.05, 0.1, 0.2))
    return text_study(noises, seeds, scale)


def fine_tuning_study(*, seeds: tuple[int, ...] = SEEDS, scale: float = 1.0) -> StudySpec:
    """Figures 4 to 6: the embedded sets that a width of 8 learns, at fixed rates and at the tuned one."""
    tunings = (
        tuned("python", 5.66e-3, 10, steps=100, batch=4, scale=scale),
        tuned("arithmetic", 5.66e-3, 10, steps=100, batch=8, scale=scale),
        tuned("glosses", 1e-3, 12, steps=100, batch=8, scale=scale),
    )
    return text_study(tunings, seeds, scale)


def text_study(modifications: tuple[ModificationSpec, ...], seeds: tuple[int, ...], scale: float) -> StudySpec:
    return StudySpec(
        study="springer2025-controlled-mini",
        corpus="english",
        held_out=HeldOutSpec(tokens=shrunk(8192, scale), task_rows=192),
        trajectories=(
            ladder("cosine to zero", "width-8", steps=TEXT_STEPS, seeds=seeds, schedule=COSINE, scale=scale),
        ),
        modifications=modifications,
    )


def markov_study(*, seeds: tuple[int, ...] = SEEDS, scale: float = 1.0) -> StudySpec:
    """Figures 4 to 6 on the Markov language: fine-tuning on `skip`, which contradicts it, and on `sibling`."""
    main = ladder(
        "cosine to zero",
        "width-8-markov",
        steps=MARKOV_STEPS,
        seeds=seeds,
        schedule=COSINE,
        weight_decay=0.0,
        scale=scale,
    )
    return StudySpec(
        study="springer2025-controlled-markov-mini",
        corpus=f"markov:{LANGUAGE_SEED}",
        held_out=HeldOutSpec(tokens=shrunk(8192, scale), task_rows=256),
        trajectories=(main,),
        modifications=(
            tuned("skip", 1e-3, 13, steps=30, batch=8, scale=scale),
            tuned("sibling", 5e-3, 13, steps=100, batch=8, scale=scale),
        ),
    )


def _claims(study: str) -> Callable[[str, Rule], Expectation]:
    return lambda text, rule: Expectation(text=text, study=study, judge=on("cosine to zero", rule))


def _noise_claims(study: str) -> tuple[Expectation, ...]:
    claim = _claims(study)
    return (
        claim("Figure 3: sensitivity to noise rises with tokens at every gamma", sensitivity_rises),
        claim("Figure 3: the noisy loss is U-shaped at the largest gamma of each scaling", noisy_loss_turns_up),
        claim("Figure 3: a larger gamma turns earlier", earlier_for_larger),
    )


def _fixed_claims(study: str) -> tuple[Expectation, ...]:
    claim = _claims(study)
    return (
        claim("Figure 4: at a fixed rate forgetting rises with tokens, at every rate", forgetting_grows(every_rate)),
        claim(
            "Figure 5: at large fixed rates pre-training loss after fine-tuning turns up, on some task",
            fixed_rate_turns_up("pre-training loss"),
        ),
        claim("Figure 5: ... and no later at a larger rate", no_later_for_larger_rate),
        claim("Figure 5: at large fixed rates task loss turns up, on some task", fixed_rate_turns_up("task loss")),
    )


def _tuned_claims(study: str) -> tuple[Expectation, ...]:
    claim = _claims(study)
    return (
        claim("Figure 6: at the tuned rate task loss gets worse on some task", tuned_gets_worse("task loss")),
        claim(
            "Figure 6: at the tuned rate pre-training loss gets worse on some task",
            tuned_gets_worse("pre-training loss"),
        ),
    )


_DEFAULTS = (
    Default(
        setting="model and data",
        stands_in="a Llama block of width 8 on embedded data, at 35 to 1,210 tokens per parameter",
        reason="the paper's 15M to 90M parameters on C4 take a cluster; its largest ratio is about 4,300",
    ),
    Default(setting="seeds", stands_in="six runs a budget", reason="unknown in the paper; intervals need several"),
    Default(
        setting="gamma",
        stands_in="init .02, .05, .1 and relative .05, .1, .2",
        reason="unknown in the paper; the largest about doubles the perplexity",
    ),
    Default(
        setting="fine-tuning",
        stands_in="30 or 100 steps, 10 or 13 rates a factor 1.41 apart, cosine to zero, 10 % warm-up",
        reason="unknown in the paper but for the grid's lower end, 4e-6 for its larger models",
    ),
)
RECIPES = (
    StudyRecipe(
        name="springer2025-fig3-mini",
        title="Noise, on tiny models of English",
        place="Springer et al. 2025, section 3.3, figure 3",
        study=noise_study,
        defaults=_DEFAULTS,
        claims=_noise_claims("springer2025-controlled-mini"),
    ),
    StudyRecipe(
        name="springer2025-fig4-mini",
        title="Fine-tuning at fixed rates, on tiny models of English",
        place="Springer et al. 2025, section 3.4.1, figures 4 and 5",
        study=fine_tuning_study,
        defaults=_DEFAULTS,
        claims=_fixed_claims("springer2025-controlled-mini"),
    ),
    StudyRecipe(
        name="springer2025-fig6-mini",
        title="Fine-tuning at the tuned rate, on tiny models of English",
        place="Springer et al. 2025, section 3.4.2, figure 6",
        study=fine_tuning_study,
        defaults=_DEFAULTS,
        claims=_tuned_claims("springer2025-controlled-mini"),
    ),
    StudyRecipe(
        name="springer2025-fig4-markov-mini",
        title="Fine-tuning at fixed rates, on tiny models of a Markov language",
        place="Springer et al. 2025, section 3.4.1, figures 4 and 5",
        study=markov_study,
        defaults=_DEFAULTS,
        claims=_fixed_claims("springer2025-controlled-markov-mini"),
    ),
    StudyRecipe(
        name="springer2025-fig6-markov-mini",
        title="Fine-tuning at the tuned rate, on tiny models of a Markov language",
        place="Springer et al. 2025, section 3.4.2, figure 6",
        study=markov_study,
        defaults=_DEFAULTS,
        claims=_tuned_claims("springer2025-controlled-markov-mini"),
    ),
)
