"""Sensitivity to noise within 5 % of itself: pairs on rotating subsets against the script that people write."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median

import torch

from pliant.benchmarks.noise_contestants import SUBSETS, Case, Found, pliant, script
from pliant.benchmarks.noise_coverage import coverage
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
SHAPE = Architecture(
    family="olmo2", width=64, layers=2, heads=4, feed_forward=176, context=CONTEXT, initialisation="normal-0.02"
)
"""0.13M parameters."""
ISOTROPIC = {0.005: 40.0, 0.01: 12.0}
DEMO = {0.02: 3.0, 0.05: 3.0, 0.1: 3.0}
"""gamma -> target."""
SCRIPT_ROWS = (32, 64, 128)
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
    steps, precision, rounds = ((20,), 0.5, 1) if smoke else ((100, 400), PRECISION, 3)
    figures: list[Figure] = []
    measured: dict[str, list[float]] = {}
    covered: list[float] = []
    notes: list[str] = []
    for shape, peak, gammas, isotropic in (
        (SHAPE, 3e-3, ISOTROPIC, True),
        (PRESETS["width-8"], 1e-2, DEMO, False),
    ):
        cases = [
            replace(case, precision=precision, most=48 if smoke else case.most)
            for count in steps
            for case in _cases(shape, peak, count * (1 if isotropic or smoke else 4), gammas, materials, isotropic)
        ]
        for gamma, target in gammas.items():
            ratios: list[float] = []
            for case in (one for one in cases if one.strength == gamma):
                theirs, ours = _turns(case, 1 if isotropic else rounds, rounds)
                ratios.append(median(one.seconds for one in theirs) / median(one.seconds for one in ours))
                _agree(case, theirs[0], ours[0])
                covered += [coverage(one[0], precision, 20 if smoke else 500) for one in (ours, theirs)]
                measured |= _listed(case.name, theirs, ours, covered[-2:])
                tell(f"{case.name}: {ratios[-1]:.1f}x, coverage {covered[-2]:.1f} % against {covered[-1]:.1f} %")
            figures.append(
                Figure(
                    what=f"{'isotropic' if isotropic else 'demo'} gamma {gamma:g}, hardest of {len(steps)} checkpoints",
                    peer="deepcopy script",
                    value=min(ratios),
                    low=min(ratios),
                    high=max(ratios),
                    target=target,
                )
            )
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
    notes.append(f"pliant: antithetic pairs, each on one of {SUBSETS} subsets of the text in turn")
    notes.append("isotropic: std gamma on every weight but gains, whatever the initialisation; demo: init scaling")
    return Row(work="noise sensitivity to +-5 %", figures=tuple(figures), measured=measured, notes=tuple(notes))


def _cases(
    shape: Architecture, peak: float, steps: int, gammas: Mapping[float, float], materials: Materials, isotropic: bool
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
        lambda step: schedule.learning_rate(peak, step, steps),
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
        )


def _turns(case: Case, scripts: int, rounds: int) -> tuple[list[Found], list[Found]]:
    """The script at its best batch `scripts` times, pliant `rounds` times, with other noise every time."""
    quick = replace(case, precision=1e9)  # ends after the fewest evaluations
    rows = min(SCRIPT_ROWS, key=lambda some: script(quick, some, 0).seconds)
    theirs, ours = [], []
    for number in range(rounds):
        if number < scripts:
            theirs.append(script(case, rows, 1 + number))
        ours.append(pliant(case, 1000 * number))
    return theirs, ours


def _agree(case: Case, theirs: Found, ours: Found) -> None:
    apart, allowed = abs(theirs.value - ours.value), 2.5 * (theirs.half**2 + ours.half**2) ** 0.5
    assert apart < allowed, f"{case.name}: {theirs.value:.6f} and {ours.value:.6f} nats: two different things"


def _listed(
    name: str, theirs: Sequence[Found], ours: Sequence[Found], covered: Sequence[float]
) -> dict[str, list[float]]:
    found = {"script": theirs, "pliant": ours}
    return {
        **{f"{name}, {who}: seconds": [one.seconds for one in runs] for who, runs in found.items()},
        **{f"{name}, {who}: evaluations": [float(one.evaluations) for one in runs] for who, runs in found.items()},
        **{f"{name}, {who}: nats": [one.value for one in runs] for who, runs in found.items()},
        f"{name}: coverage, pliant and script": list(covered),
    }
