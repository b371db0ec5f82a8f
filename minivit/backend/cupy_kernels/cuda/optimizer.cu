// One update of all parameters, which lie in one flat array, as do their gradients and the optimiser's state; the
// formulas are at optim.AdamW, optim.SGD, optim.EMA and clip_by_global_norm.
//
// -DMAX_TENSORS=<int>
//
// `scalars` is in the memory of the device, so that an update that was recorded once can run with other numbers:
//   {lr, b1, b2, eps, weight decay, 1 / (1 - b1^t), 1 / sqrt(1 - b2^t), 1 - d of the EMA, clip factor, norm of the gradients}
// for adamw; for sgd b1 is the momentum. `clip` writes the last two.
// b1 and b2 are rounded to float here: corrections made from the rounded numbers match them best.
//
// Any grid, blocks of whole warps. Flat arrays are 16-byte aligned; their first `decayed` elements decay. Where the
// norm is not finite an update changes nothing.

enum Scalar { LR, B1, B2, EPS, WEIGHT_DECAY, CORRECTION_1, CORRECTION_2, EMA_RATE, CLIP, NORM };
constexpr int MOMENTUM = B1;
constexpr int MAX_WARPS = 32;
constexpr int VECTOR = 4;  // floats in 16 bytes

// Where the gradients are. Tensor i is copied to flat[start[i] : start[i] + size[i]]; the starts, and the end of the
// flat array at start[count], are multiples of 4. The struct has the layout of C: after `count` it is padded to a
// multiple of 8 bytes (numpy.dtype(..., align=True)). Passed by value, it may have 4 KiB (32 KiB from CUDA 12.1 on).
struct Table {
    const float* source[MAX_TENSORS];  // 16-byte aligned
    long long start[MAX_TENSORS + 1];
    int size[MAX_TENSORS];
    int count;
};

// A thread takes VECTOR neighbours of a flat array at a time, from this index on, and this many further on the next.
__device__ __forceinline__ long long first_index() {
    return (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * VECTOR;
}

__device__ __forceinline__ long long index_step() { return static_cast<long long>(gridDim.x) * blockDim.x * VECTOR; }

// Up to VECTOR elements: `available` there are; the others are 0, or not written.
__device__ __forceinline__ void load_up_to(float (&values)[VECTOR], const float* source, long long available) {
    if (available >= VECTOR) {
        load(values, source);
    } else {
#pragma unroll
        for (int j = 0; j < VECTOR; j++) values[j] = j < available ? source[j] : 0.0f;
    }
}

__device__ __forceinline__ void store_up_to(float* target, const float (&values)[VECTOR], long long available) {
    if (available >= VECTOR) {
        store(target, values);
    } else {
#pragma unroll
        for (int j = 0; j < VECTOR; j++) {
            if (j < available) target[j] = values[j];
        }
    }
}

// False for infinity and NaN.
__device__ __forceinline__ bool is_finite(float x) { return fabsf(x) < INFINITY; }

// The sum over the threads of a block, in a fixed order; thread 0 gets it.
__device__ __forceinline__ float block_sum(float x, float* shared) {
    x = warp_sum(x);
    if (threadIdx.x % WARP_SIZE == 0) shared[threadIdx.x / WARP_SIZE] = x;
    __syncthreads();
    float sum = 0;
    if (threadIdx.x == 0) {
        for (int warp = 0; warp < blockDim.x / WARP_SIZE; warp++) sum += shared[warp];
    }
    return sum;
}

// flat = all gradients one after another, 0 between them; partial[block] = the sum of squares of what the block copied.
extern "C" __global__ void gather_gradients(Table table, float* flat, float* partial) {
    __shared__ float shared[MAX_WARPS];
    float squares = 0;
    for (long long position = first_index(); position < table.start[table.count]; position += index_step()) {
        int low = 0, high = table.count;  // start[low] <= position < start[high]
        while (high - low > 1) {
            int middle = (low + high) / 2;
            if (table.start[middle] <= position) {
                low = middle;
            } else {
                high = middle;
            }
        }
        long long offset = position - table.start[low];
        float values[VECTOR];
        load_up_to(values, table.source[low] + offset, table.size[low] - offset);
        store(flat + position, values);
#pragma unroll
        for (int j = 0; j < VECTOR; j++) squares += values[j] * values[j];
    }
    float sum = block_sum(squares, shared);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// scalars[NORM] = sqrt(sum of partial);  scalars[CLIP] = what to multiply the gradients by, so that their norm is at
// most max_norm. partial: (count,). One block.
extern "C" __global__ void __launch_bounds__(MAX_WARPS * WARP_SIZE) clip(
    const float* partial, int count, float* scalars, float max_norm
) {
    __shared__ float shared[MAX_WARPS];
    float sum = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) sum += partial[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) {
        float norm = sqrtf(sum);
        scalars[NORM] = norm;
        scalars[CLIP] = norm < max_norm || norm == 0 ? 1 : max_norm / norm;
    }
}

extern "C" __global__ void adamw(
    float* p, float* m, float* v, const float* g, const float* scalars, long long n, long long decayed
) {
    if (!is_finite(scalars[NORM])) return;
    float b1 = scalars[B1], b2 = scalars[B2];
    float keep = 1 - scalars[LR] * scalars[WEIGHT_DECAY];
    float rate = scalars[LR] * scalars[CORRECTION_1];
    for (long long i = first_index(); i < n; i += index_step()) {
        float ps[VECTOR], ms[VECTOR], vs[VECTOR], gs[VECTOR];
        load_up_to(ps, p + i, n - i);
        load_up_to(ms, m + i, n - i);
        load_up_to(vs, v + i, n - i);
        load_up_to(gs, g + i, n - i);
#pragma unroll
        for (int j = 0; j < VECTOR; j++) {
            float gradient = gs[j] * scalars[CLIP];
            ms[j] = b1 * ms[j] + (1 - b1) * gradient;
            vs[j] = b2 * vs[j] + (1 - b2) * gradient * gradient;
            if (i + j < decayed) ps[j] *= keep;  // the old p decays, before the step is taken off
            ps[j] -= rate * ms[j] / (sqrtf(vs[j]) * scalars[CORRECTION_2] + scalars[EPS]);
        }
        store_up_to(p + i, ps, n - i);
        store_up_to(m + i, ms, n - i);
        store_up_to(v + i, vs, n - i);
    }
}

extern "C" __global__ void sgd(
    float* p, float* v, const float* g, const float* scalars, long long n, long long decayed
) {
    if (!is_finite(scalars[NORM])) return;
    float keep = 1 - scalars[LR] * scalars[WEIGHT_DECAY];
    for (long long i = first_index(); i < n; i += index_step()) {
        float ps[VECTOR], vs[VECTOR], gs[VECTOR];
        load_up_to(ps, p + i, n - i);
        load_up_to(vs, v + i, n - i);
        load_up_to(gs, g + i, n - i);
#pragma unroll
        for (int j = 0; j < VECTOR; j++) {
            vs[j] = scalars[MOMENTUM] * vs[j] + gs[j] * scalars[CLIP];
            if (i + j < decayed) ps[j] *= keep;
            ps[j] -= scalars[LR] * vs[j];
        }
        store_up_to(p + i, ps, n - i);
        store_up_to(v + i, vs, n - i);
    }
}

extern "C" __global__ void ema(float* average, const float* p, const float* scalars, long long n) {
    if (!is_finite(scalars[NORM])) return;
    for (long long i = first_index(); i < n; i += index_step()) {
        float averages[VECTOR], ps[VECTOR];
        load_up_to(averages, average + i, n - i);
        load_up_to(ps, p + i, n - i);
#pragma unroll
        for (int j = 0; j < VECTOR; j++) averages[j] += scalars[EMA_RATE] * (ps[j] - averages[j]);
        store_up_to(average + i, averages, n - i);
    }
}
