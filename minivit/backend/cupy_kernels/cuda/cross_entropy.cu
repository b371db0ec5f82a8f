// Cross-entropy of logits against labels; the formulas are at ops.cross_entropy.
//
// -DT=float|bf16             type of logits and dlogits, (rows, classes)
// -DLABEL="long long"|float  class numbers (rows,), or probabilities (rows, classes), which need not sum to 1
//
// Targets are t = (1 - smoothing) label + smoothing / classes. One warp per row: any grid, any block of whole warps.

__device__ __forceinline__ int first_row() { return (blockIdx.x * blockDim.x + threadIdx.x) / WARP_SIZE; }

__device__ __forceinline__ int row_step() { return gridDim.x * blockDim.x / WARP_SIZE; }

// The label of one class as a probability. A class number that is none gives NaN, and so a loss that nobody overlooks.
__device__ __forceinline__ float probability(const long long* labels, int row, int k, int classes) {
    long long label = labels[row];
    if (label < 0 || label >= classes) return NAN;
    return label == k ? 1.0f : 0.0f;
}

__device__ __forceinline__ float probability(const float* labels, int row, int k, int classes) {
    return labels[static_cast<size_t>(row) * classes + k];
}

__device__ __forceinline__ float target(const LABEL* labels, int row, int k, int classes, float smoothing) {
    return (1 - smoothing) * probability(labels, row, k, classes) + smoothing / classes;
}

// losses[row] = -sum_k t_k log p_k;  log_sum[row] = log sum_k exp(logits_k), which the backward pass needs.
extern "C" __global__ void cross_entropy_forward(
    const T* logits, const LABEL* labels, float* losses, float* log_sum, int rows, int classes, float smoothing
) {
    int lane = threadIdx.x % WARP_SIZE;
    for (int row = first_row(); row < rows; row += row_step()) {
        const T* z = logits + static_cast<size_t>(row) * classes;
        float largest = -INFINITY;
        for (int k = lane; k < classes; k += WARP_SIZE) largest = fmaxf(largest, to_float(z[k]));
        largest = warp_max(largest);
        float sum = 0;
        for (int k = lane; k < classes; k += WARP_SIZE) sum += expf(to_float(z[k]) - largest);
        float row_log_sum = largest + logf(warp_sum(sum));
        float loss = 0;
        for (int k = lane; k < classes; k += WARP_SIZE) {
            float t = target(labels, row, k, classes, smoothing);
            if (t != 0) loss += t * (row_log_sum - to_float(z[k]));  // a masked class, -inf, times 0 would be NaN
        }
        loss = warp_sum(loss);
        if (lane == 0) {
            losses[row] = loss;
            log_sum[row] = row_log_sum;
        }
    }
}

// dlogits = (p sum_k t_k - t) g / rows, with g the gradient of the mean loss over the rows, in memory: a number that
// the host need not know.
extern "C" __global__ void cross_entropy_backward(
    const T* logits, const LABEL* labels, const float* log_sum, const float* g, T* dlogits, int rows, int classes,
    float smoothing
) {
    int lane = threadIdx.x % WARP_SIZE;
    float factor = g[0] / rows;
    for (int row = first_row(); row < rows; row += row_step()) {
        size_t start = static_cast<size_t>(row) * classes;
        float target_sum = 0;
        for (int k = lane; k < classes; k += WARP_SIZE) target_sum += target(labels, row, k, classes, smoothing);
        target_sum = warp_sum(target_sum);
        for (int k = lane; k < classes; k += WARP_SIZE) {
            float p = expf(to_float(logits[start + k]) - log_sum[row]);
            float t = target(labels, row, k, classes, smoothing);
            dlogits[start + k] = from_float<T>((p * target_sum - t) * factor);
        }
    }
}
