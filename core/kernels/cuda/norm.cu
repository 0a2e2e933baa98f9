// Statistics of channels and what is done with them. Values are rows of C channels, x[r * C + c].

// A block of threads over rows of packs of V channels: `columns` packs side by side, at most 256,
// and as many rows as there is room for. A thread keeps its channels and goes down the rows.
struct Place { int column, channel, row, rows; bool works; };

__device__ inline Place place_of(int C, int lanes) {
    int packs = C / lanes, columns = min(packs, (int)blockDim.x);
    Place p;
    p.rows = blockDim.x / columns;
    p.column = blockIdx.y * columns + threadIdx.x % columns;
    p.channel = p.column * lanes;
    p.row = blockIdx.x * p.rows + threadIdx.x / columns;
    p.works = (int)threadIdx.x / columns < p.rows && p.column < packs;
    return p;
}

template <int V> struct alignas(V * sizeof(T)) Values { T v[V]; };

// The sums over a block's rows of what its threads found, to partial[statistic][channel][block].
template <int V>
__device__ void block_sums(const double* first, const double* second, Place p, int C, double* partial) {
    __shared__ double shared[2][256 * V];
    int columns = min(C / V, (int)blockDim.x);
    for (int k = 0; k < V; k++) {
        shared[0][threadIdx.x * V + k] = first[k];
        shared[1][threadIdx.x * V + k] = second[k];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < columns * V; i += blockDim.x) {
        int c = blockIdx.y * columns * V + i;
        if (c >= C) break;
        double sum = 0, other = 0;
        for (int r = 0; r < p.rows; r++) {
            sum += shared[0][r * columns * V + i];
            other += shared[1][r * columns * V + i];
        }
        partial[(size_t)c * gridDim.x + blockIdx.x] = sum;
        partial[((size_t)C + c) * gridDim.x + blockIdx.x] = other;
    }
}

#define FLUSH 32  // values that a thread adds up in their own precision
#define AHEAD 4   // rows that it reads before it adds them up, so that memory is kept busy

// Down the rows of a thread: `add(load(i))` for what is at i, `flush()` now and then and at the end.
template <typename Load, typename Add, typename Flush>
__device__ inline void down_rows(Place p, int R, int C, Load load, Add add, Flush flush) {
    i64 step = gridDim.x * p.rows;
    int added = 0;
    for (i64 r = p.row; r < R; r += AHEAD * step) {
        decltype(load(0)) read[AHEAD];
        #pragma unroll
        for (int a = 0; a < AHEAD; a++)
            if (r + a * step < R) read[a] = load((r + a * step) * C + p.channel);
        #pragma unroll
        for (int a = 0; a < AHEAD; a++)
            if (r + a * step < R) add(read[a]);
        if ((added += AHEAD) >= FLUSH) {
            added = 0;
            flush();
        }
    }
    flush();
}

// Sums of x - x[0] and of its square: nothing cancels, wherever the mean lies.
template <int V>
__device__ void moments(const T* __restrict__ x, int R, int C, double* partial) {
    Place p = place_of(C, V);
    double sums[V] = {}, squares[V] = {};
    if (p.works) {
        A shift[V], sum[V] = {}, square[V] = {};
        for (int k = 0; k < V; k++) shift[k] = up(x[p.channel + k]);
        auto load = [&](size_t i) { return *(const Values<V>*)(x + i); };
        auto add = [&](Values<V> q) {
            #pragma unroll
            for (int k = 0; k < V; k++) {
                A d = up(q.v[k]) - shift[k];
                sum[k] += d;
                square[k] += d * d;
            }
        };
        down_rows(p, R, C, load, add, [&] {
            for (int k = 0; k < V; k++) {
                sums[k] += sum[k], squares[k] += square[k];
                sum[k] = square[k] = 0;
            }
        });
    }
    block_sums<V>(sums, squares, p, C, partial);
}

extern "C" __global__ void moment_packs(const T* x, int R, int C, double* partial) {
    moments<LANES>(x, R, C, partial);
}

extern "C" __global__ void moment_values(const T* x, int R, int C, double* partial) {
    moments<1>(x, R, C, partial);
}

template <int V> struct Slopes { Values<V> g, x, y; };

// Sums of gy, and of gy * (x - mean) where there is an x; with y, gy counts where y is positive.
template <int V>
__device__ void gradient_sums(
    const T* __restrict__ gy, const T* __restrict__ x, const T* __restrict__ y,
    const double* __restrict__ mean, int R, int C, double* partial) {
    Place p = place_of(C, V);
    double sums[V] = {}, products[V] = {};
    if (p.works) {
        A centre[V], sum[V] = {}, product[V] = {};
        for (int k = 0; k < V; k++) centre[k] = x ? (A)mean[p.channel + k] : (A)0;
        auto load = [&](size_t i) {
            Slopes<V> at;
            at.g = *(const Values<V>*)(gy + i);
            if (x) at.x = *(const Values<V>*)(x + i);
            if (y) at.y = *(const Values<V>*)(y + i);
            return at;
        };
        auto add = [&](const Slopes<V>& at) {
            #pragma unroll
            for (int k = 0; k < V; k++) {
                A v = y && !(up(at.y.v[k]) > 0) ? (A)0 : up(at.g.v[k]);
                sum[k] += v;
                if (x) product[k] += v * (up(at.x.v[k]) - centre[k]);
            }
        };
        down_rows(p, R, C, load, add, [&] {
            for (int k = 0; k < V; k++) {
                sums[k] += sum[k], products[k] += product[k];
                sum[k] = product[k] = 0;
            }
        });
    }
    block_sums<V>(sums, products, p, C, partial);
}

extern "C" __global__ void gradient_packs(
    const T* gy, const T* x, const T* y, const double* mean, int R, int C, double* partial) {
    gradient_sums<LANES>(gy, x, y, mean, R, C, partial);
}

extern "C" __global__ void gradient_values(
    const T* gy, const T* x, const T* y, const double* mean, int R, int C, double* partial) {
    gradient_sums<1>(gy, x, y, mean, R, C, partial);
}

__device__ double total_of(const double* partial, int blocks) {
    double sum = 0;
    for (int i = threadIdx.x; i < blocks; i += blockDim.x) sum += partial[i];
    return block_sum(sum);
}

// One block for each channel: the totals as they are.
extern "C" __global__ void totals(const double* partial, int C, int blocks, double* out) {
    double sum = total_of(partial + (size_t)blockIdx.x * blocks, blocks);
    double other = total_of(partial + ((size_t)C + blockIdx.x) * blocks, blocks);
    if (threadIdx.x == 0) {
        out[blockIdx.x] = sum;
        out[C + blockIdx.x] = other;
    }
}

// One block for each channel: mean, variance, and what batch normalisation makes of them;
// out (4, C) is mean, variance, 1 / deviation, and that times the weight.
extern "C" __global__ void batch_statistics(
    const T* x, const double* partial, int R, int C, int blocks, const A* weight,
    A* running_mean, A* running_var, double momentum, double eps, double* out) {
    int c = blockIdx.x;
    double sum = total_of(partial + (size_t)c * blocks, blocks);
    double square = total_of(partial + ((size_t)C + c) * blocks, blocks);
    if (threadIdx.x) return;
    double rest = sum / R, mean = (double)up(x[c]) + rest, var = square / R - rest * rest;
    if (var < 0) var = 0;
    double rstd = 1 / sqrt(var + eps);
    out[c] = mean;
    out[C + c] = var;
    out[2 * C + c] = rstd;
    out[3 * C + c] = weight ? rstd * (double)weight[c] : rstd;
    if (running_mean) {
        double unbiased = var * ((double)R / (R - 1));
        running_mean[c] = running_mean[c] * (A)(1 - momentum) + (A)(momentum * mean);
        running_var[c] = running_var[c] * (A)(1 - momentum) + (A)(momentum * unbiased);
    }
}

// As batch_statistics, from running ones.
extern "C" __global__ void given_statistics(
    int C, const T* mean, const T* var, const T* weight, double eps, double* out) {
    EACH(c, C) {
        double rstd = 1 / sqrt((double)up(var[c]) + eps);
        out[c] = up(mean[c]);
        out[C + c] = up(var[c]);
        out[2 * C + c] = rstd;
        out[3 * C + c] = weight ? rstd * (double)up(weight[c]) : rstd;
    }
}

// (x - mean) * scale + shift + added, and its positive part. Without a mean: x * scale + shift.
template <int V>
__device__ void scaled(
    const T* x, const T* __restrict__ added, T* y, const double* mean, const double* scale,
    const A* shift, int R, int C, int relu) {
    Place p = place_of(C, V);
    if (!p.works) return;
    A centre[V], factor[V], level[V];
    for (int k = 0; k < V; k++) {
        centre[k] = mean ? (A)mean[p.channel + k] : (A)0;
        factor[k] = scale ? (A)scale[p.channel + k] : (A)1;
        level[k] = shift ? shift[p.channel + k] : (A)0;
    }
    for (int r = p.row; r < R; r += gridDim.x * p.rows) {
        size_t i = (size_t)r * C + p.channel;
        Values<V> q = *(const Values<V>*)(x + i), s;
        if (added) s = *(const Values<V>*)(added + i);
        #pragma unroll
        for (int k = 0; k < V; k++) {
            A v = (up(q.v[k]) - centre[k]) * factor[k] + level[k];
            if (added) v += up(s.v[k]);
            q.v[k] = down(relu && v < 0 ? (A)0 : v);
        }
        *(Values<V>*)(y + i) = q;
    }
}

extern "C" __global__ void scale_packs(
    const T* x, const T* added, T* y, const double* mean, const double* scale, const A* shift, int R,
    int C, int relu) {
    scaled<LANES>(x, added, y, mean, scale, shift, R, C, relu);
}

extern "C" __global__ void scale_values(
    const T* x, const T* added, T* y, const double* mean, const double* scale, const A* shift, int R,
    int C, int relu) {
    scaled<1>(x, added, y, mean, scale, shift, R, C, relu);
}

// scale * (g - sums[0] / R - (x - mean) * rstd^2 * sums[1] / R), g as in gradient_sums.
template <int V>
__device__ void input_gradient(
    const T* __restrict__ gy, const T* __restrict__ x, const T* __restrict__ y, T* __restrict__ gx,
    const double* mean, const double* rstd, const double* scale, const double* sums, int R, int C) {
    Place p = place_of(C, V);
    if (!p.works) return;
    A centre[V], slope[V], level[V], factor[V];
    for (int k = 0; k < V; k++) {
        int c = p.channel + k;
        centre[k] = (A)mean[c];
        slope[k] = (A)(sums[C + c] / R * rstd[c] * rstd[c]);
        level[k] = (A)(sums[c] / R);
        factor[k] = (A)scale[c];
    }
    for (int r = p.row; r < R; r += gridDim.x * p.rows) {
        size_t i = (size_t)r * C + p.channel;
        Values<V> g = *(const Values<V>*)(gy + i), q = *(const Values<V>*)(x + i), z;
        if (y) z = *(const Values<V>*)(y + i);
        #pragma unroll
        for (int k = 0; k < V; k++) {
            A v = y && !(up(z.v[k]) > 0) ? (A)0 : up(g.v[k]);
            g.v[k] = down(factor[k] * (v - level[k] - (up(q.v[k]) - centre[k]) * slope[k]));
        }
        *(Values<V>*)(gx + i) = g;
    }
}

extern "C" __global__ void backward_packs(
    const T* gy, const T* x, const T* y, T* gx, const double* mean, const double* rstd,
    const double* scale, const double* sums, int R, int C) {
    input_gradient<LANES>(gy, x, y, gx, mean, rstd, scale, sums, R, C);
}

extern "C" __global__ void backward_values(
    const T* gy, const T* x, const T* y, T* gx, const double* mean, const double* rstd,
    const double* scale, const double* sums, int R, int C) {
    input_gradient<1>(gy, x, y, gx, mean, rstd, scale, sums, R, C);
}

// Gradients of weight and bias from the sums; like all that belongs to a channel, not in 16 bits.
extern "C" __global__ void affine_gradients(
    int C, const double* sums, const double* rstd, A* weight, A* bias) {
    EACH(c, C) {
        if (weight) weight[c] = (A)(sums[C + c] * rstd[c]);
        if (bias) bias[c] = (A)sums[c];
    }
}

// y += bias over rows of C channels, and its positive part.
template <int V> __device__ void biased(T* y, const T* __restrict__ bias, int R, int C, int relu) {
    Place p = place_of(C, V);
    if (!p.works) return;
    A level[V];
    for (int k = 0; k < V; k++) level[k] = up(bias[p.channel + k]);
    for (int r = p.row; r < R; r += gridDim.x * p.rows) {
        Values<V>* at = (Values<V>*)(y + (size_t)r * C + p.channel);
        Values<V> q = *at;
        #pragma unroll
        for (int k = 0; k < V; k++) {
            A v = up(q.v[k]) + level[k];
            q.v[k] = down(relu && v < 0 ? (A)0 : v);
        }
        *at = q;
    }
}

extern "C" __global__ void bias_packs(T* y, const T* bias, int R, int C, int relu) {
    biased<LANES>(y, bias, R, C, relu);
}

extern "C" __global__ void bias_values(T* y, const T* bias, int R, int C, int relu) {
    biased<1>(y, bias, R, C, relu);
}
