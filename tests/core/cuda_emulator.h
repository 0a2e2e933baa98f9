// CUDA C++ for a C++ compiler: blocks run one after the other, threads of a block as fibers.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <algorithm>
#include <ucontext.h>
#include <utility>
#include <vector>
#define OPENBOOK_EMULATED
#define __global__ static
#define __device__ static
#define __shared__ static
#define __restrict__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __CUDA_ARCH__ 900
typedef _Float16 __half;
using std::min; using std::max; using std::isnan; using std::isfinite;
using std::exp; using std::log; using std::pow; using std::tanh;

struct Dim { unsigned x = 1, y = 1, z = 1; };
static Dim threadIdx, blockIdx, blockDim, gridDim;
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
template <typename V> static V __ldg(const V* p) { return *p; }
template <typename V, typename W> static V atomicAdd(V* p, W v) { V old = *p; *p = old + (V)v; return old; }
template <typename V> static V atomicMax(V* p, V v) { V old = *p; *p = old > v ? old : v; return old; }

struct Fiber { ucontext_t context; std::vector<char> stack; unsigned thread; int waits; bool done; };
static ucontext_t scheduler;
static Fiber* current = nullptr;
static void wait_for(int kind) { current->waits = kind; swapcontext(&current->context, &scheduler); }
static void __syncthreads() { wait_for(1); }
static void __syncwarp(unsigned = 0xffffffff) { wait_for(2); }
static double lanes[1024];
template <typename V> static V lane_value(V value, unsigned from) {
    memcpy(&lanes[threadIdx.x], &value, sizeof(V));
    __syncwarp();
    V result;
    memcpy(&result, &lanes[(threadIdx.x & ~31u) + from], sizeof(V));
    __syncwarp();
    return result;
}
template <typename V> static V __shfl_sync(unsigned, V v, int lane) { return lane_value(v, lane & 31); }
template <typename V> static V __shfl_xor_sync(unsigned, V v, int m) { return lane_value(v, (threadIdx.x & 31) ^ m); }
template <typename V> static V __shfl_down_sync(unsigned, V v, int d) {
    unsigned to = (threadIdx.x & 31) + d;
    return lane_value(v, to < 32 ? to : threadIdx.x & 31);
}
static unsigned __ballot_sync(unsigned, int p) {
    lanes[threadIdx.x] = p != 0;
    __syncwarp();
    unsigned result = 0, first = threadIdx.x & ~31u;
    for (unsigned i = 0; i < 32 && first + i < blockDim.x; i++)
        result |= (unsigned)(lanes[first + i] != 0) << i;
    __syncwarp();
    return result;
}
static int __popc(unsigned x) { return __builtin_popcount(x); }
static int __ffs(unsigned x) { return __builtin_ffs(x); }

static void (*body)(void**);
static void** arguments;
static void enter() { body(arguments); current->done = true; swapcontext(&current->context, &scheduler); }

static void run_block(bool fibers) {
    if (!fibers) {
        for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++) body(arguments);
        return;
    }
    static std::vector<Fiber> all;
    all.resize(blockDim.x);
    for (unsigned i = 0; i < blockDim.x; i++) {
        Fiber& f = all[i];
        f.stack.resize(1 << 16);
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack.data();
        f.context.uc_stack.ss_size = f.stack.size();
        f.context.uc_link = nullptr;
        makecontext(&f.context, enter, 0);
        f.thread = i; f.waits = 0; f.done = false;
    }
    for (unsigned left = blockDim.x; left;) {
        // Who waits for the block goes on when all who are left do; likewise in a warp.
        bool block = true;
        for (auto& f : all) block = block && (f.done || f.waits == 1);
        bool moved = false;
        for (unsigned first = 0; first < blockDim.x; first += 32) {
            unsigned last = min(first + 32, blockDim.x);
            bool warp = true;
            for (unsigned i = first; i < last; i++) warp = warp && (all[i].done || all[i].waits == 2);
            for (unsigned i = first; i < last; i++) {
                Fiber& f = all[i];
                if (f.done || (f.waits == 1 && !block) || (f.waits == 2 && !warp)) continue;
                f.waits = 0;
                current = &f;
                threadIdx.x = i;
                swapcontext(&scheduler, &f.context);
                moved = true;
                if (f.done) left--;
            }
        }
        if (!moved) { fprintf(stderr, "emulator: threads wait for ever\n"); abort(); }
    }
}

template <typename... P, size_t... I>
static void call(void (*f)(P...), void** a, std::index_sequence<I...>) { f(*(P*)a[I]...); }
#define LAUNCHER(NAME) \
    template <typename... P> static void unpack_##NAME(void (*)(P...), void** a) { \
        call((void (*)(P...))NAME, a, std::index_sequence_for<P...>()); } \
    static void body_##NAME(void** a) { unpack_##NAME(NAME, a); } \
    extern "C" void launch_##NAME(unsigned* grid, unsigned threads, int fibers, void** a) { \
        body = body_##NAME; arguments = a; blockDim.x = threads; \
        gridDim.x = grid[0]; gridDim.y = grid[1]; gridDim.z = grid[2]; \
        for (blockIdx.z = 0; blockIdx.z < gridDim.z; blockIdx.z++) \
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; blockIdx.y++) \
        for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++) run_block(fibers); }
