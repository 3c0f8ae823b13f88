"""The study behind `pliant check`: noise and quantisation on checkpoints that exist."""

from pliant.studies.modification_spec import ModificationSpec, NoiseSpec, QuantiseSpec
from pliant.studies.spec import HeldOutSpec, StudySpec, TrajectorySpec

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
