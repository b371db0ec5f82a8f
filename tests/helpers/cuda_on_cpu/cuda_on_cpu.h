// Runs the blocks of a CUDA kernel on a CPU, one after another, each thread of a block as a fiber (a stack of its own).
//
// It is made to find mistakes, not to be fast, and says nothing about speed:
//  - a warp runs as far as it can before the next one starts (from the last warp to the first if so asked), and a lane
//    as far as it can before the next lane: a missing barrier shows as a wrong result, not once in a thousand runs;
//  - shared memory holds NaN when a block starts, and a write behind it is found when the block ends;
//  - a barrier or shuffle that not all of its threads reach, and a vector access at a crooked address, end the launch
//    with a message. All of these go unnoticed, or hang, on a GPU.
// Emulated: barriers, shuffles, ballots, ldmatrix, mma.m16n8k16. Not emulated: atomics, and races between lanes of a warp that
// need another order than ascending or descending. A read beyond an array is seen only if it reaches a result.
#define CUDA_ON_CPU

#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define __global__
#define __device__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("cuda_shared")))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define DYNAMIC_SHARED(Type, name) Type* name = reinterpret_cast<Type*>(cuda_on_cpu::dynamic_shared)
#define CHECK_ALIGNED(pointer, bytes) cuda_on_cpu::check_aligned(pointer, bytes)

// The linker's names for the ends of the section that holds every __shared__ variable; null without one.
extern "C" __attribute__((weak, visibility("hidden"))) unsigned char __start_cuda_shared[], __stop_cuda_shared[];

struct dim3 {
    unsigned x, y, z;
};

namespace cuda_on_cpu {

constexpr int WARP = 32, MAX_THREADS = 1024;
constexpr size_t MAX_SHARED = 227 * 1024, GUARD = 16 * 1024, STACK = 64 * 1024;
constexpr unsigned char POISON = 0xFF;  // as float and as bfloat16: NaN

// What a fiber waits for; from SYNC_WARP on, for the other lanes of its warp.
enum State { RUNNING, RETURNED, SYNC_THREADS, SYNC_WARP, SHUFFLE, LDMATRIX, MMA };

struct Fiber {
    ucontext_t start;
    jmp_buf resume;
    bool started;
    State state;
    unsigned collectives;  // how many collective operations of its warp it has taken part in
    dim3 index;
};

// What a lane shows to its warp in one collective operation.
struct Message {
    uint32_t words[8];
};

static dim3 block_index, block_size, grid_size;
static Fiber fibers[MAX_THREADS];
static unsigned char* stacks;
static int current;  // the thread that runs
static jmp_buf scheduler, launcher;
static char* message;
static size_t message_size, shared_size;
static void (*kernel)(void**);
static void** arguments;
alignas(128) static unsigned char dynamic_shared[MAX_SHARED + GUARD];
static Message messages[2][MAX_THREADS];

#define CUDA_ON_CPU_FAIL(...)                                                            \
    do {                                                                                 \
        snprintf(cuda_on_cpu::message, cuda_on_cpu::message_size, __VA_ARGS__);          \
        _longjmp(cuda_on_cpu::launcher, 1);                                              \
    } while (0)

static void check_aligned(const void* pointer, size_t bytes) {
    if (reinterpret_cast<uintptr_t>(pointer) % bytes) CUDA_ON_CPU_FAIL("misaligned access of %zu bytes", bytes);
}

// Fibers ---------------------------------------------------------------------------------------------------------

static void wait_for(State state) {
    fibers[current].state = state;
    if (!_setjmp(fibers[current].resume)) _longjmp(scheduler, 1);
}

// A fiber lives as long as the library: when its thread has returned it waits for the next block.
static void run_threads() {
    for (;;) {
        kernel(arguments);
        wait_for(RETURNED);
    }
}

static void resume(int thread) {
    current = thread;
    Fiber& fiber = fibers[thread];
    fiber.state = RUNNING;
    if (_setjmp(scheduler)) return;  // the fiber came to its next wait_for
    if (fiber.started) _longjmp(fiber.resume, 1);
    fiber.started = true;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = stacks + STACK * thread;
    fiber.start.uc_stack.ss_size = STACK;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, run_threads, 0);
    setcontext(&fiber.start);
}

// Scheduling -------------------------------------------------------------------------------------------------------

// Run each lane of a warp to its next collective, again and again, until the warp can go no further by itself.
static void run_warp(int first, int last, bool reverse) {
    for (;;) {
        for (int k = first; k < last; k++) {
            int thread = reverse ? first + last - 1 - k : k;
            if (fibers[thread].state == RUNNING) resume(thread);
        }
        State state = fibers[first].state;
        bool collective = state >= SYNC_WARP;
        for (int thread = first; thread < last; thread++) {
            if (fibers[thread].state >= SYNC_WARP) collective = true;
            if (fibers[thread].state != state) state = RUNNING;
        }
        if (!collective) return;
        if (state == RUNNING || last - first != WARP) {
            CUDA_ON_CPU_FAIL("a warp operation that not all 32 lanes take part in (from thread %d on)", first);
        }
        for (int thread = first; thread < last; thread++) fibers[thread].state = RUNNING;
    }
}

static void run_block(int threads, bool reverse) {
    memset(dynamic_shared, POISON, shared_size + GUARD);
    if (__start_cuda_shared) memset(__start_cuda_shared, POISON, __stop_cuda_shared - __start_cuda_shared);
    for (int thread = 0; thread < threads; thread++) {
        unsigned row = thread / block_size.x;
        fibers[thread].index = {thread % block_size.x, row % block_size.y, row / block_size.y};
        fibers[thread].state = RUNNING;
        fibers[thread].collectives = 0;
    }
    int warps = (threads + WARP - 1) / WARP, returned = 0;
    while (returned == 0) {
        for (int k = 0; k < warps; k++) {
            int first = WARP * (reverse ? warps - 1 - k : k);
            run_warp(first, first + WARP < threads ? first + WARP : threads, reverse);
        }
        for (int thread = 0; thread < threads; thread++) {
            returned += fibers[thread].state == RETURNED;
            if (fibers[thread].state == SYNC_THREADS) fibers[thread].state = RUNNING;
        }
    }
    if (returned != threads) {
        CUDA_ON_CPU_FAIL("__syncthreads reached by %d of %d threads: the others returned", threads - returned, threads);
    }
    for (size_t i = shared_size; i < shared_size + GUARD; i++) {
        if (dynamic_shared[i] != POISON) CUDA_ON_CPU_FAIL("byte %zu of %zu of shared memory written", i, shared_size);
    }
}

// Collective operations of a warp ----------------------------------------------------------------------------------

// Show `mine` to the warp and wait for all its lanes; returns what they show. Two sets of messages in turn: a fast lane
// may be one operation ahead, never two.
static const Message* exchange(const Message& mine, State operation) {
    Message* warp = messages[fibers[current].collectives++ % 2] + current / WARP * WARP;
    warp[current % WARP] = mine;
    wait_for(operation);
    return warp;
}

template <class Type>
Type shuffle(unsigned mask, Type value, int source) {
    if (mask != 0xFFFFFFFFu) CUDA_ON_CPU_FAIL("a shuffle with mask %x", mask);
    Message mine;
    memcpy(&mine, &value, sizeof(Type));
    memcpy(&value, &exchange(mine, SHUFFLE)[source], sizeof(Type));
    return value;
}

static bool is_shared(const void* pointer) {
    auto p = static_cast<const unsigned char*>(pointer);
    return (p >= dynamic_shared && p + 16 <= dynamic_shared + shared_size) ||
           (__start_cuda_shared && p >= __start_cuda_shared && p + 16 <= __stop_cuda_shared);
}

static float bf16_value(const uint32_t* words, int i) {
    uint32_t bits = i % 2 ? words[i / 2] & 0xFFFF0000u : words[i / 2] << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

}  // namespace cuda_on_cpu

#define threadIdx (cuda_on_cpu::fibers[cuda_on_cpu::current].index)
#define blockIdx cuda_on_cpu::block_index
#define blockDim cuda_on_cpu::block_size
#define gridDim cuda_on_cpu::grid_size

static inline void __syncthreads() { cuda_on_cpu::wait_for(cuda_on_cpu::SYNC_THREADS); }
static inline void __syncwarp() { cuda_on_cpu::exchange({}, cuda_on_cpu::SYNC_WARP); }

template <class Type>
Type __shfl_sync(unsigned mask, Type value, int lane) {
    return cuda_on_cpu::shuffle(mask, value, lane & 31);
}

template <class Type>
Type __shfl_xor_sync(unsigned mask, Type value, int distance) {
    return cuda_on_cpu::shuffle(mask, value, (cuda_on_cpu::current & 31) ^ distance);
}

static inline unsigned __ballot_sync(unsigned, int predicate) {
    const cuda_on_cpu::Message* shown = cuda_on_cpu::exchange({{predicate != 0}}, cuda_on_cpu::SHUFFLE);
    unsigned found = 0;
    for (int lane = 0; lane < 32; lane++) found |= shown[lane].words[0] << lane;
    return found;
}

static inline int __ffs(int x) { return __builtin_ffs(x); }

// Four 8x8 matrices of bfloat16, of which lane l gives the address of row l % 8 of matrix l / 8. In matrix m lane l
// gets the elements 2 (l % 4) and 2 (l % 4) + 1 of row l / 4 (of column l / 4 if transposed).
template <bool TRANSPOSED>
void ldmatrix_x4(unsigned (&matrices)[4], const void* row) {
    using namespace cuda_on_cpu;
    check_aligned(row, 16);
    if (!is_shared(row)) CUDA_ON_CPU_FAIL("ldmatrix outside shared memory");
    Message mine;
    memcpy(mine.words, row, 16);
    const Message* rows = exchange(mine, LDMATRIX);
    int major = current % 32 / 4, minor = 2 * (current % 4);
    auto element = [&](int matrix, int i, int j) {
        return rows[8 * matrix + i].words[j / 2] >> (16 * (j % 2)) & 0xFFFFu;
    };
    for (int m = 0; m < 4; m++) {
        unsigned low = TRANSPOSED ? element(m, minor, major) : element(m, major, minor);
        unsigned high = TRANSPOSED ? element(m, minor + 1, major) : element(m, major, minor + 1);
        matrices[m] = low | high << 16;
    }
}

// sums (16, 8) += a (16, 16) b (16, 8), with the fragments laid out as in the PTX manual, "mma.m16n8k16".
static inline void mma_16x8x16(float (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    using namespace cuda_on_cpu;
    const Message* warp = exchange({{a[0], a[1], a[2], a[3], b0, b1}}, MMA);
    int lane = current % 32;
    for (int i = 0; i < 4; i++) {
        int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
        float sum = 0;
        for (int k = 0; k < 16; k++) {
            int quad_lane = k % 8 / 2;
            const uint32_t* a_word = &warp[row % 8 * 4 + quad_lane].words[row / 8 + 2 * (k / 8)];
            const uint32_t* b_word = &warp[column * 4 + quad_lane].words[4 + k / 8];
            sum += bf16_value(a_word, k % 2) * bf16_value(b_word, k % 2);
        }
        sums[i] += sum;
    }
}

static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __uint_as_float(unsigned bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
static inline unsigned __float_as_uint(float value) {
    unsigned bits;
    memcpy(&bits, &value, 4);
    return bits;
}

// Run `entry` for every thread of the grid. Returns 0, or 1 with the reason and the block in `reason`.
extern "C" __attribute__((visibility("default"))) int cuda_on_cpu_launch(
    void (*entry)(void**), void** args, const unsigned* grid, const unsigned* block, size_t shared, int reverse,
    char* reason, size_t reason_size) {
    using namespace cuda_on_cpu;
    kernel = entry, arguments = args, shared_size = shared, message = reason, message_size = reason_size;
    grid_size = {grid[0], grid[1], grid[2]}, block_size = {block[0], block[1], block[2]};
    if (!stacks) stacks = static_cast<unsigned char*>(malloc(STACK * MAX_THREADS));
    if (_setjmp(launcher)) {
        for (Fiber& fiber : fibers) fiber.started = false;  // they stopped somewhere in the kernel
        size_t length = strlen(message);
        snprintf(message + length, message_size - length, ", in block (%u, %u, %u)", block_index.x, block_index.y,
                 block_index.z);
        return 1;
    }
    unsigned blocks = grid[0] * grid[1] * grid[2];
    for (unsigned k = 0; k < blocks; k++) {
        unsigned b = reverse ? blocks - 1 - k : k;
        block_index = {b % grid[0], b / grid[0] % grid[1], b / grid[0] / grid[1]};
        run_block(block[0] * block[1] * block[2], reverse);
    }
    return 0;
}
