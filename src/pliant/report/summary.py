"""Tables as one structured account: verdict sentences, findings with intervals, caveats."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass

from pliant.execution.table import Table
from pliant.records.identity import Json
from pliant.records.units import MARGIN_NATS, format_tokens
from pliant.report.advice import Advice, advise
from pliant.report.benchmarks import BenchmarkRow, benchmark_rows
from pliant.report.caveats import caveats
from pliant.report.confirmation import Confirmation, confirmations
from pliant.report.confounds import Confounds, confounds
from pliant.report.densities import DensityRow, density_rows
from pliant.report.finding import Finding, find
from pliant.report.methods import MethodTable, method_tables
from pliant.report.movement import Movement, movements
from pliant.report.repeats import StepsTable, steps_tables
from pliant.report.reuse import Reuse, reuses
from pliant.report.sentences import FEW_SEEDS, base_sentences, fixed_rate_sentences, interpolated, noise_sentences
from pliant.report.study import Study, capital, open_study, phrase
from pliant.report.tuning import SweepTrend, sweep_trends
from pliant.report.unit import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySummary:
    """What one study says. `headline` is one line, `advice` the verdict for each target; `base`, `noise`,
    `tuning` and `fixed_rates` are sentences on what was measured of each. `reuses` says what tuning the rate once
    costs, `methods` the price of other ways of fine-tuning, `steps` what longer does, `movements` how far weights went.

    `scope` says what was measured: runs, budgets, tokens per parameter.
    """

    study: str
    seeds: tuple[int, ...]
    budgets: tuple[float, ...]
    unit: Unit
    headline: str
    scope: str
    margin: float
    advice: tuple[Advice, ...]
    confirmations: tuple[Confirmation, ...]
    confounds: tuple[Confounds, ...]
    tuning: tuple[str, ...]
    trends: tuple[SweepTrend, ...]
    base: tuple[str, ...]
    noise: tuple[str, ...]
    fixed_rates: tuple[str, ...]
    reuses: tuple[Reuse, ...]
    methods: tuple[MethodTable, ...]
    steps: tuple[StepsTable, ...]
    movements: tuple[Movement, ...]
    findings: tuple[Finding, ...]
    benchmarks: tuple[BenchmarkRow, ...]
    densities: tuple[DensityRow, ...]
    caveats: tuple[str, ...]
    missing: int
    failed: int

    @property
    def short(self) -> tuple[str, ...]:
        """What to say first: the advice, or what there is as long as nothing was modified."""
        return tuple(advice.words for advice in self.advice if not advice.aside) or self.base


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The same account for terminal, HTML and `--json`."""

    studies: tuple[StudySummary, ...]

    def to_json(self) -> Json:
        """Plain JSON; numbers that do not exist (an interval of one value) are null."""
        return _plain(self)


def summarise(tables: Sequence[Table], *, margin: float = MARGIN_NATS) -> Summary:
    """A summary of each study.

    Raises:
        ValueError: a modified and a base loss were measured on different tokens.
    """
    return Summary(studies=tuple(summarise_study(open_study(table), margin=margin) for table in tables))


def summarise_study(study: Study, *, margin: float = MARGIN_NATS) -> StudySummary:
    """The summary of a study that is already open."""
    findings = find(study, margin)
    trends = sweep_trends(study)
    confirmed = confirmations(study)
    reused = reuses(study)
    return StudySummary(
        study=study.name,
        seeds=study.seeds,
        budgets=tuple(sorted({float(r.tokens) for r in study.checkpoints if r.tokens is not None})),
        unit=study.unit,
        headline=_headline(findings, len(study.seeds)),
        scope=_scope(study),
        margin=margin,
        advice=advise(study, findings, confirmed),
        confirmations=confirmed,
        confounds=confounds(study),
        tuning=_tuning(study, trends, reused),
        trends=trends,
        base=base_sentences(study, findings),
        noise=noise_sentences(study, findings),
        fixed_rates=fixed_rate_sentences(study, findings),
        reuses=reused,
        methods=method_tables(study),
        steps=steps_tables(study),
        movements=movements(study),
        findings=findings,
        benchmarks=benchmark_rows(study),
        densities=density_rows(study),
        caveats=caveats(study, findings),
        missing=study.table.missing,
        failed=len(study.table.failed),
    )


def _tuning(study: Study, trends: Sequence[SweepTrend], reused: Sequence[Reuse]) -> tuple[str, ...]:
    """The trend of each main sweep, and what tuning it once would have cost."""
    costs = {(r.trajectory, r.members, r.label): f" {capital(r.words)}." for r in reused}
    return tuple(
        f"{trend.words}{costs.get((trend.trajectory, trend.members, trend.label), '')}"
        for trend in trends
        if trend.label not in study.aside
    )


def _scope(study: Study) -> str:
    n = len(study.seeds)
    runs = f"{n} pre-training run{'' if n == 1 else 's'}"
    tokens = sorted({r.tokens for r in study.checkpoints if r.tokens is not None})
    if not tokens:
        return runs
    ratios = sorted({r.tokens_per_parameter for r in study.checkpoints if r.tokens_per_parameter is not None})
    each = f" ({ratios[0]:,.0f} to {ratios[-1]:,.0f} per parameter)" if ratios else ""
    span = f"{format_tokens(tokens[0])} to {format_tokens(tokens[-1])} tokens{each}"
    return f"{runs}; {len(tokens)} budgets, {span}"


def _headline(findings: Sequence[Finding], runs: int) -> str:
    """How many curves are worse at the last budget; a tuned one counts only if interpolation agrees."""
    if not any(f.modification != "none" for f in findings):
        return "No modification has been measured at two or more budgets throughout a run yet."
    kinds = (
        ("after fine-tuning at the tuned rate", [f for f in findings if f.rate == "tuned" and f.primary]),
        *(
            (f"under {phrase(name)}", [f for f in findings if f.modification == name])
            for name in dict.fromkeys(f.modification for f in findings if f.direct)
        ),
        ("at fixed rates", [f for f in findings if f.modification == "fine-tune" and f.rate == "fixed"]),
    )
    counts = [_count(group, what, findings) for what, group in kinds if group]
    start = f"Only {runs} run{'' if runs == 1 else 's'}. " if runs < FEW_SEEDS else ""
    return f"{start}Worse at the last budget than at an earlier one: {', '.join(counts)}."


def _count(group: Sequence[Finding], what: str, findings: Sequence[Finding]) -> str:
    worse = sum(_worse(f) and _agrees(f, findings) for f in group)
    here = " in this run" if group[0].judgement.conditional else ""
    return f"{worse} of {len(group)} curves {what}{here}"


def _agrees(finding: Finding, findings: Sequence[Finding]) -> bool:
    other = interpolated(finding, findings) if finding.rate == "tuned" else None
    return other is None or _worse(other)


def _worse(finding: Finding) -> bool:
    return finding.judgement.verdict == "worse"


def _plain(value: object) -> Json:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form: {value!r}")
