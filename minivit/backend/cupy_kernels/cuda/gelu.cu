// y = gelu(x + bias), the bias of the linear layer before it added on the way; the formulas are at ops.gelu.
//
// -DT=float|bf16   type of x, y, g and dx, (rows, width); bias: (width,), float, may be null
// -DFORM=0|1|2     tanh, erf or quick
//
// Any grid and block. A thread keeps to its columns, so that it reads their biases once, and its block takes every
// gridDim.x-th row: as many columns at a time as the block has threads, times VECTOR where the rows allow it.

constexpr int VECTOR = 16 / sizeof(T);

// Where Phi is 0 or 1 to the last digit, or in the quick form exp overflows. Going no further from 0, infinity meets
// no 0. NaN stays NaN.
constexpr float FAR_OUT = FORM == 2 ? 60 : 40;

__device__ __forceinline__ float not_below(float x) { return x < -FAR_OUT ? -FAR_OUT : x; }
__device__ __forceinline__ float not_above(float x) { return x > FAR_OUT ? FAR_OUT : x; }

// Phi, the distribution function, and x times its derivative.
struct Normal {
    float cdf, x_density;
};

__device__ __forceinline__ Normal normal(float x) {
    x = not_above(not_below(x));
#if FORM == 1
    return {0.5f * (1 + erff(x * 0.70710678f)), x * (0.39894228f * expf(-0.5f * x * x))};
#elif FORM == 2
    float cdf = __fdividef(1, 1 + expf(-1.702f * x));
    return {cdf, x * (1.702f * cdf * (1 - cdf))};
#else
    // (1 + tanh u) / 2 = 1 / (1 + exp(-2 u)), u = sqrt(2/pi) (x + 0.044715 x^3): cheaper than tanhf, and precise where
    // tanh is close to -1. Where exp overflows, the quotient is 0, as it should be.
    float cdf = __fdividef(1, 1 + expf(-1.5957691f * (x + 0.044715f * x * x * x)));
    return {cdf, x * (1.5957691f * cdf * (1 - cdf) * (1 + 0.134145f * x * x))};
#endif
}

template <int N>
__device__ __forceinline__ void forward_columns(const T* x, const float* bias, T* y, long long rows, int width) {
    for (int column = threadIdx.x * N; column < width; column += blockDim.x * N) {
        float biases[N] = {};
        if (bias) load(biases, bias + column);
        for (long long row = blockIdx.x; row < rows; row += gridDim.x) {
            float values[N];
            load(values, x + row * width + column);
#pragma unroll
            for (int j = 0; j < N; j++) {
                float sum = values[j] + biases[j];
                values[j] = not_below(sum) * normal(sum).cdf;
            }
            store(y + row * width + column, values);
        }
    }
}

extern "C" __global__ void bias_gelu_forward(const T* x, const float* bias, T* y, long long rows, int width) {
    if (vectors_fit<VECTOR>(x, width) && vectors_fit<VECTOR>(bias, width) && vectors_fit<VECTOR>(y, width)) {
        forward_columns<VECTOR>(x, bias, y, rows, width);
    } else {
        forward_columns<1>(x, bias, y, rows, width);
    }
}

template <int N>
__device__ __forceinline__ void backward_columns(
    const T* g, const T* x, const float* bias, T* dx, float* partial, long long rows, int width
) {
    for (int column = threadIdx.x * N; column < width; column += blockDim.x * N) {
        float biases[N] = {}, sums[N] = {};
        if (bias) load(biases, bias + column);
        for (long long row = blockIdx.x; row < rows; row += gridDim.x) {
            float gradients[N], values[N];
            load(gradients, g + row * width + column);
            load(values, x + row * width + column);
#pragma unroll
            for (int j = 0; j < N; j++) {
                float sum = values[j] + biases[j];
                Normal phi = normal(sum);
                gradients[j] *= phi.cdf + phi.x_density;
                sums[j] += gradients[j];
            }
            store(dx + row * width + column, gradients);
        }
        if (partial) store(partial + static_cast<size_t>(blockIdx.x) * width + column, sums);
    }
}

// dx = g (Phi + x Phi') at x + bias. partial: (gridDim.x, width), each block's column sums of dx before it is rounded,
// which make up dbias; may be null.
extern "C" __global__ void bias_gelu_backward(
    const T* g, const T* x, const float* bias, T* dx, float* partial, long long rows, int width
) {
    bool fits = vectors_fit<VECTOR>(g, width) && vectors_fit<VECTOR>(x, width) && vectors_fit<VECTOR>(bias, width) &&
                vectors_fit<VECTOR>(dx, width) && vectors_fit<VECTOR>(partial, width);
    if (fits) {
        backward_columns<VECTOR>(g, x, bias, dx, partial, rows, width);
    } else {
        backward_columns<1>(g, x, bias, dx, partial, rows, width);
    }
}
