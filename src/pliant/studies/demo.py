"""The demo: two ordinary studies. `pliant demo --write-study FILE` writes either as YAML."""

from collections.abc import Iterable

from pliant.checkpoints.architecture import PRESETS
from pliant.records.units import parse_tokens
from pliant.studies.spec import (
    FineTuneSpec,
    HeldOutSpec,
    LadderSpec,
    ModificationSpec,
    NoiseSpec,
    StudySpec,
    TrajectorySpec,
)
from pliant.training.loop import Optimisation
from pliant.training.pretraining import Recipe
from pliant.training.schedules import Schedule

ENGLISH_STEPS = (100, 200, 400, 800, 1600, 3200)  # x 2,048 bytes: 0.2M-6.55M, 38-1,210 tokens per parameter
MARKOV_STEPS = (80, 160, 320, 640, 1280, 2560)  # x 1,024 tokens: 82K-2.62M, 35-1,118 tokens per parameter
LANGUAGE_SEED = 7

NOTES = (
    "skip was chosen after other fine-tuning tasks had been looked at: harm at its tuned rate says that the effect "
    "exists, not how often it occurs.",
    "What two or three pre-training seeds cannot carry is exploratory; repeat with --first-seed 101 to see what holds.",
)
NO_CONTROL_NOTE = (
    "The weight-decay-0 control of the English study was not run (--control weight-decay adds it): without it, growth "
    "of sensitivity cannot be told apart from the weights' own growth and shrinkage."
)
SCALED_NOTE = "The budgets were shrunk with --scale: this is a trial of the machinery, its numbers mean nothing."


def geometric(first: float, factor: float, count: int) -> tuple[float, ...]:
    """`first`, `first * factor`, ..., `count` of them, to three significant digits."""
    return tuple(float(f"{first * factor**k:.3g}") for k in range(count))


def english_study(*, full: bool = False, control: bool = False, first_seed: int = 1, scale: float = 1.0) -> StudySpec:
    """Real text: noise in three scalings, and fine-tuning on Python and on arithmetic.

    `full` has a third seed and a seventh budget; `control` adds the ladder without weight decay; `scale` shrinks
    the budgets (for a quick look, whose numbers mean nothing).
    """
    steps = (*ENGLISH_STEPS, 6400) if full else ENGLISH_STEPS
    seeds = _seeds(first_seed, 3 if full else 2)
    trajectories = [_english_ladder("weight decay 0.1", 0.1, steps, seeds, scale)]
    if control:
        trajectories.append(_english_ladder("weight decay 0", 0.0, steps, seeds, scale))
    noises = [
        NoiseSpec(scaling="init", strengths=(0.02, 0.05, 0.1)),
        NoiseSpec(scaling="init", strengths=(0.05, 0.1, 0.2), embeddings=False),
        NoiseSpec(scaling="relative", strengths=(0.05, 0.1, 0.2)),
    ]
    tunings = [
        FineTuneSpec(task="python", learning_rates=geometric(5.66e-3, 2**0.5, 11), steps=100, batch=4),
        FineTuneSpec(task="arithmetic", learning_rates=geometric(5.66e-3, 2**0.5, 11), steps=100, batch=8),
    ]
    return StudySpec(
        study="english",
        corpus="english",
        held_out=HeldOutSpec(tokens=12_288, task_rows=192),
        trajectories=tuple(trajectories),
        modifications=(*_noise(noises), *_tuning(tunings)),
    )


def markov_study(*, full: bool = False, first_seed: int = 1, scale: float = 1.0) -> StudySpec:
    """A Zipf-Markov language: fine-tuning on `skip`, with members before and after learning-rate decay.

    `full` has six seeds, two more budgets, and `sibling` with weight decay 0.1 as well.
    """
    steps = (*MARKOV_STEPS, 5120, 10_240) if full else MARKOV_STEPS
    seeds = _seeds(first_seed, 6 if full else 3)
    trajectories = [_markov_ladder("weight decay 0", 0.0, steps, seeds, scale)]
    tunings = [FineTuneSpec(task="skip", learning_rates=geometric(2e-3, 2**0.5, 13), steps=30, batch=8)]
    if full:
        trajectories.append(_markov_ladder("weight decay 0.1", 0.1, steps, seeds, scale))
        tunings.append(FineTuneSpec(task="sibling", learning_rates=geometric(5e-3, 2**0.5, 13), steps=100, batch=8))
    return StudySpec(
        study="markov",
        corpus=f"markov:{LANGUAGE_SEED}",
        held_out=HeldOutSpec(tokens=8192, task_rows=256),
        trajectories=tuple(trajectories),
        modifications=tuple(_tuning(tunings)),
    )


def _english_ladder(
    name: str, weight_decay: float, steps: Iterable[int], seeds: tuple[int, ...], scale: float
) -> TrajectorySpec:
    return _ladder(name, "width-8", 1e-2, weight_decay, steps, seeds, ("annealed",), scale)


def _markov_ladder(
    name: str, weight_decay: float, steps: Iterable[int], seeds: tuple[int, ...], scale: float
) -> TrajectorySpec:
    return _ladder(name, "width-8-markov", 1e-2, weight_decay, steps, seeds, ("annealed", "trunk"), scale)


def _ladder(
    name: str,
    preset: str,
    learning_rate: float,
    weight_decay: float,
    steps: Iterable[int],
    seeds: tuple[int, ...],
    members: tuple[str, ...],
    scale: float,
) -> TrajectorySpec:
    architecture = PRESETS[preset]
    recipe = Recipe(
        learning_rate=learning_rate,
        schedule=Schedule(kind="wsd", warmup_steps=20, decay_fraction=0.2),
        optimisation=Optimisation(weight_decay=weight_decay),
    )
    tokens_per_step = recipe.batch_windows * architecture.context
    scaled = sorted({max(5, round(count * scale)) for count in steps})
    return TrajectorySpec(
        name=name,
        ladder=LadderSpec(
            architecture=architecture,
            recipe=recipe,
            budgets=tuple(parse_tokens(count * tokens_per_step) for count in scaled),
            seeds=seeds,
            members=members,  # type: ignore[arg-type]
        ),
    )


def _noise(specs: Iterable[NoiseSpec]) -> list[ModificationSpec]:
    return [ModificationSpec(noise=spec) for spec in specs]


def _tuning(specs: Iterable[FineTuneSpec]) -> list[ModificationSpec]:
    return [ModificationSpec(fine_tune=spec) for spec in specs]


def _seeds(first: int, count: int) -> tuple[int, ...]:
    return tuple(range(first, first + count))
