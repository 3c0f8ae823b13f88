"""Measuring the cells of one checkpoint: its weights are loaded once, and put back after every theta'."""

import os
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.folder import Checkpoint, open_checkpoint
from pliant.execution.engine import Progress, UserError
from pliant.execution.store import Store
from pliant.modifications.finetune import FineTune, finetuned_variant
from pliant.modifications.noise import Noise, noisy_variants
from pliant.modifications.prune import Prune, pruned_variant
from pliant.modifications.quantise import Quantise, quantised_variant
from pliant.modifications.sweep import in_one_sweep, sweeps_pay, swept_variant, train_sweep
from pliant.modifications.variant import Variant, base_in_place, keep_base, restore
from pliant.records.identity import Json
from pliant.records.numerics import Numerics
from pliant.records.record import Measurement, Record
from pliant.studies.asked import COMPARED, base_outputs
from pliant.studies.cells import CellPlan, EvaluationPlan
from pliant.studies.materials import Materials, open_materials
from pliant.studies.measure import Scene, measure
from pliant.studies.plan import GroupPlan
from pliant.training.decoder import Forward, choose_forward
from pliant.training.stack import Trained

ATTEMPTS = 2


class WeightsChanged(UserError):
    """A checkpoint's weights are not those that its records were measured on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupJob:
    """Measure the cells of one checkpoint that have records missing."""

    group: GroupPlan
    folder: Path
    numerics: Numerics


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Bench:
    """The opened checkpoint, what to measure it on, the cells to do, the sweeps trained so far, by cell, and what
    the base puts out, by the evaluation that compares with it."""

    store: Store
    numerics: Numerics
    checkpoint: Checkpoint
    materials: Materials
    base: dict[str, Tensor]
    forward: Forward
    todo: Sequence[CellPlan]
    swept: dict[str, Trained]
    references: dict[str, Sequence[Any]]


def measure_group(job: GroupJob, progress: Progress) -> None:
    """Write the records that the cells of `job` lack; what fails is told in the cell's run.json.

    Raises:
        UserError: the checkpoint or the data do not open, or the weights are not those of the other records.
    """
    store = Store(job.folder)
    todo = [cell for cell in job.group.cells if missing(store, cell)]
    if not todo:
        return
    bench = _set_up(job, store, todo)
    for done, cell in enumerate(todo):
        _attempt(bench, cell)
        progress((done + 1) / len(todo), {"cells": float(done + 1)})


def _set_up(job: GroupJob, store: Store, todo: Sequence[CellPlan]) -> _Bench:
    try:
        checkpoint = open_checkpoint(job.group.place, allow_pickle=job.group.allow_pickle)
        materials = open_materials(job.group.materials)
        _check_vocabulary(checkpoint, materials, job.group.name)
    except CheckpointError as error:
        raise UserError(str(error)) from error
    _check_weights(store, job.group, checkpoint.weights)
    checkpoint.model.set_attn_implementation(job.numerics.attention)
    checkpoint.model.to(job.numerics.device)
    return _Bench(
        store=store,
        numerics=job.numerics,
        checkpoint=checkpoint,
        materials=materials,
        base=keep_base(checkpoint.model),
        forward=choose_forward(checkpoint.model, job.numerics.forward),
        todo=todo,
        swept={},
        references={},
    )


def missing(store: Store, cell: CellPlan) -> list[EvaluationPlan]:
    """The evaluations of `cell` that have no record."""
    return [evaluation for evaluation in cell.evaluations if not store.has(cell.key, evaluation.key)]


def _check_vocabulary(checkpoint: Checkpoint, materials: Materials, name: str) -> None:
    rows = checkpoint.model.get_input_embeddings().weight.shape[0]
    if materials.tokenizer.vocabulary_size > rows:
        raise CheckpointError(
            f"{name}: the tokenizer {materials.tokenizer.name} has {materials.tokenizer.vocabulary_size:,} tokens, "
            f"the model embeds {rows:,}; set tokenizer to the one the model was trained with"
        )


def _check_weights(store: Store, group: GroupPlan, weights: str) -> None:
    """Records of a ladder member are named by its recipe; the weights they were measured on must be these."""
    for cell in group.cells:
        for evaluation in cell.evaluations:
            if store.has(cell.key, evaluation.key):
                known = store.read(cell.key, evaluation.key)["weights"]
                if known != weights:
                    raise WeightsChanged(
                        f"{group.name}: its weights are {weights[:19]}, its records were measured on {known[:19]}; "
                        f"`pliant run {store.folder} --remeasure` sets those aside and measures again"
                    )


def _attempt(bench: _Bench, cell: CellPlan) -> None:
    """Measure one cell, a second time if the first fails; how it went is in run.json either way."""
    started, begun, error, attempts = time.time(), time.monotonic(), "", 0
    while attempts < ATTEMPTS:
        attempts += 1
        try:
            _write_records(bench, cell)
            error = ""
            break
        except OSError:
            raise
        except ValueError as problem:  # what the user asked cannot be had here: no second try
            error = str(problem)
            break
        except Exception as problem:  # the boundary at which a failure becomes data
            error = f"{type(problem).__name__}: {problem}"
        finally:
            restore(bench.checkpoint.model, bench.base)
    run: dict[str, Json] = {
        "started": started,
        "seconds": time.monotonic() - begun,
        "attempts": attempts,
        "host": platform.node(),
        "process": os.getpid(),
        "error": error,
    }
    bench.store.write_run(cell.key, run)


def _write_records(bench: _Bench, cell: CellPlan) -> None:
    wanted = missing(bench.store, cell)
    found: dict[str, list[Measurement]] = {evaluation.key: [] for evaluation in wanted}
    details: dict[str, Json] = {}
    refused: dict[str, str] = {}
    diverged = False
    for variant in _variants(bench, cell):
        details.update(variant.details or {})
        diverged = diverged or variant.diverged
        for evaluation in wanted:
            if evaluation.key not in refused:
                try:
                    found[evaluation.key] += measure(evaluation.kind, _scene(bench, variant, evaluation))
                except ValueError as problem:  # this one cannot be had; the others of the cell go on
                    refused[evaluation.key] = str(problem)
    for evaluation in wanted:
        if evaluation.key in refused:
            continue
        record = Record(
            cell=cell.identity,
            evaluation=evaluation.identity,
            weights=bench.checkpoint.weights,
            status="diverged" if diverged else "ok",
            measurements=tuple(found[evaluation.key]),
            details=details,
        )
        bench.store.write(cell.key, evaluation.key, record)
    if refused:
        raise ValueError("; ".join(dict.fromkeys(refused.values())))


def _reference(bench: _Bench, evaluation: EvaluationPlan) -> Sequence[Any]:
    """What the base puts out, made once a checkpoint, with the base put back for that moment."""
    if evaluation.key not in bench.references:
        model, batch_tokens = bench.checkpoint.model, bench.numerics.evaluation_batch_tokens
        with base_in_place(model, bench.base):
            outputs = base_outputs(evaluation.settings, model, bench.materials, bench.forward, batch_tokens)
        bench.references[evaluation.key] = outputs
    return bench.references[evaluation.key]


def _scene(bench: _Bench, variant: Variant, evaluation: EvaluationPlan) -> Scene:
    return Scene(
        variant=variant,
        checkpoint=bench.checkpoint,
        materials=bench.materials,
        base=bench.base,
        task=evaluation.task,
        settings=evaluation.settings,
        reference=_reference(bench, evaluation) if evaluation.kind in COMPARED else None,
        forward=bench.forward,
        batch_tokens=bench.numerics.evaluation_batch_tokens,
    )


def _variants(bench: _Bench, cell: CellPlan) -> Iterator[Variant]:
    modification, model = cell.modification, bench.checkpoint.model
    if isinstance(modification, Noise):
        return noisy_variants(modification, model, bench.checkpoint.about, bench.base, cell.seed)
    if isinstance(modification, Quantise):
        return quantised_variant(modification, model, bench.base)
    if isinstance(modification, Prune):
        return pruned_variant(modification, model, bench.base)
    if isinstance(modification, FineTune):
        task = bench.materials.tasks[modification.task]
        if bench.numerics.sweep == "stacked" and sweeps_pay(modification, model, task):
            return swept_variant(_from_sweep(bench, cell, modification), model)
        return finetuned_variant(modification, model, task, cell.seed, bench.forward)
    return iter([Variant()])


def _from_sweep(bench: _Bench, cell: CellPlan, settings: FineTune) -> Trained:
    """The trained copy of `cell`; the first one asked for brings the rest of its sweep along."""
    if cell.key not in bench.swept:
        sweep = [(other.key, m) for other in bench.todo if (m := _same_sweep(other, cell, settings)) is not None]
        task = bench.materials.tasks[settings.task]
        trained = train_sweep([m for _, m in sweep], bench.checkpoint.model, task, cell.seed)
        bench.swept.update(zip((key for key, _ in sweep), trained, strict=True))
    return bench.swept.pop(cell.key)


def _same_sweep(other: CellPlan, cell: CellPlan, settings: FineTune) -> FineTune | None:
    candidate = other.modification
    if not isinstance(candidate, FineTune) or candidate.strength == 0 or other.seed != cell.seed:
        return None
    return candidate if in_one_sweep(candidate, settings) else None


def recorded_weights(store: Store, cells: Iterable[CellPlan]) -> set[str]:
    """The fingerprints of the weights that the records of `cells` were measured on."""
    return {
        str(store.read(cell.key, evaluation.key)["weights"])
        for cell in cells
        for evaluation in cell.evaluations
        if store.has(cell.key, evaluation.key)
    }
