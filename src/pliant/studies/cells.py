"""The cells of one checkpoint: which modifications, at which seeds, and the evaluations asked of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pliant.data.task_setting import task_name
from pliant.evaluation.losses import BLOCK_ROWS, block_starts
from pliant.execution.engine import UserError
from pliant.execution.labels import Joined, Labels
from pliant.modifications.finetune import FineTune
from pliant.modifications.interpolate import Interpolate
from pliant.modifications.noise import Noise
from pliant.modifications.regularise.method import ProbeFirst
from pliant.modifications.regularise.probe_first import check_labels
from pliant.records.identity import SCHEMA_VERSION, Json, canonical_json, digest, digest_of_text, identity
from pliant.records.record import EVALUATION_DIGITS
from pliant.studies.changes import Change, Changes, Modification
from pliant.studies.evaluation_spec import EvaluationSettings
from pliant.studies.materials import Materials
from pliant.studies.modification_spec import Place
from pliant.studies.neighbours import Partners
from pliant.studies.spec import StudySpec
from pliant.studies.subjects import Subject


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
        return {"evaluation": self.kind, "task": self.task} if self.task else {"evaluation": self.kind}


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
    changes: Changes,
    shared: list[EvaluationPlan],
) -> Iterator[CellPlan]:
    """The cells that `spec` asks of `subject`, a member of the trajectory `name`."""
    materials = changes.materials
    checkpoint: dict[str, Json] = {"trajectory": name, **subject.labels}
    begin = _Begin.of(spec, subject)
    on_tasks = {
        task: evaluation("task-loss", {"data": materials.tasks[task].fingerprint}, task) for task in materials.tasks
    }
    trained = (evaluation("displacement", {}, None), evaluation("adaptation", {}, None))
    base = (*shared, evaluation("weights", {}, None), *on_tasks.values())
    untrained, tuned = tuple(shared), {task: (*shared, one, *trained) for task, one in on_tasks.items()}

    def cell(modification: Modification, seed: int, evaluations: tuple[EvaluationPlan, ...]) -> CellPlan:
        change = changes.identity_of(modification, subject, partners)
        return CellPlan(
            key=begin.key(change, seed),
            identity=begin.identity(change, seed),
            labels=Joined((checkpoint, changes.labels_of(modification, seed))),
            modification=modification,
            seed=seed,
            evaluations=evaluations,
        )

    yield cell(None, 0, base)
    place: Place = (name, str(subject.labels["checkpoint"]), subject.labels["pretraining_seed"])  # type: ignore[assignment]
    for entry in spec.modifications:
        if entry.noise is not None:
            for noise in entry.noise.modifications():
                _check_subsets(noise, materials)
                for block in range(entry.noise.blocks_at((*place, noise.strength))):
                    yield cell(noise, block, untrained)
        for change in entry.direct.modifications() if entry.direct is not None else ():
            if not isinstance(change, Interpolate) or change.partner in partners:
                yield cell(change, 0, untrained)
        if entry.fine_tune is not None:
            rows = len(materials.tasks[task_name(entry.fine_tune.task)].splits["train"])
            for tuning in entry.fine_tune.modifications_at(place, rows):
                if isinstance(tuning.regulariser, ProbeFirst):
                    check_labels(materials.tasks[tuning.task])
                for seed in entry.fine_tune.seeds:
                    yield cell(tuning, seed, tuned[tuning.task])


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begin:
    """What the identities of one checkpoint's cells have in common, in canonical JSON too: a cell's key is the digest
    of its own, put together from parts, since hashing parts anew for every cell takes most of the time of a plan."""

    checkpoint: dict[str, Json]
    numerics: dict[str, Json]
    checkpoint_text: str
    numerics_text: str

    @classmethod
    def of(cls, spec: StudySpec, subject: Subject) -> "_Begin":
        numerics = identity(spec.numerics)
        return cls(
            checkpoint=subject.identity,
            numerics=numerics,
            checkpoint_text=canonical_json(subject.identity),
            numerics_text=canonical_json(numerics),
        )

    def identity(self, change: Change, seed: int) -> dict[str, Json]:
        return {
            "schema": SCHEMA_VERSION,
            "checkpoint": self.checkpoint,
            "modification": change.identity,
            "seed": seed,
            "numerics": self.numerics,
        }

    def key(self, change: Change, seed: int) -> str:
        """`digest(self.identity(change, seed))`."""
        return digest_of_text(
            f'{{"checkpoint":{self.checkpoint_text},"modification":{change.text},'
            f'"numerics":{self.numerics_text},"schema":{SCHEMA_VERSION},"seed":{seed}}}'
        )
