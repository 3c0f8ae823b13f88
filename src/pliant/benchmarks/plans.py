"""The numerics plan that a study of a model would be given."""

from typing import Any

from pliant.records.numerics import Numerics
from pliant.studies.numerics import TINY_PARAMETERS
from pliant.training.by_kernel.layout import kernel_fits
from pliant.training.by_kernel.probe import kernel_works


def plan_for(model: Any) -> Numerics:
    """As `choose_numerics` for one thread: the kernel for tiny models that it takes, else the defaults."""
    tiny = sum(parameter.numel() for parameter in model.parameters()) < TINY_PARAMETERS
    return Numerics(kernel="lanes") if tiny and kernel_fits(model) and kernel_works() else Numerics()
