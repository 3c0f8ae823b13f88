"""How each theta' of a cell is made on the opened checkpoint."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pliant.checkpoints.folder import Checkpoint
from pliant.execution.store import Store
from pliant.modifications.finetune import FineTune, Ground, finetuned_variant
from pliant.modifications.interpolate import Interpolate, interpolated_variant
from pliant.modifications.merge import Parts, parts_weights, read_parts
from pliant.modifications.noise import Noise, noisy_variants
from pliant.modifications.prune import Prune, pruned_variant
from pliant.modifications.quantise import Quantise, quantised_variant
from pliant.modifications.sweep import in_one_sweep, sweeps_pay, swept_variant, train_sweep
from pliant.modifications.variant import Variant
from pliant.modifications.wanda import Wanda, wanda_variant
from pliant.records.numerics import Numerics
from pliant.studies.cells import CellPlan
from pliant.studies.materials import Materials
from pliant.training.decoder import Forward
from pliant.training.stack import Trained


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bench:
    """The opened checkpoint, what to measure it on, its partners, the cells to do, the sweeps trained so far, by cell,
    and what the base puts out, by the evaluation that compares with it."""

    store: Store
    numerics: Numerics
    checkpoint: Checkpoint
    materials: Materials
    base: Mapping[str, Tensor]
    forward: Forward
    partners: Mapping[str, Parts]
    todo: Sequence[CellPlan]
    swept: dict[str, Trained]
    references: dict[str, Sequence[Any]]


def variants(bench: Bench, cell: CellPlan) -> Iterator[Variant]:
    """Each theta' of `cell` in turn, put into the model of `bench`."""
    modification, model = cell.modification, bench.checkpoint.model
    if isinstance(modification, Noise):
        return noisy_variants(modification, model, bench.checkpoint.about, bench.base, cell.seed)
    if isinstance(modification, Quantise):
        return quantised_variant(modification, model, bench.base)
    if isinstance(modification, Prune):
        return pruned_variant(modification, model, bench.base)
    if isinstance(modification, Wanda):
        calibration = bench.materials.training.calibration(modification.calibration_tokens)
        windows = torch.from_numpy(calibration.inputs).to(model.device)
        return wanda_variant(modification, model, windows, bench.numerics.evaluation_batch_tokens)
    if isinstance(modification, Interpolate):
        parts = bench.partners[modification.partner]
        return interpolated_variant(modification, model, bench.base, read_parts(parts, model), parts_weights(parts))
    if isinstance(modification, FineTune):
        task = bench.materials.tasks[modification.task]
        if bench.numerics.sweep == "stacked" and sweeps_pay(modification, model, task):
            return swept_variant(_from_sweep(bench, cell, modification), model)
        source = bench.materials.training.source
        ground = Ground(task=task, base=bench.base, text=source, forward=bench.forward)
        return finetuned_variant(modification, model, ground, cell.seed)
    return iter([Variant()])


def _from_sweep(bench: Bench, cell: CellPlan, settings: FineTune) -> Trained:
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
