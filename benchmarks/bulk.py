"""Planning, resuming and reporting a large study: CPU seconds, wall seconds and peak memory of whole processes.

The folder holds a finished audit with real plan and record files. Planning is `pliant run STUDY --dry-run` of a new
folder; resuming is `pliant run` of the finished folder, which plans, finds nothing missing, reads every record and
writes results.parquet and the report again; finding is `--dry-run` where one record in a hundred is gone; reporting
is `pliant report`. Run: python benchmarks/bulk.py --cells 100000 --json
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from pliant.studies.study_file import to_yaml
from synthetic import audit, write_finished

PARTS = ("plan", "report", "resume", "find")


def timed(*arguments: str) -> dict[str, Any]:
    """Run `pliant` with `arguments` on one core; seconds, megabytes at the peak, and how it ended."""
    command = [sys.executable, "-m", "pliant", *arguments]
    begun = time.perf_counter()
    quiet = os.open(os.devnull, os.O_WRONLY)
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "COLUMNS": "200"}
    actions = [(os.POSIX_SPAWN_DUP2, quiet, 1)]
    process = os.posix_spawn(sys.executable, command, os.environ | one, file_actions=actions)
    _, status, used = os.wait4(process, 0)
    os.close(quiet)
    return {
        "seconds": round(time.perf_counter() - begun, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "megabytes": round(used.ru_maxrss / 1024),  # kilobytes, as Linux counts
        "exit": os.waitstatus_to_exitcode(status),
    }


def measure(part: str, folder: Path) -> dict[str, Any]:
    """One of `PARTS`, on the finished study in `folder`."""
    if part == "plan":
        new = folder.with_name(f"{folder.name}-new")
        return timed("run", str(folder / "study.yaml"), "--out", str(new), "--dry-run")
    if part == "report":
        return timed("report", str(folder), "--json")
    if part == "resume":
        return timed("run", str(folder), "--workers", "0", "--json")
    taken = _take_away(folder)
    try:
        return timed("run", str(folder), "--dry-run")
    finally:
        for path in taken:
            os.replace(path.with_suffix(".gone"), path)


def _take_away(folder: Path) -> list[Path]:
    """Hide one record of every hundredth cell; return their paths."""
    cells = sorted(os.listdir(folder / "records"))[::100]
    paths = [next(p for p in sorted((folder / "records" / cell).iterdir()) if p.name != "run.json") for cell in cells]
    for path in paths:
        os.replace(path, path.with_suffix(".gone"))
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="keep the study here, and use the one that is there")
    parser.add_argument("--only", choices=PARTS, action="append", help="one of them; may be given again")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    home = given.folder or Path(tempfile.mkdtemp(prefix="bulk-"))
    folder = home / "audit"
    if not folder.is_dir():
        write_finished(folder, given.cells)
        (home / "study.yaml").write_text(to_yaml(audit(given.cells)))
    found = {part: measure(part, folder) for part in given.only or PARTS}
    if given.folder is None:
        shutil.rmtree(home)
    if given.json:
        print(json.dumps({"cells": given.cells, **found}))
        return
    for part, figures in found.items():
        print(f"{part:8} {figures}")


if __name__ == "__main__":
    main()
