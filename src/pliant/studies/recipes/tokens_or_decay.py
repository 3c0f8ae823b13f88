"""Tokens or learning-rate decay: what makes a checkpoint less pliant? One trunk, decayed and undecayed members."""

from pliant.studies.small_ladders import LANGUAGE_SEED, consecutive, ladder, noise, shrunk, tuned
from pliant.studies.spec import HeldOutSpec, StudySpec, TrajectorySpec

MARKOV_STEPS = (160, 320, 640, 1280, 2560)  # x 1,024 tokens: 164K-2.62M, 70-1,118 tokens per parameter
TEXT_STEPS = (200, 400, 800, 1600)  # x 2,048 bytes: 410K-3.28M, 76-605 tokens per parameter
WEIGHT_DECAYS = (0.0, 0.1, 0.3)
SEEDS = consecutive(401, 6)


def markov_study(*, seeds: tuple[int, ...] = SEEDS, scale: float = 1.0) -> StudySpec:
    """The Markov language, fine-tuned on `skip`, which contradicts it; noise in two scalings."""
    return StudySpec(
        study="tokens-or-decay-markov",
        corpus=f"markov:{LANGUAGE_SEED}",
        held_out=HeldOutSpec(tokens=shrunk(8192, scale), task_rows=256),
        trajectories=_ladders("width-8-markov", MARKOV_STEPS, seeds, scale),
        modifications=(
            noise("init", 0.05, 0.1),
            noise("relative", 0.05, 0.1),
            tuned("skip", 1e-3, 13, steps=30, batch=8, scale=scale),
        ),
    )


def text_study(*, seeds: tuple[int, ...] = SEEDS, scale: float = 1.0) -> StudySpec:
    """English text, fine-tuned on Python; noise in two scalings."""
    return StudySpec(
        study="tokens-or-decay-text",
        corpus="english",
        held_out=HeldOutSpec(tokens=shrunk(8192, scale), task_rows=192),
        trajectories=_ladders("width-8", TEXT_STEPS, seeds, scale),
        modifications=(
            noise("init", 0.05, 0.1),
            noise("relative", 0.05, 0.1),
            tuned("python", 5.66e-3, 10, steps=100, batch=4, scale=scale),
        ),
    )


def _ladders(preset: str, steps: tuple[int, ...], seeds: tuple[int, ...], scale: float) -> tuple[TrajectorySpec, ...]:
    """A WSD ladder for each weight decay, with the trunk at the same tokens as each annealed member."""
    return tuple(
        ladder(
            f"weight decay {decay:g}",
            preset,
            steps=steps,
            seeds=seeds,
            weight_decay=decay,
            members=("annealed", "trunk"),
            scale=scale,
        )
        for decay in WEIGHT_DECAYS
    )
