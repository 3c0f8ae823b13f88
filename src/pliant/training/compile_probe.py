"""Whether compiling works on this machine, found out by compiling."""

import subprocess
import sys

SECONDS = 120.0
"""For importing torch and compiling a few lines, which takes a tenth of this on an idle core."""
PROBE = """
import torch
from pliant.training.compiler import compiled
rows = torch.randn(8, 16)
made = compiled(lambda x: torch.softmax(x, -1) * x.sigmoid())
torch.testing.assert_close(made(rows), torch.softmax(rows, -1) * rows.sigmoid())
"""


def compiling_works(seconds: float = SECONDS) -> bool:
    """Whether a process of its own compiles a small function, and computes the same with it, within `seconds`."""
    try:
        found = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return False
    return found.returncode == 0
