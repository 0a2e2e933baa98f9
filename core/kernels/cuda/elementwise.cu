// Functions of each value, over memory as it lies. The first argument of a kernel says how many
// threads have work, n how many values there are.

template <typename X> struct alignas(LANES * sizeof(X)) Lanes { X v[LANES]; };

__device__ inline A value_of(T x) { return up(x); }
__device__ inline bool value_of(bool x) { return x; }

template <typename F, typename... X>
__device__ inline Lanes<T> lanes_of(F f, Lanes<X>... x) {
    Lanes<T> y;
    #pragma unroll
    for (int k = 0; k < LANES; k++) y.v[k] = down(f(value_of(x.v[k])...));
    return y;
}

// y = f(x...), 16 bytes at a time where all lie so that they can be.
template <typename F, typename... X>
__device__ inline void over(u32 n, F f, T* y, const X*... x) {
    bool fits = (((size_t)y % 16 == 0) && ... && ((size_t)x % sizeof(Lanes<X>) == 0));
    u32 packs = fits ? n / LANES : 0, first = packs * LANES;
    EACH(i, packs) ((Lanes<T>*)y)[i] = lanes_of(f, ((const Lanes<X>*)x)[i]...);
    EACH(i, n - first) y[first + i] = down(f(value_of(x[first + i])...));
}

__device__ inline A sigmoid_of(A x) {
    A e = exp(x < 0 ? x : -x);
    return x < 0 ? e / (1 + e) : 1 / (1 + e);
}

__device__ inline A softplus_of(A x) { return (x < 0 ? (A)0 : x) + log1p(exp(x < 0 ? x : -x)); }

extern "C" __global__ void map_relu(u32, u32 n, const T* x, T* y) {
    over(n, [](A v) { return v < 0 ? (A)0 : v; }, y, x);
}

extern "C" __global__ void map_relu_backward(u32, u32 n, const T* gy, const T* y, T* gx) {
    over(n, [](A g, A v) { return g * (v > 0 ? (A)1 : (A)0); }, gx, gy, y);
}

extern "C" __global__ void map_leaky_relu(u32, u32 n, const T* x, double slope, T* y) {
    over(n, [=](A v) { return v * (v > 0 ? (A)1 : (A)slope); }, y, x);
}

extern "C" __global__ void map_leaky_relu_backward(
    u32, u32 n, const T* gy, const T* x, double slope, T* gx) {
    over(n, [=](A g, A v) { return g * (v > 0 ? (A)1 : (A)slope); }, gx, gy, x);
}

extern "C" __global__ void map_elu(u32, u32 n, const T* x, double alpha, T* y) {
    over(n, [=](A v) { return v > 0 ? v : (A)alpha * (A)expm1(v); }, y, x);
}

extern "C" __global__ void map_elu_backward(
    u32, u32 n, const T* gy, const T* x, double alpha, T* gx) {
    over(n, [=](A g, A v) { return g * (v > 0 ? (A)1 : (A)alpha * (A)exp(v)); }, gx, gy, x);
}

extern "C" __global__ void map_sigmoid(u32, u32 n, const T* x, T* y) {
    over(n, [](A v) { return sigmoid_of(v); }, y, x);
}

extern "C" __global__ void map_sigmoid_backward(u32, u32 n, const T* gy, const T* y, T* gx) {
    over(n, [](A g, A v) { return g * (v * (1 - v)); }, gx, gy, y);
}

extern "C" __global__ void map_tanh(u32, u32 n, const T* x, T* y) {
    over(n, [](A v) { return (A)tanh(v); }, y, x);
}

extern "C" __global__ void map_tanh_backward(u32, u32 n, const T* gy, const T* y, T* gx) {
    over(n, [](A g, A v) { return g * (1 - v * v); }, gx, gy, y);
}

extern "C" __global__ void map_softplus(u32, u32 n, const T* x, T* y) {
    over(n, [](A v) { return softplus_of(v); }, y, x);
}

extern "C" __global__ void map_huber(u32, u32 n, const T* d, double delta, T* y) {
    over(n, [=](A v) {
        A size = v < 0 ? -v : v, inner = size > (A)delta ? (A)delta : size;
        return inner * (size - inner * (A)0.5);
    }, y, d);
}

extern "C" __global__ void map_huber_slope(u32, u32 n, const T* d, double delta, T* y) {
    over(n, [=](A v) {
        return v > (A)delta ? (A)delta : v < -(A)delta ? -(A)delta : v;
    }, y, d);
}

// The weight of positives is an array or, without one, a number.
extern "C" __global__ void map_binary_cross_entropy(
    u32, u32 n, const T* x, const T* target, const T* weights, double weight, T* y) {
    auto loss = [](A v, A t, A w) { return (1 + (w - 1) * t) * softplus_of(-v) + (1 - t) * v; };
    if (weights) over(n, loss, y, x, target, weights);
    else over(n, [=](A v, A t) { return loss(v, t, (A)weight); }, y, x, target);
}

extern "C" __global__ void map_binary_cross_entropy_slope(
    u32, u32 n, const T* x, const T* target, const T* weights, double weight, T* y) {
    auto slope = [](A v, A t, A w) { return 1 - t - (1 + (w - 1) * t) * sigmoid_of(-v); };
    if (weights) over(n, slope, y, x, target, weights);
    else over(n, [=](A v, A t) { return slope(v, t, (A)weight); }, y, x, target);
}

extern "C" __global__ void map_dropout(
    u32, u32 n, const T* x, const bool* mask, double scale, T* y) {
    over(n, [=](A v, bool kept) { return v * (kept ? (A)scale : (A)0); }, y, x, mask);
}

// The finaliser of Murmur3.
__device__ inline u32 mixed(u32 h) {
    h ^= h >> 16;
    h *= 0x85EBCA6Bu;
    h ^= h >> 13;
    h *= 0xC2B2AE35u;
    return h ^ h >> 16;
}

typedef unsigned long long u64;

struct alignas(16) Flags { bool v[16]; };

// Memory is (N, plane, channels), values are counted as (N, channels, plane).
extern "C" __global__ void dropout_mask(
    u32 threads, u32 n, u32 plane, u32 channels, u32 key, i64 first, const double* replayed,
    u32 threshold, bool* mask) {
    u64 start = (u64)first + (replayed ? (u64)*replayed : 0);
    EACH(i, threads) {
        u32 place = i * 16, c = place % channels, pixel = place / channels;
        u32 image = pixel / plane, within = pixel % plane;
        u32 count = n - place < 16 ? n - place : 16;
        Flags flags;
        #pragma unroll
        for (u32 k = 0; k < 16; k++) {
            u64 counter = start + ((image * channels + c) * plane + within);
            u32 h = mixed(mixed((u32)counter ^ key) ^ (u32)(counter >> 32) ^ 0x9E3779B9u);
            flags.v[k] = h >= threshold;
            if (++c == channels) {
                c = 0;
                if (++within == plane) within = 0, image++;
            }
        }
        if (count == 16) *(Flags*)(mask + place) = flags;
        else for (u32 k = 0; k < count; k++) mask[place + k] = flags.v[k];
    }
}
