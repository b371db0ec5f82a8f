// Mixup and CutMix: image and label b of a batch mixed with image and label b - 1 (the first with the last).

#ifdef CUDA_ON_CPU

static inline float product(float a, float b) {
    volatile float rounded = a * b;
    return rounded;
}

#else

// Rounded by itself, as NumPy does, not fused with the sum that it is put into: results equal the CPU's bit for bit.
__device__ __forceinline__ float product(float a, float b) { return __fmul_rn(a, b); }

#endif

__device__ __forceinline__ int previous_in_batch() {
    return blockIdx.x > 0 ? blockIdx.x - 1 : gridDim.x - 1;
}

// mixed[b] = images[b], and inside the box own images[b] + other images[b - 1]: (B, height, width, channels). One block
// an image. For mixup the box is the whole image; for CutMix own is 0 and other 1.
extern "C" __global__ void mix_images(
    const float* images, float* mixed, int height, int width, int channels, int top, int bottom, int left, int right,
    float own, float other
) {
    int size = height * width * channels;
    const float* image = images + static_cast<long long>(blockIdx.x) * size;
    const float* previous = images + static_cast<long long>(previous_in_batch()) * size;
    float* result = mixed + static_cast<long long>(blockIdx.x) * size;
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        int x = i / channels % width, y = i / channels / width;
        bool inside = y >= top && y < bottom && x >= left && x < right;
        result[i] = inside ? product(own, image[i]) + product(other, previous[i]) : image[i];
    }
}

// mixed[b] (classes,): `own` at the place of labels[b] plus `other` at that of labels[b - 1]. One block a label.
extern "C" __global__ void mix_labels(const long long* labels, float* mixed, int classes, float own, float other) {
    long long label = labels[blockIdx.x], previous = labels[previous_in_batch()];
    for (int k = threadIdx.x; k < classes; k += blockDim.x) {
        float share = (k == label ? own : 0) + (k == previous ? other : 0);
        mixed[static_cast<long long>(blockIdx.x) * classes + k] = share;
    }
}
