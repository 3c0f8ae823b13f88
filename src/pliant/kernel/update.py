"""Clipping by global norm and AdamW on flat arrays."""

import math

from pliant.kernel import LANES
from pliant.kernel.compiled import compiled
from pliant.kernel.lanes import f32, fma, load, splat, square_root, store, total


@compiled
def update(w, dw, first, second, decay, rate, clip_norm, beta1, beta2, epsilon, steps):
    """Take AdamW's step number `steps`, counted from 1, and set dw to 0; the norm of the gradient before clipping.

    Nothing but dw changes where that norm is not finite. All arrays are of one length, a multiple of 16; `decay` is the
    weight decay of each weight. Loshchilov and Hutter, arXiv 1711.05101, in the order of operations of torch.
    """
    squares = splat(f32(0))
    for i in range(0, w.size, LANES):
        g = load(dw, i)
        squares = fma(g, g, squares)
    norm = math.sqrt(total(squares))
    if not math.isfinite(norm):
        dw[:] = 0
        return norm
    clip = splat(f32(min(1.0, clip_norm / (norm + 1e-6))))
    keep, keep2 = splat(f32(1 - beta1)), splat(f32(1 - beta2))
    root = splat(f32(math.sqrt(1 - beta2**steps)))
    stride = splat(f32(rate / (1 - beta1**steps)))
    small, shrink, one, zero = splat(f32(epsilon)), splat(f32(rate)), splat(f32(1)), splat(f32(0))
    for i in range(0, w.size, LANES):
        g = load(dw, i) * clip
        m, v = load(first, i), load(second, i)
        m = fma(keep, g - m, m)
        v = fma(keep2, g * g - v, v)
        x = load(w, i) * (one - shrink * load(decay, i))
        store(w, i, x - stride * m / (square_root(v) / root + small))
        store(first, i, m)
        store(second, i, v)
        store(dw, i, zero)
    return norm
