"""What a modification adds to the identity and the labels of its cells, made once for all checkpoints."""

from dataclasses import dataclass, field

from pliant.execution.engine import UserError
from pliant.modifications.finetune import FineTune
from pliant.modifications.interpolate import Interpolate
from pliant.modifications.noise import Noise
from pliant.modifications.prune import Prune
from pliant.modifications.quantise import Quantise
from pliant.modifications.regularise.method import Divergence, ElasticWeights, Replay
from pliant.modifications.wanda import Wanda
from pliant.records.identity import Json, canonical_json, digest, identity
from pliant.studies.materials import Materials
from pliant.studies.neighbours import Partners
from pliant.studies.subjects import Subject

Modification = Noise | Quantise | Prune | Wanda | Interpolate | FineTune | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The identity of a modification, as it is and in canonical JSON."""

    identity: dict[str, Json]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Changes:
    """Identities and labels on one trajectory's `materials`; cells of a thousand checkpoints hold the same ones."""

    materials: Materials
    identities: dict[tuple[Modification, str | None], Change] = field(default_factory=dict)
    labels: dict[tuple[Modification, int], dict[str, Json]] = field(default_factory=dict)

    def identity_of(self, modification: Modification, subject: Subject, partners: Partners) -> Change:
        """What makes theta' of `subject` what it is, the subject itself and the seed apart."""
        if isinstance(modification, Interpolate):
            what = {**_named(modification), "with": partners[modification.partner].identity}
            return Change(identity=what, text=canonical_json(what))
        stds = _init_stds(modification, subject)
        found = self.identities.get((modification, stds))
        if found is None:
            what = self._identity(modification, stds)
            found = self.identities[modification, stds] = Change(identity=what, text=canonical_json(what))
        return found

    def labels_of(self, modification: Modification, seed: int) -> dict[str, Json]:
        """What the rows of its cells are called by, the checkpoint apart."""
        found = self.labels.get((modification, seed))
        if found is None:
            found = self.labels[modification, seed] = {**_labels(modification, self.materials), "seed": seed}
        return found

    def _identity(self, modification: Modification, init_stds: str | None) -> dict[str, Json]:
        if modification is None:
            return {"type": "none"}
        what, materials = _named(modification), self.materials
        if isinstance(modification, FineTune):
            return {**what, "data": materials.tasks[modification.task].fingerprint, **_text(modification, materials)}
        if isinstance(modification, Wanda):
            return {**what, "data": materials.training.calibration(modification.calibration_tokens).fingerprint}
        return {**what, "init_stds": init_stds} if isinstance(modification, Noise) else what


def _named(modification: Noise | Quantise | Prune | Wanda | Interpolate | FineTune) -> dict[str, Json]:
    return {"type": type(modification).__name__, **identity(modification)}


def _init_stds(modification: Modification, subject: Subject) -> str | None:
    """The digest of the scales that were given for `subject`, where noise goes by them."""
    if not isinstance(modification, Noise) or modification.scaling != "init" or subject.about is None:
        return None
    known = subject.about.init_stds
    return digest(dict(known)) if known else None


def _text(tuning: FineTune, materials: Materials) -> dict[str, Json]:
    """The pre-training text that a regulariser reads, in the order of the fine-tuning seed."""
    if not isinstance(tuning.regulariser, (Replay, Divergence, ElasticWeights)):
        return {}
    source = materials.training.source(0)
    if source.windows_per_epoch == 0:
        raise UserError(
            f"{tuning.regulariser.label}: the training text is shorter than a window of {materials.training.context} "
            "tokens; give more text, or lower held_out.context"
        )
    return {"text": source.fingerprint}


def _labels(modification: Modification, materials: Materials) -> dict[str, Json]:
    tuning = modification if isinstance(modification, FineTune) else None
    return {
        "modification": modification.KIND if modification is not None else "none",
        "label": modification.label if modification is not None else "none",
        "scaling": modification.scaling if isinstance(modification, Noise) else None,
        "embeddings": modification.embeddings if isinstance(modification, (Noise, Quantise, Prune)) else None,
        "task": tuning.task if tuning is not None else None,
        "steps": tuning.steps if tuning is not None else None,
        "method": tuning.method if tuning is not None else None,
        "amount": tuning.regulariser.amount if tuning is not None and tuning.regulariser is not None else None,
        "task_epochs": _task_epochs(tuning, materials) if tuning is not None else None,
        "strength": modification.strength if modification is not None else 0.0,
    }


def _task_epochs(tuning: FineTune, materials: Materials) -> float:
    """How often a fine-tune sees each row of its task's train split."""
    return tuning.steps * tuning.batch / len(materials.tasks[tuning.task].splits["train"])
