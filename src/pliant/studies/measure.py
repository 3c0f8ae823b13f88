"""The evaluations a study can ask for, by kind: theta' -> measurements."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from pliant.checkpoints.folder import Checkpoint
from pliant.checkpoints.weights import canonical_tensors, distance, norms, root_mean_square
from pliant.evaluation.losses import accuracy_measurement, loss_measurement
from pliant.modifications.variant import Variant
from pliant.records.record import Measurement
from pliant.studies.asked import measure_asked
from pliant.studies.evaluation_spec import EvaluationSettings
from pliant.studies.materials import Materials
from pliant.training.decoder import Forward


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What an evaluation may look at: the model that holds theta', the base, the data, and its own settings.

    `reference` is what the base puts out, where the evaluation compares with that.
    """

    variant: Variant
    checkpoint: Checkpoint
    materials: Materials
    base: Mapping[str, Tensor]
    task: str | None
    settings: EvaluationSettings | None
    reference: Sequence[Any] | None
    forward: Forward
    batch_tokens: int


def measure(kind: str, scene: Scene) -> list[Measurement]:
    """The measurements of one kind of evaluation on the theta' that the model holds; NaN where it diverged."""
    return _KINDS[kind](scene)


def _pretraining_loss(scene: Scene) -> list[Measurement]:
    if scene.variant.diverged:
        return [Measurement(metric="loss_nats", split=scene.materials.held_out_split, value=math.nan)]
    return [
        loss_measurement(
            scene.checkpoint.model,
            scene.materials.held_out,
            forward=scene.forward,
            name=scene.materials.held_out_split,
            batch_tokens=scene.batch_tokens,
            draw=scene.variant.draw,
            sign=scene.variant.sign,
            subset=scene.variant.subset,
            linear=scene.variant.linear,
        )
    ]


def _task_loss(scene: Scene) -> list[Measurement]:
    assert scene.task is not None, "a task-loss evaluation names its task"
    task = scene.materials.tasks[scene.task]
    measurements = []
    for split in ("validation", "test"):
        if scene.variant.diverged:
            measurements.append(Measurement(metric="loss_nats", split=split, value=math.nan))
            continue
        rows = task.splits[split]
        model = scene.checkpoint.model
        measurements.append(
            loss_measurement(
                model,
                rows,
                forward=scene.forward,
                name=split,
                batch_tokens=scene.batch_tokens,
                draw=None,
                sign=None,
            )
        )
        if task.label_tokens:
            measurements.append(
                accuracy_measurement(
                    model,
                    rows,
                    task.label_tokens,
                    forward=scene.forward,
                    name=split,
                    batch_tokens=scene.batch_tokens,
                )
            )
    return measurements


def _displacement(scene: Scene) -> list[Measurement]:
    if scene.variant.diverged:
        return [Measurement(metric="distance", value=math.nan)]
    moved = distance(canonical_tensors(scene.checkpoint.model), scene.base)
    length = math.sqrt(sum(norm**2 for norm in norms(scene.base).values()))
    return [
        Measurement(metric="distance", value=moved),
        Measurement(metric="relative_distance", value=moved / length),
    ]


ADAPTATION_GROUPS = 16


def _adaptation(scene: Scene) -> list[Measurement]:
    """The mean over steps of the task loss of each batch before its update: the area under the curve of adaptation,
    per step (Hernandez-Garcia et al., arXiv 2606.24752). `blocks` are sums over up to 16 stretches of steps."""
    losses = scene.variant.losses
    if scene.variant.diverged:
        return [Measurement(metric="adaptation_nats", value=math.nan)]
    if not losses:  # rate 0 is not run
        return []
    stretches = np.array_split(np.asarray(losses), min(ADAPTATION_GROUPS, len(losses)))
    return [
        Measurement(
            metric="adaptation_nats",
            value=math.fsum(losses) / len(losses),
            blocks=tuple(math.fsum(stretch) for stretch in stretches),
            count=tuple(len(stretch) for stretch in stretches),
        )
    ]


def _weights(scene: Scene) -> list[Measurement]:
    tensors = canonical_tensors(scene.checkpoint.model)
    lengths = norms(tensors)
    return [Measurement(metric="norm", tensor=name, value=lengths[name]) for name in tensors] + [
        Measurement(metric="rms", tensor=name, value=root_mean_square(tensor)) for name, tensor in tensors.items()
    ]


def _asked(scene: Scene) -> list[Measurement]:
    assert scene.settings is not None, "what the study asks for brings its settings"
    return measure_asked(
        scene.settings,
        scene.checkpoint.model,
        scene.materials,
        scene.variant,
        scene.reference,
        forward=scene.forward,
        batch_tokens=scene.batch_tokens,
    )


_KINDS: dict[str, Callable[[Scene], list[Measurement]]] = {
    "pretraining-loss": _pretraining_loss,
    "task-loss": _task_loss,
    "displacement": _displacement,
    "adaptation": _adaptation,
    "weights": _weights,
    "harness": _asked,
    "choices": _asked,
    "divergence": _asked,
    "drift": _asked,
}
