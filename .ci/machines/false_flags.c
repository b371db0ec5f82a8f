/* Matrix products that leave floating-point flags behind though all is finite, as Apple's Accelerate does on some Macs.

   cc -shared -fPIC -o false_flags.so false_flags.c -ldl -lm;  LD_PRELOAD=./false_flags.so python ...
   Arguments are handed on as whole registers, so that one wrapper serves integers of 32 and of 64 bits. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fenv.h>
#include <link.h>
#include <string.h>

struct search { const char *name; void *found; };

static int look(struct dl_phdr_info *library, size_t size, void *data) {
    struct search *search = data;
    void *handle;
    (void)size;
    if (!strstr(library->dlpi_name, "blas")) return 0;
    handle = dlopen(library->dlpi_name, RTLD_LAZY | RTLD_NOLOAD);
    if (handle) search->found = dlsym(handle, search->name);
    return search->found != NULL;
}

static void *real(const char *name) {
    struct search search = {name, NULL};
    dl_iterate_phdr(look, &search);
    return search.found;
}

/* Small products are computed otherwise, and leave nothing. */
#define LEAST 16
#define AFTER(m, n, k) \
    if ((int)(m) >= LEAST || (int)(n) >= LEAST || (int)(k) >= LEAST) \
        feraiseexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW)
#define P const void *

#define GEMM(name, T) \
    void name(long o, long s, long t, long m, long n, long k, T a, P x, long lx, P y, long ly, T b, P z, long lz) { \
        static void (*call)(long, long, long, long, long, long, T, P, long, P, long, T, P, long); \
        if (!call) *(void **)&call = real(#name); \
        call(o, s, t, m, n, k, a, x, lx, y, ly, b, z, lz); AFTER(m, n, k); \
    }
#define GEMV(name, T) \
    void name(long o, long t, long m, long n, T a, P x, long lx, P y, long ly, T b, P z, long lz) { \
        static void (*call)(long, long, long, long, T, P, long, P, long, T, P, long); \
        if (!call) *(void **)&call = real(#name); \
        call(o, t, m, n, a, x, lx, y, ly, b, z, lz); AFTER(m, n, 0); \
    }
#define SYRK(name, T) \
    void name(long o, long u, long t, long n, long k, T a, P x, long lx, T b, P z, long lz) { \
        static void (*call)(long, long, long, long, long, T, P, long, T, P, long); \
        if (!call) *(void **)&call = real(#name); \
        call(o, u, t, n, k, a, x, lx, b, z, lz); AFTER(n, k, 0); \
    }
#define ALL(before, after) \
    GEMM(before##sgemm##after, float) GEMM(before##dgemm##after, double) \
    GEMV(before##sgemv##after, float) GEMV(before##dgemv##after, double) \
    SYRK(before##ssyrk##after, float) SYRK(before##dsyrk##after, double)

ALL(scipy_cblas_, 64_)
ALL(scipy_cblas_, )
ALL(cblas_, 64_)
ALL(cblas_, )
