// Multi-head attention on the tensor cores, for any number of tokens; the formulas are at ops.attention.
//
// -DHEAD_DIM=<K>   a multiple of 16, at most 128
//
// qkv, dqkv: (B, N, 3, H, K), y, g: (B, M, H, K), all bf16 and 16-byte aligned; log_sum: (B H, M), the natural
// logarithm of each query's sum of exp(scale q k); delta: (B H, M), <g, y> = <dA, A>. N = tokens, H = heads; the first
// M = queries of the tokens ask. Scores never go to memory, and the backward pass computes them again.
//
// Each warp computes 16 rows, each block 64 rows of one head, while the other side's rows pass through shared memory,
// 64 at a time. All grids have one axis: B H times the number of blocks that one head needs.
//
// All products are made of 16x16 tiles. In a tile of sums a lane holds sums[h][e]: row l / 4 (e = 0, 1) or l / 4 + 8
// (e = 2, 3), column 8 h + 2 (l % 4) + e % 2. Rounded to bf16 in pairs, these four pairs are just what the tensor cores
// take as their left operand: weights go from one product into the next without leaving the registers.

constexpr int TILE = 16;
constexpr int TILES = HEAD_DIM / TILE;  // of one row of a head
// Rows in shared memory are 16 bytes longer than they need be: the 8 rows that ldmatrix reads at a time then begin in
// different banks, for every HEAD_DIM that is a multiple of 16.
constexpr int PITCH = HEAD_DIM + 8;
constexpr int THREADS = 128;
constexpr int STEPS = THREADS / WARP_SIZE;  // tiles of rows: one for each warp of a block, and as many in shared memory
constexpr int ROWS = STEPS * TILE;
// How many blocks a multiprocessor is to hold at a time: as many as fit without spilling (.ci/compile-kernels).
constexpr int RESIDENT_KEYS = HEAD_DIM <= 64 ? 3 : 2;
constexpr int RESIDENT_QUERIES = HEAD_DIM <= 64 ? 4 : HEAD_DIM <= 96 ? 3 : 2;
constexpr int RESIDENT_FORWARD = HEAD_DIM <= 64 ? 4 : 3;
constexpr int COPIES = HEAD_DIM <= 112 ? 2 : 1;  // loads that a thread has under way when it copies rows

__device__ __forceinline__ int lane_id() { return threadIdx.x % WARP_SIZE; }
__device__ __forceinline__ int warp_id() { return threadIdx.x / WARP_SIZE; }

// The place of a block: its head, counted through all images, and the first of its rows.
struct Place {
    long long head;
    int first_row;
};

__device__ __forceinline__ Place place_of_block(int rows) {
    int blocks = (rows + ROWS - 1) / ROWS;
    return {static_cast<int>(blockIdx.x) / blocks, static_cast<int>(blockIdx.x) % blocks * ROWS};
}

// Elements before the rows of a head in an array (B, tokens, parts, H, K), part 0.
__device__ __forceinline__ long long start_of(long long head, int heads, int tokens, int parts) {
    return (head / heads * tokens * parts * heads + head % heads) * HEAD_DIM;
}

// Copy ROWS rows, `stride` elements apart, into shared memory, and zeros from row `rows` on: NaN there would spread,
// since 0 times NaN is NaN.
__device__ __forceinline__ void copy_rows(bf16* shared, const bf16* source, long long stride, int rows) {
    constexpr int VECTOR = 8, VECTORS = HEAD_DIM / VECTOR;
#pragma unroll COPIES
    for (int i = threadIdx.x; i < ROWS * VECTORS; i += THREADS) {
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

// 16 rows as tiles, straight from memory: each is used by one warp only. Zeros beyond row `rows`.
__device__ __forceinline__ void load_rows(
    unsigned (&tiles)[TILES][4], const bf16* source, long long stride, int first_row, int rows
) {
#pragma unroll
    for (int t = 0; t < TILES; t++) {
#pragma unroll
        for (int quarter = 0; quarter < 4; quarter++) {
            int row = first_row + lane_id() / 4 + 8 * (quarter % 2);
            int column = t * TILE + 8 * (quarter / 2) + lane_id() % 4 * 2;
            const bf16* place = source + row * stride + column;
            tiles[t][quarter] = row < rows ? *reinterpret_cast<const unsigned*>(place) : 0u;
        }
    }
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

// The largest, or the sum, over the four lanes that hold one row of a tile.
__device__ __forceinline__ float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1));
    return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2));
}

__device__ __forceinline__ float row_sum(float x) {
    x += __shfl_xor_sync(ALL_LANES, x, 1);
    return x + __shfl_xor_sync(ALL_LANES, x, 2);
}

// scores = scale q k^T for the keys in shared memory, of which there are `keys`; -inf beyond. In units of log 2, since
// the hardware computes powers of 2.
__device__ __forceinline__ void compute_scores(
    float (&scores)[STEPS][2][4], const unsigned (&q)[TILES][4], const bf16* k, int keys, float scale_log2
) {
#pragma unroll
    for (int t = 0; t < STEPS; t++) {
        if (t * TILE < keys) dot_rows(scores[t], q, k + t * TILE * PITCH);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            int key = t * TILE + 8 * (i / 4) + lane_id() % 4 * 2 + i % 2;
            float& score = scores[t][i / 4][i % 4];
            score = key < keys ? score * scale_log2 : -INFINITY;
        }
    }
}

// Softmax as the keys go by (Milakov & Gimelshein 2018): `scores` become weights relative to the largest score so far,
// and what was summed with an older, smaller maximum is scaled down to the new one.
__device__ __forceinline__ void update_softmax(
    float (&scores)[STEPS][2][4], float (&largest)[2], float (&sum)[2], float (&y)[TILES][2][4]
) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float new_largest = largest[half];
#pragma unroll
        for (int i = 0; i < 4 * STEPS; i++) {
            new_largest = fmaxf(new_largest, scores[i / 4][i / 2 % 2][2 * half + i % 2]);
        }
        new_largest = row_max(new_largest);
        float rescale = exp2f(largest[half] - new_largest);
        largest[half] = new_largest;
        sum[half] *= rescale;
#pragma unroll
        for (int i = 0; i < 4 * TILES; i++) y[i / 4][i / 2 % 2][2 * half + i % 2] *= rescale;
#pragma unroll
        for (int i = 0; i < 4 * STEPS; i++) {
            float& score = scores[i / 4][i / 2 % 2][2 * half + i % 2];
            score = exp2f(score - new_largest);
            sum[half] += score;
        }
    }
}

// Grid: B H ceil(M / 64). log_sum may be null.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT_FORWARD) attention_forward(
    const bf16* qkv, bf16* y, float* log_sum, int tokens, int heads, int queries, float scale
) {
    __shared__ __align__(16) bf16 shared_k[ROWS * PITCH];
    __shared__ __align__(16) bf16 shared_v[ROWS * PITCH];
    Place place = place_of_block(queries);
    long long row = static_cast<long long>(heads) * HEAD_DIM;  // elements of a token in y; qkv has three times as many
    const bf16* q = qkv + start_of(place.head, heads, tokens, 3);

    int first_query = place.first_row + warp_id() * TILE;
    unsigned q_tiles[TILES][4];
    load_rows(q_tiles, q, 3 * row, first_query, queries);
    float sums[TILES][2][4] = {}, largest[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
    for (int first_key = 0; first_key < tokens; first_key += ROWS) {
        const bf16* k = q + row + first_key * 3 * row;
        int keys = tokens - first_key;
        __syncthreads();  // before the rows are replaced that other warps still read
        copy_rows(shared_k, k, 3 * row, keys);
        copy_rows(shared_v, k + row, 3 * row, keys);
        __syncthreads();
        if (first_query >= queries) continue;
        float scores[STEPS][2][4];
        compute_scores(scores, q_tiles, shared_k, keys, scale * LOG2_E);
        update_softmax(scores, largest, sum, sums);
#pragma unroll
        for (int t = 0; t < STEPS; t++) {
            if (t * TILE < keys) add_weighted_rows(sums, scores[t], shared_v + t * TILE * PITCH);
        }
    }
    if (first_query >= queries) return;

    float inverse_sum[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float total = row_sum(sum[half]);
        inverse_sum[half] = 1 / total;
        int query = first_query + lane_id() / 4 + 8 * half;
        if (log_sum && lane_id() % 4 == 0 && query < queries) {
            log_sum[place.head * queries + query] = largest[half] * LN_2 + logf(total);
        }
    }
    store_rows(y + start_of(place.head, heads, queries, 1), row, sums, first_query, queries, inverse_sum);
}

// Backward -----------------------------------------------------------------------------------------------------------
//
// Two kernels: dq, where each warp has queries and the keys pass by, then dk and dv, where it is the other way round. The
// scores are computed twice for that, but no two warps add to the same number: the result does not depend on their
// order.

// delta of two rows: the products of the pairs that a lane holds, summed over the four lanes that share its rows.
__device__ __forceinline__ void dot_tiles(
    float (&delta)[2], const unsigned (&g)[TILES][4], const unsigned (&y)[TILES][4]
) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float dot = 0;
#pragma unroll
        for (int i = 0; i < 2 * TILES; i++) {
            unsigned g_pair = g[i / 2][i % 2 * 2 + half], y_pair = y[i / 2][i % 2 * 2 + half];
            dot += __uint_as_float(g_pair << 16) * __uint_as_float(y_pair << 16);
            dot += __uint_as_float(g_pair & 0xFFFF0000u) * __uint_as_float(y_pair & 0xFFFF0000u);
        }
        delta[half] = row_sum(dot);
    }
}

// dq of 16 queries from 16 keys. Rows of tiles are queries, columns keys.
__device__ __forceinline__ void query_gradients(
    float (&dq)[TILES][2][4], const unsigned (&q)[TILES][4], const unsigned (&g)[TILES][4], const bf16* k,
    const bf16* v, int keys, const float (&log2_sum)[2], const float (&delta)[2], float scale_log2
) {
    float weights[2][4], ds[2][4];
    dot_rows(weights, q, k);
    dot_rows(ds, g, v);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        int key = 8 * (i / 4) + lane_id() % 4 * 2 + i % 2, half = i % 4 / 2;
        float weight = exp2f(weights[i / 4][i % 4] * scale_log2 - log2_sum[half]);
        // Where there is no key its row is 0, but exp2f may be infinite, and 0 times infinity is NaN.
        ds[i / 4][i % 4] = key < keys ? weight * (ds[i / 4][i % 4] - delta[half]) : 0;
    }
    add_weighted_rows(dq, ds, k);
}

// Grid: B H ceil(N / 64). Writes delta, and dq; the rows of dq beyond M are 0.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT_QUERIES) attention_backward_queries(
    const bf16* qkv, const bf16* y, const bf16* g, const float* log_sum, float* delta, bf16* dqkv, int tokens, int heads,
    int queries, float scale
) {
    __shared__ __align__(16) bf16 shared_k[ROWS * PITCH];
    __shared__ __align__(16) bf16 shared_v[ROWS * PITCH];
    Place place = place_of_block(tokens);
    long long row = static_cast<long long>(heads) * HEAD_DIM, start = start_of(place.head, heads, tokens, 3);
    long long start_y = start_of(place.head, heads, queries, 1), start_sums = place.head * queries;
    const bf16* q = qkv + start;

    int first_query = place.first_row + warp_id() * TILE;
    unsigned q_tiles[TILES][4], g_tiles[TILES][4], y_tiles[TILES][4];
    load_rows(y_tiles, y + start_y, row, first_query, queries);
    load_rows(g_tiles, g + start_y, row, first_query, queries);
    load_rows(q_tiles, q, 3 * row, first_query, queries);
    float deltas[2], log2_sum[2] = {0, 0};
    dot_tiles(deltas, g_tiles, y_tiles);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int query = first_query + lane_id() / 4 + 8 * half;
        if (query >= queries) continue;
        log2_sum[half] = log_sum[start_sums + query] * LOG2_E;
        if (lane_id() % 4 == 0) delta[start_sums + query] = deltas[half];
    }
    float dq[TILES][2][4] = {};
    int all_keys = place.first_row < queries ? tokens : 0;  // of a block without queries: none
    for (int first_key = 0; first_key < all_keys; first_key += ROWS) {
        const bf16* k = q + row + first_key * 3 * row;
        int keys = tokens - first_key;
        __syncthreads();  // before the rows are replaced that other warps still read
        copy_rows(shared_k, k, 3 * row, keys);
        copy_rows(shared_v, k + row, 3 * row, keys);
        __syncthreads();
        if (first_query >= queries) continue;
        for (int t = 0; t < ROWS && t < keys; t += TILE) {
            query_gradients(
                dq, q_tiles, g_tiles, shared_k + t * PITCH, shared_v + t * PITCH, keys - t, log2_sum, deltas,
                scale * LOG2_E
            );
        }
    }
    const float scales[2] = {scale, scale};
    store_rows(dqkv + start, 3 * row, dq, first_query, tokens, scales);
}

// dk, dv of 16 keys from 16 queries. Rows of tiles are keys, columns queries: A^T and dS^T.
__device__ __forceinline__ void key_gradients(
    float (&dk)[TILES][2][4], float (&dv)[TILES][2][4], const unsigned (&k)[TILES][4], const unsigned (&v)[TILES][4],
    const bf16* q, const bf16* g, const float* log2_sum, const float* delta, float scale_log2
) {
    float weights[2][4], ds[2][4];
    dot_rows(weights, k, q);
    dot_rows(ds, v, g);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        int query = 8 * (i / 4) + lane_id() % 4 * 2 + i % 2;
        float weight = exp2f(weights[i / 4][i % 4] * scale_log2 - log2_sum[query]);
        weights[i / 4][i % 4] = weight;
        ds[i / 4][i % 4] = weight * (ds[i / 4][i % 4] - delta[query]);
    }
    add_weighted_rows(dv, weights, g);
    add_weighted_rows(dk, ds, q);
}

// Grid: B H ceil(N / 64). Reads the delta that attention_backward_queries has written.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT_KEYS) attention_backward_keys(
    const bf16* qkv, const bf16* g, const float* log_sum, const float* delta, bf16* dqkv, int tokens, int heads,
    int queries, float scale
) {
    __shared__ __align__(16) bf16 shared_q[ROWS * PITCH];
    __shared__ __align__(16) bf16 shared_g[ROWS * PITCH];
    __shared__ float shared_log2_sum[ROWS];
    __shared__ float shared_delta[ROWS];
    Place place = place_of_block(tokens);
    long long row = static_cast<long long>(heads) * HEAD_DIM, start = start_of(place.head, heads, tokens, 3);
    const bf16* q = qkv + start;
    g += start_of(place.head, heads, queries, 1);
    log_sum += place.head * queries;
    delta += place.head * queries;

    int first_key = place.first_row + warp_id() * TILE;
    unsigned k_tiles[TILES][4], v_tiles[TILES][4];
    load_rows(k_tiles, q + row, 3 * row, first_key, tokens);
    load_rows(v_tiles, q + 2 * row, 3 * row, first_key, tokens);
    float dk[TILES][2][4] = {}, dv[TILES][2][4] = {};
    for (int first_query = 0; first_query < queries; first_query += ROWS) {
        int left = queries - first_query;
        __syncthreads();  // before the rows are replaced that other warps still read
        copy_rows(shared_q, q + first_query * 3 * row, 3 * row, left);
        copy_rows(shared_g, g + first_query * row, row, left);
        // Rows that are no queries get some finite weight, and add 0 to every gradient, since q and g are 0.
        for (int i = threadIdx.x; i < ROWS; i += THREADS) {
            shared_log2_sum[i] = i < left ? log_sum[first_query + i] * LOG2_E : 0;
            shared_delta[i] = i < left ? delta[first_query + i] : 0;
        }
        __syncthreads();
        if (first_key >= tokens) continue;
        for (int t = 0; t < ROWS && t < left; t += TILE) {
            key_gradients(
                dk, dv, k_tiles, v_tiles, shared_q + t * PITCH, shared_g + t * PITCH, shared_log2_sum + t,
                shared_delta + t, scale * LOG2_E
            );
        }
    }
    const float ones[2] = {1, 1}, scales[2] = {scale, scale};
    store_rows(dqkv + start + row, 3 * row, dk, first_key, tokens, scales);
    store_rows(dqkv + start + 2 * row, 3 * row, dv, first_key, tokens, ones);
}
