"""Forecasts of a study: one for each trajectory and kind of noise, or the reason why there is none."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pliant.report.study import group_names
from pliant.report.unit import Unit, unit_of
from pliant.statistics import Curve, Forecast, Reading, Series, SeriesKey, base_of, forecast, gather


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseCurves:
    """What one forecast takes: the base's loss and the modified loss under each strength, nats per token.

    `place` tells the trajectory and its members from the others of the study; "" where there is only one.
    """

    study: str
    trajectory: str
    place: str
    label: str
    base: Curve
    modified: Mapping[float, Curve]

    @property
    def name(self) -> str:
        return f"{self.label} · {self.place}" if self.place else self.label


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A forecast and the curves it was made from."""

    curves: NoiseCurves
    forecast: Forecast


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Curves without a forecast, and why."""

    curves: NoiseCurves
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyForecasts:
    """All forecasts of one study and the unit its losses are shown in."""

    study: str
    unit: Unit
    made: tuple[Made, ...]
    refused: tuple[Refused, ...]


def forecasts(
    readings: Iterable[Reading], *, gammas: Sequence[float] = (), scaling: str | None = None
) -> StudyForecasts:
    """Forecast T* of each of `gammas`, by default the measured ones, for every kind of noise with `scaling`.

    Raises:
        ValueError: there is no such noise among the readings, or nothing could be forecast.
    """
    rows = tuple(readings)
    found = tuple(noise_curves(rows, scaling=scaling))
    if not found:
        there = sorted({r.scaling for r in rows if r.modification == "noise" and r.scaling})
        wanted = f"noise in {scaling} scaling" if scaling else "noise"
        raise ValueError(
            f"a forecast needs {wanted}, and the study has {', '.join(there) or 'none'}; add it and run again"
        )
    made, refused = [], []
    for curves in found:
        try:
            made.append(Made(curves=curves, forecast=forecast(curves.base, curves.modified, gammas=gammas)))
        except ValueError as error:
            refused.append(Refused(curves=curves, reason=str(error)))
    if not made:
        raise ValueError("; ".join(dict.fromkeys(r.reason for r in refused)))
    return StudyForecasts(study=found[0].study, unit=unit_of(rows), made=tuple(made), refused=tuple(refused))


def noise_curves(readings: Sequence[Reading], *, scaling: str | None = None) -> Iterator[NoiseCurves]:
    """The curves of each trajectory and label of noise, in order of appearance; strength 0 is left out.

    Raises:
        ValueError: tokens are not known, or a loss and its base were measured on different tokens.
    """
    labels = {r.label for r in readings if r.modification == "noise" and scaling in (None, r.scaling)}
    if untold := next((r for r in readings if r.label in labels and r.tokens is None), None):
        raise ValueError(
            f"the token budget of checkpoint {untold.checkpoint!r} is not known; give `tokens` with each checkpoint"
        )
    series = gather(readings)
    places = group_names((k.trajectory, k.members) for k in series)
    groups: dict[tuple[str, str, str, str], dict[float, Series]] = {}
    for key, one in series.items():
        if key.label in labels and key.strength > 0 and _is_loss(key):
            groups.setdefault((key.study, key.trajectory, key.members, key.label), {})[key.strength] = one
    for (study, trajectory, members, label), strengths in groups.items():
        base = base_of(next(iter(strengths.values())).key, series)
        for one in strengths.values():
            if base is not None:
                one.sensitivity(base)  # raises where the two were measured on different tokens
        yield NoiseCurves(
            study=study,
            trajectory=trajectory,
            place=places[trajectory, members],
            label=label,
            base=base.curve() if base is not None else Curve(draws={}),
            modified={strength: strengths[strength].curve() for strength in sorted(strengths)},
        )


def _is_loss(key: SeriesKey) -> bool:
    return key.modification == "noise" and key.evaluation == "pretraining-loss" and key.metric == "loss_nats"
