"""Learning-rate grids that end where the best rate still lies at their edge, made longer."""

from collections.abc import Collection, Mapping

from pliant.studies.modification_spec import FineTuneSpec, ModificationSpec
from pliant.studies.spec import StudySpec

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
    if tuning is None:
        return entry
    wanted = {end for m in tuning.modifications() for end in ends.get(m.label, ())}
    added = (*tuning.added_rates, *_more(tuning, wanted))
    return entry.model_copy(update={"fine_tune": tuning.model_copy(update={"added_rates": added})})


def keep_added(spec: StudySpec, before: StudySpec) -> StudySpec:
    """`spec` with the rates that were added to the same entries of `before`, which its folder holds."""
    known = {
        _bare(e).model_dump_json(): e.fine_tune.added_rates for e in before.modifications if e.fine_tune is not None
    }
    return spec.model_copy(update={"modifications": tuple(_with_added(entry, known) for entry in spec.modifications)})


def _with_added(entry: ModificationSpec, known: Mapping[str, tuple[float, ...]]) -> ModificationSpec:
    tuning = entry.fine_tune
    if tuning is None:
        return entry
    added = tuple(dict.fromkeys((*known.get(_bare(entry).model_dump_json(), ()), *tuning.added_rates)))
    return entry.model_copy(update={"fine_tune": tuning.model_copy(update={"added_rates": added})})


def _bare(entry: ModificationSpec) -> ModificationSpec:
    tuning = entry.fine_tune
    if tuning is None:
        return entry
    return entry.model_copy(update={"fine_tune": tuning.model_copy(update={"added_rates": ()})})


def _more(tuning: FineTuneSpec, wanted: Collection[str]) -> tuple[float, ...]:
    rates = sorted(rate for rate in (*tuning.learning_rates, *tuning.added_rates) if rate > 0)
    if len(rates) < 2:
        return ()
    up, down = rates[-1] / rates[-2], rates[1] / rates[0]
    high = [_rounded(rates[-1] * up ** (i + 1)) for i in range(MORE_RATES)] if "high" in wanted else []
    low = [_rounded(rates[0] / down ** (i + 1)) for i in range(MORE_RATES)] if "low" in wanted else []
    return (*(rate for rate in high if rate <= LARGEST_RATE), *low)


def _rounded(rate: float) -> float:
    """Four significant digits, as people write rates."""
    return float(f"{rate:.4g}")
