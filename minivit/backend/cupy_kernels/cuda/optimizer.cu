// One update of all parameters, which lie in one flat array, as do their gradients and the optimiser's state; the
// formulas are at optim.AdamW, optim.SGD, optim.EMA and clip_by_global_norm.
//
// -DMAX_TENSORS=<int>
//
// A chunk of a flat array is what a warp takes at a time. Every tensor begins at a chunk, so `owner`, which says for each
// chunk the number of its tensor, says it for each element.
//
// `scalars` is in the memory of the device, so that an update that was recorded once can run with other numbers. First
// those of `Scalar`, then for each tensor those of `Own`; flat.py has the same names in the same order. The host sends
// all; `clip` then writes NORM and CLIP.
//
// Any grid, blocks of whole warps. Flat arrays are 16-byte aligned and whole chunks long. Where the norm is not finite
// an update changes nothing.

// Corrections: 1 / (1 - b1^t), 1 / sqrt(1 - b2^t), of betas rounded to float, as they are here. EMA_RATE: 1 - d.
enum Scalar { B1, B2, EPS, CORRECTION_1, CORRECTION_2, MOMENTUM, EMA_RATE, NORM, SCALARS };
// Of a tensor: its learning rate; what its decay leaves, 1 - learning rate * weight decay; the factor of its gradient.
enum Own { RATE, KEEP, CLIP, OWN };
constexpr int MAX_WARPS = 32;
constexpr int VECTOR = 4;  // floats in 16 bytes
constexpr int CHUNK = WARP_SIZE * VECTOR;

// Where the gradients are. Tensor i is copied to flat[start[i] : start[i] + size[i]]; the starts, and the end of the
// flat array at start[count], are whole chunks. The struct has the layout of C: after `count` it is padded to a
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

// Up to VECTOR elements: `available` there are, perhaps fewer than 0; the others are 0.
__device__ __forceinline__ void load_up_to(float (&values)[VECTOR], const float* source, long long available) {
    if (available >= VECTOR) {
        load(values, source);
    } else {
#pragma unroll
        for (int j = 0; j < VECTOR; j++) values[j] = j < available ? source[j] : 0.0f;
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

__device__ __forceinline__ const float* own(const float* scalars, const int* owner, long long position) {
    return scalars + SCALARS + OWN * owner[position / CHUNK];
}

// flat = all gradients one after another, 0 between them; squares[chunk] = the sum of squares of the chunk. owner: of
// these chunks; first: the number of the table's first tensor.
extern "C" __global__ void gather_gradients(Table table, float* flat, const int* owner, int first, float* squares) {
    for (long long position = first_index(); position < table.start[table.count]; position += index_step()) {
        int tensor = owner[position / CHUNK] - first;
        long long offset = position - table.start[tensor];
        float values[VECTOR];
        load_up_to(values, table.source[tensor] + offset, table.size[tensor] - offset);
        store(flat + position, values);
        float sum = 0;
#pragma unroll
        for (int j = 0; j < VECTOR; j++) sum += values[j] * values[j];
        sum = warp_sum(sum);  // of a whole warp, since the end is that of a chunk
        if (threadIdx.x % WARP_SIZE == 0) squares[position / CHUNK] = sum;
    }
}

// sums[tensor] = the sum of squares[start[tensor] : start[tensor + 1]]. One block for each tensor.
extern "C" __global__ void __launch_bounds__(MAX_WARPS * WARP_SIZE) tensor_squares(
    const float* squares, const int* start, float* sums
) {
    __shared__ float shared[MAX_WARPS];
    float sum = 0;
    for (int i = start[blockIdx.x] + threadIdx.x; i < start[blockIdx.x + 1]; i += blockDim.x) sum += squares[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// scalars[NORM] = sqrt(sum of sums); CLIP of each tensor = what to multiply its gradient by, so that the norm of all, or
// of `each` its own, is at most max_norm. sums: (count,). One block.
extern "C" __global__ void __launch_bounds__(MAX_WARPS * WARP_SIZE) clip(
    const float* sums, int count, float* scalars, float max_norm, int each
) {
    __shared__ float shared[MAX_WARPS];
    __shared__ float factor;
    float sum = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) sum += sums[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) {
        float norm = sqrtf(sum);
        scalars[NORM] = norm;
        factor = norm < max_norm || norm == 0 ? 1 : max_norm / norm;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        scalars[SCALARS + OWN * i + CLIP] = each ? fminf(1, max_norm / (sqrtf(sums[i]) + 1e-6f)) : factor;
    }
}

extern "C" __global__ void adamw(
    float* p, float* m, float* v, const float* g, const float* scalars, const int* owner, long long n
) {
    if (!is_finite(scalars[NORM])) return;
    float b1 = scalars[B1], b2 = scalars[B2];
    for (long long i = first_index(); i < n; i += index_step()) {
        const float* tensor = own(scalars, owner, i);
        float rate = tensor[RATE] * scalars[CORRECTION_1], keep = tensor[KEEP], factor = tensor[CLIP];
        float ps[VECTOR], ms[VECTOR], vs[VECTOR], gs[VECTOR];
        load(ps, p + i);
        load(ms, m + i);
        load(vs, v + i);
        load(gs, g + i);
#pragma unroll
        for (int j = 0; j < VECTOR; j++) {
            float gradient = gs[j] * factor;
            ms[j] = b1 * ms[j] + (1 - b1) * gradient;
            vs[j] = b2 * vs[j] + (1 - b2) * gradient * gradient;
            ps[j] *= keep;  // the old p decays, before the step is taken off
            ps[j] -= rate * ms[j] / (sqrtf(vs[j]) * scalars[CORRECTION_2] + scalars[EPS]);
        }
        store(p + i, ps);
        store(m + i, ms);
        store(v + i, vs);
    }
}

extern "C" __global__ void sgd(
    float* p, float* v, const float* g, const float* scalars, const int* owner, long long n
) {
    if (!is_finite(scalars[NORM])) return;
    for (long long i = first_index(); i < n; i += index_step()) {
        const float* tensor = own(scalars, owner, i);
        float rate = tensor[RATE], keep = tensor[KEEP], factor = tensor[CLIP];
        float ps[VECTOR], vs[VECTOR], gs[VECTOR];
        load(ps, p + i);
        load(vs, v + i);
        load(gs, g + i);
#pragma unroll
        for (int j = 0; j < VECTOR; j++) {
            vs[j] = scalars[MOMENTUM] * vs[j] + gs[j] * factor;
            ps[j] *= keep;
            ps[j] -= rate * vs[j];
        }
        store(p + i, ps);
        store(v + i, vs);
    }
}

extern "C" __global__ void ema(float* average, const float* p, const float* scalars, long long n) {
    if (!is_finite(scalars[NORM])) return;
    for (long long i = first_index(); i < n; i += index_step()) {
        float averages[VECTOR], ps[VECTOR];
        load(averages, average + i);
        load(ps, p + i);
#pragma unroll
        for (int j = 0; j < VECTOR; j++) averages[j] += scalars[EMA_RATE] * (ps[j] - averages[j]);
        store(average + i, averages);
    }
}
