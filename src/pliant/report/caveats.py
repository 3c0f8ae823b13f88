"""What a reader must know before believing a finding."""

from collections.abc import Iterator, Sequence

from pliant.report.finding import Finding
from pliant.report.sentences import FEW_SEEDS
from pliant.report.study import Study, budget_name


def caveats(study: Study, findings: Sequence[Finding]) -> tuple[str, ...]:
    """Unfinished cells first, then few seeds, confounds and grid edges."""
    return (*_unfinished(study), *_seeds(study), *_confounds(study), *_grids(study))


def _unfinished(study: Study) -> Iterator[str]:
    table = study.table
    if table.missing:
        yield f"{table.missing} records are not there yet; what follows uses the ones that are."
    if table.failed:
        yield f"{len(table.failed)} cells failed and are not in any number here; `pliant ls` names them."
    diverged = len({r.cell for r in study.readings if r.status == "diverged"})
    if diverged:
        yield f"{diverged} fine-tuning cells diverged. They count as results, and enter no mean."


def _seeds(study: Study) -> Iterator[str]:
    n = len(study.seeds)
    if n == 1:
        yield "One pre-training run: intervals are over noise draws and hold for this run only. Exploratory."
    elif n < FEW_SEEDS:
        yield f"Only {n} pre-training runs: intervals over them are very wide; every sign is exploratory."


def _confounds(study: Study) -> Iterator[str]:
    if any(r.scaling == "init" for r in study.readings):
        yield (
            "Noise in init scaling has one absolute size for all checkpoints while weights change theirs: "
            "growing matrices make it relatively smaller, a shrinking embedding relatively larger. Compare "
            "with relative scaling and the tensor norms before reading sensitivity as a property of learning."
        )
    kinds = {r.annealed for r in study.readings}
    if kinds == {None}:
        yield (
            "Whether these checkpoints had their learning rate decayed is not known: budget and remaining "
            "learning rate may rise and fall together."
        )
    if False in kinds and True in kinds:
        yield "Annealed and trunk members are kept apart: decay by itself changes base loss and sensitivity."
    if len({r.trajectory for r in study.readings}) == 1 and any(r.scaling == "init" for r in study.readings):
        yield "One recipe only: without the weight-decay-0 control nothing here says what causes an effect."
    if (most := max((r.epochs or 0.0 for r in study.readings), default=0.0)) > 1:
        yield f"The longest run saw its text {most:.2g} times: past one epoch, repetition grows with budget."


def _grids(study: Study) -> Iterator[str]:
    for sweep in study.sweeps:
        short = [(at, tuned) for at, tuned in sweep.tuned().items() if tuned.grid_too_short]
        if short:
            budgets = sorted({at[1] for at, _ in short})
            where = ", ".join(budget_name(b, sweep.names) for b in budgets)
            ends = " and ".join(sorted({str(tuned.grid_too_short) for _, tuned in short}))
            members = f" ({sweep.members})" if sweep.members else ""
            yield (
                f"{sweep.label}{members}: the best rate sits at the {ends} end of the grid at {where}, in "
                f"{len(short)} of {len(sweep.rates)} checkpoints; the tuned loss there is an upper bound. "
                "Widen the grid."
            )
