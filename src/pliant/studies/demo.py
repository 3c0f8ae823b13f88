"""The demo: two ordinary studies. `pliant demo --write-study FILE` writes either as YAML."""

from pliant.studies.modification_spec import ModificationSpec, QuantiseSpec
from pliant.studies.small_ladders import LANGUAGE_SEED, consecutive, ladder, noise, shrunk, tuned
from pliant.studies.spec import HeldOutSpec, StudySpec, TrajectorySpec

ENGLISH_STEPS = (100, 200, 400, 800, 1600, 3200)  # x 2,048 bytes: 0.2M-6.55M, 38-1,210 tokens per parameter
MARKOV_STEPS = (80, 160, 320, 640, 1280, 2560)  # x 1,024 tokens: 82K-2.62M, 35-1,118 tokens per parameter
MARKOV_STEPS_FULL = (*MARKOV_STEPS, 5120, 10_240)  # to 10.5M tokens, 4,473 per parameter
SEEDS = 6
MARKOV_SEEDS = 8  # fine-tuning on skip moves little, so more runs carry what is said of it

NOTES = (
    "skip was chosen after other fine-tuning tasks had been looked at: harm at its tuned rate says that the effect "
    "exists, not how often it occurs.",
    "What the pre-training seeds here do not carry is exploratory; repeat with --first-seed 101 to see what holds.",
)
NO_CONTROL_NOTE = (
    "The weight-decay-0 control of the English study was not run (--control weight-decay adds it): without it, growth "
    "of sensitivity cannot be told apart from the weights' own growth and shrinkage."
)
SCALED_NOTE = (
    "Budgets and fine-tuning were shrunk with --scale: this is a trial of the machinery, its numbers mean nothing."
)


def english_study(*, full: bool = False, control: bool = False, first_seed: int = 1, scale: float = 1.0) -> StudySpec:
    """Real text: noise in three scalings, and fine-tuning on Python and on arithmetic.

    `full` has a seventh budget and quantisation; `control` adds the ladder without weight decay; `scale` shrinks
    budgets, fine-tuning steps and held-out text (for a trial of the machinery, whose numbers mean nothing).
    """
    steps = (*ENGLISH_STEPS, 6400) if full else ENGLISH_STEPS
    seeds = consecutive(first_seed, SEEDS)
    decays = (0.1, 0.0) if control else (0.1,)
    trajectories = [
        ladder(f"weight decay {decay:g}", "width-8", steps=steps, seeds=seeds, weight_decay=decay, scale=scale)
        for decay in decays
    ]
    return StudySpec(
        study="english",
        corpus="english",
        held_out=HeldOutSpec(tokens=shrunk(8192, scale), task_rows=192),
        trajectories=tuple(trajectories),
        modifications=(
            noise("init", 0.02, 0.05, 0.1),
            noise("init", 0.05, 0.1, 0.2, embeddings=False),
            noise("relative", 0.05, 0.1, 0.2),
            tuned("python", 5.66e-3, 10, steps=100, batch=4, scale=scale),
            tuned("arithmetic", 5.66e-3, 10, steps=100, batch=8, scale=scale),
            *([ModificationSpec(quantise=QuantiseSpec(bits=(8, 4, 3)))] if full else []),
        ),
    )


def markov_study(*, full: bool = False, first_seed: int = 1, scale: float = 1.0) -> StudySpec:
    """A Zipf-Markov language: fine-tuning on `skip`, with members before and after learning-rate decay.

    `full` has two more budgets, to 4,473 tokens per parameter.
    """
    steps = MARKOV_STEPS_FULL if full else MARKOV_STEPS
    main = ladder(
        "weight decay 0",
        "width-8-markov",
        steps=steps,
        seeds=consecutive(first_seed, MARKOV_SEEDS),
        weight_decay=0.0,
        members=("annealed", "trunk"),
        scale=scale,
    )
    return _markov("markov", main, tuned("skip", 1e-3, 13, steps=30, batch=8, scale=scale), scale)


def sibling_study(*, first_seed: int = 1, scale: float = 1.0) -> StudySpec:
    """The same language with weight decay 0.1, fine-tuned on `sibling`, which conflicts with less. `--full` only."""
    seeds = consecutive(first_seed, MARKOV_SEEDS)
    main = ladder("weight decay 0.1", "width-8-markov", steps=MARKOV_STEPS_FULL, seeds=seeds, scale=scale)
    return _markov("sibling", main, tuned("sibling", 5e-3, 13, steps=100, batch=8, scale=scale), scale)


def _markov(name: str, main: TrajectorySpec, tuning: ModificationSpec, scale: float) -> StudySpec:
    return StudySpec(
        study=name,
        corpus=f"markov:{LANGUAGE_SEED}",
        held_out=HeldOutSpec(tokens=shrunk(8192, scale), task_rows=256),
        trajectories=(main,),
        modifications=(tuning,),
    )
