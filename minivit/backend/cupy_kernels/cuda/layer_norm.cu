// Layer normalisation of rows of WIDTH elements; the formulas are at ops.layer_norm.
//
// -DX=float|bf16   type of x, residual and dx (the residual stream)
// -DY=float|bf16   type of y and its gradient g
// -DWIDTH=<int>    known when compiling, so that a row can stay in registers
//
// One warp per row, blocks of 128 threads. Lane l holds the vectors l, l + 32, ... of its row.

constexpr int WARPS = 4;
constexpr int VECTOR = WIDTH % 8 == 0 ? 8 : 1;  // neighbours that a lane holds together
constexpr int VECTORS = (WIDTH + WARP_SIZE * VECTOR - 1) / (WARP_SIZE * VECTOR);  // that it holds of a row
// Blocks of the backward pass that a multiprocessor is to hold at a time: as many as fit without spilling. Left to
// itself, the compiler spills for one more.
constexpr int RESIDENT = WIDTH <= 384 ? 4 : WIDTH <= 768 ? 3 : 2;

__device__ __forceinline__ int column_of(int vector) {
    return (vector * WARP_SIZE + static_cast<int>(threadIdx.x) % WARP_SIZE) * VECTOR;
}

// A vector at an address where the hardware allows vector access (ALIGNED), or at any.
template <bool ALIGNED, class Element>
__device__ __forceinline__ void load_vector(float (&values)[VECTOR], const Element* source) {
    if constexpr (ALIGNED) {
        load(values, source);
    } else {
#pragma unroll
        for (int j = 0; j < VECTOR; j++) values[j] = to_float(source[j]);
    }
}

template <bool ALIGNED, class Element>
__device__ __forceinline__ void store_vector(Element* target, const float (&values)[VECTOR]) {
    if constexpr (ALIGNED) {
        store(target, values);
    } else {
#pragma unroll
        for (int j = 0; j < VECTOR; j++) target[j] = from_float<Element>(values[j]);
    }
}

template <bool ALIGNED>
__device__ __forceinline__ void forward_row(
    const X* x, const float* scale, const float* bias, Y* y, float* mean, float* inverse_std, int row, float eps
) {
    const X* x_row = x + static_cast<size_t>(row) * WIDTH;
    Y* y_row = y + static_cast<size_t>(row) * WIDTH;
    float values[VECTORS][VECTOR] = {};
    float sum = 0;
#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        int column = column_of(i);
        if (column < WIDTH) load_vector<ALIGNED>(values[i], x_row + column);
#pragma unroll
        for (int j = 0; j < VECTOR; j++) sum += values[i][j];
    }
    float row_mean = warp_sum(sum) / WIDTH;

    // A second pass, over registers: E[x^2] - E[x]^2 would lose every digit where the mean is large.
    float squares = 0;
#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        if (column_of(i) >= WIDTH) continue;
#pragma unroll
        for (int j = 0; j < VECTOR; j++) {
            values[i][j] -= row_mean;
            squares += values[i][j] * values[i][j];
        }
    }
    float row_inverse_std = rsqrtf(warp_sum(squares) / WIDTH + eps);

#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        int column = column_of(i);
        if (column >= WIDTH) continue;
        float scales[VECTOR], biases[VECTOR];
        load_vector<ALIGNED>(scales, scale + column);
        load_vector<ALIGNED>(biases, bias + column);
#pragma unroll
        for (int j = 0; j < VECTOR; j++) values[i][j] = values[i][j] * row_inverse_std * scales[j] + biases[j];
        store_vector<ALIGNED>(y_row + column, values[i]);
    }
    if (threadIdx.x % WARP_SIZE == 0) {
        if (mean) mean[row] = row_mean;
        if (inverse_std) inverse_std[row] = row_inverse_std;
    }
}

// x, y: (rows, WIDTH); scale, bias: (WIDTH,); mean, inverse_std: (rows,) or null. Grid: ceil(rows / 4).
extern "C" __global__ void __launch_bounds__(128) layer_norm_forward(
    const X* x, const float* scale, const float* bias, Y* y, float* mean, float* inverse_std, int rows, float eps
) {
    int row = blockIdx.x * WARPS + threadIdx.x / WARP_SIZE;
    if (row >= rows) return;
    bool aligned = vectors_fit<VECTOR>(x, WIDTH) && vectors_fit<VECTOR>(y, WIDTH) &&
                   vectors_fit<VECTOR>(scale, WIDTH) && vectors_fit<VECTOR>(bias, WIDTH);
    if (aligned) {
        forward_row<true>(x, scale, bias, y, mean, inverse_std, row, eps);
    } else {
        forward_row<false>(x, scale, bias, y, mean, inverse_std, row, eps);
    }
}

// target[column] = the sum over the block's warps of what their lanes hold for the column, always in the same order.
__device__ __forceinline__ void write_block_sums(
    const float (&sums)[VECTORS][VECTOR], float (*shared)[VECTOR * WARP_SIZE], float* target
) {
    int lane = threadIdx.x % WARP_SIZE, warp = threadIdx.x / WARP_SIZE;
#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        // Element j of all lanes side by side: 32 neighbours are in 32 different banks.
#pragma unroll
        for (int j = 0; j < VECTOR; j++) shared[warp][j * WARP_SIZE + lane] = sums[i][j];
        __syncthreads();
        for (int k = threadIdx.x; k < VECTOR * WARP_SIZE; k += WARPS * WARP_SIZE) {
            int column = (i * WARP_SIZE + k % WARP_SIZE) * VECTOR + k / WARP_SIZE;
            float sum = 0;
#pragma unroll
            for (int w = 0; w < WARPS; w++) sum += shared[w][k];
            if (column < WIDTH) target[column] = sum;
        }
        __syncthreads();  // before the next vector overwrites what is still being read
    }
}

template <bool ALIGNED>
__device__ __forceinline__ void backward_rows(
    const Y* g, const X* x, const float* scale, const float* mean, const float* inverse_std, const X* residual, X* dx,
    float* partial, float (*shared)[VECTOR * WARP_SIZE], int rows
) {
    float scale_sums[VECTORS][VECTOR] = {}, bias_sums[VECTORS][VECTOR] = {};
    for (int row = blockIdx.x * WARPS + threadIdx.x / WARP_SIZE; row < rows; row += gridDim.x * WARPS) {
        size_t start = static_cast<size_t>(row) * WIDTH;
        float row_mean = mean[row], row_inverse_std = inverse_std[row];
        float h[VECTORS][VECTOR] = {}, x_hat[VECTORS][VECTOR] = {};
        float sum_h = 0, sum_h_x_hat = 0;
#pragma unroll
        for (int i = 0; i < VECTORS; i++) {
            int column = column_of(i);
            if (column >= WIDTH) continue;
            float scales[VECTOR];
            load_vector<ALIGNED>(h[i], g + start + column);
            load_vector<ALIGNED>(x_hat[i], x + start + column);
            load_vector<ALIGNED>(scales, scale + column);
#pragma unroll
            for (int j = 0; j < VECTOR; j++) {
                x_hat[i][j] = (x_hat[i][j] - row_mean) * row_inverse_std;
                scale_sums[i][j] += h[i][j] * x_hat[i][j];
                bias_sums[i][j] += h[i][j];
                h[i][j] *= scales[j];
                sum_h += h[i][j];
                sum_h_x_hat += h[i][j] * x_hat[i][j];
            }
        }
        float mean_h = warp_sum(sum_h) / WIDTH, mean_h_x_hat = warp_sum(sum_h_x_hat) / WIDTH;
#pragma unroll
        for (int i = 0; i < VECTORS; i++) {
            int column = column_of(i);
            if (column >= WIDTH) continue;
            float around[VECTOR] = {};
            if (residual) load_vector<ALIGNED>(around, residual + start + column);
#pragma unroll
            for (int j = 0; j < VECTOR; j++) {
                around[j] += (h[i][j] - mean_h - x_hat[i][j] * mean_h_x_hat) * row_inverse_std;
            }
            store_vector<ALIGNED>(dx + start + column, around);
        }
    }
    write_block_sums(scale_sums, shared, partial + static_cast<size_t>(blockIdx.x) * WIDTH);
    write_block_sums(bias_sums, shared, partial + static_cast<size_t>(gridDim.x + blockIdx.x) * WIDTH);
}

// dx = LN'(g) + residual: the gradient that reaches x around the branch is added in the same pass over memory.
//
// g: (rows, WIDTH); x, residual, dx: (rows, WIDTH), residual may be null; partial: (2, blocks, WIDTH), each block's
// sums for dscale, and for dbias. Any grid: block b takes the rows 4 b .. 4 b + 3, then those 4 gridDim.x further on, and
// so on.
extern "C" __global__ void __launch_bounds__(128, RESIDENT) layer_norm_backward(
    const Y* g, const X* x, const float* scale, const float* mean, const float* inverse_std, const X* residual, X* dx,
    float* partial, int rows
) {
    __shared__ float shared[WARPS][VECTOR * WARP_SIZE];
    bool aligned = vectors_fit<VECTOR>(g, WIDTH) && vectors_fit<VECTOR>(x, WIDTH) &&
                   vectors_fit<VECTOR>(scale, WIDTH) && vectors_fit<VECTOR>(residual, WIDTH) &&
                   vectors_fit<VECTOR>(dx, WIDTH);
    if (aligned) {
        backward_rows<true>(g, x, scale, mean, inverse_std, residual, dx, partial, shared, rows);
    } else {
        backward_rows<false>(g, x, scale, mean, inverse_std, residual, dx, partial, shared, rows);
    }
}
