"""Whether the kernel works on this machine: asked once, when a study is created."""

import warnings

import numpy as np
import torch

AGREES = 1e-5


def kernel_works() -> bool:
    """Whether numba is here, compiles the kernel, and the losses of a small model agree with those of torch.

    About ten seconds the first time on a machine; what was compiled is kept.
    """
    try:
        return _agrees_with_torch()
    except Exception as error:  # no numba, a processor that it does not know, no folder to keep what it compiles
        warnings.warn(f"tiny models are computed by torch, which is slower: the kernel failed ({error})", stacklevel=2)
        return False


def _agrees_with_torch() -> bool:
    from pliant.checkpoints.architecture import Architecture, build_model
    from pliant.training.by_kernel.losses import kernel_losses
    from pliant.training.cross_entropy import cross_entropies
    from pliant.training.decoder import lean_logits

    model = build_model(Architecture(width=8, layers=1, heads=1, feed_forward=16, context=16), 16, 0).eval()
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 16, size=(2, 17)))
    with torch.inference_mode():
        plain = cross_entropies(lean_logits(model, tokens[:, :-1]), tokens[:, 1:])
        return bool((kernel_losses(model, tokens[:, :-1], tokens[:, 1:]) - plain).abs().max() < AGREES)
