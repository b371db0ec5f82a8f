// Softmax of rows; the formulas are at ops.softmax.
//
// -DX=float|bf16   type of x and of the gradient g of y
// -DY=float|bf16   type of y and dx
//
// Arrays are (rows, pitch), of which the first `width` columns count; what is behind them may be overwritten. y may be x,
// and dx may be g.
//
// One warp per row: any grid, any block of whole warps; a warp takes every so-manieth row. A row is read again for each
// of the steps, from the cache. VECTOR neighbours at a time where the rows allow it, one at a time otherwise.

constexpr int VECTOR = 16 / sizeof(Y);

__device__ __forceinline__ long long first_row() {
    return (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) / WARP_SIZE;
}

__device__ __forceinline__ long long row_step() {
    return static_cast<long long>(gridDim.x) * blockDim.x / WARP_SIZE;
}

template <int N>
__device__ __forceinline__ void forward_row(const X* x, Y* y, int width, float scale, float empty) {
    int first = threadIdx.x % WARP_SIZE * N, step = WARP_SIZE * N;
    float values[N];
    float largest = -INFINITY;
    for (int column = first; column < width; column += step) {
        load(values, x + column);
#pragma unroll
        for (int j = 0; j < N; j++) largest = fmaxf(largest, column + j < width ? scale * values[j] : -INFINITY);
    }
    largest = warp_max(largest);
    if (largest == -INFINITY) largest = 0;
    float sum = 0;
    for (int column = first; column < width; column += step) {
        load(values, x + column);
#pragma unroll
        for (int j = 0; j < N; j++) {
            sum += column + j < width ? expf(scale * values[j] - largest) : 0;  // the largest exponent is 0: no overflow
        }
    }
    sum = warp_sum(sum);
    float inverse_sum = sum == 0 ? empty : 1 / sum;
    for (int column = first; column < width; column += step) {
        load(values, x + column);
#pragma unroll
        for (int j = 0; j < N; j++) values[j] = expf(scale * values[j] - largest) * inverse_sum;
        store(y + column, values);
    }
}

// y = softmax(scale x). empty: NaN or 0, which is what a row of minus infinity alone gets.
extern "C" __global__ void softmax_forward(
    const X* x, Y* y, long long rows, int width, int pitch, float scale, float empty
) {
    bool fits = vectors_fit<VECTOR>(x, pitch) && vectors_fit<VECTOR>(y, pitch);
    for (long long row = first_row(); row < rows; row += row_step()) {
        if (fits) {
            forward_row<VECTOR>(x + row * pitch, y + row * pitch, width, scale, empty);
        } else {
            forward_row<1>(x + row * pitch, y + row * pitch, width, scale, empty);
        }
    }
}

template <int N>
__device__ __forceinline__ void backward_row(const Y* y, const X* g, Y* dx, int width, float scale) {
    int first = threadIdx.x % WARP_SIZE * N, step = WARP_SIZE * N;
    float ys[N], gs[N];
    float dot = 0;
    for (int column = first; column < width; column += step) {
        load(ys, y + column);
        load(gs, g + column);
#pragma unroll
        for (int j = 0; j < N; j++) dot += column + j < width ? ys[j] * gs[j] : 0;
    }
    dot = warp_sum(dot);
    for (int column = first; column < width; column += step) {
        load(ys, y + column);
        load(gs, g + column);
#pragma unroll
        for (int j = 0; j < N; j++) ys[j] *= scale * (gs[j] - dot);
        store(dx + column, ys);
    }
}

// dx = scale y (g - <g, y>)
extern "C" __global__ void softmax_backward(
    const Y* y, const X* g, Y* dx, long long rows, int width, int pitch, float scale
) {
    bool fits = vectors_fit<VECTOR>(y, pitch) && vectors_fit<VECTOR>(g, pitch) && vectors_fit<VECTOR>(dx, pitch);
    for (long long row = first_row(); row < rows; row += row_step()) {
        long long start = row * pitch;
        if (fits) {
            backward_row<VECTOR>(y + start, g + start, dx + start, width, scale);
        } else {
            backward_row<1>(y + start, g + start, dx + start, width, scale);
        }
    }
}
