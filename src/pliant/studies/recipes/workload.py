"""What a study asks for, from its spec alone: checkpoints, cells, tokens trained and read. Nothing is listed."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pliant.checkpoints.public.runs import ModelSize, public_runs, run_of
from pliant.data.tokenizers import BYTES, open_tokenizer
from pliant.modifications.finetune import FineTune
from pliant.modifications.interpolate import Interpolate
from pliant.modifications.noise import Noise
from pliant.modifications.wanda import PASSES, Wanda
from pliant.records.numerics import Numerics
from pliant.studies.changes import Modification
from pliant.studies.evaluation_spec import ChoicesSpec, EvaluationSettings, HarnessSpec
from pliant.studies.ladder import Ladder
from pliant.studies.materials import markov_language
from pliant.studies.modification_spec import FineTuneSpec
from pliant.studies.numerics import DEFAULT_CONTEXT
from pliant.studies.recipes.sizes import VOCABULARIES, benchmark_tokens
from pliant.studies.spec import ChooseSpec, LadderSpec, SpecError, StudySpec, TrajectorySpec

BYTES_PER_TOKEN = 4
"""A guess for subword tokenizers."""
Phase = Literal["pre-training", "fine-tuning", "evaluation"]
Precision = Literal["float32", "bfloat16"]
FORWARD, BACKWARD = 2, 4
"""FLOP a parameter and token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Tokens through the model in one phase and precision. `recomputed`: each layer's forward pass is made twice."""

    phase: Phase
    precision: Precision
    tokens: int
    parameters: int
    recomputed: bool = False

    @property
    def flop(self) -> float:
        """parameters x tokens x 2 to read, 6 to train, 8 to train with layers computed again."""
        passes = FORWARD if self.phase == "evaluation" else FORWARD * (1 + self.recomputed) + BACKWARD
        return float(passes) * self.parameters * self.tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is trained at once: `tokens` that go through the model together."""

    tokens: int
    precision: Precision
    recomputed: bool = False
    adapter: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One trajectory. `at_most` says that fewer checkpoints may be there than the choice asks for.

    `cells` counts those of all checkpoints by kind of modification, `batches` holds what is trained at once in any of
    its phases, `weights_kept` and `states_kept` count the folders of a ladder and those among them with an optimiser.
    """

    name: str
    size: ModelSize
    checkpoints: int
    at_most: bool
    cells: Mapping[str, int]
    work: tuple[Work, ...]
    batches: tuple[Batch, ...]
    fetched: bool
    weights_kept: int = 0
    states_kept: int = 0


def workloads(spec: StudySpec) -> tuple[Workload, ...]:
    """The workload of every trajectory of `spec`.

    Raises:
        SpecError: something that only listing or opening could tell: how many checkpoints, how large a model.
    """
    return tuple(_workload(spec, entry) for entry in spec.trajectories)


def _workload(spec: StudySpec, entry: TrajectorySpec) -> Workload:
    whole = {t.name: t for t in spec.trajectories}
    source = whole[entry.merge.of] if entry.merge is not None else entry
    size = _size(spec, source)
    context = spec.held_out.context or min(DEFAULT_CONTEXT, size.context)
    if source.ladder is not None:
        context = size.context
    checkpoints, at_most = _checkpoints(source)
    if entry.merge is not None:
        checkpoints = max(0, checkpoints - len(entry.merge.coefficients()) + 1)
    planned = {(change, seed): _times(change, checkpoints) for change, seed in _cells(spec)}
    cells = Counter[str]()
    for (change, _), times in planned.items():
        cells["none" if change is None else change.KIND] += times
    work = _work(planned, spec, context)
    batches = {_batch(change, context) for change, _ in planned if isinstance(change, FineTune) and change.strength}
    ladder = entry.ladder
    if ladder is not None:
        at_once = (ladder.recipe.micro_batch or ladder.recipe.batch_windows) * context
        precision = ladder.recipe.precision or "float32"
        batches.add(Batch(tokens=at_once, precision=precision))
        work["pre-training", precision, False] += _pretraining_tokens(ladder)
    folders = [] if ladder is None else _ladder(ladder).segments(_ladder(ladder).members())
    return Workload(
        name=entry.name,
        size=size,
        checkpoints=checkpoints,
        at_most=at_most,
        cells=dict(cells),
        work=tuple(
            Work(phase=phase, precision=precision, recomputed=again, tokens=count, parameters=size.parameters)
            for (phase, precision, again), count in work.items()
        ),
        batches=tuple(sorted(batches, key=lambda batch: batch.tokens)),
        fetched=entry.checkpoints is not None,
        weights_kept=len(folders),
        states_kept=sum(folder.keep_optimizer for folder in folders),
    )


def _work(
    planned: Mapping[tuple[Modification, int], int], spec: StudySpec, context: int
) -> Counter[tuple[Phase, Precision, bool]]:
    """The tokens of all cells. What a regulariser reads beside the task, and early stop, are not counted."""
    work = Counter[tuple[Phase, Precision, bool]]()
    for (change, _), times in planned.items():
        work["evaluation", "float32", False] += times * _read(spec, change, context)
        if isinstance(change, FineTune) and change.strength:
            trained = times * change.steps * change.batch * context
            work["fine-tuning", change.precision or "float32", change.gradient_checkpointing] += trained
    return work


def _batch(change: FineTune, context: int) -> Batch:
    return Batch(
        tokens=(change.micro_batch or change.batch) * context,
        precision=change.precision or "float32",
        recomputed=change.gradient_checkpointing,
        adapter=change.adapter is not None,
    )


def _size(spec: StudySpec, entry: TrajectorySpec) -> ModelSize:
    if entry.ladder is not None:
        shape, vocabulary = entry.ladder.architecture, _vocabulary(spec)
        return ModelSize(
            parameters=shape.parameters(vocabulary),
            layers=shape.layers,
            width=shape.width,
            vocabulary=vocabulary,
            context=shape.context,
        )
    runs = public_runs(spec.runs)
    given = entry.checkpoints if isinstance(entry.checkpoints, str) else entry.checkpoints[0].path  # type: ignore[index]
    run = next((r for r in runs if r.name == entry.run), None) if entry.run else run_of(given.partition("@")[0], runs)
    if run is None or run.size is None:
        raise SpecError(
            f"{entry.name}: the table of public runs has no size for {given}; name one with `runs` and `size` "
            "(docs/public-runs.md), or `pliant run STUDY --dry-run` asks the Hub"
        )
    return run.size


def _vocabulary(spec: StudySpec) -> int:
    name = spec.tokenizer or ("markov" if markov_language(spec.corpus) else BYTES)
    if name in VOCABULARIES:
        return VOCABULARIES[name]
    if name in (BYTES, "markov") or Path(name).exists():
        return open_tokenizer(name).vocabulary_size
    raise SpecError(
        f"the size of the tokenizer {name} is not known without the Hub; `pliant run STUDY --dry-run` asks it"
    )


def _checkpoints(entry: TrajectorySpec) -> tuple[int, bool]:
    """How many there are, and whether that is a bound."""
    if entry.ladder is not None:
        return len(list(_ladder(entry.ladder).members())), False
    if isinstance(entry.checkpoints, tuple) and entry.choose == ChooseSpec():
        return len(entry.checkpoints), False
    choose = entry.choose
    if choose.count is not None:
        return choose.count, False
    if choose.every is None or choose.to is None:
        raise SpecError(
            f"{entry.name}: how many checkpoints are chosen is not known without listing; choose count, or every and to"
        )
    lowest, highest = max(1, -(-(choose.first or 1) // choose.every)), choose.to // choose.every
    return highest - lowest + 1 + bool(choose.to % choose.every), True


def _ladder(spec: LadderSpec) -> Ladder:
    """The plan of its training; where it would lie, and on what it is trained, has no part in that."""
    return Ladder(
        spec=spec, vocabulary_size=1, tokenizer="", data="", numerics=Numerics(), artifacts=Path(), name="estimate"
    )


def _pretraining_tokens(spec: LadderSpec) -> int:
    ladder = _ladder(spec)
    steps = sum(planned.segment.stop - planned.segment.start for planned in ladder.segments(ladder.members()))
    return steps * ladder.tokens_per_step


def _cells(spec: StudySpec) -> Iterator[tuple[Modification, int]]:
    """The cells of one checkpoint, as cells.py has them."""
    yield None, 0
    for entry in spec.modifications:
        if entry.noise is not None:
            for noise in entry.noise.modifications():
                yield from ((noise, block) for block in range(entry.noise.blocks + entry.noise.added_blocks))
        yield from ((change, 0) for change in (entry.direct.modifications() if entry.direct is not None else ()))
        if entry.fine_tune is not None:
            yield from ((m, seed) for m in _tunes(entry.fine_tune) for seed in entry.fine_tune.seeds)


def _tunes(spec: FineTuneSpec) -> list[FineTune]:
    if spec.epochs is not None:
        raise SpecError(f"fine-tuning on {spec.task}: how long epochs are is not known without its data; give steps")
    return spec.modifications(rows=1)


def _times(change: Modification, checkpoints: int) -> int:
    """A checkpoint has no line to itself."""
    return max(0, checkpoints - 1) if isinstance(change, Interpolate) else checkpoints


def _read(spec: StudySpec, change: Modification, context: int) -> int:
    """The tokens that are read to measure one cell."""
    held_out = spec.held_out.tokens
    if spec.held_out.by == "documents":
        held_out = spec.held_out.bytes // (1 if spec.tokenizer == BYTES else BYTES_PER_TOKEN)
    on_task = 2 * spec.held_out.task_rows * context
    copies = change.draws * (1 + change.antithetic) if isinstance(change, Noise) else 1
    held_out //= (change.subsets or 1) if isinstance(change, Noise) else 1
    kind = "none" if change is None else change.KIND
    asked = sum(_asked(entry.one) for entry in spec.evaluations if entry.applies_to(kind))
    tasks = len(spec.tasks) if change is None else int(isinstance(change, FineTune))
    calibration = PASSES * change.calibration_tokens if isinstance(change, Wanda) else 0
    return copies * (held_out + asked) + tasks * on_task + calibration


def _asked(settings: EvaluationSettings) -> int:
    if isinstance(settings, HarnessSpec):
        return sum(benchmark_tokens(task, settings.limit) for task in settings.tasks)
    if isinstance(settings, ChoicesSpec):
        return settings.file.stat().st_size // BYTES_PER_TOKEN
    return settings.tokens
