// What all kernels share: bfloat16, vector access to memory, sums over a warp, and the tensor-core instructions.
//
// Template parameters have long names: X, Y and T are macros, with which the .cu files are specialised. They must be
// defined by lines at the top of the text, not by -D: NVRTC's own header, which comes before it, has a T too.
//
// The text of this file and of one .cu file is compiled as one string by NVRTC, without CUDA's headers; hence the
// inline PTX. For tests a header is put before it that defines CUDA_ON_CPU and emulates what is left out here.

struct bf16 {
    unsigned short bits;
};

constexpr int WARP_SIZE = 32;
constexpr unsigned ALL_LANES = 0xFFFFFFFFu;
constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LN_2 = 0.6931471805599453f;

#ifdef CUDA_ON_CPU

static inline unsigned short round_to_bf16(float x) {
    unsigned bits = __float_as_uint(x);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FFF;  // NaN: rounding could make it infinite
    return (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;    // to nearest, ties to even
}

static inline bf16 to_bf16(float x) { return {round_to_bf16(x)}; }

static inline unsigned pack_bf16(float low, float high) {
    return round_to_bf16(low) | static_cast<unsigned>(round_to_bf16(high)) << 16;
}

#else

#ifndef INFINITY  // NVRTC has no math.h
#define INFINITY __uint_as_float(0x7F800000u)
#define NAN __uint_as_float(0x7FFFFFFFu)
#endif
#define CHECK_ALIGNED(pointer, bytes)
#define DYNAMIC_SHARED(Element, name)                                       \
    extern __shared__ __align__(16) unsigned char dynamic_shared[];   \
    Element* name = reinterpret_cast<Element*>(dynamic_shared)

__device__ __forceinline__ bf16 to_bf16(float x) {
    bf16 y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}

// Two numbers in one register: `low` in the lower half, which comes first in memory.
__device__ __forceinline__ unsigned pack_bf16(float low, float high) {
    unsigned packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

// Four 8x8 matrices from shared memory. Lane l gives the address (16-byte aligned) of row l % 8 of matrix l / 8, and
// gets in matrices[m] the elements 2 (l % 4) and 2 (l % 4) + 1 of row l / 4 (transposed: of column l / 4) of matrix m.
template <bool TRANSPOSED>
__device__ __forceinline__ void ldmatrix_x4(unsigned (&matrices)[4], const void* row) {
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
    if (TRANSPOSED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                     : "r"(address) : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                     : "r"(address) : "memory");
    }
}

// sums (16, 8) += a (16, 16) b (16, 8) on the tensor cores. Lane l holds of `sums` the elements 2 (l % 4) and
// 2 (l % 4) + 1 of row l / 4, then of row l / 4 + 8; a and b are laid out as ldmatrix_x4 brings them.
__device__ __forceinline__ void mma_16x8x16(float (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }

template <class Element>
__device__ __forceinline__ Element from_float(float x) {
    if constexpr (sizeof(Element) == sizeof(bf16)) {
        return to_bf16(x);
    } else {
        return x;
    }
}

// Memory: N neighbouring elements at once, in accesses of up to 16 bytes ------------------------------------------

template <class Element, int N>
struct alignas(N * sizeof(Element)) Vector {
    Element values[N];
};

// How many elements of Element make one access, if N are wanted.
template <class Element, int N>
constexpr int ACCESS = N * sizeof(Element) < 16 ? N : 16 / sizeof(Element);

template <int N, class Element>
__device__ __forceinline__ void load(float (&values)[N], const Element* source) {
    constexpr int M = ACCESS<Element, N>;
#pragma unroll
    for (int i = 0; i < N; i += M) {
        CHECK_ALIGNED(source + i, M * sizeof(Element));
        Vector<Element, M> vector = *reinterpret_cast<const Vector<Element, M>*>(source + i);
#pragma unroll
        for (int j = 0; j < M; j++) values[i + j] = to_float(vector.values[j]);
    }
}

template <int N, class Element>
__device__ __forceinline__ void store(Element* target, const float (&values)[N]) {
    constexpr int M = ACCESS<Element, N>;
#pragma unroll
    for (int i = 0; i < N; i += M) {
        Vector<Element, M> vector;
#pragma unroll
        for (int j = 0; j < M; j++) vector.values[j] = from_float<Element>(values[i + j]);
        CHECK_ALIGNED(target + i, M * sizeof(Element));
        *reinterpret_cast<Vector<Element, M>*>(target + i) = vector;
    }
}

// Whether rows of `width` elements, one behind the other, can be read N elements at a time: whole vectors, and none at
// an address that the hardware refuses. Null, for an array that is not there, always can.
template <int N, class Element>
__device__ __forceinline__ bool vectors_fit(const Element* rows, long long width) {
    return width % N == 0 && reinterpret_cast<size_t>(rows) % (ACCESS<Element, N> * sizeof(Element)) == 0;
}

// Sums and maxima over the lanes of a warp; every lane gets the result ------------------------------------------

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int distance = WARP_SIZE / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(ALL_LANES, x, distance);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int distance = WARP_SIZE / 2; distance > 0; distance /= 2) {
        x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, distance));
    }
    return x;
}
