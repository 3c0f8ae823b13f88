"""A forecast in words and as JSON."""

import math

from pliant.records.identity import Json
from pliant.records.units import format_tokens
from pliant.report.forecasts import Made, StudyForecasts
from pliant.report.unit import rate
from pliant.statistics import Forecast, TurningPoint
from pliant.statistics.turning_point import NOT_REACHED


def where(point: TurningPoint) -> str:
    """T* as shown: nothing that lies beyond three times the last budget is given as a number."""
    if point.reach == "not reached":
        return "not reached"
    return format_tokens(point.t_star) if math.isfinite(point.t_star) else "–"


def interval(point: TurningPoint) -> str:
    """ "[1.32M, 1.8M]", or a dash where there is none or T* is not reached."""
    if point.reach == "not reached" or not point.has_interval:
        return "–"
    return f"[{format_tokens(point.low)}, {format_tokens(point.high)}]"


def reach(point: TurningPoint, forecast: Forecast) -> str:
    """ "in range", "extrapolation", "beyond 3 T_max", ...; "exploratory" where the law does not describe the window."""
    if point.reach == "not reached":
        return f"beyond {NOT_REACHED:g} T_max" if math.isfinite(point.t_star) else point.reason
    if point.reach == "none":
        return point.reason
    return point.reach if forecast.fit.straight else f"{point.reach}, exploratory"


def found(point: TurningPoint) -> str:
    """The minimum of the measured curve and the budgets around it, where there is an interior one."""
    if not point.measured:
        return "not measured"
    if point.found is None:
        return "none in range"
    vertex = point.found
    return f"{format_tokens(vertex.tokens)} ({format_tokens(vertex.below)} to {format_tokens(vertex.above)})"


def sentence(point: TurningPoint, forecast: Forecast) -> str:
    """One gamma: "γ 0.05: T* = 1.54M [1.32M, 1.8M], in range (T*/T_max 0.12); rolling shift 0.42 %."."""
    name = f"γ {rate(point.gamma)}"
    last = format_tokens(forecast.window[1])
    if point.reach == "none":
        return f"{name}: no T*, {point.reason}."
    if point.reach == "not reached":
        why = f" ({point.reason})" if point.reason else ""
        low = f"; the interval begins at {format_tokens(point.low)}" if point.has_interval else ""
        return f"{name}: not reached: T* lies beyond {NOT_REACHED:g} x {last}{why}{low}."
    shift = f"; rolling shift {_percent(point.shift)}" if math.isfinite(point.shift) else ""
    spread = f" {interval(point)}" if point.has_interval else ""
    why = f"; {point.reason}" if point.reason else ""
    return f"{name}: T* = {where(point)}{spread}, {point.reach} (T*/T_max {point.ratio:.2f}){shift}{why}."


def fit_words(forecast: Forecast) -> str:
    """Window, points dropped, curvature z, chi2/dof, exponents, seeds."""
    fit, law = forecast.fit, forecast.fit.law
    first, last = (format_tokens(tokens) for tokens in forecast.window)
    dropped = ", ".join(format_tokens(tokens) for tokens in fit.dropped) or "none"
    chi2 = f"{fit.chi2_per_dof:.1f}" if math.isfinite(fit.chi2_per_dof) else "not testable"
    seeds = len(forecast.seeds)
    return (
        f"Window {first} to {last}, {len(fit.points.budgets)} budgets; dropped at the start: {dropped}; "
        f"curvature z {_signed(fit.curvature_z)}, chi2/dof {chi2}; "
        f"α + β = {law.alpha + law.beta:.2f} (two-layer linear theory: 1; depth N: 2/N); "
        f"{seeds} pre-training seed{'s' if seeds > 1 else ''}; {greek(forecast.summary)}."
    )


def remarks(forecast: Forecast) -> tuple[str, ...]:
    """How the interval was made, and what to know before believing the forecast."""
    return tuple(greek(note) for note in (forecast.interval_method, *forecast.notes))


def greek(text: str) -> str:
    """Plain names as the pages show them."""
    return text.replace("gamma^2", "γ²").replace("gamma", "γ").replace("alpha", "α").replace("beta", "β")


def to_json(study: StudyForecasts) -> Json:
    """Everything of the table and the statement; tokens as numbers, null for what there is not."""
    return {
        "study": study.study,
        "forecasts": [_made(made) for made in study.made],
        "refused": [{"label": r.curves.label, "trajectory": r.curves.place, "reason": r.reason} for r in study.refused],
    }


def _made(made: Made) -> Json:
    forecast = made.forecast
    fit, law = forecast.fit, forecast.fit.law
    return {
        "label": made.curves.label,
        "trajectory": made.curves.place,
        "seeds": list(forecast.seeds),
        "conditional": forecast.conditional,
        "summary": forecast.summary,
        "window": list(forecast.window),
        "budgets": len(fit.points.budgets),
        "dropped": list(fit.dropped),
        "beyond_limit": list(forecast.beyond_limit),
        "curvature_z": _number(fit.curvature_z),
        "chi2_per_dof": _number(fit.chi2_per_dof),
        "law_fits": fit.straight,
        "law": {
            "E_nats": _number(law.floor),
            "A": _number(law.amplitude),
            "alpha": law.alpha,
            "B": _number(law.cost),
            "beta": law.beta,
        },
        "confidence": forecast.confidence,
        "interval_method": forecast.interval_method,
        "notes": list(forecast.notes),
        "turning_points": [_point(point) for point in forecast.turning_points],
    }


def _point(point: TurningPoint) -> Json:
    vertex = point.found
    return {
        "gamma": point.gamma,
        "t_star": _number(point.t_star),
        "low": _number(point.low),
        "high": _number(point.high),
        "log_standard_error": _number(point.standard_error),
        "rolling_shift": _number(point.shift),
        "ratio_to_last": _number(point.ratio),
        "reach": point.reach,
        "reason": point.reason,
        "measured": point.measured,
        "found": {"tokens": vertex.tokens, "lowest": vertex.lowest, "between": [vertex.below, vertex.above]}
        if vertex
        else None,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _percent(log_shift: float) -> str:
    return f"{100 * math.expm1(log_shift):.2g}\u00a0%" if log_shift < 1 else f"x {math.exp(log_shift):.2g}"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")
