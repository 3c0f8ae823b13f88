"""The figure of a forecast as plain data: measured points, the law with its band, T*."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pliant.records.identity import Json
from pliant.records.units import format_tokens
from pliant.report.forecast_words import sentence
from pliant.report.forecasts import Made
from pliant.report.unit import Unit, rate
from pliant.statistics import Curve, Forecast, TurningPoint
from pliant.statistics.turning_point import NOT_REACHED

_STEPS = 120
_ROOM = 0.2
"""Of the range of the fitted values, left free above and below them."""
_ERRORS = 2.0
"""Half-width of the band in standard errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Series:
    """One gamma: measured (tokens, loss) and whether each was fitted; the law inside and beyond the window; T*."""

    point: TurningPoint
    measured: tuple[tuple[float, float], ...]
    used: tuple[bool, ...]
    line: list[Json]
    ahead: list[Json]
    height: float
    text: str

    @property
    def heights(self) -> list[float]:
        """Losses that the frame must hold."""
        fitted = [y for (_, y), used in zip(self.measured, self.used, strict=True) if used]
        return [*fitted, self.height] if math.isfinite(self.height) else fitted

    def to_json(self, tone: float, last: float) -> Json:
        point, given = self.point, math.isfinite(self.height)
        return {
            "name": f"γ {rate(point.gamma)}",
            "tone": tone,
            "points": [list(pair) for pair in self.measured],
            "used": list(self.used),
            "line": self.line,
            "ahead": self.ahead,
            "star": [point.t_star, self.height] if given else None,
            "span": [point.low, point.high] if given and point.has_interval else None,
            "ahead_star": point.t_star > last,
            "text": self.text,
        }


def figure(made: Made, unit: Unit) -> Json:
    """Loss over tokens for each gamma, in `unit`; x runs past the last budget as far as forecasts are given."""
    forecast, base = made.forecast, made.curves.base
    budgets = [float(budget) for budget in forecast.gaps.budgets]
    window = forecast.window
    points = [p for p in forecast.turning_points if p.reach != "none"]
    far = NOT_REACHED * window[1]
    given = [min(far, max(1.15 * p.t_star, 1.02 * p.high)) for p in points if p.t_star <= far and p.has_interval]
    end = max([budgets[-1], *given])
    series = [_series(made, point, end, unit) for point in points]
    heights = [y for one in series for y in one.heights] + [y for _, y in _measured(base, unit)]
    low, high = min(heights), max(heights)
    return {
        "unit": unit.name,
        "x": [math.log10(budgets[0]) - 0.06, math.log10(end) + 0.06],
        "y": [low - _ROOM * (high - low), high + _ROOM * (high - low)],
        "window": list(window),
        "ticks": [[tokens, format_tokens(tokens)] for tokens in (*budgets, *_beyond(budgets[-1], end))],
        "base": {
            "points": [list(pair) for pair in _measured(base, unit)],
            "line": _line(forecast, 0.0, window, unit),
            "ahead": _line(forecast, 0.0, (window[1], end), unit),
        },
        "series": [one.to_json(k / max(1, len(series) - 1), window[1]) for k, one in enumerate(series)],
    }


def _series(made: Made, point: TurningPoint, end: float, unit: Unit) -> _Series:
    forecast, gamma = made.forecast, point.gamma
    first, last = forecast.window
    measured = _measured(made.curves.modified.get(gamma, Curve(draws={})), unit)
    given = point.reach != "not reached"
    height = float(forecast.fit.law.predict(np.array([point.t_star]), gamma)[0]) * unit.factor if given else math.nan
    inside = _within_limit(forecast, gamma)
    return _Series(
        point=point,
        measured=measured,
        used=tuple(first <= tokens <= last and tokens in inside for tokens, _ in measured),
        line=_line(forecast, gamma, (first, last), unit),
        ahead=_line(forecast, gamma, (last, end), unit),
        height=height,
        text=sentence(point, forecast),
    )


def _within_limit(forecast: Forecast, gamma: float) -> set[float]:
    """Budgets at which the gap of `gamma` was small enough to be used."""
    gaps = forecast.gaps
    rows = [mean for own, mean in zip(gaps.gammas, gaps.means, strict=True) if own == gamma]
    return {float(b) for mean in rows for b, gap in zip(gaps.budgets, mean, strict=True) if np.isfinite(gap)}


def _measured(curve: Curve, unit: Unit) -> tuple[tuple[float, float], ...]:
    return tuple((budget, value * unit.factor) for budget, value in curve.mean().items())


def _line(forecast: Forecast, gamma: float, ends: Sequence[float], unit: Unit) -> list[Json]:
    """[tokens, law, low, high], while the law's gap stays within twice the limit; nothing over an empty range."""
    if ends[1] <= ends[0]:
        return []
    law = forecast.fit.law
    T = np.geomspace(ends[0], ends[1], _STEPS)
    value, error = law.predict(T, gamma), law.predict_se(T, gamma)
    near = value - law.predict(T) <= 2 * forecast.gaps.limit
    rows = np.column_stack([T, *((value + k * error) * unit.factor for k in (0.0, -_ERRORS, _ERRORS))])[near]
    return [[float(f"{number:.6g}") for number in row] for row in rows.tolist()]


def _beyond(last: float, end: float) -> list[float]:
    """Doublings of the last budget up to the end of the axis."""
    return [last * 2.0**k for k in range(1, 1 + int(math.log2(end / last)))]
