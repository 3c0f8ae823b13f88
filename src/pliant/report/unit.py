"""The unit losses are shown in, and numbers as a reader wants them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pliant.records.units import bits_per_byte
from pliant.statistics import Estimate, Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """`factor` turns nats per token into what is shown: 1, or 1 / (ln 2 x bytes per token).

    Trajectories with different tokenizers have a factor each, in `factors`; `factor` is nan then, and `of` gives the
    unit of one of them.
    """

    factor: float
    name: str
    factors: Mapping[str, float] = field(default_factory=dict)

    def of(self, trajectory: str) -> "Unit":
        """The unit of the losses of one trajectory."""
        return replace(self, factor=self.factors.get(trajectory, self.factor))

    def number(self, loss_nats: float) -> str:
        return fixed(loss_nats * self.factor)

    def signed(self, loss_nats: float) -> str:
        return signed(loss_nats * self.factor)

    def interval(self, estimate: Estimate) -> str:
        """ "+0.104 [+0.087, +0.121]", or the value alone where there is no interval."""
        if not estimate.has_interval:
            return self.signed(estimate.value)
        return f"{self.signed(estimate.value)} [{self.signed(estimate.low)}, {self.signed(estimate.high)}]"


NATS = Unit(factor=1.0, name="nats/token")


def unit_of(readings: Iterable[Reading]) -> Unit:
    """Bits per byte where each trajectory's pre-training losses share one known number of bytes a token; else nats."""
    sizes: dict[str, set[float | None]] = {}
    for r in readings:
        if r.evaluation == "pretraining-loss":
            sizes.setdefault(r.trajectory, set()).add(r.bytes_per_token)
    known = {trajectory: size for trajectory, (size, *others) in sizes.items() if size and not others}
    if not known or len(known) < len(sizes):
        return NATS
    factors = {trajectory: bits_per_byte(1.0, size) for trajectory, size in known.items()}
    first, *others = set(factors.values())
    return Unit(factor=math.nan if others else first, name="bits/byte", factors=factors if others else {})


def fixed(value: float) -> str:
    """Three decimals; a real minus sign; an en dash for nan."""
    return "–" if math.isnan(value) else f"{value:.3f}".replace("-", "−")


def signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.3f}".replace("-", "−")


_SYMBOLS = {"noise": "γ", "fine-tune": "rate", "prune": "share", "interpolate": "weight", "quantise": "quantised to"}


def strength_words(modification: str, strength: float) -> str:
    """A strength as people say it: "γ 0.1", "rate 6.4e−5", "4 bits", "share 0.5"."""
    number = strength_number(modification, strength)
    return number if number.endswith(" bits") else f"{symbol(modification)} {number}"


def strength_number(modification: str, strength: float) -> str:
    """A strength where its symbol stands beside it, as in a legend: "0.1", "4 bits".

    pliant's quantisation has strength 1 / (2^(bits - 1) - 1); a user's own table may hold another.
    """
    if modification != "quantise":
        return rate(strength)
    bits = math.log2(1 / strength + 1) + 1
    return f"{bits:.0f} bits" if abs(bits - round(bits)) < 0.01 else rate(strength)


def symbol(modification: str) -> str:
    """What the strength of a modification is called: γ of noise, the rate of fine-tuning, the share pruned, ..."""
    return _SYMBOLS.get(modification, "strength")


def rate(value: float, digits: int = 3) -> str:
    """A learning rate or strength: 0.0064 -> "0.0064", 6.4e-05 -> "6.4e−5"."""
    text = f"{value:.{digits}g}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return f"{mantissa}e{int(exponent)}".replace("-", "−")
