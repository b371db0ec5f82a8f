// Multi-head attention of short sequences on the tensor cores; the formulas are at ops.attention.
//
// -DHEAD_DIM=<K>   a multiple of 16, at most 128
//
// qkv, dqkv: (B, N, 3, H, K), y, g: (B, M, H, K), all bf16 and 16-byte aligned; log_sum: (B H, M), the natural
// logarithm of each query's sum of exp(scale q k). N = tokens, H = heads; the first M = queries of the tokens ask.
// Scores never go to memory: the rows of one head lie in shared memory, and the backward pass computes them again.
//
// Bytes of dynamic shared memory, with up(n) = n rounded up to a multiple of 16:
//   attention_forward    4 up(N) (K + 8)
//   attention_backward   4 (up(N) + up(M)) (K + 8) + 8 up(M)
//
// All products are made of 16x16 tiles. In a tile of sums a lane holds sums[h][e]: row l / 4 (e = 0, 1) or l / 4 + 8
// (e = 2, 3), column 8 h + 2 (l % 4) + e % 2. Rounded to bf16 in pairs, these four pairs are just what the tensor cores
// take as their left operand: weights go from one product into the next without leaving the registers.

constexpr int TILE = 16;
constexpr int TILES = HEAD_DIM / TILE;  // of one row of a head
// Rows in shared memory are 16 bytes longer than they need be: the 8 rows that ldmatrix reads at a time then begin in
// different banks, for every HEAD_DIM that is a multiple of 16.
constexpr int PITCH = HEAD_DIM + 8;
constexpr int KEY_TILES = 4;  // that the forward pass takes between two looks at the running maximum

__device__ __forceinline__ int lane_id() { return threadIdx.x % WARP_SIZE; }
__device__ __forceinline__ int warp_id() { return threadIdx.x / WARP_SIZE; }
__device__ __forceinline__ int round_up(int rows) { return (rows + TILE - 1) / TILE * TILE; }

// Copy `rows` rows, `stride` elements apart, into shared memory, and zeros up to `padded`: NaN there would spread,
// since 0 times NaN is NaN.
__device__ __forceinline__ void copy_rows(bf16* shared, const bf16* source, long long stride, int rows, int padded) {
    constexpr int VECTOR = 8, VECTORS = HEAD_DIM / VECTOR;
    for (int i = threadIdx.x; i < padded * VECTORS; i += blockDim.x) {
        int row = i / VECTORS, column = i % VECTORS * VECTOR;
        Vector<bf16, VECTOR> values = {};
        if (row < rows) values = *reinterpret_cast<const Vector<bf16, VECTOR>*>(source + row * stride + column);
        *reinterpret_cast<Vector<bf16, VECTOR>*>(shared + row * PITCH + column) = values;
    }
}

// Tiles ------------------------------------------------------------------------------------------------------------

// A tile from shared memory, in quarters of 8x8: upper left, lower left, upper right, lower right.
template <bool TRANSPOSED>
__device__ __forceinline__ void load_tile(unsigned (&tile)[4], const bf16* corner) {
    ldmatrix_x4<TRANSPOSED>(tile, corner + lane_id() % TILE * PITCH + lane_id() / TILE * 8);
}

// Sums as the left operand of the next product.
__device__ __forceinline__ void round_tile(unsigned (&tile)[4], const float (&sums)[2][4]) {
    tile[0] = pack_bf16(sums[0][0], sums[0][1]);
    tile[1] = pack_bf16(sums[0][2], sums[0][3]);
    tile[2] = pack_bf16(sums[1][0], sums[1][1]);
    tile[3] = pack_bf16(sums[1][2], sums[1][3]);
}

// sums (16, 16) = a b^T.   a: 16 rows of a head as tiles, b: 16 rows in shared memory.
__device__ __forceinline__ void dot_rows(float (&sums)[2][4], const unsigned (&a)[TILES][4], const bf16* b) {
#pragma unroll
    for (int i = 0; i < 8; i++) sums[i / 4][i % 4] = 0;
#pragma unroll
    for (int t = 0; t < TILES; t++) {
        unsigned tile[4];
        load_tile<false>(tile, b + t * TILE);
        mma_16x8x16(sums[0], a[t], tile[0], tile[2]);
        mma_16x8x16(sums[1], a[t], tile[1], tile[3]);
    }
}

// sums (16, K) += weights (16, 16) b.   b: 16 rows in shared memory.
__device__ __forceinline__ void add_weighted_rows(
    float (&sums)[TILES][2][4], const float (&weights)[2][4], const bf16* b
) {
    unsigned a[4];
    round_tile(a, weights);
#pragma unroll
    for (int t = 0; t < TILES; t++) {
        unsigned tile[4];
        load_tile<true>(tile, b + t * TILE);
        mma_16x8x16(sums[t][0], a, tile[0], tile[1]);
        mma_16x8x16(sums[t][1], a, tile[2], tile[3]);
    }
}

// target = factor[h] sums, in bf16, for the upper (h = 0) and lower half of 16 rows; nothing beyond row `rows`.
__device__ __forceinline__ void store_rows(
    bf16* target, long long stride, const float (&sums)[TILES][2][4], int first_row, int rows, const float (&factor)[2]
) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = first_row + lane_id() / 4 + 8 * half;
        if (row >= rows) continue;
#pragma unroll
        for (int i = 0; i < 2 * TILES; i++) {
            const float* pair = &sums[i / 2][i % 2][2 * half];
            bf16* place = target + row * stride + i * 8 + lane_id() % 4 * 2;
            *reinterpret_cast<unsigned*>(place) = pack_bf16(pair[0] * factor[half], pair[1] * factor[half]);
        }
    }
}

// Forward -----------------------------------------------------------------------------------------------------------

// 16 rows of queries as tiles, straight from memory: each is used by one warp only. Zeros beyond row `rows`.
__device__ __forceinline__ void load_queries(
    unsigned (&q)[TILES][4], const bf16* source, long long stride, int first_row, int rows
) {
#pragma unroll
    for (int t = 0; t < TILES; t++) {
#pragma unroll
        for (int quarter = 0; quarter < 4; quarter++) {
            int row = first_row + lane_id() / 4 + 8 * (quarter % 2);
            int column = t * TILE + 8 * (quarter / 2) + lane_id() % 4 * 2;
            const bf16* place = source + row * stride + column;
            q[t][quarter] = row < rows ? *reinterpret_cast<const unsigned*>(place) : 0u;
        }
    }
}

// The largest, or the sum, over the four lanes that hold one row of a tile.
__device__ __forceinline__ float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1));
    return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2));
}

__device__ __forceinline__ float row_sum(float x) {
    x += __shfl_xor_sync(ALL_LANES, x, 1);
    return x + __shfl_xor_sync(ALL_LANES, x, 2);
}

// scores = scale q k^T for KEY_TILES tiles of keys, -inf where there is no key. In units of log 2, since the hardware
// computes powers of 2.
__device__ __forceinline__ void compute_scores(
    float (&scores)[KEY_TILES][2][4], const unsigned (&q)[TILES][4], const bf16* k, int first_key, int tokens,
    float scale_log2
) {
#pragma unroll
    for (int t = 0; t < KEY_TILES; t++) {
        int key = first_key + t * TILE;
        if (key < tokens) dot_rows(scores[t], q, k + key * PITCH);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            int column = key + 8 * (i / 4) + lane_id() % 4 * 2 + i % 2;
            float& score = scores[t][i / 4][i % 4];
            score = column < tokens ? score * scale_log2 : -INFINITY;
        }
    }
}

// Softmax as the keys go by (Milakov & Gimelshein 2018): `scores` become weights relative to the largest score so far,
// and what was summed with an older, smaller maximum is scaled down to the new one.
__device__ __forceinline__ void update_softmax(
    float (&scores)[KEY_TILES][2][4], float (&largest)[2], float (&sum)[2], float (&y)[TILES][2][4]
) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float new_largest = largest[half];
#pragma unroll
        for (int i = 0; i < 4 * KEY_TILES; i++) {
            new_largest = fmaxf(new_largest, scores[i / 4][i / 2 % 2][2 * half + i % 2]);
        }
        new_largest = row_max(new_largest);
        float rescale = exp2f(largest[half] - new_largest);
        largest[half] = new_largest;
        sum[half] *= rescale;
#pragma unroll
        for (int i = 0; i < 4 * TILES; i++) y[i / 4][i / 2 % 2][2 * half + i % 2] *= rescale;
#pragma unroll
        for (int i = 0; i < 4 * KEY_TILES; i++) {
            float& score = scores[i / 4][i / 2 % 2][2 * half + i % 2];
            score = exp2f(score - new_largest);
            sum[half] += score;
        }
    }
}

// Grid (ceil(M / 64), B H), 128 threads: each warp has 16 queries. log_sum may be null.
extern "C" __global__ void __launch_bounds__(128) attention_forward(
    const bf16* qkv, bf16* y, float* log_sum, int tokens, int heads, int queries, float scale
) {
    DYNAMIC_SHARED(bf16, shared);
    int padded = round_up(tokens), head = blockIdx.y % heads;
    long long batch = blockIdx.y / heads;
    long long row = static_cast<long long>(heads) * HEAD_DIM;  // elements of a token in y; qkv has three times as many
    const bf16* q = qkv + batch * tokens * 3 * row + head * HEAD_DIM;
    bf16 *shared_k = shared, *shared_v = shared + padded * PITCH;
    copy_rows(shared_k, q + row, 3 * row, tokens, padded);
    copy_rows(shared_v, q + 2 * row, 3 * row, tokens, padded);
    __syncthreads();

    int first_query = (blockIdx.x * blockDim.x / WARP_SIZE + warp_id()) * TILE;
    if (first_query >= queries) return;
    unsigned q_tiles[TILES][4];
    load_queries(q_tiles, q, 3 * row, first_query, queries);
    float sums[TILES][2][4] = {}, largest[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
    for (int first_key = 0; first_key < tokens; first_key += KEY_TILES * TILE) {
        float scores[KEY_TILES][2][4];
        compute_scores(scores, q_tiles, shared_k, first_key, tokens, scale * LOG2_E);
        update_softmax(scores, largest, sum, sums);
#pragma unroll
        for (int t = 0; t < KEY_TILES; t++) {
            int key = first_key + t * TILE;
            if (key < tokens) add_weighted_rows(sums, scores[t], shared_v + key * PITCH);
        }
    }

    float inverse_sum[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float total = row_sum(sum[half]);
        inverse_sum[half] = 1 / total;
        int query = first_query + lane_id() / 4 + 8 * half;
        if (log_sum && lane_id() % 4 == 0 && query < queries) {
            log_sum[static_cast<size_t>(blockIdx.y) * queries + query] = largest[half] * LN_2 + logf(total);
        }
    }
    store_rows(y + batch * queries * row + head * HEAD_DIM, row, sums, first_query, queries, inverse_sum);
}

// Backward -----------------------------------------------------------------------------------------------------------

// What a block has in shared memory: the rows of one head, and for each query its log_sum in units of log 2 and
// delta = <g, y> = <dA, A>.
struct HeadMemory {
    bf16 *q, *g, *k, *v;
    float *log2_sum, *delta;
};

// log2_sum and delta, a warp for each query. For rows that are no queries they are 0, as are q and g: these rows get
// some finite weight and add 0 to every gradient.
__device__ __forceinline__ void compute_delta(
    const HeadMemory& head, const bf16* y, const bf16* g, const float* log_sum, long long stride, int queries
) {
    for (int query = warp_id(); query < round_up(queries); query += blockDim.x / WARP_SIZE) {
        float dot = 0;
        for (int column = 2 * lane_id(); query < queries && column < HEAD_DIM; column += 2 * WARP_SIZE) {
            float ys[2], gs[2];
            load(ys, y + query * stride + column);
            load(gs, g + query * stride + column);
            dot += ys[0] * gs[0] + ys[1] * gs[1];
        }
        dot = warp_sum(dot);
        if (lane_id() == 0) {
            head.log2_sum[query] = query < queries ? log_sum[query] * LOG2_E : 0;
            head.delta[query] = dot;
        }
    }
}

// dk, dv of 16 keys. Rows of tiles are keys, columns queries: A^T and dS^T.
__device__ __forceinline__ void key_gradients(
    const HeadMemory& head, int first_key, int queries, float scale_log2, float (&dk)[TILES][2][4],
    float (&dv)[TILES][2][4]
) {
    unsigned k[TILES][4], v[TILES][4];
#pragma unroll
    for (int t = 0; t < TILES; t++) {
        load_tile<false>(k[t], head.k + first_key * PITCH + t * TILE);
        load_tile<false>(v[t], head.v + first_key * PITCH + t * TILE);
    }
    for (int first_query = 0; first_query < queries; first_query += TILE) {
        const bf16 *q = head.q + first_query * PITCH, *g = head.g + first_query * PITCH;
        float weights[2][4], ds[2][4];
        dot_rows(weights, k, q);
        dot_rows(ds, v, g);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            int query = first_query + 8 * (i / 4) + lane_id() % 4 * 2 + i % 2;
            float weight = exp2f(weights[i / 4][i % 4] * scale_log2 - head.log2_sum[query]);
            weights[i / 4][i % 4] = weight;
            ds[i / 4][i % 4] = weight * (ds[i / 4][i % 4] - head.delta[query]);
        }
        add_weighted_rows(dv, weights, g);
        add_weighted_rows(dk, ds, q);
    }
}

// dq of 16 queries. Rows of tiles are queries, columns keys.
__device__ __forceinline__ void query_gradients(
    const HeadMemory& head, int first_query, int tokens, float scale_log2, float (&dq)[TILES][2][4]
) {
    unsigned q[TILES][4], g[TILES][4];
#pragma unroll
    for (int t = 0; t < TILES; t++) {
        load_tile<false>(q[t], head.q + first_query * PITCH + t * TILE);
        load_tile<false>(g[t], head.g + first_query * PITCH + t * TILE);
    }
    for (int first_key = 0; first_key < tokens; first_key += TILE) {
        float weights[2][4], ds[2][4];
        dot_rows(weights, q, head.k + first_key * PITCH);
        dot_rows(ds, g, head.v + first_key * PITCH);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            int key = first_key + 8 * (i / 4) + lane_id() % 4 * 2 + i % 2;
            int query = first_query + lane_id() / 4 + 8 * (i % 4 / 2);
            float weight = exp2f(weights[i / 4][i % 4] * scale_log2 - head.log2_sum[query]);
            // Where there is no key its row is 0, but exp2f may be infinite, and 0 times infinity is NaN.
            ds[i / 4][i % 4] = key < tokens ? weight * (ds[i / 4][i % 4] - head.delta[query]) : 0;
        }
        add_weighted_rows(dq, ds, head.k + first_key * PITCH);
    }
}

// Grid (B H), whole warps, at most MAX_BACKWARD_THREADS. Each warp computes dk, dv of its keys, then dq of its queries.
// The scores are computed twice for that, but no two warps add to the same number: the result does not depend on
// their order. Rows of dq beyond M are set to 0. With more than 256 threads the sums no longer fit into registers.
#ifndef MAX_BACKWARD_THREADS
#define MAX_BACKWARD_THREADS 256
#endif

extern "C" __global__ void __launch_bounds__(MAX_BACKWARD_THREADS) attention_backward(
    const bf16* qkv, const bf16* y, const bf16* g, const float* log_sum, bf16* dqkv, int tokens, int heads, int queries,
    float scale
) {
    DYNAMIC_SHARED(bf16, shared);
    int padded_keys = round_up(tokens), padded_queries = round_up(queries);
    HeadMemory head;
    head.k = shared;
    head.v = head.k + padded_keys * PITCH;
    head.q = head.v + padded_keys * PITCH;
    head.g = head.q + padded_queries * PITCH;
    head.log2_sum = reinterpret_cast<float*>(head.g + padded_queries * PITCH);
    head.delta = head.log2_sum + padded_queries;

    long long batch = blockIdx.x / heads;
    long long row = static_cast<long long>(heads) * HEAD_DIM;
    long long column = blockIdx.x % heads * HEAD_DIM;
    const bf16* q = qkv + batch * tokens * 3 * row + column;
    bf16* dq = dqkv + batch * tokens * 3 * row + column;
    y += batch * queries * row + column;
    g += batch * queries * row + column;
    copy_rows(head.q, q, 3 * row, queries, padded_queries);
    copy_rows(head.k, q + row, 3 * row, tokens, padded_keys);
    copy_rows(head.v, q + 2 * row, 3 * row, tokens, padded_keys);
    copy_rows(head.g, g, row, queries, padded_queries);
    compute_delta(head, y, g, log_sum + static_cast<size_t>(blockIdx.x) * queries, row, queries);
    __syncthreads();

    int step = blockDim.x / WARP_SIZE * TILE;
    const float ones[2] = {1, 1}, scales[2] = {scale, scale};
    for (int first_key = warp_id() * TILE; first_key < tokens; first_key += step) {
        float dk[TILES][2][4] = {}, dv[TILES][2][4] = {};
        key_gradients(head, first_key, queries, scale * LOG2_E, dk, dv);
        store_rows(dq + row, 3 * row, dk, first_key, tokens, scales);
        store_rows(dq + 2 * row, 3 * row, dv, first_key, tokens, ones);
    }
    for (int first_query = warp_id() * TILE; first_query < tokens; first_query += step) {
        float dq_sums[TILES][2][4] = {};
        if (first_query < queries) query_gradients(head, first_query, tokens, scale * LOG2_E, dq_sums);
        store_rows(dq, 3 * row, dq_sums, first_query, tokens, scales);
    }
}
