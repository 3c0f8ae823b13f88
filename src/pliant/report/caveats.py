"""What a reader must know before believing a finding."""

from collections.abc import Iterator, Sequence

from pliant.report.confounds import confound_sentences, confounds, init_scaled, rates_known
from pliant.report.finding import Finding, unjudged
from pliant.report.methods import unpriced
from pliant.report.sentences import FEW_SEEDS, strength_name
from pliant.report.study import Study, budget_name, capital, phrase
from pliant.statistics import Series, Sweep, base_of


def caveats(study: Study, findings: Sequence[Finding]) -> tuple[str, ...]:
    """Unfinished cells first, then few seeds, confounds and grid edges."""
    return (
        *_unfinished(study),
        *_left_out(study, findings),
        *_bases(study),
        *(f"{note}." for note in study.table.notes),
        *_order(study),
        *_seeds(study),
        *_confounds(study),
        *_all_diverged(study),
        *_grids(study),
        *_unpriced(study),
    )


def _unfinished(study: Study) -> Iterator[str]:
    table = study.table
    if table.missing:
        yield f"{table.missing} records are not there yet; what follows uses the ones that are."
    if table.failed:
        yield f"{len(table.failed)} cells failed and are not in any number here; `pliant ls` names them."
    diverged = len({r.cell for r in study.readings if r.status == "diverged"})
    if diverged:
        points = "cell" if diverged == 1 else "cells"
        yield f"{diverged} {points} diverged (no finite loss). They count as results, and enter no mean."


def _seeds(study: Study) -> Iterator[str]:
    n = len(study.seeds)
    if n == 1:
        yield "One pre-training run: intervals are over its draws or text and hold for this run only."
    elif n < FEW_SEEDS:
        yield f"Only {n} pre-training runs: intervals over them are very wide."


def _confounds(study: Study) -> Iterator[str]:
    yield from confound_sentences(study, confounds(study))
    kinds = {r.annealed for r in study.checkpoints}
    if kinds == {None} and not rates_known(study.checkpoints):
        yield (
            "Neither whether these checkpoints had their learning rate decayed nor the rate at them is known: "
            "budget and remaining learning rate may rise and fall together."
        )
    if False in kinds and True in kinds:
        yield "Annealed and trunk members are kept apart: decay by itself changes base loss and sensitivity."
    if len({r.trajectory for r in study.checkpoints}) == 1 and study.table.settings and init_scaled(study):
        yield "One recipe only: without the weight-decay-0 control nothing here says what causes an effect."
    if (most := max((r.epochs or 0.0 for r in study.checkpoints), default=0.0)) > 1:
        yield f"The longest run saw its text {most:.2g} times: past one epoch, repetition grows with budget."


def _left_out(study: Study, findings: Sequence[Finding]) -> Iterator[str]:
    """What was measured and is in no curve, or in fewer than its label suggests."""
    partial: dict[tuple[int, ...], list[str]] = {}
    for finding in findings:
        if finding.left_out:
            partial.setdefault(finding.left_out, []).append(strength_name(finding))
    for seeds, names in partial.items():
        which = f"Run{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
        yield f"{which} not measured at every budget, left out of {_few(names)}."
    if skipped := unjudged(study):
        yield f"Not judged, because no run was measured at two or more budgets throughout: {_few(skipped)}."
    based = {(s.key.trajectory, s.key.members) for s in study.matching(
        evaluation="pretraining-loss", metric="loss_nats", modification="none"
    )}  # fmt: skip
    if missing := [place for place in study.groups if place not in based]:
        where = ", ".join(filter(None, (study.places[place] for place in missing)))
        what = f"No base loss was given{f' for {where}' if where else ''}"
        yield f"{what}: losses are judged, sensitivities are not known."


def _bases(study: Study) -> Iterator[str]:
    """Budgets with a modified loss and no base loss: the sensitivities there are not known."""
    for series in _direct_and_tuned(study):
        base = base_of(series.key, study.series)
        if base is not None and (lacking := sorted(set(series.points) - set(base.points))):
            budgets = ", ".join(dict.fromkeys(budget_name(budget, series.names) for _, budget in lacking))
            yield f"No base loss at {budgets}: sensitivity and its rank correlation leave that out."
            return


def _direct_and_tuned(study: Study) -> Iterator[Series]:
    for modification in (*study.direct, "fine-tune"):
        yield from study.matching(evaluation="pretraining-loss", metric="loss_nats", modification=modification)


def _order(study: Study) -> Iterator[str]:
    """Without tokens the budget axis is the order in which checkpoints were given."""
    for trajectory in dict.fromkeys(r.trajectory for r in study.checkpoints if r.tokens is None):
        names = list(dict.fromkeys(r.checkpoint for r in study.checkpoints if r.trajectory == trajectory))
        shown = " → ".join(names) if len(names) <= 6 else f"{' → '.join(names[:3])} → ... → {names[-1]}"
        yield f"Tokens are not known: checkpoints stand in the order given, {shown}. Is that the order of training?"


def _few(names: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(names))
    return ", ".join(distinct[:6]) + (f" and {len(distinct) - 6} more" if len(distinct) > 6 else "")


def _all_diverged(study: Study) -> Iterator[str]:
    """Sweeps, or points of them, that have no tuned rate and so no place in a curve."""
    for sweep in study.sweeps:
        if lost := sweep.all_diverged():
            where = ", ".join(budget_name(b, sweep.names) for b in sorted({budget for _, budget in lost}))
            smallest = min(p.rate for at in lost for p in sweep.rates[at] if p.rate > 0)
            yield (
                f"{capital(phrase(sweep.label))}{_place(study, sweep)}: every rate diverged at {where} "
                f"({len(lost)} of {len(sweep.rates)} checkpoints have no tuned rate); add smaller rates than "
                f"{smallest:g}, or let `pliant run --extend-grids` do so."
            )


def _place(study: Study, sweep: Sweep) -> str:
    place = study.places[sweep.trajectory, sweep.members]
    return f" ({place})" if place else ""


def _grids(study: Study) -> Iterator[str]:
    for end in ("high", "low"):
        sweeps = [place for sweep in study.sweeps if (place := _short_at(end, study, sweep))]
        if sweeps:
            yield (
                f"The best rate sits at the {end} end of the grid, so that the tuned loss there is an upper bound: "
                f"{'; '.join(sweeps)}. `pliant run --extend-grids` adds rates there."
            )


def _short_at(end: str, study: Study, sweep: Sweep) -> str:
    """ "fine-tuning on python at 410K, in 2 of 12 checkpoints", or nothing."""
    short = [at for at, tuned in sweep.tuned().items() if tuned.grid_too_short == end]
    where = ", ".join(budget_name(b, sweep.names) for b in sorted({budget for _, budget in short}))
    place = f"{phrase(sweep.label)}{_place(study, sweep)} at {where}, in {len(short)} of {len(sweep.rates)} checkpoints"
    return place if short else ""


def _unpriced(study: Study) -> Iterator[str]:
    if labels := unpriced(study):
        yield f"No price for {_few(labels)}: nothing plain was fine-tuned beside it for as many steps on the same task."
