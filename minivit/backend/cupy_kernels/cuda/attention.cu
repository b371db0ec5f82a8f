// The forward pass of attention: softmax(scale q k^T) v, by queries. See attention.cuh.

// How many blocks a multiprocessor is to hold at a time: as many as fit without spilling (.ci/compile-kernels).
constexpr int RESIDENT = HEAD_DIM <= 64 ? 4 : 3;

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
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) attention_forward(
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
