"""The rate tuned once, in the middle of the run, and reused at every budget: what that costs."""

from collections.abc import Mapping
from dataclasses import dataclass

from pliant.report.study import Study, budget_name
from pliant.report.unit import Unit, rate
from pliant.statistics import Difference, Estimate, Losses, Sweep, mean_over_budgets, middle_budget, sensitivity


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """One sweep at the rate that is best at `tuned_at`, its middle budget: `rates[seed]`.

    `task_loss` and `pretraining_loss` are reused minus tuned, at the last budget and averaged over budgets; `diverged`
    counts the checkpoints at which the reused rate diverged. It is not a primary curve of the study.
    """

    trajectory: str
    members: str
    label: str
    tuned_at: float
    rates: Mapping[int, float]
    task_loss: Difference
    pretraining_loss: Difference
    diverged: int
    words: str


def reuses(study: Study) -> tuple[Reuse, ...]:
    """One for each sweep of two budgets or more whose middle budget is measured."""
    found = (s for s in study.sweeps if len(s.budgets) > 1 and s.reused_rates())
    return tuple(_reuse(sweep, study.unit.of(sweep.trajectory)) for sweep in found)


def _reuse(sweep: Sweep, unit: Unit) -> Reuse:
    task, pretraining = _damage(sweep, task=True), _damage(sweep, task=False)
    middle, diverged = middle_budget(sweep.budgets), len(sweep.reused_diverged())
    return Reuse(
        trajectory=sweep.trajectory,
        members=sweep.members,
        label=sweep.label,
        tuned_at=middle,
        rates=sweep.reused_rates(),
        task_loss=task,
        pretraining_loss=pretraining,
        diverged=diverged,
        words=_words(sweep, middle, task.last, pretraining.last, diverged, unit),
    )


def _damage(sweep: Sweep, *, task: bool) -> Difference:
    def of(chosen: Losses) -> float:
        return chosen.task_loss if task else chosen.pretraining_loss

    curve = sensitivity(sweep.reused(of), sweep.curve(of))
    last, every = mean_over_budgets(curve, sweep.budgets[-1:]), mean_over_budgets(curve, sweep.budgets)
    return Difference(last=last, mean=every)


def _words(
    sweep: Sweep, middle: float, task: Estimate | None, pretraining: Estimate | None, diverged: int, unit: Unit
) -> str:
    rates = sorted(set(sweep.reused_rates().values()))
    span = rate(rates[0]) if len(rates) == 1 else f"{rate(rates[0])} to {rate(rates[-1])}"
    head = f"tuned once at {budget_name(middle, sweep.names)} ({span}) and reused"
    lost = f"; it diverged at {diverged} checkpoints" if diverged else ""
    if task is None or pretraining is None:
        return f"{head}, it has no loss at the last budget{lost}"
    last = budget_name(sweep.budgets[-1], sweep.names)
    if not any((*task.values, *pretraining.values)):
        return f"{head}, it is the tuned rate at {last} too{lost}"
    return (
        f"{head}, the rate costs {unit.interval(task)} of task loss and {unit.interval(pretraining)} of pre-training "
        f"loss at {last} ({unit.name}){lost}"
    )
