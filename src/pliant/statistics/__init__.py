"""Estimates with their uncertainty. NumPy and SciPy only: nothing here reads a file or knows a model."""

from pliant.statistics.contrast import contrast, contrast_over_text
from pliant.statistics.curve import Curve
from pliant.statistics.estimate import CONFIDENCE, Estimate, over_draws, over_seeds
from pliant.statistics.forecast import Forecast, forecast
from pliant.statistics.frontier import Frontier, frontiers
from pliant.statistics.holm import holm
from pliant.statistics.law import PerturbedLaw
from pliant.statistics.law_fit import fit_law
from pliant.statistics.matched import MatchedLearning, matched_learning
from pliant.statistics.minimum import Bounds, Minimum, SeedMinimum, locate_minimum
from pliant.statistics.more_draws import precise_draws
from pliant.statistics.rank import RankCorrelation, spearman
from pliant.statistics.reading import Reading, reading, readings
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
    "Bounds",
    "Copy",
    "Curve",
    "Estimate",
    "Forecast",
    "Frontier",
    "Judgement",
    "MatchedLearning",
    "Minimum",
    "PerturbedLaw",
    "RankCorrelation",
    "RatePoint",
    "RateTrend",
    "Reading",
    "SeedMinimum",
    "Series",
    "SeriesKey",
    "Step",
    "Steps",
    "Sweep",
    "TunedRate",
    "TurningPoint",
    "Verdict",
    "base_of",
    "contrast",
    "contrast_over_text",
    "fit_law",
    "forecast",
    "frontiers",
    "gather",
    "holm",
    "judge",
    "locate_minimum",
    "matched_learning",
    "over_draws",
    "over_seeds",
    "paired_draws",
    "precise_draws",
    "rate_trend",
    "reading",
    "readings",
    "sensitivity",
    "spearman",
    "steps",
    "sweeps",
    "tune",
]
