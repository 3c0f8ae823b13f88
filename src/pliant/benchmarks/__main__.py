"""`python -m pliant.benchmarks NAME SCALE`: one benchmark in this process, its row and the GEMM peak as a line of JSON
at the end."""

import dataclasses
import json
import logging
import sys

import torch

from pliant.benchmarks.peak import SIZES, gemm_peak
from pliant.benchmarks.result import Scale
from pliant.benchmarks.rows import BENCHMARKS


def main(name: str, scale: Scale) -> None:
    logging.disable(logging.WARNING)
    sizes = SIZES[:1] if scale == "smoke" else SIZES
    peaks = {dtype: gemm_peak(getattr(torch, dtype), sizes=sizes) for dtype in ("float32", "bfloat16")}
    row = BENCHMARKS[name].measure(scale, lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps({"row": dataclasses.asdict(row), "gemm_peak": peaks}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])  # type: ignore[arg-type]
