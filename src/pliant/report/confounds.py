"""What else changes along the budget axis: learning rate, decay, epochs, sizes of tensors."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from pliant.report.figures_size import kind_of
from pliant.report.study import Study
from pliant.report.unit import rate
from pliant.statistics import Reading, Series

FELL = 0.9
"""A learning rate at the last checkpoint below this share of its largest counts as fallen."""
GREW = 1.1
"""Tensors whose size changes by less than this factor over the ladder count as constant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confounds:
    """The same for one trajectory and kind of member; None where it is not known.

    `learning_rates`: the largest at any checkpoint and that at the last; `tokens_per_parameter` at the first and the
    last. `matrix_growth` and `embedding_growth` are the median factors by which tensors' root mean squares change from
    first to last.
    """

    trajectory: str
    members: str
    learning_rates: tuple[float, float] | None
    annealed: bool | None
    epochs: float | None
    tokens_per_parameter: tuple[float, float] | None
    matrix_growth: float | None
    embedding_growth: float | None

    @property
    def decays(self) -> bool:
        """Whether the rate falls along the budget axis, so that budget and decay move together."""
        if self.learning_rates is None or self.annealed:
            return False
        largest, last = self.learning_rates
        return last < FELL * largest


def confounds(study: Study) -> tuple[Confounds, ...]:
    """One for each trajectory and kind of member of the study."""
    return tuple(_confounds(study, trajectory, members) for trajectory, members in study.groups)


def confound_sentences(study: Study, found: Sequence[Confounds]) -> Iterator[str]:
    """What a reader must know of them."""
    for each in found:
        place = study.places.get((each.trajectory, each.members), "")
        where = f", {place}" if place else ""
        if each.decays and each.learning_rates is not None:
            largest, last = each.learning_rates
            yield (
                f"The learning rate falls from {rate(largest)} to {rate(last)} along the budget axis{where}: tokens "
                "and decay cannot be told apart here. Checkpoints annealed to one final rate would tell, or an "
                "undecayed trunk."
            )
        grown = [
            f"{name} {'grow' if factor > 1 else 'shrink'} {max(factor, 1 / factor):.1f}x"
            for name, factor in (("matrices", each.matrix_growth), ("embeddings", each.embedding_growth))
            if factor is not None and not 1 / GREW < factor < GREW
        ]
        if grown and init_scaled(study):
            yield (
                f"From the first to the last budget {' and '.join(grown)} (median rms{where}), so noise of one "
                "absolute size (init scaling) changes its size relative to them. Compare with relative scaling before "
                "reading sensitivity as a property of learning."
            )


def _confounds(study: Study, trajectory: str, members: str) -> Confounds:
    rows = [r for r in study.checkpoints if r.trajectory == trajectory and r.members == members]
    rows.sort(key=lambda r: r.tokens or 0)
    sizes = [
        s
        for s in study.matching(evaluation="weights", metric="rms", modification="none", split=None)
        if (s.key.trajectory, s.key.members) == (trajectory, members)
    ]
    annealed = {r.annealed for r in rows}
    return Confounds(
        trajectory=trajectory,
        members=members,
        learning_rates=_largest_and_last([r.pretraining_learning_rate for r in rows]),
        annealed=annealed.pop() if len(annealed) == 1 else None,
        epochs=max((r.epochs for r in rows if r.epochs is not None), default=None),
        tokens_per_parameter=_ends([r.tokens_per_parameter for r in rows]),
        matrix_growth=_growth([s for s in sizes if kind_of(s.key.tensor or "") in ("attention", "MLP", "output head")]),
        embedding_growth=_growth([s for s in sizes if kind_of(s.key.tensor or "") == "embedding"]),
    )


def _largest_and_last(values: Sequence[float | None]) -> tuple[float, float] | None:
    known = [value for value in values if value is not None]
    return (max(known), known[-1]) if known else None


def _ends(values: Sequence[float | None]) -> tuple[float, float] | None:
    known = [value for value in values if value is not None]
    return (known[0], known[-1]) if known else None


def _growth(sizes: Sequence[Series]) -> float | None:
    factors = [factor for s in sizes if (factor := _factor(s)) is not None]
    return median(factors) if factors else None


def _factor(series: Series) -> float | None:
    mean = list(series.curve().mean().values())
    if len(mean) < 2 or not mean[0] > 0 or not math.isfinite(mean[-1]):
        return None
    return mean[-1] / mean[0]


def init_scaled(study: Study) -> bool:
    """Whether any noise has one absolute size for all checkpoints."""
    return any(r.scaling == "init" for r in study.readings)


def rates_known(readings: Sequence[Reading]) -> bool:
    """Whether the learning rate at any checkpoint is known."""
    return any(r.pretraining_learning_rate is not None for r in readings)
