"""What a study with shards cannot ask for, said when it is planned."""

from collections.abc import Iterator

from pliant.studies.spec import SpecError, StudySpec


def check_shards(spec: StudySpec) -> None:
    """Processes that share a checkpoint measure the base, noise and plain fine-tuning, on losses and weights.

    Raises:
        SpecError: the study has shards and asks for something else; the first such thing.
    """
    if spec.numerics.shards is None:
        return
    for asked in _not_there(spec):
        raise SpecError(
            f"{asked} is not there with numerics.shards, which does the base, noise and plain fine-tuning of "
            "checkpoints from outside; leave shards out, or ask for this in a study of its own"
        )


def _not_there(spec: StudySpec) -> Iterator[str]:
    for trajectory in spec.trajectories:
        if trajectory.ladder is not None:
            yield f"{trajectory.name}: a ladder"
        if trajectory.merge is not None:
            yield f"{trajectory.name}: merge"
        if trajectory.allow_pickle:
            yield f"{trajectory.name}: allow_pickle"
    for entry in spec.modifications:
        if entry.direct is not None:
            (name,) = entry.model_fields_set
            yield name
        if entry.noise is not None and entry.noise.control is not None:
            yield f"noise with control: {entry.noise.control}"
        if entry.fine_tune is not None and entry.fine_tune.adapter is not None:
            yield "fine_tune with adapter"
        if entry.fine_tune is not None and entry.fine_tune.regularise is not None:
            yield "fine_tune with regularise"
    for evaluation in spec.evaluations:
        yield f"the evaluation {type(evaluation.one).__name__.removesuffix('Spec').lower()}"
