"""pliant: how modifiable is each checkpoint of a pre-training run, and where did more pre-training begin to hurt?"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pliant.api import audit, merge, recipe, sensitivity, study, trajectory, verdict

__version__ = "0.1.0"
__all__ = ["__version__", "audit", "merge", "recipe", "sensitivity", "study", "trajectory", "verdict"]


def __getattr__(name: str) -> Any:
    """Load the public names when they are first used, so that `import pliant` loads no torch."""
    if name in __all__:
        return getattr(importlib.import_module("pliant.api"), name)
    raise AttributeError(f"module 'pliant' has no attribute {name!r}")
