"""All rows of a batch through a Llama and back."""

import math

import numpy as np

from pliant.kernel import LANES
from pliant.kernel.compiled import compiled
from pliant.kernel.head import TOKENS, add_transposed, head, transposed
from pliant.kernel.lanes import f32
from pliant.kernel.operations import (
    add,
    add_norm_back,
    add_outer,
    attend,
    attend_back,
    gate,
    gate_back,
    norm,
    product,
    product_back,
    rotate,
)


@compiled
def run(w, dw, where, shape, epsilon, cosine, sine, tokens, targets, share, loss, backward):
    """Write the cross-entropy of each target into `loss`; with `backward` add its gradient, weighted by `share`, to dw.

    `where` holds the offset in w and dw of the embedding, the last gain, the head, and of each layer's first gain,
    query, key, value and output matrix, second gain, gate, up and down matrix. `shape` is (V, D, layers, H, F).
    """
    V, D, L, H, F = shape
    R, T = tokens.shape
    E, DT, FT, HTT = D // H, D * T, F * T, H * T * T
    scale = f32(1.0 / math.sqrt(E))
    x, between = np.empty((L + 1) * DT, np.float32), np.empty(L * DT, np.float32)
    first, second = np.empty(L * DT, np.float32), np.empty(L * DT, np.float32)
    inverse, inverses = np.empty(L * T, np.float32), np.empty(L * T, np.float32)
    q, k, v = np.empty(L * DT, np.float32), np.empty(L * DT, np.float32), np.empty(L * DT, np.float32)
    mixed, p = np.empty(L * DT, np.float32), np.empty(L * HTT, np.float32)
    g, u, s = np.empty(L * FT, np.float32), np.empty(L * FT, np.float32), np.empty(L * FT, np.float32)
    last, inverse_last = np.empty(DT, np.float32), np.empty(T, np.float32)
    W = -(-V // LANES) * LANES
    wt, dwt, logits = np.zeros(D * W, np.float32), np.zeros(D * W, np.float32), np.empty(TOKENS * W, np.float32)
    transposed(wt, w, where[2], V, D, W)
    dx, dn, dm = np.empty(DT, np.float32), np.empty(DT, np.float32), np.empty(DT, np.float32)
    dq, dk, dv = np.empty(DT, np.float32), np.empty(DT, np.float32), np.empty(DT, np.float32)
    ds, dots = np.empty(T * T, np.float32), np.empty(T, np.float32)
    dy, dg, du = np.empty(FT, np.float32), np.empty(FT, np.float32), np.empty(FT, np.float32)
    for row in range(R):
        for t in range(T):
            n = where[0] + tokens[row, t] * D
            for i in range(D):
                x[i * T + t] = w[n + i]
        for layer in range(L):
            at = 3 + 9 * layer
            a, b, m = layer * DT, layer * FT, layer * T
            norm(first, a, inverse, m, x, a, w, where[at], D, T, epsilon)
            product(q, a, w, where[at + 1], first, a, D, D, T)
            product(k, a, w, where[at + 2], first, a, D, D, T)
            product(v, a, w, where[at + 3], first, a, D, D, T)
            rotate(q, a, cosine, sine, H, E, T, f32(1))
            rotate(k, a, cosine, sine, H, E, T, f32(1))
            attend(mixed, a, p, layer * HTT, q, k, v, a, H, E, T, scale)
            product(between, a, w, where[at + 4], mixed, a, D, D, T)
            add(between, a, x, a, DT)
            norm(second, a, inverses, m, between, a, w, where[at + 5], D, T, epsilon)
            product(g, b, w, where[at + 6], second, a, F, D, T)
            product(u, b, w, where[at + 7], second, a, F, D, T)
            gate(s, b, g, u, b, FT)
            product(x, a + DT, w, where[at + 8], s, b, D, F, T)
            add(x, a + DT, between, a, DT)
        norm(last, 0, inverse_last, 0, x, L * DT, w, where[1], D, T, epsilon)
        head(loss, dn, dwt, logits, last, wt, targets, row, share, V, D, W, T, backward)
        if not backward:
            continue
        dx[:] = 0
        add_norm_back(dx, dw, where[1], dn, inverse_last, 0, x, L * DT, w, D, T)
        for layer in range(L - 1, -1, -1):
            at = 3 + 9 * layer
            a, b, m = layer * DT, layer * FT, layer * T
            product_back(dy, 0, w, where[at + 8], dx, 0, D, F, T, False)
            add_outer(dw, where[at + 8], dx, 0, s, b, D, F, T)
            gate_back(dg, du, dy, g, u, b, FT)
            product_back(dn, 0, w, where[at + 6], dg, 0, F, D, T, False)
            product_back(dn, 0, w, where[at + 7], du, 0, F, D, T, True)
            add_outer(dw, where[at + 6], dg, 0, second, a, F, D, T)
            add_outer(dw, where[at + 7], du, 0, second, a, F, D, T)
            add_norm_back(dx, dw, where[at + 5], dn, inverses, m, between, a, w, D, T)
            product_back(dm, 0, w, where[at + 4], dx, 0, D, D, T, False)
            add_outer(dw, where[at + 4], dx, 0, mixed, a, D, D, T)
            attend_back(dq, dk, dv, ds, dots, p, layer * HTT, q, k, v, a, mixed, dm, H, E, T, scale)
            rotate(dq, 0, cosine, sine, H, E, T, f32(-1))
            rotate(dk, 0, cosine, sine, H, E, T, f32(-1))
            product_back(dn, 0, w, where[at + 1], dq, 0, D, D, T, False)
            product_back(dn, 0, w, where[at + 2], dk, 0, D, D, T, True)
            product_back(dn, 0, w, where[at + 3], dv, 0, D, D, T, True)
            add_outer(dw, where[at + 1], dq, 0, first, a, D, D, T)
            add_outer(dw, where[at + 2], dk, 0, first, a, D, D, T)
            add_outer(dw, where[at + 3], dv, 0, first, a, D, D, T)
            add_norm_back(dx, dw, where[at], dn, inverse, m, x, a, w, D, T)
        for t in range(T):
            n = where[0] + tokens[row, t] * D
            for i in range(D):
                dw[n + i] += dx[i * T + t]
    if backward:
        add_transposed(dw, where[2], dwt, V, D, W)
