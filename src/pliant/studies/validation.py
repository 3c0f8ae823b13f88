"""Whether a study's losses may be measured in bfloat16: decided on its own checkpoints before it measures anything."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median

import torch

from pliant.checkpoints.weights import in_safetensors
from pliant.execution.store import Store
from pliant.modifications.noise import Noise
from pliant.modifications.variant import Variant, restore
from pliant.records.record import Measurement
from pliant.statistics.bias import bias_of
from pliant.studies.cells import CellPlan
from pliant.studies.group import GroupJob, release_model, set_up
from pliant.studies.measure import held_out_loss
from pliant.studies.plan import GroupPlan, Plan
from pliant.studies.spec import SpecError
from pliant.studies.validated import Comparison, Validation
from pliant.studies.variants import Bench, variants

DRAWS = 16
"""Of each modification, on each checkpoint."""
_WAYS = (False, True)


def validate(plan: Plan) -> Validation:
    """Measure the weakest of each modification, on the first checkpoint and the last, in fp32 and in bfloat16.

    A modification with one theta' a checkpoint is compared block by block of the held-out text.

    Raises:
        SpecError: the study trains its checkpoints itself, has none on this disk, or modifies nothing.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(plan.spec.numerics.threads)
    try:
        found = [one for group in _checkpoints(plan) for one in _compared(plan, group)]
    finally:
        torch.set_num_threads(threads)
        release_model()
    if not found:
        raise SpecError("numerics.evaluation is validated on modifications, and this study has none; leave it out")
    return Validation(
        comparisons=tuple(comparison for comparison, _ in found),
        times_as_fast=median(ratio for _, ratios in found for ratio in ratios),
    )


def _checkpoints(plan: Plan) -> list[GroupPlan]:
    if any(group.ladder is not None for group in plan.groups):
        raise SpecError(
            "numerics.evaluation is validated on checkpoints before anything is measured, and this study trains its "
            "own; leave it out, or measure the trained folders as the checkpoints of a study of their own"
        )
    here = [group for group in plan.groups if all(in_safetensors(part.folder) for part in group.parts)]
    if not here:
        raise SpecError(
            "numerics.evaluation is validated on checkpoints before anything is measured, and none is on this disk; "
            "leave it out, or fetch one first"
        )
    return here[:1] if len(here) == 1 else [here[0], here[-1]]


def _compared(plan: Plan, group: GroupPlan) -> Iterator[tuple[Comparison, list[float]]]:
    """Each modification with how much faster each of its theta' was measured."""
    chosen = list(_weakest(group))
    todo = [cell for cells, _ in chosen for cell in cells]
    numerics = replace(plan.spec.numerics, evaluation=None)
    bench = set_up(GroupJob(group=group, folder=plan.folder, numerics=numerics), Store(plan.folder), todo)
    base = _both(bench, Variant())[0]
    for cells, planned in chosen:
        copies = [(cell.seed, *copy) for cell in cells for copy in _copies(bench, cell)]
        by_draw: dict[tuple[int, int | None], list[Mapping[bool, Measurement]]] = {}
        for seed, draw, losses, _ in copies:
            by_draw.setdefault((seed, draw), []).append(losses)
        plain, half = (
            _by_unit([[losses[way] for losses in pair] for pair in by_draw.values()], base[way], planned)
            for way in _WAYS
        )
        modification = cells[0].modification
        assert modification is not None, "chosen for having one"
        yield (
            Comparison(
                checkpoint=group.name,
                label=modification.label,
                strength=modification.strength,
                bias=bias_of(plain, half, planned=planned if planned > 1 else len(plain)),
            ),
            [ratio for *_, ratio in copies],
        )


def _weakest(group: GroupPlan) -> Iterator[tuple[list[CellPlan], int]]:
    """Of each modification the cells to compare, and how many draws or seeds the study has of it at one strength."""
    by_label: dict[tuple[str, float], list[CellPlan]] = {}
    for cell in group.cells:
        if cell.modification is not None and cell.modification.strength > 0:
            by_label.setdefault((cell.modification.label, cell.modification.strength), []).append(cell)
    for label in dict.fromkeys(label for label, _ in by_label):
        cells = by_label[min(key for key in by_label if key[0] == label)]
        noise = cells[0].modification
        draws = noise.draws if isinstance(noise, Noise) else 1
        yield cells[: math.ceil(DRAWS / draws)], draws * len(cells)


def _copies(bench: Bench, cell: CellPlan) -> Iterator[tuple[int | None, Mapping[bool, Measurement], float]]:
    try:
        for variant in variants(bench, cell):
            if not variant.diverged:
                losses, ratio = _both(bench, variant)
                yield variant.draw, losses, ratio
    finally:
        restore(bench.checkpoint.model, bench.base)


def _both(bench: Bench, variant: Variant) -> tuple[Mapping[bool, Measurement], float]:
    """The loss in fp32 and in bfloat16 of what the model holds, and how much faster the second was."""
    found: dict[bool, Measurement] = {}
    seconds: dict[bool, float] = {}
    for half in _WAYS:
        begun = time.process_time()
        found[half] = held_out_loss(
            bench.checkpoint.model,
            bench.materials,
            variant,
            forward=bench.forward,
            batch_tokens=bench.numerics.evaluation_batch_tokens,
            half=half,
        )
        seconds[half] = time.process_time() - begun
    return found, seconds[False] / seconds[True]


def _by_unit(copies: Sequence[Sequence[Measurement]], base: Measurement, planned: int) -> list[float]:
    """The sensitivity of each draw or seed, its copies averaged; where there is one alone, of each block of text."""
    if planned > 1:
        return [math.fsum(copy.value for copy in pair) / len(pair) - base.value for pair in copies]
    ((only,),) = copies
    return [(a - b) / n for a, b, n in zip(only.blocks, base.blocks, only.count, strict=True)]
