// Causal attention of one head at a time, forward and backward, in fp32.
//
// Forward, sixteen queries lie side by side in the lanes of a vector and the keys come one after the other, so that
// maxima and sums over a text never cross lanes. Backward, the scores of a head are kept (they fit into the cache up to
// some hundred positions). What lies in the future is not computed, but for the rest of a vector.
#include <cmath>
#include <cstdint>
#include <vector>

constexpr int LANES = 16;
typedef float Vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

struct Strides { int64_t batch, head, row; };
struct Sizes { int64_t batch, heads, length; float scale; };

static const Ints LANE = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// exp for x <= 0, to about one unit in the last place: 2^n e^r with r in [-ln 2 / 2, ln 2 / 2] by its Taylor series;
// 0 below -87.
static inline Vec power(Vec x) {
    const Ints kept = x > -87.0f;
    x = kept ? x : Vec{};
    const Vec shifted = x * 1.44269504f + 12582912.0f;  // the sum's last bits are the nearest whole number
    const Vec n = shifted - 12582912.0f;
    const Vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Vec e = r * (1.0f / 5040) + 1.0f / 720;
    e = e * r + 1.0f / 120;
    e = e * r + 1.0f / 24;
    e = e * r + 1.0f / 6;
    e = e * r + 0.5f;
    e = e * r + 1.0f;
    e = e * r + 1.0f;
    return (Vec)(((Ints)e + ((Ints)shifted << 23)) & kept);  // what lies above the last bits is shifted out
}

// Sixteen rows from `first` on side by side, 0 for those past the end: lanes[d] has number d of each.
template <int D> static inline void beside(const float *rows, int64_t stride, int64_t first, int64_t length, Vec *lanes) {
    for (int l = 0; l < LANES; l++)
        for (int d = 0; d < D; d++) lanes[d][l] = first + l < length ? rows[(first + l) * stride + d] : 0.0f;
}

template <int D> static inline void apart(const Vec *lanes, int64_t first, int64_t length, float *rows, int64_t stride) {
    for (int l = 0; l < LANES && first + l < length; l++)
        for (int d = 0; d < D; d++) rows[(first + l) * stride + d] = lanes[d][l];
}

// sum_d lanes[d] row[d]; four sums at once hide the latency of one
template <int D> static inline Vec product(const Vec *lanes, const float *row) {
    Vec sums[4] = {lanes[0] * row[0], lanes[1] * row[1], lanes[2] * row[2], lanes[3] * row[3]};
#pragma GCC unroll 16
    for (int d = 4; d < D; d++) sums[d % 4] += lanes[d] * row[d];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// sums[d] += weight row[d]
template <int D> static inline void add(Vec *sums, Vec weight, const float *row) {
#pragma GCC unroll 64
    for (int d = 0; d < D; d++) sums[d] += weight * row[d];
}

template <int D>
static void forward(const float *q, const float *k, const float *v, const Strides *at, Sizes size, float *mixed, float *logs) {
    const int64_t n = size.length, out_row = size.heads * D;
    std::vector<Vec> scores(n);
    for (int64_t b = 0; b < size.batch; b++)
        for (int64_t h = 0; h < size.heads; h++) {
            const float *qs = q + b * at[0].batch + h * at[0].head, *ks = k + b * at[1].batch + h * at[1].head;
            const float *vs = v + b * at[2].batch + h * at[2].head;
            for (int64_t first = 0; first < n; first += LANES) {
                const int64_t end = first + LANES < n ? first + LANES : n;
                Vec queries[D], sums[D] = {}, top = Vec{} - INFINITY, whole = {};
                beside<D>(qs, at[0].row, first, n, queries);
                for (int64_t j = 0; j < end; j++) {
                    Vec score = product<D>(queries, ks + j * at[1].row) * size.scale;
                    if (j > first) score = LANE + (int32_t)first >= (int32_t)j ? score : Vec{} - INFINITY;
                    scores[j] = score;
                    top = top > score ? top : score;
                }
                for (int64_t j = 0; j < end; j++) {
                    const Vec weight = power(scores[j] - top);
                    whole += weight;
                    add<D>(sums, weight, vs + j * at[2].row);
                }
                for (int d = 0; d < D; d++) sums[d] /= whole;
                apart<D>(sums, first, n, mixed + b * n * out_row + h * D, out_row);
                for (int64_t i = first; i < end; i++) logs[(b * size.heads + h) * n + i] = top[i - first] + std::log(whole[i - first]);
            }
        }
}

// `left` times each of the rows up to `last`, whose numbers lie in `turned`, D rows of `padded`: rows are the lanes here.
template <int D>
static inline void products(const float *left, const float *turned, int64_t padded, int64_t last, float factor, float *out) {
    int64_t j = 0;
    for (; j + 3 * LANES <= last; j += 4 * LANES) {  // four vectors at a time hide the latency of a sum
        Vec sums[4] = {};
        for (int d = 0; d < D; d++)
#pragma GCC unroll 4
            for (int u = 0; u < 4; u++) sums[u] += left[d] * *(const Vec *)&turned[d * padded + j + u * LANES];
#pragma GCC unroll 4
        for (int u = 0; u < 4; u++) *(Vec *)(out + j + u * LANES) = sums[u] * factor;
    }
    for (; j <= last; j += LANES) {
        Vec sum = left[0] * *(const Vec *)&turned[j];
        for (int d = 1; d < D; d++) sum += left[d] * *(const Vec *)&turned[d * padded + j];
        *(Vec *)(out + j) = sum * factor;
    }
}

// out[d] = sum over j <= last of weights[j] rows[j][d]: numbers of a row are the lanes here.
template <int D> static inline void mix(const float *weights, const float *rows, int64_t stride, int64_t last, float *out) {
    constexpr int W = D < LANES ? D : LANES, N = D / W;
    typedef float Part __attribute__((vector_size(4 * W), aligned(4), may_alias));
    Part sums[4][N] = {};
    int64_t j = 0;
    for (; j + 3 <= last; j += 4)
#pragma GCC unroll 4
        for (int u = 0; u < 4; u++)
#pragma GCC unroll 4
            for (int n = 0; n < N; n++) sums[u][n] += weights[j + u] * *(const Part *)(rows + (j + u) * stride + n * W);
    for (; j <= last; j++)
        for (int n = 0; n < N; n++) sums[0][n] += weights[j] * *(const Part *)(rows + j * stride + n * W);
    for (int n = 0; n < N; n++) *(Part *)(out + n * W) = (sums[0][n] + sums[1][n]) + (sums[2][n] + sums[3][n]);
}

// out[j][d] = sum over i >= j of weights[i][j] rows[i][d], where weights are 0 for i < j.
template <int D>
static inline void gather(const float *weights, int64_t padded, int64_t length, const float *rows, int64_t stride, float *out,
                          int64_t out_stride) {
    constexpr int W = D < 8 ? D : 8;  // sums that fit into the registers
    for (int64_t j = 0; j < length; j += LANES)
        for (int d = 0; d < D; d += W) {
            Vec sums[W] = {};
            for (int64_t i = j; i < length; i++) add<W>(sums, *(const Vec *)&weights[i * padded + j], rows + i * stride + d);
            apart<W>(sums, j, length, out + d, out_stride);
        }
}

// With p the weights and s the scores: ds = p (dp - sum of p dp over the text) scale.
template <int D>
static void backward(const float *g, const float *q, const float *k, const float *v, const float *mixed, const float *logs,
                     const Strides *at, Sizes size, float *dq, float *dk, float *dv) {
    const int64_t n = size.length, out_row = size.heads * D, padded = (n + LANES - 1) / LANES * LANES;
    std::vector<float> weights(n * padded), slopes(n * padded), keys(D * padded), values(D * padded);
    for (int64_t b = 0; b < size.batch; b++)
        for (int64_t h = 0; h < size.heads; h++) {
            const float *gs = g + b * at[0].batch + h * at[0].head, *qs = q + b * at[1].batch + h * at[1].head;
            const float *ks = k + b * at[2].batch + h * at[2].head, *vs = v + b * at[3].batch + h * at[3].head;
            const int64_t out = b * n * out_row + h * D;
            for (int64_t j = 0; j < n; j++)
                for (int d = 0; d < D; d++) {
                    keys[d * padded + j] = ks[j * at[2].row + d];
                    values[d * padded + j] = vs[j * at[3].row + d];
                }
            for (int64_t i = 0; i < n; i++) {
                const float *gradient = gs + i * at[0].row, *own = mixed + out + i * out_row;
                float *weight = &weights[i * padded], *slope = &slopes[i * padded], along = 0;
                products<D>(qs + i * at[1].row, keys.data(), padded, i, size.scale, weight);
                products<D>(gradient, values.data(), padded, i, 1.0f, slope);
                for (int d = 0; d < D; d++) along += gradient[d] * own[d];
                const float log = logs[(b * size.heads + h) * n + i];
                for (int64_t j = 0; j <= i; j += LANES) {
                    Vec p = power(*(Vec *)(weight + j) - log);
                    if (j + LANES > i) p = LANE + (int32_t)j <= (int32_t)i ? p : Vec{};
                    *(Vec *)(weight + j) = p;
                    *(Vec *)(slope + j) = p * (*(Vec *)(slope + j) - along) * size.scale;
                }
                mix<D>(slope, ks, at[2].row, i, dq + out + i * out_row);
            }
            gather<D>(slopes.data(), padded, n, qs, at[1].row, dk + out, out_row);
            gather<D>(weights.data(), padded, n, gs, at[0].row, dv + out, out_row);
        }
}

#define SIZES(CALL) switch (head) { case 4: CALL(4); case 8: CALL(8); case 16: CALL(16); case 32: CALL(32); default: return 1; }

extern "C" int attend(int head, Sizes size, const Strides *at, const float *q, const float *k, const float *v, float *mixed, float *logs) {
#define CALL(D) forward<D>(q, k, v, at, size, mixed, logs); return 0
    SIZES(CALL)
#undef CALL
}

extern "C" int attend_back(int head, Sizes size, const Strides *at, const float *g, const float *q, const float *k, const float *v,
                           const float *mixed, const float *logs, float *dq, float *dk, float *dv) {
#define CALL(D) backward<D>(g, q, k, v, mixed, logs, at, size, dq, dk, dv); return 0
    SIZES(CALL)
#undef CALL
}
