"""`python -m pliant.benchmarks NAME SCALE`: one benchmark in this process, its row as a line of JSON at the end."""

import dataclasses
import json
import logging
import sys

from pliant.benchmarks.result import Scale
from pliant.benchmarks.rows import BENCHMARKS


def main(name: str, scale: Scale) -> None:
    logging.disable(logging.WARNING)
    row = BENCHMARKS[name].measure(scale, lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps(dataclasses.asdict(row)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])  # type: ignore[arg-type]
