"""The panels of the theory page as plain data: what theory.js draws.

Losses are shares of ||A||^2, the loss of a network that has learned nothing; times are learning rate x steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from pliant.records.identity import Json
from pliant.report.unit import rate
from pliant.theory.finetune import finetune_aligned, finetune_anchor
from pliant.theory.inflection import Inflection
from pliant.theory.linear_model import LinearModel
from pliant.theory.modes import base_loss
from pliant.theory.perturbed import shrinkage

DECAY_SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
TAU_FACTORS = (0.01, 0.1, 1.0, 10.0)
LEGEND_ENTRIES = 6

Curve = Float[np.ndarray, " k"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One curve, or the markers on curves. `tone` in [0, 1] picks a sequential colour, `hue` a categorical one."""

    name: str
    x: Curve
    y: Curve
    tone: float | None = None
    hue: int | None = None
    dash: Literal["solid", "dot", "dash"] = "solid"
    wide: bool = False
    markers: bool = False
    legend: bool = True

    def to_json(self) -> Json:
        return {
            "name": self.name,
            "x": [_short(x) for x in self.x],
            "y": [_short(y) for y in self.y],
            "tone": self.tone,
            "hue": self.hue,
            "dash": self.dash,
            "wide": self.wide,
            "markers": self.markers,
            "legend": self.legend,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One figure over pre-training time, which is logarithmic."""

    id: str
    title: str
    caption: str
    y_name: str
    lines: tuple[Line, ...]
    legend_title: str = ""
    y_log: bool = False

    def to_json(self) -> Json:
        return {
            "y_name": self.y_name,
            "y_log": self.y_log,
            "legend_title": self.legend_title,
            "lines": [line.to_json() for line in self.lines],
        }


def features(model: LinearModel) -> Panel:
    """Strength of some modes against time."""
    places = np.unique(np.geomspace(1, model.rank, 7).round().astype(int))
    strengths = model.states(model.budgets)
    lines = (
        Line(name=str(i), x=model.budgets, y=strengths[:, i - 1], tone=1 - tone)
        for i, tone in zip(places.tolist(), _tones(len(places)), strict=True)
    )
    return Panel(
        id="features",
        title="Features learned",
        caption="Strength of single features; each ends at its singular value in the target. Strong features are "
        "learned first, and each in a short time. Noise costs in proportion to the sum of all strengths.",
        y_name="strength of the feature",
        legend_title="feature",
        lines=tuple(lines),
    )


def noise(model: LinearModel, found: Sequence[Inflection]) -> Panel:
    """Perturbed loss for each strength, and where it is lowest."""
    gammas = np.array([f.gamma for f in found])
    curves = _without_constant(model.perturbed(model.budgets, gammas), gammas, model)
    stars = np.array([f.t_star for f in found])
    lowest = _without_constant(np.array([f.loss_star for f in found])[:, None], gammas, model)[:, 0]
    inside = (stars > 0) & (stars < model.horizon)
    named = _some(len(found))
    lines = [
        Line(name=rate(f.gamma), x=model.budgets, y=curve, tone=tone, legend=k in named)
        for k, (f, curve, tone) in enumerate(zip(found, curves, _tones(len(found)), strict=True))
    ]
    if inside.any():
        lines.append(Line(name="lowest", x=stars[inside], y=lowest[inside], hue=5, dash="dot", markers=True))
    return Panel(
        id="noise",
        title="Loss under noise",
        caption="Expected loss with Gaussian noise of std γ on all weights; dots mark where it is lowest. Left out is "
        "γ⁴ · rank³, which training does not change. The stronger the noise, the earlier the curve turns up.",
        y_name="perturbed loss / ‖A‖²",
        y_log=True,
        legend_title="γ",
        lines=tuple(lines),
    )


def fine_tuning(model: LinearModel, task: str, tau: float) -> tuple[Panel, Panel]:
    """Pre-training loss and task loss after fine-tuning for several durations."""
    sf, s_T = model.task(task), model.states(model.budgets)
    durations = tau * np.array(TAU_FACTORS)
    s = finetune_aligned(durations, s_T, sf)
    kept, learned = (_shares(base_loss(s, target), model) for target in (model.sigma, sf))
    before = [_shares(base_loss(s_T, target), model) for target in (model.sigma, sf)]
    panels = []
    for curves, start, id, title, words in (
        (kept, before[0], "kept", "Pre-training loss after fine-tuning", KEPT),
        (learned, before[1], "task", "Task loss after fine-tuning", LEARNED),
    ):
        lines = [Line(name="0", x=model.budgets, y=start, hue=5, dash="dash")]
        for duration, curve, tone in zip(durations.tolist(), curves, _tones(len(durations)), strict=True):
            name = rate(duration)
            lines.append(Line(name=name, x=model.budgets, y=curve, tone=tone, wide=duration == tau))
        y_name = f"{'pre-training' if id == 'kept' else 'task'} loss / ‖A‖²"
        panels.append(Panel(id=id, title=title, caption=words, y_name=y_name, legend_title="τ", lines=tuple(lines)))
    return panels[0], panels[1]


KEPT = (
    "Fine-tuned for τ with the singular vectors of pre-training (dashed: before). It can turn up only if the task asks "
    "some feature to be stronger than the target does, and if τ is neither so short that little changes nor so long "
    "that the start is forgotten."
)
LEARNED = (
    "What the same fine-tuning leaves of the task. A turn of the other figure comes from one τ for all checkpoints: "
    "with τ tuned for each, on a weighted sum of both losses, it all but went away in every case tried."
)


def weight_decay(model: LinearModel, gamma: float) -> Panel:
    """Perturbed loss for weight decay in shares of g."""
    g = float(shrinkage(gamma, model.rank, model.rank))
    lines = []
    for share, tone in zip(DECAY_SHARES, _tones(len(DECAY_SHARES)), strict=True):
        curve = model.perturbed(model.budgets, gamma, wd=share * g)[None]
        y = _without_constant(curve, np.array([gamma]), model)[0]
        lines.append(Line(name=f"{share:g} g" if share else "0", x=model.budgets, y=y, tone=tone))
    return Panel(
        id="decay",
        title=f"Weight decay in pre-training, under noise of γ {rate(gamma)}",
        caption=f"Weight decay of g = γ²(m+n)/2 = {rate(g)} ends at the lowest loss that any such network can have "
        "under this noise, and the curve does not turn up. The price: the loss without noise no longer goes to 0.",
        y_name="perturbed loss / ‖A‖²",
        legend_title="decay",
        lines=tuple(lines),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorRow:
    """One anchor: the time at which pre-training loss is lowest, its rise after that, task loss at the horizon."""

    lam: float
    t_star: float
    rise: float
    task_loss: float


def anchors(model: LinearModel, task: str, tau: float, lambdas: Sequence[float]) -> tuple[Panel, tuple[AnchorRow, ...]]:
    """Pre-training loss after anchored fine-tuning, and a table of where it turns and what it costs."""
    sf, s_T = model.task(task), model.states(model.budgets)
    lines, rows = [], []
    for lam, tone in zip(lambdas, _tones(len(lambdas)), strict=True):
        s = finetune_anchor(np.array([tau]), s_T, sf, lam)[0]
        kept, learned = (_shares(base_loss(s, target), model) for target in (model.sigma, sf))
        lowest = int(np.argmin(kept))
        row = {"t_star": float(model.budgets[lowest]), "rise": float(kept[-1] - kept[lowest])}
        rows.append(AnchorRow(lam=lam, task_loss=float(learned[-1]), **row))
        lines.append(Line(name=rate(lam), x=model.budgets, y=kept, tone=tone))
    panel = Panel(
        id="anchor",
        title=f"An anchor in fine-tuning, τ {rate(tau)}",
        caption="Pre-training loss after fine-tuning with a penalty λ/2 on the squared distance from the pre-trained "
        "weights. The anchor delays the turn; the table says what that costs on the task.",
        y_name="pre-training loss / ‖A‖²",
        legend_title="λ",
        lines=tuple(lines),
    )
    return panel, tuple(rows)


def _shares(losses: Float[np.ndarray, "..."], model: LinearModel) -> Float[np.ndarray, "..."]:
    return losses / model.clean_start


def _without_constant(
    losses: Float[np.ndarray, "strengths k"], gammas: Float[np.ndarray, " strengths"], model: LinearModel
) -> Float[np.ndarray, "strengths k"]:
    return (losses - (gammas**4 * float(model.rank) ** 3)[:, None]) / model.clean_start


def _tones(n: int) -> list[float]:
    return [0.5] if n == 1 else np.linspace(0, 1, n).tolist()


def _some(n: int) -> set[int]:
    """Places of at most LEGEND_ENTRIES evenly spread entries of n."""
    return set(np.linspace(0, n - 1, min(n, LEGEND_ENTRIES)).round().astype(int).tolist())


def _short(value: float) -> float:
    return float(f"{value:.6g}")
