"""One study opened for reporting: its readings, series, sweeps and unit, computed once."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pliant.execution.table import Table
from pliant.records.units import format_tokens
from pliant.report.figure import FEWEST_TOKENS
from pliant.report.unit import Unit, strength_words, unit_of
from pliant.statistics import Minimum, Reading, Series, SeriesKey, Sweep, gather, reading_fields, sweeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What every part of a report reads. `members` of a trajectory: annealed, undecayed trunk, or unknown.

    `checkpoints` has one reading of each checkpoint, for what is known of these.
    """

    table: Table
    readings: tuple[Reading, ...]
    checkpoints: tuple[Reading, ...]
    series: Mapping[SeriesKey, Series]
    sweeps: tuple[Sweep, ...]
    unit: Unit

    @property
    def name(self) -> str:
        return self.table.study

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({r.run for r in self.checkpoints}))

    @property
    def direct(self) -> tuple[str, ...]:
        """The modifications that change weights without training, in order of appearance: noise, ..."""
        found = dict.fromkeys(key.modification for key in self.series)
        return tuple(name for name in found if name not in ("none", "fine-tune"))

    @property
    def groups(self) -> tuple[tuple[str, str], ...]:
        """(trajectory, members), in order of appearance."""
        return tuple(dict.fromkeys((key.trajectory, key.members) for key in self.series))

    @property
    def aside(self) -> frozenset[str]:
        """The fine-tuning labels that stand beside the main one of their task: the first that is plain, if any is."""
        main: dict[str, str] = {}
        for sweep in sorted(self.sweeps, key=lambda s: s.method is not None):
            main.setdefault(sweep.task, sweep.label)
        return frozenset(sweep.label for sweep in self.sweeps if sweep.label != main[sweep.task])

    @property
    def places(self) -> dict[tuple[str, str], str]:
        """(trajectory, members) -> what tells it from the others of this study."""
        return group_names(self.groups)

    def matching(
        self, *, evaluation: str, metric: str, modification: str | None = None, split: str | None = "test"
    ) -> Iterator[Series]:
        """The series of one quantity, strengths rising within a label."""
        found = [
            s
            for k, s in self.series.items()
            if k.evaluation == evaluation
            and k.metric == metric
            and modification in (None, k.modification)
            and split in (None, k.split)
        ]
        order = {key: place for place, key in enumerate(dict.fromkeys(_family(s.key) for s in found))}
        yield from sorted(found, key=lambda s: (order[_family(s.key)], s.key.strength))


def _family(key: SeriesKey) -> tuple[str, ...]:
    return (key.trajectory, key.members, key.label, key.task or "", key.tensor or "")


_CHECKPOINT = reading_fields(
    *("trajectory", "checkpoint", "tokens", "tokens_per_parameter", "pretraining_seed", "annealed", "line"),
    *("pretraining_learning_rate", "epochs"),
)


def open_study(table: Table) -> Study:
    """Read the rows of `table` once."""
    found = table.readings()
    checkpoints = {_CHECKPOINT(r): r for r in found}
    return Study(
        table=table,
        readings=found,
        checkpoints=tuple(checkpoints.values()),
        series=gather(found),
        sweeps=sweeps(found),
        unit=unit_of(found),
    )


def group_names(groups: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """(trajectory, members) -> what tells it from the others: nothing where there is only one.

    {("wsd", "annealed"), ("wsd", "undecayed trunk")} are called "annealed" and "undecayed trunk".
    """
    distinct = list(dict.fromkeys(groups))
    several = len({trajectory for trajectory, _ in distinct}) > 1
    mixed = len({members for _, members in distinct}) > 1
    return {
        (trajectory, members): ", ".join(
            part for part, told in ((trajectory, several), (members, mixed)) if told and part
        )
        for trajectory, members in distinct
    }


def budget_name(budget: float, names: Mapping[float, str]) -> str:
    """Tokens as people write them; the checkpoint's name where the budget is only its place."""
    return format_tokens(budget) if budget >= FEWEST_TOKENS else names.get(budget, f"{budget:g}")


def span_name(minimum: Minimum, names: Mapping[float, str]) -> str:
    """The budgets that may be lowest: "820K–3.28M", "≥ 1.64M" or "≤ 819K" at an end of the range, "any"."""
    low, high = minimum.interval
    if not low and high == math.inf:
        return "any"
    if not low:
        return f"≤ {budget_name(high, names)}"
    if high == math.inf:
        return f"≥ {budget_name(low, names)}"
    first, last = budget_name(low, names), budget_name(high, names)
    return first if low == high else f"{first}–{last}"


_NOUNS = {
    "fine-tune": "fine-tuning",
    "quantise": "quantisation",
    "prune": "pruning",
    "merge": "merging",
    "interpolate": "interpolation",
}


def phrase(label: str) -> str:
    """A label inside a sentence: "fine-tune python" -> "fine-tuning on python", "prune, ..." -> "pruning, ..."."""
    if label.startswith("fine-tune "):
        return f"fine-tuning on {label.removeprefix('fine-tune ')}"
    verb = label.split(" ")[0].rstrip(",")
    return _NOUNS.get(verb, verb) + label[len(verb) :]


def modification_name(modification: str, label: str, strength: float) -> str:
    """ "noise, init scaling γ 0.05", "quantisation, per channel, 8 bits"; for the base "no modification"."""
    if modification == "none":
        return "no modification"
    return f"{phrase(label)}{' ' if modification == 'noise' else ', '}{strength_words(modification, strength)}"


def capital(text: str) -> str:
    """The first letter large, the others as they are."""
    return text[:1].upper() + text[1:]
