"""How far the modified model's features have turned from the base's: principal angles between their subspaces."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import subspace_angles

from pliant.data.tasks import EncodedSplit
from pliant.records.record import Measurement

Features = Float[np.ndarray, "tokens width"]


def hidden_states(model: Any, split: EncodedSplit, *, batch_tokens: int) -> list[Features]:
    """The hidden state of every token of `split` after the embedding and after each layer, (tokens, width), fp64."""
    rows = max(1, batch_tokens // split.inputs.shape[1])
    layers: list[list[np.ndarray]] = []
    with torch.inference_mode():
        for start in range(0, len(split), rows):
            inputs = torch.from_numpy(split.inputs[start : start + rows]).to(model.device)
            found = model(input_ids=inputs, use_cache=False, output_hidden_states=True).hidden_states
            layers.append([state.flatten(0, 1).double().cpu().numpy() for state in found])
    return [np.concatenate(parts) for parts in zip(*layers, strict=True)]


def mean_principal_angle(base: Features, modified: Features, components: int) -> float:
    """The mean of the `components` principal angles between two subspaces, in radians: 0 if they are the same,
    pi/2 if they are orthogonal.

    The subspaces are spanned by the first `components` left singular vectors U, V of the two (tokens, width)
    matrices: directions over the same tokens, so that a rotation of the features alone changes nothing. The angles are
    arccos of the singular values of UᵀV (small ones from sines, by SciPy). After the feature drift of Rofin et al.,
    arXiv 2604.13627, whose exact matrix the paper's accounts leave open.

    Raises:
        ValueError: there are fewer tokens or features than components.
    """
    if components > min(base.shape):
        raise ValueError(
            f"drift of {components} components needs as many tokens and features; there are {base.shape[0]:,} tokens "
            f"and {base.shape[1]:,} features: lower components"
        )
    if np.array_equal(base, modified):  # rounding would make 1e-8 of it
        return 0.0
    return float(np.mean(subspace_angles(_span(base, components), _span(modified, components))))


def _span(features: Features, components: int) -> Float[np.ndarray, "tokens components"]:
    return np.asarray(np.linalg.svd(features, full_matrices=False)[0][:, :components])


def drift_measurements(
    base: list[Features], modified: list[Features], components: int, *, draw: int | None, sign: int | None
) -> list[Measurement]:
    """The mean principal angle at the last layer, and at each layer by its number (0 is the embedding)."""
    angles = [mean_principal_angle(b, m, components) for b, m in zip(base, modified, strict=True)]
    shared = {"metric": "drift_radians", "draw": draw, "sign": sign}
    return [Measurement(**shared, value=angles[-1])] + [  # type: ignore[arg-type]
        Measurement(**shared, value=angle, tensor=f"layer {number}")  # type: ignore[arg-type]
        for number, angle in enumerate(angles)
    ]
