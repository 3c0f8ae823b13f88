"""The study that repeats frozen contrasts on fresh pre-training seeds."""

from collections.abc import Sequence

from pliant.modifications.interpolate import Interpolate
from pliant.records.contrast import FrozenContrast
from pliant.studies.modification_spec import ModificationSpec
from pliant.studies.spec import LadderSpec, SpecError, StudySpec, TrajectorySpec


def fresh_seeds(spec: StudySpec, count: int) -> tuple[int, ...]:
    """The `count` pre-training seeds that follow the largest one of the study.

    Raises:
        SpecError: fewer than two, or no ladder that pliant trains.
    """
    if count < 2:
        raise SpecError(f"--seeds is {count}; an interval over fresh seeds needs 2 or more, and 6 say much more")
    used = [seed for t in spec.trajectories if t.ladder is not None for seed in t.ladder.seeds]
    if not used:
        raise SpecError(
            f"{spec.study} consists of checkpoints from outside, which cannot be trained again with other seeds; "
            "confirm on a second run of the same recipe"
        )
    return tuple(range(max(used) + 1, max(used) + 1 + count))


def confirming_study(spec: StudySpec, contrasts: Sequence[FrozenContrast], seeds: Sequence[int]) -> StudySpec:
    """`spec` cut down to what the contrasts compare, with other pre-training seeds.

    Of each ladder only the budgets and members that a contrast names are kept (all of them where it is merged or
    interpolated), of the modifications only those; a tuned rate keeps its whole grid.

    Raises:
        SpecError: no contrast, seeds that the study uses, or a contrast about checkpoints that pliant did not train.
    """
    if not contrasts:
        raise SpecError(
            f"{spec.study} suggests nothing to confirm: no modified curve lies higher at its last budget than before"
        )
    wanted = {c.trajectory for c in contrasts}
    merged = {t.merge.of for t in spec.trajectories if t.merge is not None and t.name in wanted}
    kept = [t for t in spec.trajectories if t.name in wanted | merged]
    if given := [t.name for t in kept if t.ladder is None and t.merge is None]:
        raise SpecError(
            f"{given[0]} consists of checkpoints from outside, which cannot be trained again with other seeds; "
            "confirm on a second run of the same recipe"
        )
    used = {seed for t in spec.trajectories if t.ladder is not None for seed in t.ladder.seeds}
    if again := sorted(used & set(seeds)):
        raise SpecError(f"seed {again[0]} was frozen as a fresh one, and {spec.study} uses it by now: it explores, too")
    fresh = tuple(seeds)
    return spec.model_copy(
        update={
            "study": f"{spec.study[:56]}-confirm",
            "trajectories": tuple(_fresh(t, contrasts, fresh, whole=t.name in merged) for t in kept),
            "modifications": _needed(spec.modifications, contrasts),
        }
    )


def _fresh(
    trajectory: TrajectorySpec, contrasts: Sequence[FrozenContrast], seeds: tuple[int, ...], *, whole: bool
) -> TrajectorySpec:
    ladder = trajectory.ladder
    if ladder is None:
        return trajectory  # it merges a ladder that has the fresh seeds
    mine = [c for c in contrasts if c.trajectory == trajectory.name]
    if whole or any(c.modification == Interpolate.KIND for c in mine):  # merging and partners take neighbours
        return trajectory.model_copy(update={"ladder": ladder.model_copy(update={"seeds": seeds})})
    places = {float(b) for c in mine for b in (c.budget, c.against)}
    budgets = tuple(budget for budget in ladder.budgets if _measured(ladder, budget) in places)
    undecayed = any(c.members == "undecayed trunk" for c in mine)
    decayed = any(c.members != "undecayed trunk" for c in mine)
    members = tuple(m for m in ladder.members if (m == "trunk" and undecayed) or (m == "annealed" and decayed))
    update = {"seeds": seeds, "budgets": budgets, "members": members}
    return trajectory.model_copy(update={"ladder": ladder.model_copy(update=update)})


def _measured(ladder: LadderSpec, budget: int) -> float:
    """Tokens really seen at a budget: whole steps."""
    steps = ladder.recipe.steps(budget, ladder.architecture.context)
    return float(steps * ladder.recipe.batch_windows * ladder.architecture.context)


def _needed(
    modifications: Sequence[ModificationSpec], contrasts: Sequence[FrozenContrast]
) -> tuple[ModificationSpec, ...]:
    kept: list[ModificationSpec] = []
    for entry in modifications:
        if entry.noise is not None:
            labels = {(m.label, m.strength) for m in entry.noise.modifications()}
            strengths = tuple(
                s for s in entry.noise.strengths if any(c.strength == s and (c.label, s) in labels for c in contrasts)
            )
            if strengths:
                kept.append(ModificationSpec(noise=entry.noise.model_copy(update={"strengths": strengths})))
        direct = entry.direct
        if direct is not None and any(c.label == m.label for c in contrasts for m in direct.modifications()):
            kept.append(entry)
        if entry.fine_tune is not None:
            names = entry.fine_tune.labels()
            if any(c.modification == "fine-tune" and c.label in names for c in contrasts):
                kept.append(entry)
    return tuple(kept)
