"""The cells of one checkpoint: which modifications, at which seeds, and the evaluations asked of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pliant.data.task_setting import task_name
from pliant.evaluation.losses import BLOCK_ROWS, block_starts
from pliant.execution.engine import UserError
from pliant.execution.table import Labels
from pliant.modifications.finetune import FineTune
from pliant.modifications.interpolate import Interpolate
from pliant.modifications.noise import Noise
from pliant.modifications.prune import Prune
from pliant.modifications.quantise import Quantise
from pliant.modifications.regularise.method import Divergence, ElasticWeights, ProbeFirst, Replay
from pliant.modifications.regularise.probe_first import check_labels
from pliant.modifications.wanda import Wanda
from pliant.records.identity import SCHEMA_VERSION, Json, digest, identity
from pliant.records.record import EVALUATION_DIGITS
from pliant.studies.evaluation_spec import EvaluationSettings
from pliant.studies.materials import Materials
from pliant.studies.modification_spec import Place
from pliant.studies.neighbours import Partners
from pliant.studies.spec import StudySpec
from pliant.studies.subjects import Subject

Modification = Noise | Quantise | Prune | Wanda | Interpolate | FineTune | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """One evaluation of a cell: its id, what makes it what it is, and the labels of its rows.

    `settings` is what the study says of it, where it says something; `tokens` what one theta' takes, for estimates.
    """

    key: str
    kind: str
    identity: dict[str, Json]
    task: str | None
    settings: EvaluationSettings | None = None
    tokens: int = 0

    @property
    def labels(self) -> Labels:
        labels: Labels = {"evaluation": self.kind}
        return labels | {"task": self.task} if self.task else labels


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPlan:
    """A cell: checkpoint x modification x seed, and the evaluations asked of it."""

    key: str
    identity: dict[str, Json]
    labels: Labels
    modification: Modification
    seed: int
    evaluations: tuple[EvaluationPlan, ...]


def cells_of(
    spec: StudySpec,
    name: str,
    subject: Subject,
    partners: Partners,
    materials: Materials,
    shared: list[EvaluationPlan],
) -> Iterator[CellPlan]:
    on_tasks = {
        task: evaluation("task-loss", {"data": materials.tasks[task].fingerprint}, task) for task in materials.tasks
    }
    base = (*shared, evaluation("weights", {}, None), *on_tasks.values())

    def cell(modification: Modification, seed: int, evaluations: tuple[EvaluationPlan, ...]) -> CellPlan:
        what = _modification_identity(modification, subject, partners, materials)
        labels = {"trajectory": name, **subject.labels, **_modification_labels(modification, materials), "seed": seed}
        return _cell(spec, subject, labels, modification, what, seed, evaluations)

    yield cell(None, 0, base)
    trained = (evaluation("displacement", {}, None), evaluation("adaptation", {}, None))
    place: Place = (name, str(subject.labels["checkpoint"]), subject.labels["pretraining_seed"])  # type: ignore[assignment]
    for entry in spec.modifications:
        if entry.noise is not None:
            for noise in entry.noise.modifications():
                _check_subsets(noise, materials)
                for block in range(entry.noise.blocks_at((*place, noise.strength))):
                    yield cell(noise, block, tuple(shared))
        for change in entry.direct.modifications() if entry.direct is not None else ():
            if not isinstance(change, Interpolate) or change.partner in partners:
                yield cell(change, 0, tuple(shared))
        if entry.fine_tune is not None:
            rows = len(materials.tasks[task_name(entry.fine_tune.task)].splits["train"])
            for tuning in entry.fine_tune.modifications_at(place, rows):
                if isinstance(tuning.regulariser, ProbeFirst):
                    check_labels(materials.tasks[tuning.task])
                for seed in entry.fine_tune.seeds:
                    yield cell(tuning, seed, (*shared, on_tasks[tuning.task], *trained))


def _check_subsets(noise: Noise, materials: Materials) -> None:
    blocks = len(block_starts(materials.held_out))
    if noise.subsets is not None and noise.subsets > blocks:
        raise UserError(
            f"noise.subsets is {noise.subsets}, the held-out text has {blocks} blocks of {BLOCK_ROWS} rows; "
            "lower subsets, or raise held_out.tokens"
        )


def check_names(cells: Sequence[CellPlan]) -> None:
    """Stop where statistics would take two fine-tunes of one checkpoint for one, or one for two: they know them by
    label, rate and seed, and average what shares these.

    Raises:
        UserError: two entries differ in what no label tells, or ask for the same in steps and in epochs.
    """
    keys: dict[tuple[str, float, int], str] = {}
    labels: dict[str, str] = {}
    for cell in cells:
        tuning = cell.modification
        if not isinstance(tuning, FineTune):
            continue
        if keys.setdefault((tuning.label, tuning.strength, cell.seed), cell.key) != cell.key:
            raise UserError(
                f"two entries are both called {tuning.label!r} at rate {tuning.strength:g} and differ in what the name "
                "does not tell (batch, micro_batch, schedule, optimisation); give one a study of its own"
            )
        if (other := labels.setdefault(cell.key, tuning.label)) != tuning.label:
            raise UserError(
                f"{other!r} and {tuning.label!r} at rate {tuning.strength:g} are the same fine-tune; give the length "
                "of both in steps, or of both in epochs"
            )


def evaluation(kind: str, settings: dict[str, Json], task: str | None) -> EvaluationPlan:
    what: dict[str, Json] = {"kind": kind, **settings}
    return EvaluationPlan(key=digest(what, EVALUATION_DIGITS), kind=kind, identity=what, task=task)


def _cell(
    spec: StudySpec,
    subject: Subject,
    labels: Labels,
    modification: Modification,
    changes: dict[str, Json],
    seed: int,
    evaluations: tuple[EvaluationPlan, ...],
) -> CellPlan:
    what: dict[str, Json] = {
        "schema": SCHEMA_VERSION,
        "checkpoint": subject.identity,
        "modification": changes,
        "seed": seed,
        "numerics": identity(spec.numerics),
    }
    return CellPlan(
        key=digest(what),
        identity=what,
        labels=labels,
        modification=modification,
        seed=seed,
        evaluations=evaluations,
    )


def _modification_identity(
    modification: Modification, subject: Subject, partners: Partners, materials: Materials
) -> dict[str, Json]:
    if modification is None:
        return {"type": "none"}
    what = {"type": type(modification).__name__, **identity(modification)}
    if isinstance(modification, FineTune):
        return {**what, "data": materials.tasks[modification.task].fingerprint, **_text(modification, materials)}
    if isinstance(modification, Wanda):
        return {**what, "data": materials.training.calibration(modification.calibration_tokens).fingerprint}
    if isinstance(modification, Interpolate):
        return {**what, "with": partners[modification.partner].identity}
    if not isinstance(modification, Noise):
        return what
    known = subject.about.init_stds if subject.about is not None else None
    by_hand = dict(known) if modification.scaling == "init" and known else None
    return {**what, "init_stds": digest(by_hand) if by_hand else None}  # type: ignore[arg-type]


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


def _modification_labels(modification: Modification, materials: Materials) -> Labels:
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
