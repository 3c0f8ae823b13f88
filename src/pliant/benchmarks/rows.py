"""The benchmarks by name, each in a module of its own that is imported when it is run."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from pliant.benchmarks.result import Row, Scale

Tell = Callable[[str], None]
"""Hears what is being done, a line at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """`module` has `measure(scale, tell) -> Row`; it runs in a process of its own with `threads` torch threads.

    `needs` are the packages, by import name, that pliant itself can do without; `minutes` is about how long the whole
    takes.
    """

    module: str
    title: str
    threads: int = 1
    needs: tuple[str, ...] = ()
    minutes: float = 5.0

    def measure(self, scale: Scale, tell: Tell) -> Row:
        found: Row = import_module(f"pliant.benchmarks.{self.module}").measure(scale, tell)
        return found


BENCHMARKS = {
    "noise": Benchmark(module="noise", title="noise sensitivity against the script of copies", minutes=5.0),
    "training": Benchmark(
        module="training", title="a training step against transformers' Trainer", needs=("accelerate",), minutes=6.0
    ),
    "sweep": Benchmark(
        module="sweep", title="a fine-tuning sweep against transformers' Trainer", needs=("accelerate",), minutes=6.0
    ),
    "choices": Benchmark(module="choices", title="multiple choice against lm-eval", needs=("lm_eval",), minutes=2.0),
    "loading": Benchmark(module="loading", title="a dozen checkpoints against from_pretrained", minutes=2.0),
    "study": Benchmark(
        module="study", title="whole study against the script of it", needs=("accelerate",), minutes=6.0
    ),
    "cores": Benchmark(module="cores", title="two cores against one, a whole study", minutes=12.0),
    "growth": Benchmark(
        module="growth", title="growth with cells, tokens and parameters; overhead of a cell", minutes=3.0
    ),
}
