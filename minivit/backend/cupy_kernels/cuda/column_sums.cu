// Sums of the columns of a matrix: the gradient of a bias, and the end of other kernels' partial sums.
//
// -DT=float|bf16   type of x, (rows, width)
//
// A block sums 128 columns over its share of the rows: grid (ceil(width / 128), G), any block of whole warps. Warp w of
// a block (., j) takes the rows j + G w, then every (G warps)-th: neighbouring blocks read neighbouring rows. Launched
// a second time on the partial sums, with T=float, G = 1 and blocks of up to 1024 threads, it finishes the sum. With a
// grid of depth 2 it sums two matrices, of which the second lies behind the first, into two arrays.

constexpr int COLUMNS = 128, VECTOR = COLUMNS / WARP_SIZE, MAX_WARPS = 32;

// Lane l sums VECTOR neighbours where the rows allow it; otherwise the columns l, l + 32, l + 64, l + 96.
template <bool NEIGHBOURS>
__device__ __forceinline__ int column_of(int lane, int j) {
    return NEIGHBOURS ? lane * VECTOR + j : lane + j * WARP_SIZE;
}

template <bool NEIGHBOURS>
__device__ __forceinline__ void sum_rows(const T* x, long long rows, int width, float (&sums)[VECTOR]) {
    int first_column = blockIdx.x * COLUMNS, lane = threadIdx.x % WARP_SIZE;
    long long first_row = blockIdx.y + static_cast<long long>(gridDim.y) * (threadIdx.x / WARP_SIZE);
    long long step = static_cast<long long>(gridDim.y) * (blockDim.x / WARP_SIZE);
#pragma unroll 4
    for (long long row = first_row; row < rows; row += step) {
        const T* start = x + row * width + first_column;
        float values[VECTOR] = {};
        if (NEIGHBOURS) {
            if (first_column + lane * VECTOR < width) load(values, start + lane * VECTOR);
        } else {
#pragma unroll
            for (int j = 0; j < VECTOR; j++) {
                int column = column_of<false>(lane, j);
                if (first_column + column < width) values[j] = to_float(start[column]);
            }
        }
#pragma unroll
        for (int j = 0; j < VECTOR; j++) sums[j] += values[j];
    }
}

// partial, second: (G, width); second is used at depth 2 only
extern "C" __global__ void __launch_bounds__(MAX_WARPS * WARP_SIZE) column_sums(
    const T* x, float* partial, float* second, long long rows, int width
) {
    __shared__ float shared[MAX_WARPS][COLUMNS];
    int lane = threadIdx.x % WARP_SIZE, warp = threadIdx.x / WARP_SIZE;
    x += blockIdx.z * rows * width;
    if (blockIdx.z) partial = second;
    bool neighbours = vectors_fit<VECTOR>(x, width);
    float sums[VECTOR] = {};
    if (neighbours) {
        sum_rows<true>(x, rows, width, sums);
    } else {
        sum_rows<false>(x, rows, width, sums);
    }
#pragma unroll
    for (int j = 0; j < VECTOR; j++) {
        shared[warp][neighbours ? column_of<true>(lane, j) : column_of<false>(lane, j)] = sums[j];
    }
    __syncthreads();
    for (int k = threadIdx.x; k < COLUMNS; k += blockDim.x) {
        int column = blockIdx.x * COLUMNS + k;
        if (column >= width) continue;
        float sum = 0;
        for (int w = 0; w < blockDim.x / WARP_SIZE; w++) sum += shared[w][k];
        partial[static_cast<size_t>(blockIdx.y) * width + column] = sum;
    }
}
