// Pooling over pictures (N, H, W, C) in memory; a picture in C order is C pictures of one channel.
// Each thread has one value or pack of channels, a row of the grid is a row of pictures.

struct Pooling {
    int height, width, rows, columns;  // of the pictures, of the windows' results
    int kernel_y, kernel_x, stride_y, stride_x, dilation_y, dilation_x, top, left;
};

#define FEW(k) _Pragma("unroll") for (int k = 0; k < K; k++)
#define EACH_ROW(row, n) for (u32 row = blockIdx.y; row < (u32)(n); row += gridDim.y)

// Neighbouring channels: their values, and what else belongs to each of them.
template <int K, typename X> struct alignas(K * sizeof(X)) Few { X v[K]; };
template <int K> using Values = Few<K, T>;
template <int K> using Bytes = Few<K, u8>;
template <int K> struct alignas(K > 1 ? 16 : 8) Places { i64 v[K]; };

template <int K> __device__ inline void update(
    Values<K> piece, int number, Values<K>& best, Bytes<K>& place) {
    FEW(k) {
        A value = up(piece.v[k]);
        // The first of the largest, or the last that is not a number.
        if (value > up(best.v[k]) || value != value) {
            best.v[k] = piece.v[k];
            place.v[k] = (u8)number;
        }
    }
}

// KY and KX are the kernel's size where it is known, or 0.
template <int K, int KY, int KX> __device__ void max_windows(
    int images, int channels, Pooling p, T lowest, const Values<K>* __restrict__ x,
    Values<K>* __restrict__ y, Bytes<K>* __restrict__ positions) {
    const int kernel_y = KY ? KY : p.kernel_y, kernel_x = KX ? KX : p.kernel_x;
    Values<K> nothing;
    FEW(k) nothing.v[k] = lowest;
    EACH_ROW(row, images * p.rows) EACH(i, p.columns * channels) {
        int above = (int)(row % p.rows) * p.stride_y - p.top;
        int before = (int)(i / channels) * p.stride_x - p.left;
        const Values<K>* image = x + (size_t)(row / p.rows) * p.height * p.width * channels;
        image += i % channels;
        // Where a window sees only minus infinity: the first position that is on the picture.
        int first_y = above < 0 ? (-above + p.dilation_y - 1) / p.dilation_y : 0;
        int first_x = before < 0 ? (-before + p.dilation_x - 1) / p.dilation_x : 0;
        Values<K> best = nothing;
        Bytes<K> place;
        FEW(k) place.v[k] = (u8)(first_y * kernel_x + first_x);
        #pragma unroll(KY ? KY : 1)
        for (int ky = 0; ky < kernel_y; ky++) {
            u32 h = above + ky * p.dilation_y;
            #pragma unroll(KX ? KX : 1)
            for (int kx = 0; kx < kernel_x; kx++) {
                u32 w = before + kx * p.dilation_x;
                Values<K> piece = nothing;
                if (h < (u32)p.height && w < (u32)p.width)
                    piece = image[(h * p.width + w) * channels];
                update(piece, ky * kernel_x + kx, best, place);
            }
        }
        size_t target = (size_t)row * p.columns * channels + i;
        y[target] = best;
        if (positions) positions[target] = place;
    }
}

template <int K> __device__ void max_pool(
    int images, int channels, Pooling p, T lowest, const T* x, T* y, u8* positions) {
    auto from = (const Values<K>*)x;
    auto to = (Values<K>*)y;
    auto places = (Bytes<K>*)positions;
    if (p.kernel_y == 2 && p.kernel_x == 2)
        max_windows<K, 2, 2>(images, channels, p, lowest, from, to, places);
    else if (p.kernel_y == 3 && p.kernel_x == 3)
        max_windows<K, 3, 3>(images, channels, p, lowest, from, to, places);
    else
        max_windows<K, 0, 0>(images, channels, p, lowest, from, to, places);
}

extern "C" __global__ void max_pool_packs(
    int images, int channels, Pooling p, double lowest, const T* x, T* y, u8* positions) {
    max_pool<LANES>(images, channels, p, down((A)lowest), x, y, positions);
}

extern "C" __global__ void max_pool_values(
    int images, int channels, Pooling p, double lowest, const T* x, T* y, u8* positions) {
    max_pool<1>(images, channels, p, down((A)lowest), x, y, positions);
}

template <int K> __device__ void average(
    int images, int channels, Pooling p, const Values<K>* __restrict__ x,
    const T* __restrict__ divisor, Values<K>* __restrict__ y) {
    EACH_ROW(row, images * p.rows) EACH(i, p.columns * channels) {
        int above = (int)(row % p.rows) * p.stride_y - p.top, column = i / channels;
        int before = column * p.stride_x - p.left;
        int low_y = max(above, 0), high_y = min(above + p.kernel_y, p.height);
        int low_x = max(before, 0), high_x = min(before + p.kernel_x, p.width);
        const Values<K>* image = x + (size_t)(row / p.rows) * p.height * p.width * channels;
        image += i % channels;
        A sum[K] = {};
        for (int h = low_y; h < high_y; h++)
            for (int w = low_x; w < high_x; w++) {
                Values<K> piece = image[((u32)h * p.width + w) * channels];
                FEW(k) sum[k] += up(piece.v[k]);
            }
        A count = up(divisor[row % p.rows * p.columns + column]);
        Values<K> result;
        FEW(k) result.v[k] = down(sum[k] / count);
        y[(size_t)row * p.columns * channels + i] = result;
    }
}

extern "C" __global__ void avg_pool_packs(
    int images, int channels, Pooling p, const T* x, const T* divisor, T* y) {
    average<LANES>(images, channels, p, (const Values<LANES>*)x, divisor, (Values<LANES>*)y);
}

extern "C" __global__ void avg_pool_values(
    int images, int channels, Pooling p, const T* x, const T* divisor, T* y) {
    average<1>(images, channels, p, (const Values<1>*)x, divisor, (Values<1>*)y);
}

// How many values a window averages along an axis, where `edge` values of padding count.
__device__ inline int counted(int i, int stride, int padding, int kernel, int n, int edge) {
    int start = i * stride - padding;
    return min(start + kernel, n + edge) - max(start, -edge);
}

extern "C" __global__ void avg_pool_divisor(u32 n, Pooling p, int count_padding, T* divisor) {
    EACH(i, n) {
        int y = i / p.columns, x = i % p.columns, above = 0, before = 0;
        if (count_padding) above = p.top, before = p.left;
        int high = counted(y, p.stride_y, p.top, p.kernel_y, p.height, above);
        int wide = counted(x, p.stride_x, p.left, p.kernel_x, p.width, before);
        divisor[i] = down((A)(high * wide));
    }
}

// ---------------------------------------------------------------------------- backward

// What a window passes on: its gradient to where the maximum was found, or with no positions its
// share of the average to all.
template <int K> struct Share { Values<K> gy; Bytes<K> place; A divisor; };

template <int K> __device__ inline Share<K> share_of(
    size_t i, u32 window, const Values<K>* gy, const Bytes<K>* positions, const T* divisor) {
    Share<K> share = {gy[i], {}, 1};
    if (positions) share.place = positions[i];
    else share.divisor = up(divisor[window]);
    return share;
}

template <int K> __device__ inline A passed(
    const Share<K>& share, int k, int number, bool maximum) {
    if (maximum) return share.place.v[k] == (u8)number ? up(share.gy.v[k]) : (A)0;
    return up(share.gy.v[k]) / share.divisor;
}

// Windows that do not overlap: a thread has one of them and all inputs up to the next one.
template <int K> __device__ void separate(
    int images, int channels, Pooling p, const Values<K>* __restrict__ gy,
    const Bytes<K>* __restrict__ positions, const T* __restrict__ divisor,
    Values<K>* __restrict__ gx) {
    const int cells_y = (p.height + p.top + p.stride_y - 1) / p.stride_y;
    const int cells_x = (p.width + p.left + p.stride_x - 1) / p.stride_x;
    Values<K> zero;
    FEW(k) zero.v[k] = down(0);
    EACH_ROW(row, images * cells_y) EACH(i, cells_x * channels) {
        int r = row % cells_y, column = i / channels, c = i % channels;
        u32 image = row / cells_y, window = r * p.columns + column;
        Values<K>* out = gx + (size_t)image * p.height * p.width * channels + c;
        bool full = r < p.rows && column < p.columns;
        size_t place = ((size_t)image * p.rows * p.columns + window) * channels + c;
        Share<K> share = share_of(full ? place : 0, full ? window : 0, gy, positions, divisor);
        for (int dy = 0; dy < p.stride_y; dy++) {
            u32 h = r * p.stride_y - p.top + dy;
            for (int dx = 0; dx < p.stride_x; dx++) {
                u32 w = column * p.stride_x - p.left + dx;
                if (h >= (u32)p.height || w >= (u32)p.width) continue;
                Values<K> result = zero;
                if (full && dy < p.kernel_y && dx < p.kernel_x)
                    FEW(k) result.v[k] = down(passed(share, k, dy * p.kernel_x + dx, positions));
                out[(h * p.width + w) * channels] = result;
            }
        }
    }
}

// Any windows: a thread has one input and looks at all of them that see it.
template <int K> __device__ void overlapping(
    int images, int channels, Pooling p, const Values<K>* __restrict__ gy,
    const Bytes<K>* __restrict__ positions, const T* __restrict__ divisor,
    Values<K>* __restrict__ gx) {
    EACH_ROW(row, images * p.height) EACH(i, p.width * channels) {
        int h = row % p.height + p.top, w = i / channels + p.left, c = i % channels;
        size_t first = (size_t)(row / p.height) * p.rows * p.columns;
        A sum[K] = {};
        for (int r = h / p.stride_y; r >= 0; r--) {
            int y = h - r * p.stride_y, ky = p.dilation_y == 1 ? y : y / p.dilation_y;
            if (ky >= p.kernel_y) break;
            if (r >= p.rows || ky * p.dilation_y != y) continue;
            for (int column = w / p.stride_x; column >= 0; column--) {
                int x = w - column * p.stride_x, kx = p.dilation_x == 1 ? x : x / p.dilation_x;
                if (kx >= p.kernel_x) break;
                if (column >= p.columns || kx * p.dilation_x != x) continue;
                u32 window = r * p.columns + column;
                size_t place = (first + window) * channels + c;
                Share<K> share = share_of(place, window, gy, positions, divisor);
                FEW(k) sum[k] += passed(share, k, ky * p.kernel_x + kx, positions);
            }
        }
        Values<K> result;
        FEW(k) result.v[k] = down(sum[k]);
        gx[(size_t)row * p.width * channels + i] = result;
    }
}

extern "C" __global__ void separate_packs(
    int images, int channels, Pooling p, const T* gy, const u8* positions, const T* divisor,
    T* gx) {
    separate<LANES>(images, channels, p, (const Values<LANES>*)gy,
                    (const Bytes<LANES>*)positions, divisor, (Values<LANES>*)gx);
}

extern "C" __global__ void separate_values(
    int images, int channels, Pooling p, const T* gy, const u8* positions, const T* divisor,
    T* gx) {
    separate<1>(images, channels, p, (const Values<1>*)gy, (const Bytes<1>*)positions,
                divisor, (Values<1>*)gx);
}

extern "C" __global__ void overlapping_packs(
    int images, int channels, Pooling p, const T* gy, const u8* positions, const T* divisor,
    T* gx) {
    overlapping<LANES>(images, channels, p, (const Values<LANES>*)gy,
                       (const Bytes<LANES>*)positions, divisor, (Values<LANES>*)gx);
}

extern "C" __global__ void overlapping_values(
    int images, int channels, Pooling p, const T* gy, const u8* positions, const T* divisor,
    T* gx) {
    overlapping<1>(images, channels, p, (const Values<1>*)gy, (const Bytes<1>*)positions,
                   divisor, (Values<1>*)gx);
}

// ---------------------------------------------------------------------------- places

extern "C" __global__ void max_pool_indices(
    int images, int channels, Pooling p, const u8* __restrict__ positions,
    i64* __restrict__ indices) {
    EACH_ROW(row, images * p.rows) EACH(i, p.columns * channels) {
        size_t place = (size_t)row * p.columns * channels + i;
        int number = positions[place], ky = number / p.kernel_x, kx = number - ky * p.kernel_x;
        int h = (int)(row % p.rows) * p.stride_y - p.top + ky * p.dilation_y;
        int w = (int)(i / channels) * p.stride_x - p.left + kx * p.dilation_x;
        indices[place] = (i64)h * p.width + w;
    }
}

// y is cut into one cell for each value of x. A thread writes its own; in planes where values
// belong elsewhere `strays` is set.
template <int K> __device__ void unpool(
    int images, int channels, int rows, int columns, int height, int width,
    const Values<K>* __restrict__ x, const Places<K>* __restrict__ indices,
    Values<K>* __restrict__ y, int* strays) {
    const int cell_y = max(height / rows, 1), cell_x = max(width / columns, 1);
    EACH_ROW(row, images * rows) EACH(i, columns * channels) {
        int r = row % rows, column = i / channels, c = i % channels, image = row / rows;
        int low_y = r * cell_y, high_y = r == rows - 1 ? height : min(low_y + cell_y, height);
        int low_x = column * cell_x;
        int high_x = column == columns - 1 ? width : min(low_x + cell_x, width);
        size_t place = (size_t)row * columns * channels + i;
        Values<K> piece = x[place];
        Places<K> given = indices[place];
        int index[K];
        FEW(k) index[k] = (unsigned long long)given.v[k] < height * width ? (int)given.v[k] : -1;
        bool found[K] = {};
        Values<K>* out = y + (size_t)image * height * width * channels + c;
        for (int h = low_y; h < high_y; h++)
            for (int w = low_x; w < high_x; w++) {
                Values<K> result;
                FEW(k) {
                    bool here = index[k] == h * width + w;
                    result.v[k] = here ? piece.v[k] : down(0);
                    found[k] = found[k] || here;
                }
                out[((u32)h * width + w) * channels] = result;
            }
        FEW(k) if (!found[k]) strays[((size_t)image * channels + c) * K + k] = 1;
    }
}

extern "C" __global__ void unpool_packs(
    int images, int channels, int rows, int columns, int height, int width, const T* x,
    const i64* indices, T* y, int* strays) {
    unpool<LANES>(images, channels, rows, columns, height, width, (const Values<LANES>*)x,
                  (const Places<LANES>*)indices, (Values<LANES>*)y, strays);
}

extern "C" __global__ void unpool_values(
    int images, int channels, int rows, int columns, int height, int width, const T* x,
    const i64* indices, T* y, int* strays) {
    unpool<1>(images, channels, rows, columns, height, width, (const Values<1>*)x,
              (const Places<1>*)indices, (Values<1>*)y, strays);
}

// Writes the values of such planes again, one after the other: the last one stays.
extern "C" __global__ void unpool_strays(
    u32 planes, int channels, int pixels, int size, const T* __restrict__ x,
    const i64* __restrict__ indices, const int* __restrict__ strays, T* __restrict__ y) {
    EACH(plane, planes) {
        if (!strays[plane]) continue;
        u32 image = plane / channels, c = plane % channels;
        for (int i = 0; i < pixels; i++) {
            size_t place = ((size_t)image * pixels + i) * channels + c;
            i64 index = indices[place];
            if (index >= 0 && index < size)
                y[((size_t)image * size + index) * channels + c] = x[place];
        }
    }
}

extern "C" __global__ void unpool_backward(
    int images, int channels, int pixels, int size, const T* __restrict__ gy,
    const i64* __restrict__ indices, T* __restrict__ gx) {
    EACH_ROW(image, images) EACH(i, pixels * channels) {
        size_t place = (size_t)image * pixels * channels + i;
        i64 index = indices[place];
        bool inside = index >= 0 && index < size;
        gx[place] = inside ? gy[((size_t)image * size + index) * channels + i % channels] : down(0);
    }
}
