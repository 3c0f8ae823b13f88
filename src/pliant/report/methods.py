"""The ways of fine-tuning one task side by side: the price on the task, what is saved, and where each turns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from pliant.records.expectation import Agreement
from pliant.report.study import Study, budget_name, capital, phrase, span_name
from pliant.report.unit import rate
from pliant.statistics import (
    Change,
    Minimum,
    Price,
    Shift,
    Sweep,
    change,
    price,
    shift_with_amount,
    tuned_minimum,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRow:
    """One way of fine-tuning, each checkpoint at its own tuned rate. `price` is against plain, None for plain itself.

    `method` and `amount` are as in `Reading`. The minima are over budgets, None under two. `at_edge`: a best rate lies
    at an end of its grid, so that the tuned task loss there is an upper bound.
    """

    label: str
    method: str | None
    amount: float | None
    price: Price | None
    task_minimum: Minimum | None
    pretraining_minimum: Minimum | None
    at_edge: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodTurn:
    """What a growing amount of one method does, from plain (amount 0) to the last of `amounts`.

    The minima move "later" or "earlier" if their 95 % sets part; the losses, at the last budget, are "higher" or
    "lower" than plain if the interval of the difference excludes zero. `theory` compares with its prediction for
    pulling towards the base (the minimum of pre-training loss later, task loss higher); None for an adapter.
    """

    method: str
    amounts: tuple[float, ...]
    pretraining_minimum: Shift
    task_minimum: Shift
    task_loss: Change
    pretraining_loss: Change
    matched: Change
    theory: Agreement | None
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodTable:
    """One task, trajectory and number of steps: plain fine-tuning first, then every method by amount.

    `turns` is empty where one budget alone was fine-tuned.
    `where` tells the trajectory from the others of the study, `names` are those of its budgets.
    """

    trajectory: str
    members: str
    task: str
    steps: int | None
    rows: tuple[MethodRow, ...]
    turns: tuple[MethodTurn, ...]
    where: str
    names: Mapping[float, str]


def method_tables(study: Study) -> tuple[MethodTable, ...]:
    """One for each plain sweep that has other ways of fine-tuning beside it."""
    return tuple(_table(study, plain, others) for plain, others in companies(study) if others)


def unpriced(study: Study) -> tuple[str, ...]:
    """The labels whose price is not known: nothing plain was fine-tuned as they were otherwise."""
    priced = {s.label for plain, others in companies(study) for s in (plain, *others)}
    return tuple(dict.fromkeys(s.label for s in study.sweeps if s.label not in priced))


def companies(study: Study) -> Iterator[tuple[Sweep, list[Sweep]]]:
    """Every plain sweep with the methods that are otherwise the same on the same checkpoints, amounts rising."""
    for plain in (s for s in study.sweeps if s.method is None):
        others = [s for s in study.sweeps if s.method is not None and _setting(s) == _setting(plain)]
        yield plain, sorted(others, key=lambda s: (s.method or "", s.amount or 0.0))


def _setting(sweep: Sweep) -> tuple[str, str, str, int | None, str]:
    return (sweep.trajectory, sweep.members, sweep.task, sweep.steps, sweep.plain_label)


def _table(study: Study, plain: Sweep, others: Sequence[Sweep]) -> MethodTable:
    rows = (_row(plain, None), *(_row(sweep, plain) for sweep in others))
    grouped = groupby(rows[1:], key=lambda row: row.method or "")
    turning = len(plain.budgets) > 1
    return MethodTable(
        trajectory=plain.trajectory,
        members=plain.members,
        task=plain.task,
        steps=plain.steps,
        rows=rows,
        turns=tuple(_turn(method, rows[0], list(some), plain) for method, some in grouped) if turning else (),
        where=study.places[plain.trajectory, plain.members],
        names=plain.names,
    )


def _row(sweep: Sweep, plain: Sweep | None) -> MethodRow:
    return MethodRow(
        label=sweep.label,
        method=sweep.method,
        amount=sweep.amount,
        price=None if plain is None else price(sweep, plain),
        task_minimum=tuned_minimum(sweep, lambda chosen: chosen.task_loss),
        pretraining_minimum=tuned_minimum(sweep, lambda chosen: chosen.pretraining_loss),
        at_edge=any(tuned.grid_too_short for tuned in sweep.tuned().values()),
    )


def _turn(method: str, plain: MethodRow, some: Sequence[MethodRow], sweep: Sweep) -> MethodTurn:
    most = some[-1].price
    assert most is not None, "only plain has no price"
    pretraining = shift_with_amount([row.pretraining_minimum for row in (plain, *some)])
    task_loss = change(most.task_loss.last)
    amounts = tuple(row.amount for row in some if row.amount is not None)
    edge = plain.at_edge or any(row.at_edge for row in some)
    theory = _theory(pretraining, task_loss, edge=edge) if amounts else None
    return MethodTurn(
        method=method,
        amounts=amounts,
        pretraining_minimum=pretraining,
        task_minimum=shift_with_amount([row.task_minimum for row in (plain, *some)]),
        task_loss=task_loss,
        pretraining_loss=change(most.pretraining_loss.last),
        matched=change(most.matched.last),
        theory=theory,
        words=_words((plain, *some), pretraining, most, theory, sweep),
    )


def _theory(pretraining: Shift, task_loss: Change, *, edge: bool) -> Agreement:
    """Pulling towards the base makes the turn later and task loss higher (Springer et al., theorem 4.7)."""
    if edge:
        return "cannot tell"
    if pretraining == "earlier" or task_loss == "lower":
        return "disagrees"
    return "agrees" if pretraining == "later" and task_loss == "higher" else "cannot tell"


def _words(rows: Sequence[MethodRow], pretraining: Shift, last: Price, theory: Agreement | None, plain: Sweep) -> str:
    some = rows[1:]
    amount = f", 0 to {rate(some[-1].amount)}" if some[-1].amount else ""
    places = " → ".join(_lowest(row.pretraining_minimum, plain) for row in rows)
    first = rows[0].pretraining_minimum
    if pretraining != "not resolved":
        moved = f"moves {pretraining}"
    elif first is not None and first.last in first.candidates:
        moved = "cannot be seen to move later, as plain may be lowest at the last budget already"
    else:
        moved = "is not shown to move"
    task = {"not resolved": "not shown to differ"}.get(change(last.task_loss.last), change(last.task_loss.last))
    edge = any(row.at_edge for row in rows)
    judged = "" if theory is None else f"; the theory of pulling towards the base: {theory}"
    reason = ", as a best rate lies at an end of its grid" if theory is not None and edge else ""
    return (
        f"{capital(some[-1].method or '')}{amount}, {phrase(plain.label)}: the minimum of pre-training loss {moved} "
        f"({places}); task loss at {budget_name(last.budgets[-1], plain.names)} {task}{judged}{reason}."
    )


def _lowest(minimum: Minimum | None, sweep: Sweep) -> str:
    return "–" if minimum is None else budget_name(minimum.budget, sweep.names)


def lowest_words(minimum: Minimum | None, names: Mapping[float, str]) -> str:
    """ "1.64M [819K–3.28M]": the budget of lowest loss and its 95 % set."""
    return "–" if minimum is None else f"{budget_name(minimum.budget, names)} [{span_name(minimum, names)}]"
