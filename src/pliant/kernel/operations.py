"""The operations of a Llama block and their gradients, on one row of tokens.

Activations are flat arrays of (features, T): T is a multiple of 16 and the tokens of a feature lie side by side, so
a lane is a token and nothing crosses lanes but sums over tokens. Every array comes with the offset at which it begins.
Gradients are added to what is there where the name says `add_`, and where `add` is true.
"""

from numba import njit

from pliant.kernel import LANES
from pliant.kernel.lanes import (
    everywhere,
    exp,
    f32,
    fma,
    from_lane,
    larger,
    load,
    splat,
    square_root,
    store,
    total,
)

LOWEST = f32(-1e30)
"""A score that is no score: its exponential is 0."""


@njit
def product(y, y0, w, w0, x, x0, M, N, T):
    """y[o, t] = sum_i w[o, i] x[i, t]; M is a multiple of 8."""
    for t in range(0, T, LANES):
        for o in range(0, M, 8):
            a = b = c = d = e = f = g = h = splat(f32(0))
            for i in range(N):
                v = load(x, x0 + i * T + t)
                k = w0 + o * N + i
                a = fma(everywhere(w, k), v, a)
                b = fma(everywhere(w, k + N), v, b)
                c = fma(everywhere(w, k + 2 * N), v, c)
                d = fma(everywhere(w, k + 3 * N), v, d)
                e = fma(everywhere(w, k + 4 * N), v, e)
                f = fma(everywhere(w, k + 5 * N), v, f)
                g = fma(everywhere(w, k + 6 * N), v, g)
                h = fma(everywhere(w, k + 7 * N), v, h)
            k = y0 + o * T + t
            store(y, k, a)
            store(y, k + T, b)
            store(y, k + 2 * T, c)
            store(y, k + 3 * T, d)
            store(y, k + 4 * T, e)
            store(y, k + 5 * T, f)
            store(y, k + 6 * T, g)
            store(y, k + 7 * T, h)


@njit
def product_back(x, x0, w, w0, y, y0, M, N, T, add):
    """x[i, t] = (x[i, t] if add else 0) + sum_o w[o, i] y[o, t]; N is a multiple of 8."""
    for t in range(0, T, LANES):
        for i in range(0, N, 8):
            n = x0 + i * T + t
            a = b = c = d = e = f = g = h = splat(f32(0))
            if add:
                a = load(x, n)
                b = load(x, n + T)
                c = load(x, n + 2 * T)
                d = load(x, n + 3 * T)
                e = load(x, n + 4 * T)
                f = load(x, n + 5 * T)
                g = load(x, n + 6 * T)
                h = load(x, n + 7 * T)
            for o in range(M):
                v = load(y, y0 + o * T + t)
                k = w0 + o * N + i
                a = fma(everywhere(w, k), v, a)
                b = fma(everywhere(w, k + 1), v, b)
                c = fma(everywhere(w, k + 2), v, c)
                d = fma(everywhere(w, k + 3), v, d)
                e = fma(everywhere(w, k + 4), v, e)
                f = fma(everywhere(w, k + 5), v, f)
                g = fma(everywhere(w, k + 6), v, g)
                h = fma(everywhere(w, k + 7), v, h)
            store(x, n, a)
            store(x, n + T, b)
            store(x, n + 2 * T, c)
            store(x, n + 3 * T, d)
            store(x, n + 4 * T, e)
            store(x, n + 5 * T, f)
            store(x, n + 6 * T, g)
            store(x, n + 7 * T, h)


@njit
def add_outer(dw, w0, y, y0, x, x0, M, N, T):
    """dw[o, i] += sum_t y[o, t] x[i, t]; M is a multiple of 4, N of 2."""
    for o in range(0, M, 4):
        for i in range(0, N, 2):
            a = b = c = d = e = f = g = h = splat(f32(0))
            for t in range(0, T, LANES):
                n, k = y0 + o * T + t, x0 + i * T + t
                p, q, r, s = load(y, n), load(y, n + T), load(y, n + 2 * T), load(y, n + 3 * T)
                u, v = load(x, k), load(x, k + T)
                a = fma(p, u, a)
                b = fma(p, v, b)
                c = fma(q, u, c)
                d = fma(q, v, d)
                e = fma(r, u, e)
                f = fma(r, v, f)
                g = fma(s, u, g)
                h = fma(s, v, h)
            k = w0 + o * N + i
            dw[k] += total(a)
            dw[k + 1] += total(b)
            dw[k + N] += total(c)
            dw[k + N + 1] += total(d)
            dw[k + 2 * N] += total(e)
            dw[k + 2 * N + 1] += total(f)
            dw[k + 3 * N] += total(g)
            dw[k + 3 * N + 1] += total(h)


@njit
def add(y, y0, x, x0, n):
    """y += x, n numbers, a multiple of 16."""
    for i in range(0, n, LANES):
        store(y, y0 + i, load(y, y0 + i) + load(x, x0 + i))


@njit
def norm(y, y0, inverse, r0, x, x0, w, w0, D, T, epsilon):
    """y[i, t] = w[i] x[i, t] r[t], r = 1 / sqrt(mean_i x[i, t]^2 + epsilon), kept in `inverse`."""
    for t in range(0, T, LANES):
        squares = splat(f32(0))
        for i in range(D):
            v = load(x, x0 + i * T + t)
            squares = fma(v, v, squares)
        r = splat(f32(1)) / square_root(squares * splat(f32(1.0 / D)) + splat(epsilon))
        store(inverse, r0 + t, r)
        for i in range(D):
            store(y, y0 + i * T + t, load(x, x0 + i * T + t) * r * everywhere(w, w0 + i))


@njit
def add_norm_back(dx, dw, w0, dy, inverse, r0, x, x0, w, D, T):
    """The gradients of `norm`, added to dx and dw: dx += w dy r - x r^3 mean_i(w dy x), dw += sum_t dy x r."""
    for i in range(D):
        gain = splat(f32(0))
        for t in range(0, T, LANES):
            gain = fma(load(dy, i * T + t) * load(x, x0 + i * T + t), load(inverse, r0 + t), gain)
        dw[w0 + i] += total(gain)
    for t in range(0, T, LANES):
        r, mean = load(inverse, r0 + t), splat(f32(0))
        for i in range(D):
            mean = fma(load(dy, i * T + t) * load(x, x0 + i * T + t), everywhere(w, w0 + i), mean)
        mean = mean * r * r * r * splat(f32(1.0 / D))
        for i in range(D):
            n = i * T + t
            change = load(dy, n) * everywhere(w, w0 + i) * r - load(x, x0 + n) * mean
            store(dx, n, load(dx, n) + change)


@njit
def rotate(x, x0, cosine, sine, H, E, T, sign):
    """Turn the pairs (i, i + E / 2) of each head by their angles, back where `sign` is -1."""
    half = E // 2
    for h in range(H):
        for i in range(half):
            for t in range(0, T, LANES):
                n = x0 + (h * E + i) * T + t
                a, b = load(x, n), load(x, n + half * T)
                c, s = load(cosine, i * T + t), load(sine, i * T + t) * splat(sign)
                store(x, n, a * c - b * s)
                store(x, n + half * T, b * c + a * s)


@njit
def attend(y, y0, p, p0, q, k, v, x0, H, E, T, scale):
    """Causal attention: y[e, t] = sum_s p[s, t] v[e, s] in each head, p = softmax_s(scale q . k), kept as (H, T, T)."""
    for h in range(H):
        top, low = x0 + h * E * T, p0 + h * T * T
        for t in range(0, T, LANES):
            highest = splat(LOWEST)
            for s in range(t + LANES):
                score = splat(f32(0))
                for e in range(E):
                    n = top + e * T
                    score = fma(everywhere(k, n + s), load(q, n + t), score)
                score = score * splat(scale)
                if s > t:
                    score = from_lane(score, s - t, splat(LOWEST))
                highest = larger(highest, score)
                store(p, low + s * T + t, score)
            summed = splat(f32(0))
            for s in range(t + LANES):
                one = exp(load(p, low + s * T + t) - highest)
                summed = summed + one
                store(p, low + s * T + t, one)
            share = splat(f32(1)) / summed
            for s in range(t + LANES):
                store(p, low + s * T + t, load(p, low + s * T + t) * share)
            for e in range(0, E, 4):
                n = top + e * T
                a = b = c = d = splat(f32(0))
                for s in range(t + LANES):
                    one = load(p, low + s * T + t)
                    a = fma(everywhere(v, n + s), one, a)
                    b = fma(everywhere(v, n + T + s), one, b)
                    c = fma(everywhere(v, n + 2 * T + s), one, c)
                    d = fma(everywhere(v, n + 3 * T + s), one, d)
                m = y0 + (h * E + e) * T + t
                store(y, m, a)
                store(y, m + T, b)
                store(y, m + 2 * T, c)
                store(y, m + 3 * T, d)


@njit
def attend_back(dq, dk, dv, ds, dots, p, p0, q, k, v, x0, y, dy, H, E, T, scale):
    """The gradients of `attend`: dv = p dy, ds = p (v . dy - y . dy) scale, dk = ds q, dq = ds k."""
    for h in range(H):
        top, low, out = x0 + h * E * T, p0 + h * T * T, h * E * T
        for t in range(0, T, LANES):
            dot = splat(f32(0))
            for e in range(E):
                dot = fma(load(y, top + e * T + t), load(dy, out + e * T + t), dot)
            store(dots, t, dot)
        for s in range(T):
            first = s // LANES * LANES
            for t in range(first, T, LANES):
                dp = splat(f32(0))
                for e in range(E):
                    dp = fma(everywhere(v, top + e * T + s), load(dy, out + e * T + t), dp)
                store(ds, s * T + t, load(p, low + s * T + t) * (dp - load(dots, t)) * splat(scale))
            for e in range(0, E, 4):
                n, m = top + e * T, out + e * T
                a = b = c = d = f = g = i = j = splat(f32(0))
                for t in range(first, T, LANES):
                    one, change = load(p, low + s * T + t), load(ds, s * T + t)
                    a = fma(one, load(dy, m + t), a)
                    b = fma(one, load(dy, m + T + t), b)
                    c = fma(one, load(dy, m + 2 * T + t), c)
                    d = fma(one, load(dy, m + 3 * T + t), d)
                    f = fma(change, load(q, n + t), f)
                    g = fma(change, load(q, n + T + t), g)
                    i = fma(change, load(q, n + 2 * T + t), i)
                    j = fma(change, load(q, n + 3 * T + t), j)
                dv[m + s] = total(a)
                dv[m + T + s] = total(b)
                dv[m + 2 * T + s] = total(c)
                dv[m + 3 * T + s] = total(d)
                dk[m + s] = total(f)
                dk[m + T + s] = total(g)
                dk[m + 2 * T + s] = total(i)
                dk[m + 3 * T + s] = total(j)
        for t in range(0, T, LANES):
            for e in range(0, E, 4):
                n = top + e * T
                a = b = c = d = splat(f32(0))
                for s in range(t + LANES):
                    change = load(ds, s * T + t)
                    a = fma(everywhere(k, n + s), change, a)
                    b = fma(everywhere(k, n + T + s), change, b)
                    c = fma(everywhere(k, n + 2 * T + s), change, c)
                    d = fma(everywhere(k, n + 3 * T + s), change, d)
                m = out + e * T + t
                store(dq, m, a)
                store(dq, m + T, b)
                store(dq, m + 2 * T, c)
                store(dq, m + 3 * T, d)


@njit
def gate(y, y0, g, u, x0, n):
    """y = silu(g) u, n numbers."""
    for i in range(0, n, LANES):
        a = load(g, x0 + i)
        zero = splat(f32(0))
        store(y, y0 + i, a / (splat(f32(1)) + exp(zero - a)) * load(u, x0 + i))


@njit
def gate_back(dg, du, dy, g, u, x0, n):
    """The gradients of `gate`: with s = sigmoid(g), du = dy g s, dg = dy u s (1 + g (1 - s))."""
    one = splat(f32(1))
    for i in range(0, n, LANES):
        a, d = load(g, x0 + i), load(dy, i)
        s = one / (one + exp(splat(f32(0)) - a))
        store(du, i, d * a * s)
        store(dg, i, d * load(u, x0 + i) * s * (one + a * (one - s)))
