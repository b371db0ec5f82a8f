// Training batches from uint8 images in the GPU's memory: cropped, mirrored, RandAugmented, normalised, erased.
// The functions of these names in minivit.data say what each step is.
//
// -DCHANNELS=1|3
//
// Nothing is drawn here: the host has drawn every change, as it does for the CPU. The results equal the CPU's bit for
// bit. For that the host brings as tables what is sensitive to rounding, made by the functions that the CPU uses: where
// each pixel comes from when an image is moved, blends of two grey levels, normalised values.

enum Kind { MOVE, LOOK_UP, AUTO_CONTRAST, EQUALIZE, COLOR, CONTRAST, SHARPNESS, CUTOUT };

// A RandAugment operation. MOVE, LOOK_UP: x is the number of the map or table. CUTOUT: x, y is the centre.
struct Operation {
    int kind, x, y;
};

// What happens to one image of a batch, besides its operations. Its upper left corner is at (top, left) of the
// original, which may be outside. `noise` is where its first erased value is in the array of all noise.
struct Change {
    int original, top, left, flipped, noise, erased_top, erased_left, erased_height, erased_width;
};

// Tables that are the same for every batch.
struct Tables {
    const int* maps;               // (maps, pixels): the pixel that each comes from, or -1 for grey
    const unsigned char* values;   // (tables, 256): what becomes of each grey level
    const unsigned char* blends;   // (256, 256): [v0][v1] is v0 + factor (v1 - v0)
    int cutout_half;               // half the side of the square, in pixels
};

// An image in shared memory. `spare` is as large, for operations that read other pixels than the one they write.
struct Image {
    unsigned char *values, *spare;  // (height, width, CHANNELS)
    int height, width;
};

constexpr int LEVELS = 256;
constexpr int GREY = 128;

// What both compilers must do alike ---------------------------------------------------------------------------------

#ifdef CUDA_ON_CPU

static inline void add(int* counter, int amount) { *counter += amount; }  // threads take turns: nothing interferes

static inline double product(double a, double b) {
    volatile double rounded = a * b;
    return rounded;
}

#else

__device__ __forceinline__ void add(int* counter, int amount) { atomicAdd(counter, amount); }

// Rounded by itself, as Python does, not fused with the sum that it is put into.
__device__ __forceinline__ double product(double a, double b) { return __dmul_rn(a, b); }

#endif

// Operations: every thread of the block calls them, with all earlier writes visible ----------------------------------

__device__ __forceinline__ void swap_buffers(Image& image) {
    unsigned char* written = image.spare;
    image.spare = image.values;
    image.values = written;
}

__device__ __forceinline__ void move(Image& image, const int* map) {
    for (int pixel = threadIdx.x; pixel < image.height * image.width; pixel += blockDim.x) {
        int source = map[pixel];
        for (int c = 0; c < CHANNELS; c++) {
            image.spare[pixel * CHANNELS + c] = source < 0 ? GREY : image.values[source * CHANNELS + c];
        }
    }
    swap_buffers(image);
}

// table: (256,), for all channels, or with a stride of 256 one for each.
__device__ __forceinline__ void look_up(const Image& image, const unsigned char* table, int stride) {
    for (int i = threadIdx.x; i < image.height * image.width * CHANNELS; i += blockDim.x) {
        image.values[i] = table[i % CHANNELS * stride + image.values[i]];
    }
}

// How often each level occurs in each channel: counts (CHANNELS, 256).
__device__ __forceinline__ void count_levels(const Image& image, int* counts) {
    for (int i = threadIdx.x; i < CHANNELS * LEVELS; i += blockDim.x) counts[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < image.height * image.width * CHANNELS; i += blockDim.x) {
        add(&counts[i % CHANNELS * LEVELS + image.values[i]], 1);
    }
    __syncthreads();
}

// What level v becomes. As Pillow: in double precision, towards zero. Its products are rounded one by one; where the
// exact result is a whole number, that decides.
__device__ __forceinline__ int stretched(const int* counts, int v) {
    int darkest = 0, lightest = LEVELS - 1;
    while (counts[darkest] == 0) darkest++;
    while (counts[lightest] == 0) lightest--;
    if (lightest <= darkest) return v;
    double scale = 255.0 / (lightest - darkest);
    int result = static_cast<int>(product(v, scale) + product(-darkest, scale));
    return result < 0 ? 0 : result > 255 ? 255 : result;
}

// What level v becomes. As Pillow: the lightest level that occurs is left out of the count.
__device__ __forceinline__ int equalized(const int* counts, int pixels, int v) {
    int lightest = LEVELS - 1;
    while (counts[lightest] == 0) lightest--;
    int step = (pixels - counts[lightest]) / 255;
    if (step == 0) return v;
    int below = step / 2;
    for (int level = 0; level < v; level++) below += counts[level];
    int result = below / step;
    return result > 255 ? 255 : result;
}

// AUTO_CONTRAST and EQUALIZE: a table for each channel, made from its histogram.
__device__ __forceinline__ void change_by_histogram(const Image& image, int kind) {
    __shared__ int counts[CHANNELS * LEVELS];
    __shared__ unsigned char table[CHANNELS * LEVELS];
    count_levels(image, counts);
    for (int i = threadIdx.x; i < CHANNELS * LEVELS; i += blockDim.x) {
        const int* of_channel = counts + i / LEVELS * LEVELS;
        int v = i % LEVELS;
        table[i] = kind == EQUALIZE ? equalized(of_channel, image.height * image.width, v) : stretched(of_channel, v);
    }
    __syncthreads();
    look_up(image, table, LEVELS);
}

// The grey level of a pixel: ITU-R 601-2 luma in fixed point, as Pillow.
__device__ __forceinline__ int grey(const unsigned char* pixel) {
    if (CHANNELS == 1) return pixel[0];
    return (19595 * pixel[0] + 38470 * pixel[1 % CHANNELS] + 7471 * pixel[2 % CHANNELS] + 0x8000) >> 16;
}

// Blend with the image in greyscale.
__device__ __forceinline__ void change_color(const Image& image, const unsigned char* blends) {
    for (int pixel = threadIdx.x; pixel < image.height * image.width; pixel += blockDim.x) {
        unsigned char* values = image.values + pixel * CHANNELS;
        const unsigned char* with_grey = blends + LEVELS * grey(values);
        for (int c = 0; c < CHANNELS; c++) values[c] = with_grey[values[c]];
    }
}

// Blend with the mean grey of the image, rounded half up.
__device__ __forceinline__ void change_contrast(const Image& image, const unsigned char* blends) {
    __shared__ int sum;
    if (threadIdx.x == 0) sum = 0;
    __syncthreads();
    int pixels = image.height * image.width, share = 0;
    for (int pixel = threadIdx.x; pixel < pixels; pixel += blockDim.x) share += grey(image.values + pixel * CHANNELS);
    add(&sum, share);
    __syncthreads();
    int mean = (2 * sum + pixels) / (2 * pixels);
    look_up(image, blends + LEVELS * mean, 0);
}

// Blend with the smoothed image: 5/13 of a value and 1/13 of each of its 8 neighbours, rounded; edges as they are.
// (13 is odd, so no sum is ever half way: integers give what Pillow's rounding of floats gives.)
__device__ __forceinline__ void change_sharpness(Image& image, const unsigned char* blends) {
    int row = image.width * CHANNELS;
    for (int i = threadIdx.x; i < image.height * row; i += blockDim.x) {
        int x = i / CHANNELS % image.width, y = i / row;
        int smooth = image.values[i];
        if (x > 0 && x < image.width - 1 && y > 0 && y < image.height - 1) {
            int sum = 4 * image.values[i];
            for (int dy = -row; dy <= row; dy += row) {
                for (int dx = -CHANNELS; dx <= CHANNELS; dx += CHANNELS) sum += image.values[i + dy + dx];
            }
            smooth = (2 * sum + 13) / 26;
        }
        image.spare[i] = blends[LEVELS * smooth + image.values[i]];
    }
    swap_buffers(image);
}

// A grey square: from `half` pixels before its centre to `half` - 1 behind it.
__device__ __forceinline__ void cut_out(const Image& image, int x, int y, int half) {
    for (int i = threadIdx.x; i < image.height * image.width * CHANNELS; i += blockDim.x) {
        int dx = i / CHANNELS % image.width - x, dy = i / CHANNELS / image.width - y;
        if (dx >= -half && dx < half && dy >= -half && dy < half) image.values[i] = GREY;
    }
}

__device__ __forceinline__ void apply(Image& image, const Operation& operation, const Tables& tables) {
    switch (operation.kind) {
        case MOVE: move(image, tables.maps + operation.x * image.height * image.width); break;
        case LOOK_UP: look_up(image, tables.values + operation.x * LEVELS, 0); break;
        case AUTO_CONTRAST:
        case EQUALIZE: change_by_histogram(image, operation.kind); break;
        case COLOR: change_color(image, tables.blends); break;
        case CONTRAST: change_contrast(image, tables.blends); break;
        case SHARPNESS: change_sharpness(image, tables.blends); break;
        case CUTOUT: cut_out(image, operation.x, operation.y, tables.cutout_half); break;
    }
}

// Kernels ---------------------------------------------------------------------------------------------------------

// A value of the image after crop and mirror: first the window is cut out, then it is turned round.
__device__ __forceinline__ unsigned char cropped(
    const unsigned char* original, const Change& change, int i, int height, int width
) {
    int x = i / CHANNELS % width, y = i / CHANNELS / width;
    int row = y + change.top, column = (change.flipped ? width - 1 - x : x) + change.left;
    bool inside = row >= 0 && row < height && column >= 0 && column < width;
    return inside ? original[(row * width + column) * CHANNELS + i % CHANNELS] : 0;
}

// One block an image: images[b] (height, width, CHANNELS) and labels[b].
//
// originals (N, height, width, CHANNELS), original_labels (N,); changes (B,) of Change; operations (B, operation_count)
// of Operation; normalised (256, CHANNELS); the rest as in Tables. Dynamic shared memory: if there are operations,
// 2 height width CHANNELS bytes.
extern "C" __global__ void augment(
    const unsigned char* originals, const long long* original_labels, const int* changes, const int* operations,
    const float* noise, const int* maps, const unsigned char* values, const unsigned char* blends,
    const float* normalised, float* images, long long* labels, int height, int width, int operation_count,
    int cutout_half
) {
    DYNAMIC_SHARED(unsigned char, memory);
    int size = height * width * CHANNELS;
    const Change change = reinterpret_cast<const Change*>(changes)[blockIdx.x];
    const unsigned char* original = originals + static_cast<long long>(change.original) * size;
    Image image = {memory, memory + size, height, width};
    if (operation_count > 0) {
        for (int i = threadIdx.x; i < size; i += blockDim.x) {
            image.values[i] = cropped(original, change, i, height, width);
        }
        __syncthreads();
    }
    const Operation* own_operations = reinterpret_cast<const Operation*>(operations) + blockIdx.x * operation_count;
    for (int k = 0; k < operation_count; k++) {
        apply(image, own_operations[k], {maps, values, blends, cutout_half});
        __syncthreads();
    }
    float* result = images + static_cast<long long>(blockIdx.x) * size;
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        int value = operation_count > 0 ? image.values[i] : cropped(original, change, i, height, width);
        int x = i / CHANNELS % width - change.erased_left, y = i / CHANNELS / width - change.erased_top;
        bool erased = x >= 0 && x < change.erased_width && y >= 0 && y < change.erased_height;
        result[i] = erased ? noise[change.noise + (y * change.erased_width + x) * CHANNELS + i % CHANNELS]
                           : normalised[value * CHANNELS + i % CHANNELS];
    }
    if (threadIdx.x == 0) labels[blockIdx.x] = original_labels[change.original];
}
