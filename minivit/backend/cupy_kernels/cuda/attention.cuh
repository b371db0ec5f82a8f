// What the kernels of attention share. Multi-head attention on the tensor cores, for any number of tokens; the formulas
// are at ops.attention.
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
        if (row < rows) {
            const bf16* place = source + row * stride + column;
            CHECK_ALIGNED(place, sizeof(values));
            values = *reinterpret_cast<const Vector<bf16, VECTOR>*>(place);
        }
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

// The largest, or the sum, over the four lanes that hold one row of a tile.
__device__ __forceinline__ float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1));
    return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2));
}

__device__ __forceinline__ float row_sum(float x) {
    x += __shfl_xor_sync(ALL_LANES, x, 1);
    return x + __shfl_xor_sync(ALL_LANES, x, 2);
}
