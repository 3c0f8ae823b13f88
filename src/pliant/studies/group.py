"""Measuring the cells of one checkpoint: its weights are loaded once, and put back after every theta'."""

import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pliant.checkpoints.about import CheckpointError
from pliant.checkpoints.folder import Checkpoint
from pliant.checkpoints.resident import Resident
from pliant.checkpoints.sharded import open_sharded
from pliant.execution.engine import Progress, UserError
from pliant.execution.mirror import Mirror
from pliant.execution.mirrors import shown
from pliant.execution.store import Store
from pliant.execution.write_behind import WriteBehind
from pliant.execution.writing import Write, write_atomically
from pliant.modifications.merge import open_parts
from pliant.modifications.variant import Variant, keep_base, restore
from pliant.records.identity import Json
from pliant.records.numerics import Numerics
from pliant.records.record import Measurement, Record
from pliant.records.redaction import redacted
from pliant.studies.asked import COMPARED, base_outputs
from pliant.studies.cells import CellPlan, EvaluationPlan
from pliant.studies.materials import Materials, open_materials
from pliant.studies.measure import Scene, measure
from pliant.studies.memory import does_not_fit, is_out_of_memory
from pliant.studies.own_tokenizer import check_own_tokenizer
from pliant.studies.plan import GroupPlan
from pliant.studies.variants import Bench, sharing, together, variants
from pliant.training.target_losses import planned_forward

ATTEMPTS = 2

_RESIDENT = Resident()
"""The model of this process, which measures one group after another: most are of one architecture."""


class WeightsChanged(UserError):
    """A checkpoint's weights are not those that its records were measured on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupJob:
    """Measure the cells of one checkpoint that have records missing; through `mirror` where the study is remote."""

    group: GroupPlan
    folder: Path
    numerics: Numerics
    mirror: Mirror | None = None


def measure_group(job: GroupJob, progress: Progress) -> None:
    """Write the records that the cells of `job` lack; what fails is told in the cell's run.json.

    Raises:
        UserError: the checkpoint or the data do not open, or the weights are not those of the other records.
    """
    store = Store(job.folder)
    todo = together([cell for cell in job.group.cells if missing(store, cell)])
    if not todo:
        return
    if job.numerics.shards is not None:
        from pliant.studies.sharded_group import measure_shared  # whose ranks do what is below

        measure_shared(job, todo, progress)
        return
    try:
        bench = set_up(job, store, todo)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(does_not_fit(job.group.name, job.group.parameters, job.numerics.device)) from error
    with written_behind(job) as write:
        for done, cell in enumerate(todo):
            if wanted := missing(store, cell):  # another runner may have been here meanwhile
                with write.together() as gathered:
                    attempt(bench, cell, wanted, gathered)
            progress((done + 1) / len(todo), {"cells": float(done + 1)})


def written_behind(job: GroupJob) -> WriteBehind:
    """What writes the records of `job`: into its folder, and to the remote that this mirrors."""
    return WriteBehind(job.mirror.write if job.mirror is not None else write_atomically)


def release_model() -> None:
    """Free the memory of the model that the last group of this process was measured on."""
    _RESIDENT.release()


def set_up(job: GroupJob, store: Store, todo: Sequence[CellPlan]) -> Bench:
    """Open what the cells `todo` of `job` need.

    Raises:
        UserError: the checkpoint or the data do not open, or the weights are not those of the other records.
    """
    try:
        checkpoint = _opened(job)
        materials = open_materials(job.group.materials)
        _check_vocabulary(checkpoint, materials, job.group.name)
        if job.group.first is not None:
            check_own_tokenizer(job.group.place, job.group.first, materials, job.group.name)
    except CheckpointError as error:
        raise UserError(str(error)) from error
    _check_weights(store, job.group, checkpoint.weights)
    if job.group.about is not None:
        checkpoint = replace(checkpoint, about=checkpoint.about.filled(job.group.about))
    return Bench(
        store=store,
        numerics=job.numerics,
        checkpoint=checkpoint,
        materials=materials,
        base=keep_base(checkpoint.model, checkpoint.stored),
        forward=planned_forward(checkpoint.model, job.numerics),
        partners=job.group.partners,
        sharing=sharing(todo),
        tuned={},
        fishers={},
        references={},
        gradients={},
    )


def _opened(job: GroupJob) -> Checkpoint:
    group, numerics = job.group, job.numerics
    if numerics.shards is not None:
        return open_sharded(
            group.place,
            device=torch.device(numerics.device),
            attention=numerics.attention,
            trust_remote_code=group.trust_remote_code,
        )
    checkpoint = open_parts(
        group.parts, allow_pickle=group.allow_pickle, trust_remote_code=group.trust_remote_code, into=_RESIDENT
    )
    checkpoint.model.set_attn_implementation(numerics.attention)
    checkpoint.model.to(numerics.device)
    return checkpoint


def missing(store: Store, cell: CellPlan) -> list[EvaluationPlan]:
    """The evaluations of `cell` that have no record."""
    return [evaluation for evaluation in cell.evaluations if not store.has(cell.key, evaluation.key)]


def unfinished(cells: Iterable[CellPlan], there: Mapping[str, frozenset[str]]) -> list[CellPlan]:
    """The cells that lack a record, by what a store's listing says is there."""
    nothing = frozenset[str]()
    return [c for c in cells if not all(e.key in there.get(c.key, nothing) for e in c.evaluations)]


def _check_vocabulary(checkpoint: Checkpoint, materials: Materials, name: str) -> None:
    rows = checkpoint.model.get_input_embeddings().weight.shape[0]
    if materials.tokenizer.vocabulary_size > rows:
        raise CheckpointError(
            f"{name}: the tokenizer {materials.tokenizer.name} has {materials.tokenizer.vocabulary_size:,} tokens, "
            f"the model embeds {rows:,}; set tokenizer to the one the model was trained with"
        )


def _check_weights(store: Store, group: GroupPlan, weights: str) -> None:
    """Records of a ladder member are named by its recipe; the weights they were measured on must be these."""
    for known in recorded_weights(store, group.cells):
        if known != weights:
            raise WeightsChanged(
                f"{group.name}: its weights are {weights[:19]}, its records were measured on {known[:19]}; "
                f"`pliant run {shown(store.folder)} --remeasure` sets those aside and measures again"
            )


def attempt(bench: Bench, cell: CellPlan, wanted: Sequence[EvaluationPlan], write: Write) -> None:
    """Measure what is `wanted` of one cell, a second time if the first fails; how it went is in run.json either way.

    Of processes that share the model only what the user asked fails the same in all: anything else is raised.
    """
    started, begun, error, attempts = time.time(), time.monotonic(), "", 0
    while attempts < ATTEMPTS:
        attempts += 1
        try:
            _write_records(bench, cell, wanted, write)
            error = ""
            break
        except OSError:
            raise
        except ValueError as problem:  # what the user asked cannot be had here: no second try
            error = str(problem)
            break
        except Exception as problem:  # the boundary at which a failure becomes data
            if bench.numerics.shards is not None:
                raise
            if is_out_of_memory(problem):  # the same again would do the same
                error = _smaller_batch(bench)
                break
            error = f"{type(problem).__name__}: {problem}"
        finally:
            restore(bench.checkpoint.model, bench.base)
    run: dict[str, Json] = {
        "started": started,
        "seconds": time.monotonic() - begun,
        "attempts": attempts,
        "host": platform.node(),
        "process": os.getpid(),
        "error": redacted(error),
    }
    bench.store.write_run(cell.key, run, write)


def _smaller_batch(bench: Bench) -> str:
    """What to do where memory ran out: records are of one numerics plan, so a smaller batch is another study."""
    tokens, folder = bench.numerics.evaluation_batch_tokens, bench.store.folder
    return (
        f"out of memory with {tokens:,} tokens a forward pass; start a study with fewer: "
        f"pliant run {folder / 'study.yaml'} --batch-tokens {max(1, tokens // 2)} --out {folder}-{max(1, tokens // 2)}"
    )


def _write_records(bench: Bench, cell: CellPlan, wanted: Sequence[EvaluationPlan], write: Write) -> None:
    found: dict[str, list[Measurement]] = {evaluation.key: [] for evaluation in wanted}
    details: dict[str, Json] = {}
    refused: dict[str, str] = {}
    diverged = False
    for evaluation in wanted:
        if evaluation.kind in COMPARED:
            try:
                _keep_reference(bench, evaluation)  # now, while the model holds the base
            except ValueError as problem:
                refused[evaluation.key] = str(problem)
    for variant in variants(bench, cell):
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
        bench.store.write(cell.key, evaluation.key, record, write)
    if refused:
        raise ValueError("; ".join(dict.fromkeys(refused.values())))


def _keep_reference(bench: Bench, evaluation: EvaluationPlan) -> None:
    """Make what the base puts out, once a checkpoint. The model must hold the base."""
    if evaluation.key not in bench.references:
        model, batch_tokens = bench.checkpoint.model, bench.numerics.evaluation_batch_tokens
        outputs = base_outputs(evaluation.settings, model, bench.materials, bench.forward, batch_tokens)
        bench.references[evaluation.key] = outputs


def _scene(bench: Bench, variant: Variant, evaluation: EvaluationPlan) -> Scene:
    return Scene(
        variant=variant,
        checkpoint=bench.checkpoint,
        materials=bench.materials,
        base=bench.base,
        task=evaluation.task,
        settings=evaluation.settings,
        reference=bench.references.get(evaluation.key),
        forward=bench.forward,
        batch_tokens=bench.numerics.evaluation_batch_tokens,
        half=bench.numerics.evaluation == "bfloat16",
    )


def recorded_weights(store: Store, cells: Iterable[CellPlan]) -> set[str]:
    """The fingerprints of the weights that the records of `cells` were measured on."""
    return {
        store.weights(cell.key, evaluation.key)
        for cell in cells
        for evaluation in cell.evaluations
        if store.has(cell.key, evaluation.key)
    }
