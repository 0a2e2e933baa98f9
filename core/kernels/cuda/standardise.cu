// Values centred and scaled by the statistics of their row, and by their neighbouring channels.
// Memory is (samples, P, G, K) and a row is one of G groups of one sample: P * K values.

struct Rows { u32 P, G, K; };

__device__ inline u32 row_of(const Rows& r, u32 i) {
    u32 sample = i / (r.P * r.G * r.K);
    return r.G == 1 ? sample : sample * r.G + i / r.K % r.G;
}

__device__ inline size_t start_of(const Rows& r, u32 row) {
    return (size_t)(row / r.G) * r.P * r.G * r.K + row % r.G * r.K;
}

// f(a[i], b[i]) for those of n values side by side that fall to this thread; b may be null.
template <typename F> __device__ __forceinline__ void visit(const T* a, const T* b, u32 n, F f) {
    u32 first = blockIdx.y * blockDim.x + threadIdx.x, step = gridDim.y * blockDim.x;
    if (n % LANES == 0 && ((size_t)a | (size_t)b) % 16 == 0) {
        for (u32 i = first; i < n / LANES; i += step) {
            Pack p = ((const Pack*)a)[i], q = p;
            if (b) q = ((const Pack*)b)[i];
            #pragma unroll
            for (int k = 0; k < LANES; k++) f(up(p.v[k]), up(q.v[k]));
        }
        return;
    }
    for (u32 i = first; i < n; i += step) f(up(a[i]), b ? up(b[i]) : (A)0);
}

// The two means of a row from its sums; with x, of x - x[0] and its square, mean and variance.
__device__ void finish(
    double sum, double other, const T* x, const Rows& r, u32 row, u32 rows, double* out) {
    double count = (double)r.P * r.K, mean = sum / count, second = other / count;
    if (x) {
        second -= mean * mean;
        if (second < 0) second = 0;
        mean += (double)up(x[start_of(r, row)]);
    }
    out[row] = mean;
    out[rows + row] = second;
}

// The sums of a block: finished where it has the whole row, else one of those of the row.
__device__ void collect(
    double sum, double other, const T* x, const Rows& r, u32 rows, double* partial, double* out) {
    u32 row = blockIdx.x, at = row * gridDim.y + blockIdx.y;
    sum = block_sum(sum);
    other = block_sum(other);
    if (threadIdx.x) return;
    if (gridDim.y == 1) {
        finish(sum, other, x, r, row, rows, out);
    } else {
        partial[2 * at] = sum;
        partial[2 * at + 1] = other;
    }
}

extern "C" __global__ void moments_of_rows(
    const T* __restrict__ x, u32 rows, u32 P, u32 G, u32 K, double* partial, double* out) {
    Rows r = {P, G, K};
    const T* values = x + start_of(r, blockIdx.x);
    A shift = up(values[0]);
    double sum = 0, square = 0;
    visit(values, nullptr, K, [&](A v, A) {
        A d = v - shift;
        sum += d;
        square += (double)d * d;
    });
    collect(sum, square, x, r, rows, partial, out);
}

extern "C" __global__ void slopes_of_rows(
    const T* __restrict__ gy, const T* __restrict__ y, u32 rows, u32 P, u32 G, u32 K,
    double* partial, double* out) {
    Rows r = {P, G, K};
    size_t at = start_of(r, blockIdx.x);
    double sum = 0, product = 0;
    visit(gy + at, y + at, K, [&](A g, A v) {
        sum += g;
        product += (double)g * v;
    });
    collect(sum, product, nullptr, r, rows, partial, out);
}

// Where rows are groups of channels: `width` neighbouring channels of a sample to a block, whose
// other threads take more pixels.
template <typename F> __device__ __forceinline__ void visit_channels(
    const Rows& r, u32 width, F f) {
    u32 C = r.G * r.K, channel = blockIdx.x * width + threadIdx.x % width;
    u32 pixels = blockDim.x / width, first = blockIdx.y * pixels + threadIdx.x / width;
    if (channel >= C) return;
    for (u32 p = first; p < r.P; p += gridDim.y * pixels)
        f(((size_t)blockIdx.z * r.P + p) * C + channel, blockIdx.z * r.G + channel / r.K);
}

// The sums of each channel of a block, to those of its row.
__device__ void collect_channels(
    double sum, double other, const Rows& r, u32 width, double* partial) {
    __shared__ double shared[2][1024];
    shared[0][threadIdx.x] = sum;
    shared[1][threadIdx.x] = other;
    __syncthreads();
    for (u32 half = blockDim.x / 2; half >= width; half /= 2) {
        if (threadIdx.x < half) {
            shared[0][threadIdx.x] += shared[0][threadIdx.x + half];
            shared[1][threadIdx.x] += shared[1][threadIdx.x + half];
        }
        __syncthreads();
    }
    u32 C = r.G * r.K, channel = blockIdx.x * width + threadIdx.x;
    if (threadIdx.x < width && channel < C) {
        size_t at = ((size_t)blockIdx.z * C + channel) * gridDim.y + blockIdx.y;
        partial[2 * at] = shared[0][threadIdx.x];
        partial[2 * at + 1] = shared[1][threadIdx.x];
    }
}

extern "C" __global__ void moments_of_channels(
    const T* __restrict__ x, u32 P, u32 G, u32 K, u32 width, double* partial) {
    Rows r = {P, G, K};
    double sum = 0, square = 0;
    visit_channels(r, width, [&](size_t i, u32 row) {
        A d = up(x[i]) - up(x[start_of(r, row)]);
        sum += d;
        square += (double)d * d;
    });
    collect_channels(sum, square, r, width, partial);
}

extern "C" __global__ void slopes_of_channels(
    const T* __restrict__ gy, const T* __restrict__ y, u32 P, u32 G, u32 K, u32 width,
    double* partial) {
    Rows r = {P, G, K};
    double sum = 0, product = 0;
    visit_channels(r, width, [&](size_t i, u32) {
        A g = up(gy[i]);
        sum += g;
        product += (double)g * up(y[i]);
    });
    collect_channels(sum, product, r, width, partial);
}

// One block for each row, which has so many partial sums.
extern "C" __global__ void finish_rows(
    u32 rows, const T* x, u32 P, u32 G, u32 K, u32 count, const double* partial, double* out) {
    Rows r = {P, G, K};
    double sum = 0, other = 0;
    for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
        size_t at = (size_t)blockIdx.x * count + i;
        sum += partial[2 * at];
        other += partial[2 * at + 1];
    }
    sum = block_sum(sum);
    other = block_sum(other);
    if (threadIdx.x == 0) finish(sum, other, x, r, blockIdx.x, rows, out);
}

// f(row, a, b) of all values; b may be null.
template <typename F> __device__ __forceinline__ void transform(
    u32 n, const T* a, const T* b, T* out, const Rows& r, F f) {
    if (r.K % LANES == 0 && ((size_t)a | (size_t)b | (size_t)out) % 16 == 0) {
        EACH(i, n / LANES) {
            Pack p = ((const Pack*)a)[i], q = p;
            if (b) q = ((const Pack*)b)[i];
            u32 row = row_of(r, i * LANES);
            #pragma unroll
            for (int k = 0; k < LANES; k++) p.v[k] = down(f(row, up(p.v[k]), up(q.v[k])));
            ((Pack*)out)[i] = p;
        }
        return;
    }
    EACH(i, n) out[i] = down(f(row_of(r, i), up(a[i]), b ? up(b[i]) : (A)0));
}

extern "C" __global__ void standardise(
    u32 n, const T* __restrict__ x, T* __restrict__ y, u32 P, u32 G, u32 K,
    const double* __restrict__ mean, const double* __restrict__ rstd) {
    Rows r = {P, G, K};
    transform(n, x, nullptr, y, r, [=](u32 row, A v, A) {
        return (v - (A)mean[row]) * (A)rstd[row];
    });
}

// means (2, rows): of gy, and of gy * y.
extern "C" __global__ void standardise_backward(
    u32 n, const T* __restrict__ gy, const T* __restrict__ y, T* __restrict__ gx, u32 rows,
    u32 P, u32 G, u32 K, const double* __restrict__ means, const double* __restrict__ rstd) {
    Rows r = {P, G, K};
    transform(n, gy, y, gx, r, [=](u32 row, A g, A v) {
        return (A)rstd[row] * (g - (A)means[row] - v * (A)means[rows + row]);
    });
}

// Neighbouring channels lie `step` apart; a window begins `size` / 2 in front of its channel.
extern "C" __global__ void response_base(
    u32 n, const T* __restrict__ x, T* __restrict__ base, int C, u32 step, int size,
    double alpha, double k) {
    EACH(i, n) {
        int c = i / step % C;
        A sum = 0;
        for (int d = max(-(size / 2), -c); d < size - size / 2 && c + d < C; d++) {
            A v = up(x[i + (i64)d * step]);
            sum += v * v;
        }
        base[i] = down((A)k + (A)(alpha / size) * sum);
    }
}

extern "C" __global__ void response_norm(
    u32 n, const T* __restrict__ x, const T* __restrict__ base, T* __restrict__ y, double beta) {
    EACH(i, n) y[i] = down(up(x[i]) * pow(up(base[i]), (A)-beta));
}

extern "C" __global__ void response_norm_backward(
    u32 n, const T* __restrict__ gy, const T* __restrict__ x, const T* __restrict__ base,
    T* __restrict__ gx, int C, u32 step, int size, double alpha, double beta) {
    A power = (A)(-beta - 1), factor = (A)(-2 * alpha * beta / size);
    int before = (size - 1) / 2;
    EACH(i, n) {
        int c = i / step % C;
        A seen = 0;
        for (int d = max(-before, -c); d < size - before && c + d < C; d++) {
            i64 j = i + (i64)d * step;
            seen += up(gy[j]) * up(x[j]) * exp(power * log(up(base[j])));
        }
        gx[i] = down(up(gy[i]) * pow(up(base[i]), (A)-beta) + factor * up(x[i]) * seen);
    }
}
