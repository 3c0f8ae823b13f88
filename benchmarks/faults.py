"""Does a study survive what kills, starves and disturbs it? Every fault, then a check, a repair and a resumed run.

    python benchmarks/faults.py --kills 200 --json     # the figures of docs/reliability.md
    python benchmarks/faults.py --only two-runners     # one kind of fault

Each run trains a small ladder with snapshots, fine-tunes and adds noise. Afterwards its records and weights are
compared byte for byte with those of a run that nothing happened to. Leaves with 1 if a record was lost, came twice,
or differs, or if `pliant fsck` found problems after its repair. A full disk needs the right to mount a tmpfs.
"""

import argparse
import contextlib
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from faulty_runs import Files, Outcome, begin, files, finish, mended, uninterrupted, warm_up
from permissions import obeying_permissions

DAY_SECONDS = 86_400.0
KILLS_A_FOLDER = 6
NOT_STARTED = "not started, because "
PAGE = 4096
"""Bytes that a tmpfs gives a file at a time."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """One kind of fault: how many were tried, how many problems the checks found, and what was wrong at the end."""

    fault: str
    tried: int = 0
    problems_found: int = 0
    problems_left: int = 0
    lost: int = 0
    duplicates: int = 0
    differing: int = 0
    note: str = ""

    @property
    def survived(self) -> bool:
        return not (self.problems_left or self.lost or self.duplicates or self.differing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """Where runs go, what an undisturbed one leaves and how long it takes, and where chance comes from."""

    place: Path
    expected: Files
    seconds: float
    chance: random.Random

    def folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.place)) / "study"

    def finished(self) -> Path:
        return shutil.copytree(self.place / "uninterrupted", self.folder())

    def conclude(self, folder: Path, tally: Tally) -> None:
        """Check, repair, resume and compare; what was wrong goes into `tally`."""
        left = mended(folder, self.expected)
        tally.problems_found += left.found
        tally.problems_left += left.left
        tally.lost += left.lost
        tally.duplicates += left.duplicates
        tally.differing += left.differing
        tally.note = left.said or tally.note
        shutil.rmtree(folder.parent)


def kills(lab: Lab, number: int) -> Tally:
    """SIGKILL at random moments, up to six in one folder, each followed by a resumed run."""
    tally = Tally(fault="killed at a random moment")
    while tally.tried < number:
        folder = lab.folder()
        for _ in range(min(KILLS_A_FOLDER, number - tally.tried)):
            child = begin(folder)
            time.sleep(lab.chance.uniform(0.02, 0.6) * lab.seconds)
            child.kill()
            if not child.wait().killed:  # it had ended
                break
            tally.tried += 1
            tally.differing += sum(lab.expected.get(name) != content for name, content in files(folder).items())
            print(f"\r{tally.tried} of {number} kills", end="", file=sys.stderr, flush=True)
        lab.conclude(folder, tally)
    return tally


def two_runners(lab: Lab, number: int) -> Tally:
    """Two runs of one study in one folder at once; the second begins a little later."""
    tally = Tally(fault="two runners on one folder")
    twice = total = 0
    for _ in range(number):
        folder = lab.folder()
        first = begin(folder)
        time.sleep(lab.chance.uniform(0.0, 0.5) * lab.seconds)
        outcomes = [child.wait() for child in (begin(folder), first)]
        tally.tried += 1
        tally.differing += sum(outcome.missing + len(outcome.failures) + bool(outcome.error) for outcome in outcomes)
        total += _records(lab.expected)
        twice += sum(outcome.written for outcome in outcomes) - _records(lab.expected)
        tally.note = next((o.error or "; ".join(o.failures) for o in outcomes if o.error or o.failures), "")
        lab.conclude(folder, tally)
    tally.note = tally.note or f"{twice} of {total} records were measured twice"
    return tally


def _records(expected: Files) -> int:
    return sum(name.startswith("records/") for name in expected)


def clock_jumps(lab: Lab, number: int) -> Tally:
    """The clock leaps by up to 400 days at every look; every file lies in the future; a run is killed between."""
    tally = Tally(fault="clock jumps")
    for _ in range(number):
        folder, seed = lab.folder(), lab.chance.random()
        child = begin(folder, lambda seed=seed: _leap(seed))  # type: ignore[misc]
        time.sleep(lab.chance.uniform(0.1, 0.6) * lab.seconds)
        child.kill()
        child.wait()
        for path in folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                os.utime(path, (ahead := time.time() + lab.chance.uniform(0, 400) * DAY_SECONDS, ahead))
        finish(folder, lambda seed=seed: _leap(seed + 1))  # type: ignore[misc]
        tally.tried += 1
        lab.conclude(folder, tally)
    return tally


def _leap(seed: float) -> None:
    chance, now, now_ns = random.Random(seed), time.time, time.time_ns
    time.time = lambda: now() + chance.uniform(-400, 400) * DAY_SECONDS
    time.time_ns = lambda: now_ns() + int(chance.uniform(-400, 400) * DAY_SECONDS * 1e9)


def lost_permission(lab: Lab, number: int) -> Tally:
    """The folder becomes read-only in the midst of a run, and writable again before the next."""
    tally = Tally(fault="permission lost")
    for _ in range(number):
        folder = lab.folder()
        with obeying_permissions():
            child = begin(folder)
        time.sleep(lab.chance.uniform(0.1, 0.8) * lab.seconds)
        _permit(folder, write=False)
        outcome = child.wait()
        _permit(folder, write=True)
        tally.tried += 1
        tally.note = outcome.error or "; ".join(sorted({line.splitlines()[0] for line in outcome.failures}))
        kept = _told(outcome, "no permission", tally)
        lab.conclude(folder, tally)
        tally.note = kept
    return tally


def _permit(folder: Path, *, write: bool) -> None:
    for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        with contextlib.suppress(FileNotFoundError):
            place.chmod(0o755 if write else 0o555)


def full_disk(lab: Lab, number: int) -> Tally:
    """The study lies on a disk of its own that fills up; then it grows, and the study is resumed."""
    tally = Tally(fault="disk full")
    whole = lab.place / "uninterrupted"
    needed = sum(math.ceil(path.stat().st_size / PAGE) * PAGE for path in whole.rglob("*") if path.is_file())
    for _ in range(number):
        folder = lab.folder()
        with _disk(folder.parent, round(needed * lab.chance.uniform(0.1, 0.8))) as grow:
            if grow is None:
                tally.note = "not tried: no right to mount a tmpfs here"
                break
            outcome = finish(folder)
            grow(100 * needed)
            tally.tried += 1
            kept = _told(outcome, "no room left", tally)
            shutil.copytree(folder, moved := lab.folder(), symlinks=True)
        shutil.rmtree(folder.parent)
        lab.conclude(moved, tally)
        tally.note = kept
    return tally


def _told(outcome: Outcome, words: str, tally: Tally) -> str:
    """What the run said; that it said something else than `words`, or in more than a line, counts as a problem.

    What could not start because of that says so, and no more.
    """
    said = [line for line in (outcome.error, *outcome.failures) if line and not line.startswith(NOT_STARTED)]
    if not said:
        tally.problems_left += bool(outcome.failures)
        return tally.note or "it had ended before"
    tally.problems_left += sum(words not in line or "\n" in line for line in said)
    return said[0]


@contextlib.contextmanager
def _disk(place: Path, size: int) -> Iterator[Callable[[int], None] | None]:
    """A tmpfs of `size` bytes at `place`, and what makes it larger; None where it cannot be mounted."""
    mount = ["mount", "-t", "tmpfs", "-o"]
    place.mkdir(exist_ok=True)
    if subprocess.run([*mount, f"size={size}", "none", str(place)], capture_output=True).returncode:
        yield None
        return
    try:
        yield lambda more: _mount(f"remount,size={more}", place)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def _mount(options: str, place: Path) -> None:
    subprocess.run(["mount", "-o", options, str(place)], check=True)


def half_written(lab: Lab, number: int) -> Tally:
    """A finished study of which files are cut at a random byte, emptied, or filled with zeros, as power losses do."""
    tally = Tally(fault="half-written file")
    while tally.tried < number:
        folder = lab.finished()
        kinds = (
            "records/*/[!r]*.json",
            "records/*/run.json",
            "artifacts/main*/seed-*/*/*.safetensors",
            "*.json",
            "*.parquet",
        )
        for kind in kinds:
            path = lab.chance.choice(sorted(folder.glob(kind)))
            content = path.read_bytes()
            kept = content[: lab.chance.randrange(len(content) - 1)]
            path.write_bytes(lab.chance.choice([kept, b"", kept + bytes(len(content) - len(kept))]))
        tally.tried += len(kinds)
        before = tally.problems_found
        lab.conclude(folder, tally)
        tally.problems_left += abs(tally.problems_found - before - len(kinds))  # what no check finds is a problem
    return tally


def edited(lab: Lab, number: int) -> Tally:
    """One digit of a record's result changed by hand."""
    tally = Tally(fault="record edited by hand")
    while tally.tried < number:
        folder = lab.finished()
        for path in lab.chance.sample(sorted(folder.glob("records/*/[!r]*.json")), k=min(10, number - tally.tried)):
            text = path.read_text(encoding="utf-8")
            digits = [at for at in range(text.index('"result"'), len(text)) if text[at] in "12345678"]
            at = lab.chance.choice(digits)
            path.write_text(f"{text[:at]}{int(text[at]) + 1}{text[at + 1 :]}", encoding="utf-8")
            tally.tried += 1
        before, made = tally.problems_found, tally.tried
        lab.conclude(folder, tally)
        tally.problems_left += (tally.problems_found - before) != (made - 1) % 10 + 1
    return tally


FAULTS: dict[str, tuple[Callable[[Lab, int], Tally], int]] = {
    "edited": (edited, 4),
    "half-written": (half_written, 4),
    "full-disk": (full_disk, 20),
    "permission": (lost_permission, 20),
    "two-runners": (two_runners, 20),
    "clock-jumps": (clock_jumps, 20),
    "kills": (kills, 1),
}
"""For each fault how it is done, and how many kills there are for one of it."""


def measure(wanted: dict[str, int], seed: int) -> Iterator[Tally]:
    """So many faults of each kind, in a folder that is deleted after."""
    warm_up()
    with tempfile.TemporaryDirectory() as place:
        expected, seconds = uninterrupted(Path(place) / "uninterrupted")
        print(f"undisturbed: {len(expected)} records and weights in {seconds:.1f} s", file=sys.stderr, flush=True)
        for name, number in wanted.items():
            lab = Lab(place=Path(place), expected=expected, seconds=seconds, chance=random.Random(f"{seed} {name}"))
            tally = FAULTS[name][0](lab, number)
            print(words(tally), file=sys.stderr, flush=True)
            yield tally


def words(tally: Tally) -> str:
    """A tally in a line."""
    return (
        f"{tally.fault}: {tally.tried} tried; {tally.lost} records lost, {tally.duplicates} twice, "
        f"{tally.differing} different; fsck found {tally.problems_found} problems, {tally.problems_left} left"
        + (f" ({tally.note})" if tally.note else "")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="SIGKILLs; of the other faults a quarter or a twentieth")
    parser.add_argument("--only", choices=FAULTS, help="this fault alone, --kills times")
    parser.add_argument("--seed", type=int, default=20_250_319)
    parser.add_argument("--json", action="store_true", help="print the tallies as JSON")
    given = parser.parse_args()
    wanted = {name: math.ceil(given.kills / share) for name, (_, share) in FAULTS.items()}
    tallies = list(measure({given.only: given.kills} if given.only else wanted, given.seed))
    if given.json:
        print(json.dumps([asdict(tally) for tally in tallies], indent=1))
    sys.exit(not all(tally.survived for tally in tallies))


if __name__ == "__main__":
    main()
