"""A step of pre-training: ours against transformers' Trainer at its best of precisions, compiled or not."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from statistics import median
from typing import Any, final

import torch
from torch import Tensor

from pliant.benchmarks.peak import gemm_peak
from pliant.benchmarks.plans import plan_for
from pliant.benchmarks.result import Figure, Row, Scale
from pliant.benchmarks.rows import Tell
from pliant.benchmarks.stepping import SteppingTrainer
from pliant.benchmarks.turns import best, in_turns, times_as_fast
from pliant.checkpoints.architecture import Architecture, build_model
from pliant.training.compile_probe import compiling_works
from pliant.training.cross_entropy import IGNORED, mean_cross_entropy
from pliant.training.decoder import transformers_logits
from pliant.training.loop import Batch, Optimisation, adamw, take_steps
from pliant.training.trainer_choice import choose_trainer, has_matrix_units, learner_of

ROWS, LENGTH = 8, 128
RATE = 1e-3
OURS = "pliant"
PEERS: dict[str, dict[str, bool]] = {
    "Trainer, fp32": {},
    "Trainer, bf16": {"bf16": True},
    "Trainer, fp32, torch_compile": {"torch_compile": True},
    "Trainer, bf16, torch_compile": {"bf16": True, "torch_compile": True},
}
AGREE = 0.02
"""Of the loss: the same steps in bf16 and fp32, compiled and not, part by rounding alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model, how many steps of it make a turn, and the tokens of the run that ours is planned for."""

    what: str
    shape: Architecture
    vocabulary: int
    steps: int
    target: float
    run_tokens: int = 10**12


def _case(what: str, width: int, layers: int, feed_forward: int, vocabulary: int, steps: int, target: float) -> Case:
    shape = Architecture(
        width=width, layers=layers, heads=max(4, width // 32), feed_forward=feed_forward, context=LENGTH
    )
    return Case(what=what, shape=shape, vocabulary=vocabulary, steps=steps, target=target)


CASES = (
    _case("40k parameters", 32, 2, 80, 256, 40, 2.0),
    _case("0.13M parameters", 64, 2, 176, 256, 25, 1.5),
    _case("1.9M parameters", 128, 4, 336, 4096, 8, 1.8),
    _case("7M parameters", 256, 6, 680, 4096, 3, 2.0),
    _case("32M parameters", 256, 8, 680, 50_304, 1, 2.2),
)
SMOKE = (replace(_case("smoke", 16, 1, 24, 64, 2, 1.0), run_tokens=0),)  # too short to compile
SMOKE_PEERS = ("Trainer, fp32", "Trainer, bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The contestants of one case and the models they train."""

    ours: "OurTrainer"
    running: Mapping[str, "OurTrainer | SteppingTrainer"]
    models: Mapping[str, Any]
    notes: tuple[str, ...]


@final
class OurTrainer:
    """Steps as `pliant pretrain` takes them under the plan that a long run gets."""

    def __init__(self, case: Case, model: Any, windows: Tensor) -> None:
        shape = case.shape
        trainer = choose_trainer(
            width=shape.width,
            layers=shape.layers,
            tokens=case.run_tokens,
            matrix_units=has_matrix_units(),
            compiling_works=compiling_works,
        )
        plan = plan_for(model)
        self.numerics = plan if plan.kernel is not None else replace(plan, trainer=trainer)
        settings = Optimisation(weight_decay=0.0, beta2=0.999)  # the Trainer's own defaults
        self._learner = learner_of(self.numerics, model, adamw(model.parameters(), settings), settings)
        self._batches = (_batch(windows, step) for step in count())

    @property
    def path(self) -> str:
        """What the plan trains with, for people."""
        return "the kernel" if self.numerics.kernel is not None else self.numerics.trainer or "autograd"

    def stop(self) -> None:
        """There is nothing to end."""

    def steps(self, number: int) -> None:
        take_steps(self._learner, self._batches, lambda step: RATE, start=0, stop=number)


def _batch(windows: Tensor, step: int) -> Batch:
    """What the Trainer makes of the same rows: the last token of each has nothing to foretell."""
    start = step * ROWS % len(windows)
    rows = windows[start : start + ROWS]
    return Batch(rows, torch.cat([rows[:, 1:], torch.full((ROWS, 1), IGNORED)], dim=1))


def started(case: Case, peers: Mapping[str, Mapping[str, bool]], windows: Tensor, tell: Tell) -> Started:
    """Ours and each peer, start-up and first turn behind them."""
    models = {name: build_model(case.shape, case.vocabulary, 0) for name in [OURS, *peers]}
    ours, skipped = OurTrainer(case, models[OURS], windows), []
    tell(f"{case.what}: ours starts, {ours.numerics.trainer}")
    ours.steps(case.steps)
    running: dict[str, OurTrainer | SteppingTrainer] = {OURS: ours}
    for name, options in peers.items():
        tell(f"{case.what}: {name} starts")
        settings = {"learning_rate": RATE, "lr_scheduler_type": "constant", **options}
        peer = SteppingTrainer(models[name], windows, ROWS, settings)
        try:
            peer.steps(case.steps)
            running[name] = peer
        except Exception as error:  # what torch or a compiler says on this machine; the other variants go on
            skipped.append(f"{case.what}: {name} failed and was left out: {str(error).splitlines()[0]}")
    return Started(ours=ours, running=running, models=models, notes=tuple(skipped))


def measure_case(
    case: Case, peers: Mapping[str, Mapping[str, bool]], rounds: int, tell: Tell
) -> tuple[Figure, dict[str, list[float]], tuple[str, ...]]:
    """The figure of one size, the seconds of a step of each contestant in each round, and what there is to say."""
    generator = torch.Generator().manual_seed(0)
    windows = torch.randint(case.vocabulary, (ROWS * case.steps * (rounds + 1), LENGTH), generator=generator)
    begun = started(case, peers, windows, tell)
    turns = {name: partial(runner.steps, case.steps) for name, runner in begun.running.items()}
    seconds = {name: [t / case.steps for t in times] for name, times in in_turns(turns, rounds, warm=False).items()}
    for runner in begun.running.values():
        runner.stop()
    losses = {name: loss_of(begun.models[name], windows[:ROWS]) for name in begun.running}
    apart = max(abs(loss - losses[OURS]) for loss in losses.values()) / losses[OURS]
    assert apart < AGREE, f"{case.what}: after the same steps losses are {losses}: these are two different things"
    peer = best({name: times for name, times in seconds.items() if name != OURS})
    low = begun.ours.numerics.trainer == "compiled-bf16"
    peak = gemm_peak(torch.bfloat16 if low else torch.float32)
    figure = replace(
        times_as_fast(case.what, f"{peer} (its best)", seconds[peer], seconds[OURS], case.target),
        peak_share=operations(case) / median(seconds[OURS]) / peak,
        note=f"{begun.ours.path}; share of the peak of {'bfloat16' if low else 'fp32'}",
    )
    return figure, seconds, (*begun.notes, f"{case.what}: losses after the same steps are {apart:.1e} apart")


def loss_of(model: Any, windows: Tensor) -> float:
    """In nats, in fp32."""
    with torch.inference_mode():
        batch = _batch(windows, 0)
        return mean_cross_entropy(transformers_logits(model.eval(), batch.inputs), batch.targets).item()


def operations(case: Case) -> float:
    """Floating-point operations of a step: 6 for each token and weight that it is multiplied with, and attention's
    two products, forward and twice back, over the half of the square that is not masked."""
    shape, tokens = case.shape, ROWS * LENGTH
    multiplied = shape.parameters(case.vocabulary) - case.vocabulary * shape.width  # the embedding is looked up
    return 6.0 * tokens * (multiplied + shape.layers * shape.width * LENGTH)


def measure(scale: Scale, tell: Tell) -> Row:
    """Seconds of a training step of 8 x 128 tokens, ours against the Trainer at its best."""
    smoke = scale == "smoke"
    cases, rounds = (SMOKE, 1) if smoke else (CASES, 5)
    peers = {name: PEERS[name] for name in (SMOKE_PEERS if smoke else PEERS)}
    found = [measure_case(case, peers, rounds, tell) for case in cases]
    return Row(
        work="training step",
        figures=tuple(figure for figure, _, _ in found),
        measured={
            f"{case.what}, {name}": times
            for case, (_, seconds, _) in zip(cases, found, strict=True)
            for name, times in seconds.items()
        },
        notes=tuple(note for _, _, notes in found for note in notes),
    )
