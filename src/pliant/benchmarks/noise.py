"""Sensitivity to noise within 5 % of itself: gradient control on rotating subsets against the script people write."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median

import torch

from pliant.benchmarks.noise_contestants import SUBSETS, Case, Found, pliant, script
from pliant.benchmarks.noise_coverage import coverage
from pliant.benchmarks.plans import plan_for
from pliant.benchmarks.result import Figure, Row, Scale
from pliant.benchmarks.rows import Tell
from pliant.checkpoints.about import About
from pliant.checkpoints.architecture import PRESETS, Architecture, build_model, init_stds
from pliant.checkpoints.weights import canonical_tensors
from pliant.studies.materials import Materials, MaterialSpec, open_materials
from pliant.training.decoder import choose_forward
from pliant.training.loop import Batch, Optimisation, adamw, train
from pliant.training.schedules import Schedule

CONTEXT = 64
ROWS = 32
PRECISION = 0.05
PEAK = 1e-2
STEPS = (100, 400, 1600)
"""Every other budget of the demo, x 2,048 bytes."""
ISOTROPIC = {0.005: 40.0, 0.01: 12.0}
DEMO = {0.02: 3.0, 0.05: 3.0, 0.1: 3.0}
"""gamma -> target."""
SCRIPT_ROWS = (32, 64, 128)
POOL = 4
POOL_SEED = 500_000
"""Coverage of pliant's is measured on draws of a run to a quarter of the width, of which a part has but few else."""
EQUAL = 3.0
"""Percentage points of coverage: about two standard errors of what the repetitions show."""


def measure(scale: Scale, tell: Tell) -> Row:
    """Whole cost, base and all, until the 95 % interval is +-5 % of the mean increase, on 24 evaluations or more."""
    smoke = scale == "smoke"
    materials = open_materials(
        MaterialSpec(
            corpus="english",
            tokenizer="bytes",
            context=CONTEXT,
            held_out_split="test",
            held_out_tokens=8192,
            task_rows=1,
            tasks=(),
        )
    )
    steps, precision, rounds = ((20,), 0.5, 1) if smoke else (STEPS, PRECISION, 3)
    figures: list[Figure] = []
    measured: dict[str, list[float]] = {}
    covered: list[float] = []
    for preset, gammas, isotropic in (("width-32", ISOTROPIC, True), ("width-8", DEMO, False)):
        cases = [
            replace(case, precision=precision, most=48 if smoke else case.most)
            for count in steps
            for case in _cases(PRESETS[preset], count, gammas, materials, isotropic)
        ]
        for gamma, target in gammas.items():
            spent: list[tuple[float, float]] = []
            for case in (one for one in cases if one.strength == gamma):
                theirs, ours = _turns(case, rounds)
                _agree(case, theirs, ours[0])
                spent.append((theirs.seconds, median(one.seconds for one in ours)))
                many = pliant(replace(case, precision=precision / POOL), POOL_SEED)
                covered += [coverage(one, precision, 20 if smoke else 500) for one in (many, theirs)]
                measured |= _listed(case.name, theirs, ours, covered[-2:])
                tell(
                    f"{case.name}: {spent[-1][0] / spent[-1][1]:.1f}x, evaluations {theirs.evaluations} against "
                    f"{ours[0].evaluations} of an eighth, coverage {covered[-1]:.1f} % against {covered[-2]:.1f} %"
                )
            figures.append(_figure(f"{'isotropic' if isotropic else 'demo'} gamma {gamma:g}", spent, target))
    short = [theirs - ours for ours, theirs in zip(covered[::2], covered[1::2], strict=True)]
    figures.append(
        Figure(
            what="coverage of the 95 % interval, short of the script's on average",
            peer="deepcopy script",
            value=sum(short) / len(short),
            low=min(short),
            high=max(short),
            target=EQUAL,
            unit="points",
            at_most=True,
        )
    )
    notes = (
        f"pliant: single draws with the gradient as control, each on one of {SUBSETS} subsets of the text in turn",
        "isotropic: noise of std gamma on every weight but gains, 40k parameters; demo: init scaling, 5k parameters",
    )
    return Row(work="noise sensitivity to +-5 %", figures=tuple(figures), measured=measured, notes=notes)


def _figure(what: str, spent: Sequence[tuple[float, float]], target: float) -> Figure:
    """Seconds of all checkpoints together, script over pliant; the range is that of single checkpoints."""
    each = [theirs / ours for theirs, ours in spent]
    return Figure(
        what=f"{what}, {len(spent)} checkpoints",
        peer="deepcopy script",
        value=sum(theirs for theirs, _ in spent) / sum(ours for _, ours in spent),
        low=min(each),
        high=max(each),
        target=target,
    )


def _cases(
    shape: Architecture, steps: int, gammas: Mapping[float, float], materials: Materials, isotropic: bool
) -> Iterator[Case]:
    """One annealed run of `steps` steps under each of `gammas`. Isotropic: every initialisation counts as std 1."""
    model = build_model(shape, materials.tokenizer.vocabulary_size, 1)
    optimisation, schedule = Optimisation(), Schedule(kind="wsd", warmup_steps=20)
    source = materials.training.source(1)

    def batches() -> Iterator[Batch]:
        for step in range(steps):
            windows = torch.from_numpy(source.windows(ROWS * step, ROWS * (step + 1)))
            yield Batch(windows[:, :-1], windows[:, 1:])

    train(
        model,
        adamw(model.parameters(), optimisation),
        batches(),
        lambda step: schedule.learning_rate(PEAK, step, steps),
        forward=choose_forward(model, "lean"),
        start=0,
        stop=steps,
        clip_norm=optimisation.clip_norm,
    )
    stds = init_stds(shape, canonical_tensors(model))
    known = {name: float(std > 0) for name, std in stds.items()} if isotropic else stds
    for gamma in gammas:
        yield Case(
            name=f"{'isotropic' if isotropic else 'demo'} {gamma:g}, {ROWS * CONTEXT * steps:,} tokens",
            model=model,
            about=About(init_stds=known),
            text=materials.held_out,
            strength=gamma,
            precision=PRECISION,
            numerics=plan_for(model),
        )


def _turns(case: Case, rounds: int) -> tuple[Found, list[Found]]:
    """The script at its best batch, between runs of pliant with other noise every time."""
    quick = replace(case, precision=1e9)  # ends after the fewest evaluations
    rows = min(SCRIPT_ROWS, key=lambda some: script(quick, some, 0).seconds)
    ours = [pliant(case, 0)]
    theirs = script(case, rows, 1)
    return theirs, ours + [pliant(case, 1000 * number) for number in range(1, rounds)]


def _agree(case: Case, theirs: Found, ours: Found) -> None:
    apart, allowed = abs(theirs.value - ours.value), 2.5 * (theirs.half**2 + ours.half**2) ** 0.5
    assert apart < allowed, f"{case.name}: {theirs.value:.6f} and {ours.value:.6f} nats: two different things"


def _listed(name: str, theirs: Found, ours: Sequence[Found], covered: Sequence[float]) -> dict[str, list[float]]:
    found = {"script": [theirs], "pliant": list(ours)}
    return {
        **{f"{name}, {who}: seconds": [one.seconds for one in runs] for who, runs in found.items()},
        **{f"{name}, {who}: evaluations": [float(one.evaluations) for one in runs] for who, runs in found.items()},
        **{f"{name}, {who}: nats": [one.value for one in runs] for who, runs in found.items()},
        f"{name}: coverage, pliant and script": list(covered),
    }
