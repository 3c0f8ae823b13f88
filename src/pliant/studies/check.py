"""The study behind `pliant check`: noise and quantisation on checkpoints that exist."""

from pathlib import Path

from pliant.studies.growth import bare
from pliant.studies.modification_spec import ModificationSpec, NoiseSpec, QuantiseSpec
from pliant.studies.spec import HeldOutSpec, SpecError, StudySpec, TrajectorySpec

RELATIVE_STRENGTHS = (0.05, 0.1, 0.2)
INIT_STRENGTHS = (0.02, 0.05, 0.1)
BITS = (8, 4)
FIRST_DRAWS = 8
"""Draws of each noise before the first look."""


def check_study(
    name: str, trajectory: TrajectorySpec, *, corpus: str, held_out: HeldOutSpec, initialisation_known: bool
) -> StudySpec:
    """Three strengths of relative noise, as many of init-scaled noise where the initialisation is known, 8 and 4 bits.

    Each strength is an entry of its own, so that draws can be added to one without the others.
    """
    scaled = [("relative", strength) for strength in RELATIVE_STRENGTHS]
    scaled += [("init", strength) for strength in INIT_STRENGTHS] if initialisation_known else []
    noises = [
        NoiseSpec.model_validate({"scaling": scaling, "strengths": (strength,), "draws": FIRST_DRAWS})
        for scaling, strength in scaled
    ]
    return StudySpec(
        study=name,
        corpus=corpus,
        held_out=held_out,
        trajectories=(trajectory,),
        modifications=(
            *(ModificationSpec(noise=noise) for noise in noises),
            ModificationSpec(quantise=QuantiseSpec(bits=BITS)),
        ),
    )


def with_extensions(spec: StudySpec, before: StudySpec | None, folder: Path) -> StudySpec:
    """`spec` with what the study in `folder` has beyond it: modifications, evaluations and trajectories added by hand.

    Raises:
        SpecError: the folder holds the check of other checkpoints.
    """
    if before is None:
        return spec
    mine, theirs = spec.trajectories[0].checkpoints, before.trajectories[0].checkpoints
    if mine != theirs:
        raise SpecError(f"{folder} holds the check of {theirs}, not of {mine}; give another --out folder")
    known = [bare(entry) for entry in spec.modifications]
    names = {trajectory.name for trajectory in spec.trajectories}
    return spec.model_copy(
        update={
            "modifications": (*spec.modifications, *(m for m in before.modifications if bare(m) not in known)),
            "trajectories": (*spec.trajectories, *(t for t in before.trajectories if t.name not in names)),
            "evaluations": before.evaluations,
        }
    )
