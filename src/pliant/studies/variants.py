"""How each theta' of a cell is made on the opened checkpoint."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pliant.checkpoints.folder import Checkpoint
from pliant.evaluation.block_gradients import block_gradients
from pliant.execution.store import Store
from pliant.modifications.finetune import FineTune, finetuned_variant
from pliant.modifications.ground import Ground
from pliant.modifications.interpolate import Interpolate, interpolated_variant
from pliant.modifications.merge import Parts, parts_weights, read_parts
from pliant.modifications.noise import Noise, noisy_variants
from pliant.modifications.prune import Prune, pruned_variant
from pliant.modifications.quantise import Quantise, quantised_variant
from pliant.modifications.sweep import in_one_sweep, sweeps_pay, swept, train_sweep
from pliant.modifications.tuned import Tuned, keep_tuned, tuned_variant
from pliant.modifications.variant import Variant
from pliant.modifications.wanda import Wanda, wanda_variant
from pliant.records.numerics import Numerics
from pliant.studies.cells import CellPlan
from pliant.studies.materials import Materials
from pliant.training.decoder import Forward

SIDE_BY_SIDE_PARAMETERS = 30_000_000
"""No wider model than 64 is trained beside others; so wide, with a vocabulary of 200,000, it has fewer."""
Training = tuple[FineTune, int]
"""A fine-tune as it is trained, with its seed: several cells may start from one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bench:
    """The opened checkpoint, what to measure it on, its partners, which cells to do share a training,
    what was trained ahead or is shared by several cells, the Fisher information of the base by the tokens it was
    estimated on, what the base puts out, by the evaluation that compares with it, and the gradients of its loss on each
    block of held-out text, by tensor, once they were asked for."""

    store: Store
    numerics: Numerics
    checkpoint: Checkpoint
    materials: Materials
    base: Mapping[str, Tensor]
    forward: Forward
    partners: Mapping[str, Parts]
    sharing: Mapping[Training, Sequence[CellPlan]]
    tuned: dict[Training, Tuned]
    fishers: dict[int, Mapping[str, Tensor]]
    references: dict[str, Sequence[Any]]
    gradients: dict[str, Tensor]


def variants(bench: Bench, cell: CellPlan) -> Iterator[Variant]:
    """Each theta' of `cell` in turn, put into the model of `bench`."""
    modification, model = cell.modification, bench.checkpoint.model
    if isinstance(modification, Noise):
        gradients = _gradients(bench) if modification.control is not None else None
        return noisy_variants(modification, model, bench.checkpoint.about, bench.base, cell.seed, gradients)
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
        return _finetuned(bench, cell, modification)
    return iter([Variant()])


def _gradients(bench: Bench) -> Mapping[str, Tensor]:
    """Made once a checkpoint. The model must hold the base."""
    if not bench.gradients:
        model, batch_tokens = bench.checkpoint.model, bench.numerics.evaluation_batch_tokens
        text, forward = bench.materials.held_out, bench.forward
        bench.gradients.update(block_gradients(model, text, forward=forward, batch_tokens=batch_tokens))
    return bench.gradients


def together(cells: Iterable[CellPlan]) -> list[CellPlan]:
    """`cells` in order, those that share a training next to one another, so that few are kept at a time."""
    groups: dict[Training | str, list[CellPlan]] = {}
    for cell in cells:
        groups.setdefault(_training(cell) or cell.key, []).append(cell)
    return [cell for group in groups.values() for cell in group]


def inseparable(cells: Iterable[CellPlan], parameters: int, numerics: Numerics) -> list[list[CellPlan]]:
    """`cells` of a model of so many `parameters`, in lots of those that share a training, or may be trained side by
    side (`sweeps_pay` tells once the model is there)."""
    stacked = parameters <= SIDE_BY_SIDE_PARAMETERS and (numerics.kernel is not None or numerics.sweep == "stacked")
    lots: dict[Training | str, list[CellPlan]] = {}
    for cell in cells:
        training = _training(cell)
        if training is not None and stacked and training[0].plain and training[0].strength:
            training = (replace(training[0], strength=0.0), training[1])
        lots.setdefault(training or cell.key, []).append(cell)
    return list(lots.values())


def sharing(cells: Iterable[CellPlan]) -> dict[Training, list[CellPlan]]:
    """The fine-tunes among `cells` by the training that they start from."""
    shared: dict[Training, list[CellPlan]] = {}
    for cell in cells:
        if (training := _training(cell)) is not None:
            shared.setdefault(training, []).append(cell)
    return shared


def _finetuned(bench: Bench, cell: CellPlan, settings: FineTune) -> Iterator[Variant]:
    model, task = bench.checkpoint.model, bench.materials.tasks[settings.task]
    mine = (settings.trained, cell.seed)
    if sweeps_pay(settings.trained, model, task, bench.numerics):
        return tuned_variant(_once(bench, cell, lambda: _sweep(bench, *mine)), settings, model, bench.base)
    ground = Ground(
        task=task,
        base=bench.base,
        text=bench.materials.training.source,
        forward=bench.forward,
        fishers=bench.fishers,
    )
    if settings.strength == 0 or len(bench.sharing[mine]) == 1:
        return finetuned_variant(settings, model, ground, cell.seed)

    def train() -> dict[Training, Tuned]:
        (variant,) = finetuned_variant(settings.trained, model, ground, cell.seed)
        return {mine: keep_tuned(variant, model)}

    return tuned_variant(_once(bench, cell, train), settings, model, bench.base)


def _training(cell: CellPlan) -> Training | None:
    return (cell.modification.trained, cell.seed) if isinstance(cell.modification, FineTune) else None


def _once(bench: Bench, cell: CellPlan, train: Callable[[], Mapping[Training, Tuned]]) -> Tuned:
    """What came of the training of `cell`, done for the first cell that shares it and forgotten after the last."""
    wanted = _training(cell)
    assert wanted is not None, "a fine-tune has a training"
    if wanted not in bench.tuned:
        bench.tuned.update(train())
    last = bench.sharing[wanted][-1]
    return bench.tuned.pop(wanted) if cell.key == last.key else bench.tuned[wanted]


def _sweep(bench: Bench, settings: FineTune, seed: int) -> dict[Training, Tuned]:
    """Every training in which the cells to do differ from `settings` in the rate alone, all at once."""
    sweep = [one for one in bench.sharing if one[1] == seed and _beside(one[0], settings)]
    task = bench.materials.tasks[settings.task]
    trained = train_sweep([one for one, _ in sweep], bench.checkpoint.model, task, seed, bench.numerics)
    return {one: swept(copy) for one, copy in zip(sweep, trained, strict=True)}


def _beside(candidate: FineTune, settings: FineTune) -> bool:
    return candidate.strength > 0 and in_one_sweep(candidate, settings)
