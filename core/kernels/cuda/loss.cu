// Softmax, alone and with cross entropy. Values of a row lie `step` apart; row r is the
// r % step-th of those that begin at the (r / step)-th block of n * step values. A row is taken
// by `width` threads side by side: up to a warp, or a whole block.

#define LOWEST ((A)(sizeof(A) == 8 ? -1.7976931348623157e308 : -3.4028234663852886e38))

// The largest value of a row, and the sum of exp(x - peak).
struct Norm { A peak, sum; };

__device__ inline size_t start_of(u32 row, u32 n, u32 step) {
    return (size_t)(row / step) * n * step + row % step;
}

// Whether the values of a row can be read in packs, at these addresses.
__device__ inline bool in_packs(u32 n, u32 step, size_t addresses) {
    return step == 1 && n % LANES == 0 && addresses % 16 == 0;
}

// f(i, a[i], b[i]) for the i of this thread, written to out; b and out may be null.
template <typename F> __device__ __forceinline__ void visit(
    const T* a, const T* b, T* out, u32 n, u32 step, u32 lane, u32 width, F f) {
    if (in_packs(n, step, (size_t)a | (size_t)b | (size_t)out)) {
        for (u32 i = lane; i < n / LANES; i += width) {
            Pack p = ((const Pack*)a)[i], q = p;
            if (b) q = ((const Pack*)b)[i];
            #pragma unroll
            for (int k = 0; k < LANES; k++)
                p.v[k] = down(f(i * LANES + k, up(p.v[k]), up(q.v[k])));
            if (out) ((Pack*)out)[i] = p;
        }
        return;
    }
    for (u32 i = lane; i < n; i += width) {
        size_t j = (size_t)i * step;
        T result = down(f(i, up(a[j]), b ? up(b[j]) : (A)0));
        if (out) out[j] = result;
    }
}

// One more value: NaN stays in the sum, minus infinity adds nothing.
__device__ __forceinline__ void take(Norm& n, A v) {
    if (v > n.peak) {
        n.sum = n.sum * exp(n.peak - v) + 1;
        n.peak = v;
    } else if (!(v < LOWEST)) {
        n.sum += exp(v - n.peak);
    }
}

// Of the threads of a part of a warp, `width` of them.
__device__ inline Norm warp_norm(Norm n, int width) {
    A peak = n.peak;
    for (int m = width / 2; m; m /= 2) {
        A other = __shfl_xor_sync(0xffffffff, peak, m);
        peak = other > peak ? other : peak;
    }
    if (n.peak < peak) n.sum *= exp(n.peak - peak);
    for (int m = width / 2; m; m /= 2) n.sum += __shfl_xor_sync(0xffffffff, n.sum, m);
    n.peak = peak;
    return n;
}

__device__ inline A warp_sum(A sum, int width) {
    for (int m = width / 2; m; m /= 2) sum += __shfl_xor_sync(0xffffffff, sum, m);
    return sum;
}

// Of the `width` threads that take a row; every one has it.
__device__ Norm row_norm(Norm n, int width) {
    __shared__ Norm part[32];
    n = warp_norm(n, min(width, 32));
    if (width <= 32) return n;
    int lane = threadIdx.x % 32;
    __syncthreads();
    if (lane == 0) part[threadIdx.x / 32] = n;
    __syncthreads();
    if (lane < width / 32) n = part[lane];
    else n.peak = LOWEST, n.sum = 0;
    return warp_norm(n, 32);
}

__device__ A row_sum(A sum, int width) {
    __shared__ A part[32];
    sum = warp_sum(sum, min(width, 32));
    if (width <= 32) return sum;
    int lane = threadIdx.x % 32;
    __syncthreads();
    if (lane == 0) part[threadIdx.x / 32] = sum;
    __syncthreads();
    return warp_sum(lane < width / 32 ? part[lane] : (A)0, 32);
}

// Not a number where an infinity would hide that there was none.
__device__ inline A certain(Norm n) { return n.sum + (n.peak - n.peak); }

extern "C" __global__ void softmax_rows(
    const T* __restrict__ x, T* __restrict__ y, u32 rows, u32 n, u32 step, int width,
    int logarithm) {
    u32 lane = threadIdx.x % width, across = blockDim.x / width;
    for (u32 first = blockIdx.x * across; first < rows; first += gridDim.x * across) {
        u32 row = first + threadIdx.x / width;
        size_t at = start_of(row, n, step);
        Norm norm = {LOWEST, 0};
        if (row < rows)
            visit(x + at, nullptr, nullptr, n, step, lane, width, [&](u32, A v, A) {
                take(norm, v);
                return v;
            });
        norm = row_norm(norm, width);
        A peak = norm.peak, sum = certain(norm), log_sum = log(sum);
        if (row >= rows) continue;
        visit(x + at, nullptr, y + at, n, step, lane, width, [=](u32, A v, A) {
            return logarithm ? v - peak - log_sum : exp(v - peak) / sum;
        });
    }
}

// y * (gy - sum of gy * y), or with logarithm gy - exp(y) * sum of gy.
extern "C" __global__ void softmax_rows_backward(
    const T* __restrict__ gy, const T* __restrict__ y, T* __restrict__ gx, u32 rows, u32 n,
    u32 step, int width, int logarithm) {
    u32 lane = threadIdx.x % width, across = blockDim.x / width;
    for (u32 first = blockIdx.x * across; first < rows; first += gridDim.x * across) {
        u32 row = first + threadIdx.x / width;
        size_t at = start_of(row, n, step);
        A sum = 0;
        if (row < rows)
            visit(gy + at, y + at, nullptr, n, step, lane, width, [&](u32, A g, A v) {
                sum += logarithm ? g : g * v;
                return v;
            });
        sum = row_sum(sum, width);
        if (row >= rows) continue;
        visit(gy + at, y + at, gx + at, n, step, lane, width, [=](u32, A g, A v) {
            return logarithm ? g - exp(v) * sum : v * (g - sum);
        });
    }
}

// What the loss of a class is made of: labels are integers of so many bytes; a target weighs
// weight[label] * sharp, and every class c weight[c] * spread.
struct Aim { const void* labels; const T* weight; i64 ignored; A sharp, spread; int bytes; };

__device__ inline Aim aim_at(
    const void* labels, int bytes, const T* weight, i64 ignored, double smoothing, int classes) {
    Aim aim = {labels, weight, ignored, (A)(1 - smoothing), (A)(smoothing / classes), bytes};
    return aim;
}

__device__ inline i64 label_of(const Aim& aim, u32 row) {
    if (aim.bytes == 8) return ((const i64*)aim.labels)[row];
    return aim.bytes == 4 ? ((const int*)aim.labels)[row] : ((const u8*)aim.labels)[row];
}

__device__ inline A weight_of(const Aim& aim, u32 c) { return aim.weight ? up(aim.weight[c]) : (A)1; }

// Losses, norms, and the weight of each block's targets. A label outside the classes makes NaN.
extern "C" __global__ void softmax_loss(
    const T* __restrict__ x, u32 rows, u32 n, u32 step, int width, const void* labels, int bytes,
    const T* __restrict__ weight, i64 ignored, double smoothing, T* __restrict__ losses,
    A* __restrict__ norms, double* __restrict__ partial) {
    Aim aim = aim_at(labels, bytes, weight, ignored, smoothing, n);
    u32 lane = threadIdx.x % width, across = blockDim.x / width;
    double total = 0;
    for (u32 first = blockIdx.x * across; first < rows; first += gridDim.x * across) {
        u32 row = first + threadIdx.x / width;
        bool live = row < rows;
        const T* values = x + start_of(row, n, step);
        Norm norm = {LOWEST, 0};
        if (live)
            visit(values, nullptr, nullptr, n, step, lane, width, [&](u32, A v, A) {
                take(norm, v);
                return v;
            });
        norm = row_norm(norm, width);
        A peak = norm.peak, log_sum = log(certain(norm)), loss = 0;
        i64 label = live ? label_of(aim, row) : ignored;
        if (aim.spread != 0) {
            if (label != ignored)
                visit(values, nullptr, nullptr, n, step, lane, width, [&](u32 c, A v, A) {
                    A share = aim.spread * weight_of(aim, c);
                    if (share != 0) loss += share * (log_sum - (v - peak));
                    return v;
                });
            loss = row_sum(loss, width);
        }
        if (!live || lane) continue;
        if (label < 0 || label >= n) {
            if (label != ignored) loss = (A)nan("");
        } else if (label != ignored) {
            A whole = weight_of(aim, label), share = aim.sharp * whole;
            if (share != 0) loss += share * (log_sum - (up(values[label * step]) - peak));
            total += whole;
        }
        losses[row] = down(loss);
        norms[2 * (size_t)row] = peak;
        norms[2 * (size_t)row + 1] = log_sum;
    }
    total = block_sum(total);
    if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

extern "C" __global__ void total_weight(const double* partial, int blocks, T* total) {
    double sum = 0;
    for (int i = threadIdx.x; i < blocks; i += blockDim.x) sum += partial[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *total = down((A)sum);
}

// Of one row: the weight of all classes together, times the loss's gradient.
struct Slope { A peak, log_sum, gradient, whole; i64 label; };

__device__ inline Slope slope_of(
    const Aim& aim, const A* norms, const T* gy, u32 gy_step, u32 row, u32 n, A all) {
    Slope s = {norms[2 * (size_t)row], norms[2 * (size_t)row + 1], up(gy[row * gy_step]), 0, 0};
    s.label = label_of(aim, row);
    if (s.label == aim.ignored) return s;
    bool known = s.label >= 0 && s.label < n;
    s.whole = known ? s.gradient * (aim.sharp * weight_of(aim, s.label) + all) : (A)nan("");
    return s;
}

__device__ inline A slope_at(const Aim& aim, const Slope& s, u32 c, A v) {
    if (s.label == aim.ignored) return 0;
    A share = (s.label == c ? aim.sharp : (A)0) + aim.spread;
    if (share != 0) share *= s.gradient * weight_of(aim, c);
    return exp(v - s.peak - s.log_sum) * s.whole - share;
}

// What every class gets of a target's weight, all classes together; the same in every thread.
__device__ A spread_of(const Aim& aim, int n) {
    if (aim.spread == 0) return 0;
    double sum = 0;
    for (u32 c = threadIdx.x; c < n; c += blockDim.x) sum += weight_of(aim, c);
    return aim.spread * (A)block_sum(sum);
}

// Of all values in the order of memory.
extern "C" __global__ void loss_backward(
    u32 count, const T* __restrict__ gy, u32 gy_step, const T* __restrict__ x, u32 n, u32 step,
    const void* labels, int bytes, const T* __restrict__ weight, i64 ignored, double smoothing,
    const A* __restrict__ norms, T* __restrict__ gx) {
    Aim aim = aim_at(labels, bytes, weight, ignored, smoothing, n);
    A all = spread_of(aim, n);
    if (in_packs(n, step, (size_t)x | (size_t)gx)) {
        u32 packs = n / LANES;
        EACH(i, count / LANES) {
            Slope s = slope_of(aim, norms, gy, gy_step, i / packs, n, all);
            Pack p = ((const Pack*)x)[i];
            u32 c = i % packs * LANES;
            #pragma unroll
            for (int k = 0; k < LANES; k++) p.v[k] = down(slope_at(aim, s, c + k, up(p.v[k])));
            ((Pack*)gx)[i] = p;
        }
        return;
    }
    EACH(i, count) {
        u32 block = i / step, row = block / n * step + i % step;
        Slope s = slope_of(aim, norms, gy, gy_step, row, n, all);
        gx[i] = down(slope_at(aim, s, block % n, up(x[i])));
    }
}
