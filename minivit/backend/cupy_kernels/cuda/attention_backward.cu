// The backward pass of attention. See attention.cuh.
//
// Two kernels: dq, where each warp has queries and the keys pass by, then dk and dv, where it is the other way round. The
// scores are computed twice for that, but no two warps add to the same number: the result does not depend on their
// order.

// How many blocks a multiprocessor is to hold at a time: as many as fit without spilling (.ci/compile-kernels).
constexpr int RESIDENT_QUERIES = HEAD_DIM <= 64 ? 4 : HEAD_DIM <= 96 ? 3 : 2;
constexpr int RESIDENT_KEYS = HEAD_DIM <= 64 ? 3 : 2;

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
