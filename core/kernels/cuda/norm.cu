// Statistics of channels and what is done with them. Values are rows of C channels, x[r * C + c].

struct Tile { int channel, row, rows; };

// A block has `width` threads side by side for neighbouring channels, the others for more rows.
__device__ inline Tile tile_of(int width) {
    Tile t;
    t.channel = blockIdx.x * width + threadIdx.x % width;
    t.rows = blockDim.x / width;
    t.row = blockIdx.y * t.rows + threadIdx.x / width;
    return t;
}

// The sums of all rows of a block's tile, to partial[statistic][channel][block].
__device__ void tile_sums(double first, double second, int C, int width, double* partial) {
    __shared__ double shared[2][1024];
    shared[0][threadIdx.x] = first;
    shared[1][threadIdx.x] = second;
    __syncthreads();
    for (int half = blockDim.x / 2; half >= width; half /= 2) {
        if ((int)threadIdx.x < half) {
            shared[0][threadIdx.x] += shared[0][threadIdx.x + half];
            shared[1][threadIdx.x] += shared[1][threadIdx.x + half];
        }
        __syncthreads();
    }
    int c = blockIdx.x * width + threadIdx.x;
    if ((int)threadIdx.x < width && c < C) {
        partial[(size_t)c * gridDim.y + blockIdx.y] = shared[0][threadIdx.x];
        partial[((size_t)C + c) * gridDim.y + blockIdx.y] = shared[1][threadIdx.x];
    }
}

// Sums of x - x[0] and of its square: nothing cancels, wherever the mean lies.
extern "C" __global__ void moment_tiles(
    const T* __restrict__ x, int R, int C, int width, double* partial) {
    Tile t = tile_of(width);
    double sum = 0, square = 0;
    if (t.channel < C) {
        A shift = up(x[t.channel]);
        for (int r = t.row; r < R; r += gridDim.y * t.rows) {
            A d = up(x[(size_t)r * C + t.channel]) - shift;
            sum += d;
            square += (double)d * d;
        }
    }
    tile_sums(sum, square, C, width, partial);
}

// Sums of gy, and of gy * (x - mean) where there is an x; with y, gy counts where y is positive.
extern "C" __global__ void gradient_tiles(
    const T* __restrict__ gy, const T* __restrict__ x, const T* __restrict__ y,
    const double* __restrict__ mean, int R, int C, int width, double* partial) {
    Tile t = tile_of(width);
    double sum = 0, product = 0;
    if (t.channel < C) {
        A centre = x ? (A)mean[t.channel] : (A)0;
        for (int r = t.row; r < R; r += gridDim.y * t.rows) {
            size_t i = (size_t)r * C + t.channel;
            A g = y && !(up(y[i]) > 0) ? (A)0 : up(gy[i]);
            sum += g;
            if (x) product += (double)g * (up(x[i]) - centre);
        }
    }
    tile_sums(sum, product, C, width, partial);
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

// (x - mean) * scale + shift, and its positive part; n counts packs, C divides into them.
extern "C" __global__ void scale_packs(
    u32 n, const Pack* __restrict__ x, Pack* __restrict__ y, int C,
    const double* __restrict__ mean, const double* __restrict__ scale,
    const A* __restrict__ shift, int relu) {
    EACH(i, n) {
        Pack p = x[i];
        u32 c = (i * (u32)LANES) % C;
        #pragma unroll
        for (int k = 0; k < LANES; k++) {
            A v = (up(p.v[k]) - (A)mean[c + k]) * (A)scale[c + k];
            if (shift) v += shift[c + k];
            p.v[k] = down(relu && v < 0 ? (A)0 : v);
        }
        y[i] = p;
    }
}

extern "C" __global__ void scale_values(
    u32 n, const T* __restrict__ x, T* __restrict__ y, int C,
    const double* __restrict__ mean, const double* __restrict__ scale,
    const A* __restrict__ shift, int relu) {
    EACH(i, n) {
        u32 c = i % C;
        A v = (up(x[i]) - (A)mean[c]) * (A)scale[c];
        if (shift) v += shift[c];
        y[i] = down(relu && v < 0 ? (A)0 : v);
    }
}

// scale * (g - sums[0] / R - (x - mean) * rstd^2 * sums[1] / R), g as in gradient_tiles.
__device__ inline A input_gradient(
    A g, A x, double count, int c, int C, const double* mean, const double* rstd,
    const double* scale, const double* sums) {
    A slope = (A)(sums[C + c] / count * rstd[c] * rstd[c]), level = (A)(sums[c] / count);
    return (A)scale[c] * (g - level - (x - (A)mean[c]) * slope);
}

extern "C" __global__ void backward_packs(
    u32 n, const Pack* __restrict__ gy, const Pack* __restrict__ x, const Pack* __restrict__ y,
    Pack* __restrict__ gx, int R, int C, const double* __restrict__ mean,
    const double* __restrict__ rstd, const double* __restrict__ scale,
    const double* __restrict__ sums) {
    EACH(i, n) {
        Pack g = gy[i], p = x[i], q;
        if (y) q = y[i];
        u32 c = (i * (u32)LANES) % C;
        #pragma unroll
        for (int k = 0; k < LANES; k++) {
            A v = y && !(up(q.v[k]) > 0) ? (A)0 : up(g.v[k]);
            g.v[k] = down(input_gradient(v, up(p.v[k]), R, c + k, C, mean, rstd, scale, sums));
        }
        gx[i] = g;
    }
}

extern "C" __global__ void backward_values(
    u32 n, const T* __restrict__ gy, const T* __restrict__ x, const T* __restrict__ y,
    T* __restrict__ gx, int R, int C, const double* __restrict__ mean,
    const double* __restrict__ rstd, const double* __restrict__ scale,
    const double* __restrict__ sums) {
    EACH(i, n) {
        A v = y && !(up(y[i]) > 0) ? (A)0 : up(gy[i]);
        gx[i] = down(input_gradient(v, up(x[i]), R, i % C, C, mean, rstd, scale, sums));
    }
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
extern "C" __global__ void bias_packs(u32 n, Pack* y, int C, const T* __restrict__ bias, int relu) {
    EACH(i, n) {
        Pack p = y[i];
        u32 c = (i * (u32)LANES) % C;
        #pragma unroll
        for (int k = 0; k < LANES; k++) {
            A v = up(p.v[k]) + up(bias[c + k]);
            p.v[k] = down(relu && v < 0 ? (A)0 : v);
        }
        y[i] = p;
    }
}

extern "C" __global__ void bias_values(u32 n, T* y, int C, const T* __restrict__ bias, int relu) {
    EACH(i, n) {
        A v = up(y[i]) + up(bias[i % C]);
        y[i] = down(relu && v < 0 ? (A)0 : v);
    }
}
