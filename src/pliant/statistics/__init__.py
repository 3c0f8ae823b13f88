"""Estimates with their uncertainty. NumPy and SciPy only: nothing here reads a file or knows a model."""

from pliant.statistics.combination import at_budgets, mean_over_budgets
from pliant.statistics.contrast import contrast, contrast_over_text
from pliant.statistics.curve import Curve
from pliant.statistics.displacement import ROUGHLY, Displacement, displacement
from pliant.statistics.estimate import CONFIDENCE, Estimate, over_draws, over_seeds
from pliant.statistics.forecast import Forecast, forecast
from pliant.statistics.frontier import Frontier, frontiers
from pliant.statistics.holm import holm
from pliant.statistics.law import PerturbedLaw
from pliant.statistics.law_fit import fit_law
from pliant.statistics.matched import MatchedLearning, matched_learning
from pliant.statistics.minimum import Bounds, Minimum, SeedMinimum, locate_minimum
from pliant.statistics.more_draws import precise_draws
from pliant.statistics.precision import draws_to_precision
from pliant.statistics.price import (
    Change,
    Difference,
    Price,
    Shift,
    change,
    price,
    shift,
    shift_with_amount,
    tuned_minimum,
)
from pliant.statistics.rank import RankCorrelation, spearman
from pliant.statistics.rate_choice import Losses, middle_budget
from pliant.statistics.reading import Reading, reading, reading_fields, readings
from pliant.statistics.sensitivity import Copy, paired_draws, sensitivity
from pliant.statistics.series import Series, SeriesKey, base_of, gather
from pliant.statistics.steps import Step, Steps, steps
from pliant.statistics.sweep import Sweep, sweeps
from pliant.statistics.trend import RateTrend, rate_trend
from pliant.statistics.tuned import RatePoint, TunedRate, tune
from pliant.statistics.turning_point import TurningPoint
from pliant.statistics.verdict import Judgement, Verdict, judge

__all__ = [
    "CONFIDENCE",
    "ROUGHLY",
    "Bounds",
    "Change",
    "Copy",
    "Curve",
    "Difference",
    "Displacement",
    "Estimate",
    "Forecast",
    "Frontier",
    "Judgement",
    "Losses",
    "MatchedLearning",
    "Minimum",
    "PerturbedLaw",
    "Price",
    "RankCorrelation",
    "RatePoint",
    "RateTrend",
    "Reading",
    "SeedMinimum",
    "Series",
    "SeriesKey",
    "Shift",
    "Step",
    "Steps",
    "Sweep",
    "TunedRate",
    "TurningPoint",
    "Verdict",
    "at_budgets",
    "base_of",
    "change",
    "contrast",
    "contrast_over_text",
    "displacement",
    "draws_to_precision",
    "fit_law",
    "forecast",
    "frontiers",
    "gather",
    "holm",
    "judge",
    "locate_minimum",
    "matched_learning",
    "mean_over_budgets",
    "middle_budget",
    "over_draws",
    "over_seeds",
    "paired_draws",
    "precise_draws",
    "price",
    "rate_trend",
    "reading",
    "reading_fields",
    "readings",
    "sensitivity",
    "shift",
    "shift_with_amount",
    "spearman",
    "steps",
    "sweeps",
    "tune",
    "tuned_minimum",
]
