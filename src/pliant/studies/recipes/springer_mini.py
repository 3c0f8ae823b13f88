"""Section 3 of Springer et al. on embedded data: the same questions at the paper's tokens per parameter, in minutes.

One run a budget, each annealed by its own cosine to zero, so that the last learning rate is no confound.
"""

from pliant.studies.modification_spec import ModificationSpec
from pliant.studies.small_ladders import COSINE, LANGUAGE_SEED, consecutive, ladder, noise, shrunk, tuned
from pliant.studies.spec import HeldOutSpec, StudySpec

TEXT_STEPS = (100, 200, 400, 800, 1600, 3200)  # x 2,048 bytes: 205K-6.55M, 38-1,210 tokens per parameter
MARKOV_STEPS = (80, 160, 320, 640, 1280, 2560)  # x 1,024 tokens: 82K-2.62M, 35-1,118 tokens per parameter
SEEDS = consecutive(501, 6)


def noise_study(*, seeds: tuple[int, ...] = SEEDS, scale: float = 1.0) -> StudySpec:
    """Figure 3: noise at three strengths, in init scaling as the paper has it and relative to the weights."""
    noises = (noise("init", 0.02, 0.05, 0.1), noise("relative", 0.05, 0.1, 0.2))
    return _text_study(noises, seeds, scale)


def _text_study(modifications: tuple[ModificationSpec, ...], seeds: tuple[int, ...], scale: float) -> StudySpec:
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
