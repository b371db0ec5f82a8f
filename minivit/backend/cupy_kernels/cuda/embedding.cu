// Rows of a table by number, and back; the formulas are at ops.embedding. Everything is float.
//
// table, dtable: (rows, width); ids: (count); y, g: (count, width).
//
// Any grid, any block of whole warps; a warp takes every so-manieth row.

constexpr int COLUMNS = 512, PER_LANE = COLUMNS / WARP_SIZE;  // of a row, for a warp of the backward pass

__device__ __forceinline__ long long first_row() {
    return (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) / WARP_SIZE;
}

__device__ __forceinline__ long long row_step() {
    return static_cast<long long>(gridDim.x) * blockDim.x / WARP_SIZE;
}

// y_n = table[ids_n], and NaN where there is no such row.
extern "C" __global__ void embedding_forward(
    const float* table, const int* ids, float* y, long long count, int rows, int width
) {
    for (long long n = first_row(); n < count; n += row_step()) {
        int id = ids[n];
        bool exists = id >= 0 && id < rows;
        for (int column = threadIdx.x % WARP_SIZE; column < width; column += WARP_SIZE) {
            y[n * width + column] = exists ? table[static_cast<long long>(id) * width + column] : NAN;
        }
    }
}

// dtable_v = sum of g_n where ids_n = v. A warp looks through all ids for those of its row, and adds in their order: the
// same sum every time. blockIdx.y: which COLUMNS of the row.
extern "C" __global__ void embedding_backward(
    const float* g, const int* ids, float* dtable, long long count, int rows, int width
) {
    int lane = threadIdx.x % WARP_SIZE, first_column = blockIdx.y * COLUMNS + lane;
    for (long long row = first_row(); row < rows; row += row_step()) {
        float sums[PER_LANE] = {};
        for (long long start = 0; start < count; start += WARP_SIZE) {
            bool same = start + lane < count && ids[start + lane] == row;
            for (unsigned found = __ballot_sync(ALL_LANES, same); found; found &= found - 1) {
                const float* g_row = g + (start + __ffs(found) - 1) * width;
#pragma unroll
                for (int j = 0; j < PER_LANE; j++) {
                    int column = first_column + j * WARP_SIZE;
                    if (column < width) sums[j] += g_row[column];
                }
            }
        }
#pragma unroll
        for (int j = 0; j < PER_LANE; j++) {
            int column = first_column + j * WARP_SIZE;
            if (column < width) dtable[row * width + column] = sums[j];
        }
    }
}
