"""The benchmarks by name, each in a module of its own that is imported when it is run."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from pliant.benchmarks.result import Row, Scale

Tell = Callable[[str], None]
"""Hears what is being done, a line at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """`module` has `measure(scale, tell) -> Row`; it runs in a process of its own with `threads` torch threads."""

    module: str
    title: str
    threads: int = 1

    def measure(self, scale: Scale, tell: Tell) -> Row:
        found: Row = import_module(f"pliant.benchmarks.{self.module}").measure(scale, tell)
        return found


BENCHMARKS = {
    "noise": Benchmark(module="noise", title="noise sensitivity against the script of copies"),
    "choices": Benchmark(module="choices", title="multiple choice against lm-eval"),
    "loading": Benchmark(module="loading", title="a dozen checkpoints against from_pretrained"),
    "growth": Benchmark(module="growth", title="growth with cells, tokens and parameters; overhead of a cell"),
    "cores": Benchmark(module="cores", title="two cores against one, a whole study"),
    "training": Benchmark(module="training", title="a training step against transformers' Trainer"),
}
