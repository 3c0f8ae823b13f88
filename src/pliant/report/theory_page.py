"""`theory.html`: what the linear model says about overtraining, in panels on one self-contained page."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pliant.records.identity import Json
from pliant.report.html import render_page, write_page
from pliant.report.theory_panels import Panel, anchors, features, fine_tuning, noise, weight_decay
from pliant.report.unit import rate
from pliant.theory.inflection import Inflection, predicted_inflection
from pliant.theory.linear_model import LinearModel
from pliant.theory.perturbed import shrinkage


@dataclass(frozen=True, slots=True, kw_only=True)
class InflectionRow:
    """One noise strength in the table. Losses are shares of ||A||^2; `loss` includes the noise's constant."""

    gamma: float
    twice_g: float
    t_star: float
    t_star_predicted: float
    loss: float
    drop: float
    rise: float
    kind: str

    def to_json(self) -> dict[str, Json]:
        """As fields; a prediction of never (no noise) is null."""
        fields: dict[str, Json] = dataclasses.asdict(self)
        return {**fields, "t_star_predicted": self.t_star_predicted if self.twice_g else None}


def inflection_rows(model: LinearModel, found: Sequence[Inflection]) -> tuple[InflectionRow, ...]:
    """The table of inflections, with 2g = gamma^2 (m + n) and the prediction ln(2g/s0) / (4g) beside each."""
    unit = model.clean_start
    return tuple(
        InflectionRow(
            gamma=f.gamma,
            twice_g=2 * float(shrinkage(f.gamma, model.rank, model.rank)),
            t_star=f.t_star,
            t_star_predicted=float(predicted_inflection(f.gamma, model.s0, model.rank, model.rank)),
            loss=f.loss_star / unit,
            drop=f.drop / unit,
            rise=f.rise / unit,
            kind=f.kind,
        )
        for f in found
    )


def shown(row: InflectionRow, horizon: float) -> tuple[str, ...]:
    """The cells of a row as a reader wants them; t* is "end" where the loss still falls at the horizon."""
    t_star = "end" if row.t_star == horizon else f"{row.t_star:.1f}"
    predicted = "never" if np.isinf(row.t_star_predicted) else f"{row.t_star_predicted:.1f}"
    shares = (f"{share:.4f}" for share in (row.loss, row.drop, row.rise))
    return rate(row.gamma), rate(row.twice_g), t_star, predicted, *shares, row.kind


HEADINGS = ("γ", "2g", "t*", "predicted t*", "loss there", "drop", "rise", "kind")


def write_theory_page(
    model: LinearModel,
    found: Sequence[Inflection],
    out: Path,
    *,
    task: str,
    tau: float,
    lambdas: Sequence[float],
) -> Path:
    """Write the page of `model` to `out`, atomically, and return `out`.

    Args:
        found: inflections of the perturbed loss, one for each noise strength.
        task: a name in `TASKS`.
        tau: duration of fine-tuning.
        lambdas: strengths of the anchor.

    Raises:
        ValueError: no strength, no anchor, or values out of range.
        OSError: `out` cannot be written.
    """
    if not found or not lambdas:
        raise ValueError("the theory page needs one noise strength and one anchor or more: give --gammas and --lambdas")
    middle = found[len(found) // 2].gamma
    kept, learned = fine_tuning(model, task, tau)
    anchor, anchor_rows = anchors(model, task, tau, lambdas)
    sections: list[tuple[str, str, str, tuple[Panel, ...]]] = [
        ("learning", "Learning and noise", LEARNING, (features(model), noise(model, found))),
        ("fine-tuning", "Fine-tuning", FINE_TUNING.format(task=task), (kept, learned)),
        ("regularisation", "Regularisation", REGULARISATION, (weight_decay(model, middle), anchor)),
    ]
    data: Mapping[str, Json] = {panel.id: panel.to_json() for *_, panels in sections for panel in panels}
    page = render_page(
        "theory",
        dict(data),
        model=model,
        number=rate,
        sections=sections,
        headings=HEADINGS,
        rows=[shown(row, model.horizon) for row in inflection_rows(model, found)],
        anchor_rows=anchor_rows,
    )
    return write_page(page, out)


LEARNING = (
    "Gradient flow learns the features of the target one after another, the strong ones first. Noise on the weights "
    "costs in proportion to what has been learned: a feature pays for itself only if its singular value exceeds "
    "2g = γ²(m+n), and once those that do are learned, more training makes the perturbed loss worse."
)
FINE_TUNING = "The task “{task}” has the features of pre-training with other strengths."
REGULARISATION = "What keeps the loss from turning up, and what that costs."
