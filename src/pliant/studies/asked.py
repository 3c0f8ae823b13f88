"""The evaluations that a study asks for beyond its losses: planned, and made on the theta' that the model holds."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from pliant.evaluation.benchmarks import folder_fingerprint, harness_version
from pliant.evaluation.choices import choice_log_probabilities, choice_measurements, file_fingerprint, read_items
from pliant.evaluation.divergence import base_log_probabilities, divergence_measurement, first_tokens
from pliant.evaluation.drift import drift_measurements, hidden_states
from pliant.evaluation.harness import harness_measurements
from pliant.modifications.variant import Variant
from pliant.records.identity import Json
from pliant.records.record import Measurement
from pliant.studies.cells import CellPlan, EvaluationPlan, evaluation
from pliant.studies.evaluation_spec import (
    ChoicesSpec,
    DivergenceSpec,
    DriftSpec,
    EvaluationSettings,
    EvaluationSpec,
    HarnessSpec,
)
from pliant.studies.materials import Materials
from pliant.studies.spec import SpecError, StudySpec
from pliant.training.decoder import Forward

_ITEMS, _ITEM_TOKENS = 1000, 400
"""A benchmark of unknown size, for estimates of time: its items, and the tokens of one with four choices."""
COMPARED = ("divergence", "drift")
"""The kinds that compare with what the base puts out."""
Asked = tuple[EvaluationSpec, tuple[EvaluationPlan, ...]]


def asked_of(spec: StudySpec, materials: Materials) -> tuple[Asked, ...]:
    """The plans of each entry of `evaluations`: one a benchmark, so that another one later moves no record.

    Raises:
        ValueError: a file is not there, lm-eval is not installed, or more held-out tokens are asked for than there are.
    """
    asked = tuple((entry, tuple(_plans(entry.one, spec, materials))) for entry in spec.evaluations)
    plans = [(plan.kind, plan.task) for _, some in asked for plan in some]
    for number, (kind, task) in enumerate(plans):
        if (kind, task) in plans[:number]:
            raise SpecError(f"evaluations: {kind} {task or ''} is there twice; keep one of them, or rename its file")
    return asked


def with_asked(cell: CellPlan, asked: Iterable[Asked]) -> CellPlan:
    """The cell with the evaluations whose entry applies to its modification."""
    kind = str(cell.labels["modification"])
    more = [plan for entry, plans in asked if entry.applies_to(kind) for plan in plans]
    return replace(cell, evaluations=(*cell.evaluations, *more)) if more else cell


def _plans(settings: EvaluationSettings, spec: StudySpec, materials: Materials) -> Iterator[EvaluationPlan]:
    if isinstance(settings, HarnessSpec):
        folder = folder_fingerprint(settings.include_path) if settings.include_path is not None else None
        shared: dict[str, Json] = {"limit": settings.limit, "num_fewshot": settings.num_fewshot, "tasks": folder}
        for task in settings.tasks:
            what: dict[str, Json] = {"task": task, "lm_eval": harness_version(), **shared}
            cost = (settings.limit or _ITEMS) * _ITEM_TOKENS
            yield _plan("harness", what, task, settings.model_copy(update={"tasks": (task,)}), cost)
    elif isinstance(settings, ChoicesSpec):
        items = read_items(settings.file, settings.limit)
        what = {"data": file_fingerprint(settings.file), "limit": settings.limit}
        size = sum(len(item.context) + sum(map(len, item.choices)) for item in items)
        yield _plan("choices", what, settings.file.stem, settings, size)
    else:
        if settings.tokens > spec.held_out.tokens:
            raise SpecError(
                f"evaluations ask for {settings.tokens:,} held-out tokens, held_out has {spec.held_out.tokens:,}; "
                "lower the one or raise the other"
            )
        what = {"data": materials.held_out_fingerprint, "tokens": settings.tokens}
        if isinstance(settings, DivergenceSpec):
            yield _plan("divergence", what, None, settings, settings.tokens)
        else:
            yield _plan("drift", {**what, "components": settings.components}, None, settings, settings.tokens)


def _plan(
    kind: str, what: dict[str, Json], task: str | None, settings: EvaluationSettings, tokens: int
) -> EvaluationPlan:
    return replace(evaluation(kind, what, task), settings=settings, tokens=tokens)


def base_outputs(
    settings: EvaluationSettings | None, model: Any, materials: Materials, forward: Forward, batch_tokens: int
) -> list[Any]:
    """What divergence and drift compare with, made on the base that the model holds now.

    Raises:
        ValueError: it would not fit into memory.
    """
    if isinstance(settings, DivergenceSpec):
        split = first_tokens(materials.held_out, settings.tokens)
        return base_log_probabilities(model, split, forward=forward, batch_tokens=batch_tokens)
    assert isinstance(settings, DriftSpec), "the other kinds compare with nothing"
    return hidden_states(model, first_tokens(materials.held_out, settings.tokens), batch_tokens=batch_tokens)


def measure_asked(
    settings: EvaluationSettings,
    model: Any,
    materials: Materials,
    variant: Variant,
    reference: Sequence[Any] | None,
    *,
    forward: Forward,
    batch_tokens: int,
) -> list[Measurement]:
    """The measurements on the theta' that the model holds; where it diverged, the first metric as nan.

    Raises:
        ValueError: a benchmark or its data are not to be had, or a setting does not fit the model.
    """
    if variant.diverged:
        return _diverged(settings, materials)
    copy = {"draw": variant.draw, "sign": variant.sign}
    if isinstance(settings, HarnessSpec):
        return harness_measurements(
            model,
            materials.tokenizer,
            settings.tasks[0],
            include_path=settings.include_path,
            limit=settings.limit,
            num_fewshot=settings.num_fewshot,
            batch_tokens=batch_tokens,
            **copy,
        )
    if isinstance(settings, ChoicesSpec):
        items = read_items(settings.file, settings.limit)
        found = choice_log_probabilities(model, materials.tokenizer, items, batch_tokens=batch_tokens)
        return choice_measurements(items, found, **copy)
    assert reference is not None, "divergence and drift are given the base's outputs"
    split = first_tokens(materials.held_out, settings.tokens)
    if isinstance(settings, DriftSpec):
        now = hidden_states(model, split, batch_tokens=batch_tokens)
        return drift_measurements(list(reference), now, settings.components, **copy)
    name = materials.held_out_split
    return [
        divergence_measurement(
            model, list(reference), split, forward=forward, batch_tokens=batch_tokens, name=name, **copy
        )
    ]


def _diverged(settings: EvaluationSettings, materials: Materials) -> list[Measurement]:
    if isinstance(settings, HarnessSpec):
        return []  # its metrics are not known before it has run
    if isinstance(settings, ChoicesSpec):
        return [Measurement(metric="acc", value=math.nan)]
    if isinstance(settings, DriftSpec):
        return [Measurement(metric="drift_radians", value=math.nan)]
    return [Measurement(metric="divergence_nats", split=materials.held_out_split, value=math.nan)]
