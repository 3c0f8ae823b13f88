"""A benchmark's outcome as it would come back, for tests of what is done with it."""

from pliant.benchmarks.machine import Machine
from pliant.benchmarks.outcome import Outcome
from pliant.benchmarks.result import Figure, Row

MACHINE = Machine(
    processor="Some Processor 9000",
    cores=2,
    memory_bytes=24 * 2**30,
    instructions=("avx512f", "amx_bf16"),
    versions={"Python": "3.11.7", "torch": "2.13.0"},
)
FAST = Figure(what="gamma .005", peer="deep copies", value=47.0, low=41.5, high=52.25, target=40.0, peak_share=0.19)
SLOW = Figure(what="a cell", peer="", value=2.5, low=2.0, high=3.0, target=2.0, unit="ms", at_most=True, note="busy")
ROW = Row(work="noise", figures=(FAST, SLOW), measured={"pliant": [1.0]}, notes=("equal within 1e-05",))


def outcome(name: str = "noise", row: Row = ROW, machine: Machine = MACHINE) -> Outcome:
    return Outcome(
        name=name,
        scale="whole",
        row=row,
        gemm_peak={"float32": 165e9, "bfloat16": 1.1e12},
        machine=machine,
        load=0.1,
        seconds=90.0,
        date="2026-11-22",
    )
