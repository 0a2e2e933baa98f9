// What every kernel here begins with. T is the type of the values, A that of sums.
#ifndef OPENBOOK_EMULATED
#include <cuda_fp16.h>
#include <cuda_bf16.h>
#endif

typedef VALUE T;  // -DVALUE=...
typedef unsigned int u32;
typedef unsigned char u8;
typedef long long i64;

template <typename V> struct Sum { typedef float type; };
template <> struct Sum<double> { typedef double type; };
typedef Sum<T>::type A;

// Each thread of the grid takes every so many-th of n elements.
#define EACH(i, n) \
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < (u32)(n); i += gridDim.x * blockDim.x)

// As many values as one load of 16 bytes brings.
struct alignas(16) Pack { T v[16 / sizeof(T)]; };
#define LANES ((int)(16 / sizeof(T)))

__device__ inline A up(T x) { return static_cast<A>(x); }
__device__ inline T down(A x) { return static_cast<T>(x); }

// The sum of one value of every thread of a block (a multiple of 32, at most 1024 threads),
// in an order that is always the same; thread 0 has it.
template <typename S> __device__ S block_sum(S value) {
    __shared__ S part[1024];
    part[threadIdx.x] = value;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    S total = part[0];
    __syncthreads();
    return total;
}
