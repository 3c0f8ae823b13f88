"""From the last norm to the losses and back: a word of the vocabulary in each lane, four tokens at a time.

So nothing of the size of tokens x vocabulary is ever in memory, and tokens whose target is not scored cost nothing.
"""

import math

from numba import njit

from pliant.kernel import LANES
from pliant.kernel.lanes import everywhere, exp, f32, fma, from_lane, highest, larger, load, splat, store, total
from pliant.kernel.operations import LOWEST

TOKENS = 4


@njit
def transposed(wt, w, w0, V, D, W):
    """wt[i, v] = w[v, i], rows of W, the multiple of 16 from V on; the rest of a row is left as it is."""
    for v in range(V):
        for i in range(D):
            wt[i * W + v] = w[w0 + v * D + i]


@njit
def add_transposed(w, w0, wt, V, D, W):
    """w[v, i] += wt[i, v]."""
    for v in range(V):
        for i in range(D):
            w[w0 + v * D + i] += wt[i * W + v]


@njit
def head(loss, dx, dwt, logits, x, wt, targets, row, share, V, D, W, T, backward):
    """loss[row, t] = ln sum_v e^l[v] - l[target], l[v] = sum_i wt[i, v] x[i, t]; 0 where the target is negative.

    With `backward` dx[i, t] becomes the gradient of share times the sum of losses, and dwt[i, v] has its own added.
    `logits` is room for 4 W numbers.
    """
    for t in range(0, T, TOKENS):
        wanted = False
        for k in range(TOKENS):
            loss[row, t + k] = f32(0)
            wanted = wanted or targets[row, t + k] >= 0
        if not wanted:
            if backward:
                for i in range(D):
                    for k in range(TOKENS):
                        dx[i * T + t + k] = f32(0)
            continue
        for v in range(0, W, LANES):
            a = b = c = d = splat(f32(0))
            for i in range(D):
                column, n = load(wt, i * W + v), i * T + t
                a = fma(everywhere(x, n), column, a)
                b = fma(everywhere(x, n + 1), column, b)
                c = fma(everywhere(x, n + 2), column, c)
                d = fma(everywhere(x, n + 3), column, d)
            if v + LANES > V:
                low = splat(LOWEST)
                a, b = from_lane(low, V - v, a), from_lane(low, V - v, b)
                c, d = from_lane(low, V - v, c), from_lane(low, V - v, d)
            store(logits, v, a)
            store(logits, W + v, b)
            store(logits, 2 * W + v, c)
            store(logits, 3 * W + v, d)
        for k in range(TOKENS):
            loss[row, t + k] = softmax(logits, k * W, targets[row, t + k], share, W, backward)
        if not backward:
            continue
        for i in range(D):
            a = b = c = d = splat(f32(0))
            n = i * T + t
            p, q, r, s = everywhere(x, n), everywhere(x, n + 1), everywhere(x, n + 2), everywhere(x, n + 3)
            for v in range(0, W, LANES):
                e, f, g, h = load(logits, v), load(logits, W + v), load(logits, 2 * W + v), load(logits, 3 * W + v)
                column = load(wt, i * W + v)
                a = fma(column, e, a)
                b = fma(column, f, b)
                c = fma(column, g, c)
                d = fma(column, h, d)
                store(dwt, i * W + v, fma(s, h, fma(r, g, fma(q, f, fma(p, e, load(dwt, i * W + v))))))
            dx[n] = total(a)
            dx[n + 1] = total(b)
            dx[n + 2] = total(c)
            dx[n + 3] = total(d)


@njit
def softmax(logits, l0, target, share, W, backward):
    """The loss of one token; with `backward` its logits become share (softmax - one-hot). 0 if target is negative."""
    if target < 0:
        if backward:
            for v in range(0, W, LANES):
                store(logits, l0 + v, splat(f32(0)))
        return f32(0)
    chosen = logits[l0 + target]
    most = load(logits, l0)
    for v in range(LANES, W, LANES):
        most = larger(most, load(logits, l0 + v))
    top = highest(most)
    summed, shift = splat(f32(0)), splat(top)
    for v in range(0, W, LANES):
        one = exp(load(logits, l0 + v) - shift)
        summed = summed + one
        if backward:
            store(logits, l0 + v, one)
    mass = total(summed)
    if backward:
        scale = splat(share / mass)
        for v in range(0, W, LANES):
            store(logits, l0 + v, load(logits, l0 + v) * scale)
        logits[l0 + target] -= share
    return f32(math.log(mass)) + (top - chosen)
