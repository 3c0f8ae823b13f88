"""What a study adds to itself as it learns: rates where a grid ends too soon, draws where an interval is too wide."""

import math
from collections.abc import Collection, Iterable, Mapping

from pliant.studies.modification_spec import AddedDraws, FineTuneSpec, ModificationSpec
from pliant.studies.spec import SpecError, StudySpec

MORE_RATES = 3
LARGEST_RATE = 1.0
"""Nothing is learned beyond: AdamW moves every weight by about the rate at each step."""


def extend_grids(spec: StudySpec, ends: Mapping[str, Collection[str]]) -> StudySpec:
    """`spec` with `MORE_RATES` rates added at each end ("low", "high") named for a fine-tuning label.

    New rates go on in the ratio of the last two of that end, up to `LARGEST_RATE`; what was measured stays.
    """
    return spec.model_copy(update={"modifications": tuple(_extended(entry, ends) for entry in spec.modifications)})


def _extended(entry: ModificationSpec, ends: Mapping[str, Collection[str]]) -> ModificationSpec:
    tuning = entry.fine_tune
    if tuning is None or tuning.search is not None:
        return entry  # a search goes past the ends by itself
    wanted = {end for label in tuning.labels() for end in ends.get(label, ())}
    added = (*tuning.added_rates, *_more(tuning, wanted))
    return entry.model_copy(update={"fine_tune": tuning.model_copy(update={"added_rates": added})})


def add_draws(spec: StudySpec, needed: Mapping[tuple[str, float], int]) -> StudySpec:
    """`spec` with the blocks of draws added that bring the noise (label, strength) up to its number of draws `needed`.

    An entry of several strengths grows as its neediest.
    """
    return spec.model_copy(update={"modifications": tuple(_with_draws(e, needed) for e in spec.modifications)})


def _with_draws(entry: ModificationSpec, needed: Mapping[tuple[str, float], int]) -> ModificationSpec:
    noise = entry.noise
    if noise is None:
        return entry
    wanted = max(needed.get((m.label, m.strength), 0) for m in noise.modifications())
    added = max(noise.added_blocks, math.ceil(wanted / noise.draws) - noise.blocks)
    return entry.model_copy(update={"noise": noise.model_copy(update={"added_blocks": added})})


def with_precision(spec: StudySpec, asked: str) -> StudySpec:
    """`spec` whose noise is drawn on until intervals are as narrow as `asked`: "0.005" in nats per token, "5%" a share
    of each sensitivity.

    Raises:
        SpecError: another text, or a study without noise.
    """
    if not any(entry.noise is not None for entry in spec.modifications):
        raise SpecError(f"--precision {asked} has no effect: {spec.study} asks for no noise; leave it out")
    share = asked.endswith("%")
    try:
        amount = float(asked.removesuffix("%")) / (100 if share else 1)
    except ValueError:
        amount = math.nan
    if not 0 < amount < (1 if share else math.inf):
        raise SpecError(
            f"--precision is nats per token, like 0.005, or a share of each sensitivity, like 5%; got {asked}"
        )
    target = {"precision": amount if share else None, "half_width": None if share else amount}
    return spec.model_copy(update={"modifications": tuple(_with_target(e, target) for e in spec.modifications)})


def _with_target(entry: ModificationSpec, target: Mapping[str, float | None]) -> ModificationSpec:
    if entry.noise is None:
        return entry
    noise = type(entry.noise).model_validate({**entry.noise.model_dump(), **target})
    return entry.model_copy(update={"noise": noise})


def keep_added(spec: StudySpec, before: StudySpec) -> StudySpec:
    """`spec` with the rates and draws that were added to the same entries of `before`, which its folder holds."""
    known = {bare(entry).model_dump_json(): entry for entry in before.modifications}
    kept = (_with_added(entry, known.get(bare(entry).model_dump_json(), entry)) for entry in spec.modifications)
    return spec.model_copy(update={"modifications": tuple(kept)})


def _with_added(entry: ModificationSpec, before: ModificationSpec) -> ModificationSpec:
    if entry.fine_tune is not None and before.fine_tune is not None:
        tuned: dict[str, object] = {
            "added_rates": tuple(dict.fromkeys((*before.fine_tune.added_rates, *entry.fine_tune.added_rates))),
            "searched": tuple(dict.fromkeys((*before.fine_tune.searched, *entry.fine_tune.searched))),
        }
        return entry.model_copy(update={"fine_tune": entry.fine_tune.model_copy(update=tuned)})
    if entry.noise is not None and before.noise is not None:
        blocks = max(before.noise.added_blocks, entry.noise.added_blocks)
        update = {"added_blocks": blocks, "added": merged(before.noise.added, entry.noise.added)}
        return entry.model_copy(update={"noise": entry.noise.model_copy(update=update)})
    return entry


def bare(entry: ModificationSpec) -> ModificationSpec:
    """The entry as it was asked for, without what was added and how much of it is to be done."""
    if entry.fine_tune is not None:
        plain = {"added_rates": (), "searched": (), "search": None}
        return entry.model_copy(update={"fine_tune": entry.fine_tune.model_copy(update=plain)})
    if entry.noise is not None:
        update = {"added_blocks": 0, "added": (), "precision": None, "half_width": None, "most": None}
        return entry.model_copy(update={"noise": entry.noise.model_copy(update=update)})
    return entry


def merged(before: Iterable[AddedDraws], more: Iterable[AddedDraws]) -> tuple[AddedDraws, ...]:
    """One entry for each checkpoint and strength, the one of more blocks: what was added stays."""
    kept: dict[tuple[str, str, int | None, float], AddedDraws] = {}
    for one in (*before, *more):
        if one.place not in kept or one.blocks > kept[one.place].blocks:
            kept[one.place] = one
    return tuple(kept.values())


def further_rates(rates: Collection[float], number: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """`number` rates below and above `rates`, each rising, in the ratio of the last two of that end.

    None above `LARGEST_RATE`, and none where fewer than two rates above 0 are given.
    """
    rising = sorted(rate for rate in rates if rate > 0)
    if len(rising) < 2:
        return (), ()
    up, down = rising[-1] / rising[-2], rising[1] / rising[0]
    high = [_rounded(rising[-1] * up ** (i + 1)) for i in range(number)]
    low = [_rounded(rising[0] / down ** (i + 1)) for i in range(number)]
    return tuple(reversed(low)), tuple(rate for rate in high if rate <= LARGEST_RATE)


def _more(tuning: FineTuneSpec, wanted: Collection[str]) -> tuple[float, ...]:
    low, high = further_rates((*tuning.learning_rates, *tuning.added_rates), MORE_RATES)
    return (*(high if "high" in wanted else ()), *(reversed(low) if "low" in wanted else ()))


def _rounded(rate: float) -> float:
    """Four significant digits, as people write rates."""
    return float(f"{rate:.4g}")
