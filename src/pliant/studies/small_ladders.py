"""Ladders of a few thousand parameters on embedded data, as the demo and the small recipes train them."""

from collections.abc import Iterable

from pliant.checkpoints.architecture import PRESETS
from pliant.records.units import parse_tokens
from pliant.studies.modification_spec import FineTuneSpec, ModificationSpec, NoiseSpec
from pliant.studies.spec import LadderSpec, TrajectorySpec
from pliant.training.loop import Optimisation
from pliant.training.pretraining import Recipe
from pliant.training.schedules import Schedule

LANGUAGE_SEED = 7
PRETRAINING_RATE = 1e-2
WSD = Schedule(kind="wsd", warmup_steps=20, decay_fraction=0.2)
COSINE = Schedule(kind="cosine", warmup_steps=20)


def ladder(
    name: str,
    preset: str,
    *,
    steps: Iterable[int],
    seeds: tuple[int, ...],
    schedule: Schedule = WSD,
    weight_decay: float = 0.1,
    members: tuple[str, ...] = ("annealed",),
    scale: float = 1.0,
) -> TrajectorySpec:
    """A ladder with a budget at each of `steps`, times `scale`, of 32 windows each, peak rate 1e-2."""
    architecture = PRESETS[preset]
    recipe = Recipe(
        learning_rate=PRETRAINING_RATE, schedule=schedule, optimisation=Optimisation(weight_decay=weight_decay)
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


def geometric(first: float, factor: float, count: int) -> tuple[float, ...]:
    """`first`, `first * factor`, ..., `count` of them, to three significant digits."""
    return tuple(float(f"{first * factor**k:.3g}") for k in range(count))


def tuned(task: str, first_rate: float, rates: int, *, steps: int, batch: int, scale: float = 1.0) -> ModificationSpec:
    """Fine-tuning on a grid of `rates` rates a factor sqrt(2) apart."""
    grid = geometric(first_rate, 2**0.5, rates)
    spec = FineTuneSpec(task=task, learning_rates=grid, steps=max(2, round(steps * scale)), batch=batch)
    return ModificationSpec(fine_tune=spec)


def noise(scaling: str, *strengths: float, embeddings: bool = True) -> ModificationSpec:
    """Eight antithetic draws of noise at each of `strengths`."""
    spec = NoiseSpec(scaling=scaling, strengths=strengths, embeddings=embeddings)  # type: ignore[arg-type]
    return ModificationSpec(noise=spec)


def shrunk(tokens: int, scale: float) -> int:
    """Held-out tokens of a shrunk study."""
    return max(1024, round(tokens * scale))


def consecutive(first: int, count: int) -> tuple[int, ...]:
    """`count` seeds from `first` on."""
    return tuple(range(first, first + count))
