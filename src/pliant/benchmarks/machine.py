"""The machine and the versions that figures were measured with, as text for people."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("pliant", "torch", "transformers", "accelerate", "lm_eval")
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
"""Those of which it depends how fast matrix products are: x86 first, then Arm."""
CPUINFO = Path("/proc/cpuinfo")
BUSY = 0.5
"""A load average above this: somebody else is at work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """`instructions` are those of `INSTRUCTIONS` the processor has, `versions` those of Python and `PACKAGES`."""

    processor: str
    cores: int
    memory_bytes: int
    instructions: tuple[str, ...]
    versions: dict[str, str]

    @property
    def words(self) -> str:
        found = f"; {', '.join(self.instructions)}" if self.instructions else ""
        return f"{self.processor}, {self.cores} cores, {self.memory_bytes / 2**30:.0f} GiB{found}"

    @property
    def version_words(self) -> str:
        return ", ".join(f"{name} {number}" for name, number in self.versions.items())


def read_machine() -> Machine:
    """This one."""
    text = CPUINFO.read_text("utf-8") if CPUINFO.is_file() else ""
    processor, instructions = read_cpuinfo(text)
    return Machine(
        processor=processor or platform.processor() or platform.machine(),
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        instructions=instructions,
        versions={"Python": platform.python_version()} | _versions(),
    )


def read_cpuinfo(text: str) -> tuple[str, tuple[str, ...]]:
    """The name of the first processor in the text of /proc/cpuinfo, and which of `INSTRUCTIONS` it has."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return fields.get("model name", ""), tuple(name for name in INSTRUCTIONS if name in flags)


def busy_words(load: float, cores: int) -> str:
    """A warning where `load` says that the machine does other work, else nothing."""
    if load <= BUSY:
        return ""
    return (
        f"load average {load:.1f} on {cores} cores before the start: other work is running here. "
        "Contestants take turns, so ratios stay fair, but they scatter more; an idle machine gives better figures"
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name.replace("_", "-")] = version(name)
        except PackageNotFoundError:  # of an extra that is not installed
            continue
    return found
