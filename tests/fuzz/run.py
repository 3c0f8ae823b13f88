"""Fuzz what reads files from outside: `python tests/fuzz/run.py --seconds 60 spec record`; all targets by default.

One target after another, each in a process of its own. An input that ends in an error which is not documented is
written to .fuzz/<target>-crash-<hash>: mend the cause, and put the input into tests/fuzz/found/<target>/, which tests
run for ever. Inputs that reach new code stay in .fuzz/<target>, where the next run begins.
"""

import argparse
import hashlib
import os
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["pliant", "yaml"]):
    from targets import TARGETS

KEPT = Path(".fuzz")


def main() -> None:
    """Leaves with 1 where a target failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    given = parser.parse_args()
    failed = [name for name in given.targets or TARGETS if not fuzz(name, given.seconds)]
    print(f"failed: {', '.join(failed)}" if failed else "no target failed", flush=True)
    sys.exit(bool(failed))


def fuzz(name: str, seconds: int) -> bool:
    """Whether the target took whatever was tried; libFuzzer ends its process either way."""
    print(f"== {name}, {seconds} s", flush=True)
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    folder = KEPT / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(TARGETS[name].seeds):
        (folder / f"seed-{number}").write_bytes(seed)
    options = (
        f"-max_total_time={seconds}",
        "-timeout=20",
        "-rss_limit_mb=4096",
        "-verbosity=0",
        "-print_final_stats=1",
    )
    atheris.Setup([sys.argv[0], *options, str(folder)], lambda data: kept_if_it_fails(name, data))
    atheris.Fuzz()
    os._exit(0)


def kept_if_it_fails(name: str, data: bytes) -> None:
    """libFuzzer itself keeps nothing where the process has no sanitizer."""
    try:
        TARGETS[name].check(data)
    except BaseException:
        (KEPT / f"{name}-crash-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)
        raise


if __name__ == "__main__":
    main()
