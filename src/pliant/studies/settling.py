"""What a study and its folder agree on before anything runs: numerics, added rates and draws, commits."""

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from pliant.checkpoints.hub.pins import PINS_FILE, Pinned, pins_json
from pliant.data.task_setting import TaskSetting
from pliant.execution.store import RUN_FILE, Store, StoreError
from pliant.execution.writing import write_atomically
from pliant.records.numerics import Numerics
from pliant.records.outside import clipped, is_shown_name, parse_json
from pliant.studies.growth import keep_added
from pliant.studies.materials import markov_language, settled_corpus, settled_task
from pliant.studies.members import Gathered, Progress, gather
from pliant.studies.numerics import choose_numerics
from pliant.studies.plan import Plan, plan_study
from pliant.studies.spec import SpecError, StudySpec
from pliant.studies.study_file import parse_study, read_text, to_yaml
from pliant.studies.validated import VALIDATION_FILE, Validation
from pliant.studies.validation import validate

STUDY_FILE = "study.yaml"


def planned(
    spec: StudySpec,
    folder: Path,
    *,
    progress: Progress | None = None,
    pins: Mapping[str, Pinned] = MappingProxyType({}),
) -> Plan:
    """The plan of `spec` with what `folder` has settled, or newly settled; nothing is written there.

    Raises:
        ValueError: bad input, or a folder that holds something else.
    """
    gathered = gather(spec, folder, progress, pins)
    settled = settle(spec, folder, gathered)
    plan = plan_study(settled, folder, gathered)
    if settled.numerics.evaluation is None or (folder / STUDY_FILE).is_file():
        return plan
    validation = validate(plan)
    return replace(plan_study(_decided(settled, validation), folder, gathered), validation=validation)


def _decided(spec: StudySpec, validation: Validation) -> StudySpec:
    """`spec` with the precision of evaluation that `validation` allows.

    Raises:
        SpecError: it asks for bfloat16, which is refused.
    """
    if spec.numerics.evaluation == "bfloat16" and not validation.accepted:
        raise SpecError(f"numerics.evaluation: {validation.words}; write auto, or leave it out")
    chosen = replace(spec.numerics, evaluation="bfloat16" if validation.accepted else None)
    return spec.model_copy(update={"numerics": chosen})


def study_of(folder: Path) -> StudySpec | None:
    """The study that `folder` holds; None for a folder that is no study's.

    Raises:
        SpecError: its study.yaml cannot be read.
    """
    file = folder / STUDY_FILE
    return parse_study(read_text(file), str(file)) if file.is_file() else None


def prepare(plan: Plan) -> None:
    """Make the plan's folder the folder of its study: study.yaml, the Hub commits that it is about, and the validation
    of its numerics plan, told in a comment of study.yaml too.

    A study may grow: what was measured stays, and only what is new is run.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    validation = plan.folder / VALIDATION_FILE
    if plan.validation is not None:
        write_atomically(validation, plan.validation.to_json())
    told = f"# {_words_of(validation)}\n" if validation.is_file() else ""
    write_atomically(plan.folder / STUDY_FILE, to_yaml(plan.spec) + told)
    if plan.pinned:
        write_atomically(plan.folder / PINS_FILE, pins_json(plan.pinned))


def _words_of(validation: Path) -> str:
    """
    Raises:
        SpecError: the file is not what pliant writes.
    """
    try:
        words = parse_json(validation.read_bytes())["words"]
    except (ValueError, LookupError, TypeError) as error:
        raise SpecError(f"{validation} cannot be read ({error}); delete it") from error
    if not is_shown_name(words):
        raise SpecError(f"{validation} says {clipped(words)}, expected a line; delete it")
    return str(words)


def settle(spec: StudySpec, folder: Path, gathered: Gathered) -> StudySpec:
    """`spec` with the numerics plan, the added rates and the commits of Hub data that `folder` has, or new ones;
    nothing is written.

    Raises:
        SpecError: the folder holds another study, or something that is no study.
    """
    before = study_of(folder)
    if before is not None:
        if before.study != spec.study:
            raise SpecError(
                f"{folder} belongs to the study {before.study!r}, not {spec.study!r}; give another --out folder"
            )
        if "numerics" in spec.model_fields_set and not _same_plan(spec.numerics, before.numerics):
            raise SpecError(
                f"{folder} was created with another numerics plan, which is part of what its records are; "
                "take numerics out of the study, or give another --out folder"
            )
        spec = _with_settled_tasks(spec, before.tasks)
        corpus = settled_corpus(spec.corpus, before.corpus)
        return keep_added(spec, before).model_copy(update={"numerics": before.numerics, "corpus": corpus})
    recorded = _recorded_numerics(folder)
    if recorded is None and folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
        raise SpecError(f"{folder} is not empty and holds no {STUDY_FILE}; give a new folder, or a study's own")
    if folder.exists() and not folder.is_dir():
        raise SpecError(f"{folder} is a file; give a folder")
    spec = _with_settled_tasks(spec, ())
    corpus = settled_corpus(spec.corpus, None)
    chosen = recorded if recorded and "numerics" not in spec.model_fields_set else choose_numerics(spec, gathered)
    return spec.model_copy(update={"numerics": chosen, "corpus": corpus})


def _recorded_numerics(folder: Path) -> Numerics | None:
    """The numerics plan of the records in `folder`, of which study.yaml was lost; None where there are none."""
    store = Store(folder)
    for file in sorted(store.records.glob("*/[!.]*.json")):
        if file.name != RUN_FILE:
            with contextlib.suppress(StoreError, KeyError, TypeError):
                return Numerics(**store.read(file.parent.name, file.stem)["cell"]["numerics"])
    return None


def _same_plan(asked: Numerics, before: Numerics) -> bool:
    """Whether `before` is what was made of `asked`: auto is decided once, and alone it names no other field."""
    if asked.evaluation is None or asked == before:
        return asked == before
    rest, settled = replace(asked, evaluation=None), replace(before, evaluation=None)
    return rest in (Numerics(), settled) and asked.evaluation in ("auto", before.evaluation)


def _with_settled_tasks(spec: StudySpec, before: Collection[TaskSetting]) -> StudySpec:
    if markov_language(spec.corpus):
        return spec
    settled = tuple(entry.with_task(lambda task: settled_task(task, before)) for entry in spec.modifications)
    return spec.model_copy(update={"modifications": settled})
