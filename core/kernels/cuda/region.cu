// Regions of pictures (images, height, width, channels): each has rows x columns bins. Gradients
// are gathered, one block for each pixel, from the bins or regions whose box holds it.

#define FEW(k) _Pragma("unroll") for (int k = 0; k < K; k++)
#define EACH_ROW(row, n) for (u32 row = blockIdx.y; row < (u32)(n); row += gridDim.y)

template <int K, typename X>
struct alignas(K * sizeof(X) > 16 ? 16 : K * sizeof(X)) Few { X v[K]; };
template <int K> using Values = Few<K, T>;
template <int K> using Places = Few<K, int>;

struct Regions { int images, height, width, channels, regions, rows, columns; };

// What lies from low up to high, and pixels [top, bottom) x [left, right); rows of all pictures
// are counted on.
struct Range { int low, high; };
struct alignas(16) Box { int top, bottom, left, right; };

__device__ inline bool holds(Box b, int row, int column) {
    return row >= b.top && row < b.bottom && column >= b.left && column < b.right;
}

// What the lanes of a warp found, together.
__device__ inline Range joined(Range r) {
    for (int m = 16; m > 0; m /= 2) {
        r.low = min(r.low, __shfl_xor_sync(0xffffffff, r.low, m));
        r.high = max(r.high, __shfl_xor_sync(0xffffffff, r.high, m));
    }
    return r;
}

// The threads of a block look at `count` boxes, then `add` is called for each that holds the
// block's pixel, in order.
template <typename F> __device__ inline void gather(
    int count, const Box* __restrict__ boxes, int row, int column, F add) {
    __shared__ u32 masks[32];
    for (int first = 0; first < count; first += blockDim.x) {
        int own = first + threadIdx.x;
        u32 mask = __ballot_sync(0xffffffff, own < count && holds(boxes[own], row, column));
        if (threadIdx.x % 32 == 0) masks[threadIdx.x / 32] = mask;
        __syncthreads();
        for (int warp = 0; warp < (int)blockDim.x / 32; warp++)
            for (u32 rest = masks[warp]; rest; rest &= rest - 1)
                add(first + warp * 32 + __ffs(rest) - 1);
        __syncthreads();
    }
}

// ---------------------------------------------------------------------------- maxima

// table: each region's picture, where its rows of bins begin, and end, and likewise its columns.
template <int K> __device__ void maxima(
    Regions g, const int* __restrict__ table, const Values<K>* __restrict__ x,
    Values<K>* __restrict__ y, Places<K>* __restrict__ places) {
    const int *top = table + g.regions, *bottom = top + g.regions * g.rows;
    const int *left = bottom + g.regions * g.rows, *right = left + g.regions * g.columns;
    EACH_ROW(row, g.regions * g.rows) EACH(i, g.columns * g.channels) {
        int region = row / g.rows, bin = region * g.columns + i / g.channels;
        const Values<K>* image = x + (size_t)table[region] * g.height * g.width * g.channels;
        image += i % g.channels;
        Values<K> best;
        Places<K> place;
        FEW(k) best.v[k] = down(0), place.v[k] = -1;
        for (int h = top[row]; h < bottom[row]; h++)
            for (int w = left[bin]; w < right[bin]; w++) {
                int here = h * g.width + w;
                Values<K> piece = image[(u32)here * g.channels];
                FEW(k) {
                    A value = up(piece.v[k]);
                    // The first of the largest, or the last that is not a number.
                    if (place.v[k] < 0 || value > up(best.v[k]) || value != value) {
                        best.v[k] = piece.v[k];
                        place.v[k] = here;
                    }
                }
            }
        size_t target = (size_t)row * g.columns * g.channels + i;
        y[target] = best;
        places[target] = place;
    }
}

extern "C" __global__ void maxima_packs(
    Regions g, const int* table, const T* x, T* y, int* places) {
    maxima<LANES>(g, table, (const Values<LANES>*)x, (Values<LANES>*)y, (Places<LANES>*)places);
}

extern "C" __global__ void maxima_values(
    Regions g, const int* table, const T* x, T* y, int* places) {
    maxima<1>(g, table, (const Values<1>*)x, (Values<1>*)y, (Places<1>*)places);
}

// The box of the places that a bin's channels found; one warp for each bin.
extern "C" __global__ void place_boxes(
    Regions g, const int* __restrict__ image, const int* __restrict__ places,
    Box* __restrict__ boxes) {
    int bins = g.rows * g.columns, bin = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
    if (bin >= g.regions * bins) return;
    Range across = {g.width, 0}, down_to = {g.height, 0};
    for (int c = threadIdx.x % 32; c < g.channels; c += 32) {
        int place = places[(size_t)bin * g.channels + c];
        if (place < 0) continue;
        int h = place / g.width, w = place - h * g.width;
        across = {min(across.low, w), max(across.high, w + 1)};
        down_to = {min(down_to.low, h), max(down_to.high, h + 1)};
    }
    across = joined(across);
    down_to = joined(down_to);
    int first = image[bin / bins] * g.height;
    if (threadIdx.x % 32 == 0)
        boxes[bin] = {first + down_to.low, first + down_to.high, across.low, across.high};
}

template <int K> __device__ void maxima_backward(
    Regions g, const Box* __restrict__ boxes, const Values<K>* __restrict__ gy,
    const Places<K>* __restrict__ places, Values<K>* __restrict__ gx) {
    int pixel = blockIdx.x, row = pixel / g.width, column = pixel - row * g.width;
    int own = row % g.height * g.width + column;
    int c = blockIdx.y * blockDim.x + threadIdx.x;
    A sum[K] = {};
    gather(g.regions * g.rows * g.columns, boxes, row, column, [&](int bin) {
        if (c >= g.channels) return;
        size_t from = (size_t)bin * g.channels + c;
        Values<K> piece = gy[from];
        Places<K> place = places[from];
        FEW(k) if (place.v[k] == own) sum[k] += up(piece.v[k]);
    });
    if (c >= g.channels) return;
    Values<K> result;
    FEW(k) result.v[k] = down(sum[k]);
    gx[(size_t)pixel * g.channels + c] = result;
}

extern "C" __global__ void maxima_backward_packs(
    Regions g, const Box* boxes, const T* gy, const int* places, T* gx) {
    maxima_backward<LANES>(g, boxes, (const Values<LANES>*)gy, (const Places<LANES>*)places,
                           (Values<LANES>*)gx);
}

extern "C" __global__ void maxima_backward_values(
    Regions g, const Box* boxes, const T* gy, const int* places, T* gx) {
    maxima_backward<1>(g, boxes, (const Values<1>*)gy, (const Places<1>*)places, (Values<1>*)gx);
}

// ---------------------------------------------------------------------------- means

// Where a line of weights (n,) is not zero; for all threads of a warp.
__device__ inline Range support(const T* __restrict__ weights, int n) {
    Range r = {n, 0};
    for (int i = threadIdx.x % 32; i < n; i += 32)
        if (up(weights[i]) != 0) r = {min(r.low, i), i + 1};
    return joined(r);
}

// One block for each region: the ranges of its rows and columns, and its box.
extern "C" __global__ void weight_ranges(
    Regions g, const int* __restrict__ image, const T* __restrict__ rows,
    const T* __restrict__ columns, Range* ranges, Box* boxes) {
    int region = blockIdx.x, lines = g.rows + g.columns;
    Range* own = ranges + (size_t)region * lines;
    for (int line = threadIdx.x / 32; line < lines; line += blockDim.x / 32) {
        size_t row = (size_t)region * g.rows + line;
        size_t column = (size_t)region * g.columns + line - g.rows;
        Range r = line < g.rows ? support(rows + row * g.height, g.height)
                                : support(columns + column * g.width, g.width);
        if (threadIdx.x % 32 == 0) own[line] = r;
    }
    __syncthreads();
    if (threadIdx.x) return;
    Range sides[2] = {{g.height, 0}, {g.width, 0}};
    for (int line = 0; line < lines; line++) {
        Range& side = sides[line >= g.rows];
        side = {min(side.low, own[line].low), max(side.high, own[line].high)};
    }
    int first = image[region] * g.height;
    boxes[region] = {first + sides[0].low, first + sides[0].high, sides[1].low, sides[1].high};
}

template <int K> __device__ void means(
    Regions g, const int* __restrict__ images, const T* __restrict__ rows,
    const T* __restrict__ columns, const Range* __restrict__ ranges,
    const Values<K>* __restrict__ x, Values<K>* __restrict__ y) {
    EACH_ROW(row, g.regions * g.rows) EACH(i, g.columns * g.channels) {
        int region = row / g.rows, column = i / g.channels;
        const Range* own = ranges + (size_t)region * (g.rows + g.columns);
        Range high = own[row % g.rows], wide = own[g.rows + column];
        const T* down_it = rows + (size_t)row * g.height;
        const T* across = columns + ((size_t)region * g.columns + column) * g.width;
        const Values<K>* image = x + (size_t)images[region] * g.height * g.width * g.channels;
        image += i % g.channels;
        A sum[K] = {};
        for (int h = high.low; h < high.high; h++) {
            A part[K] = {}, share = up(down_it[h]);
            for (int w = wide.low; w < wide.high; w++) {
                A weight = up(across[w]);
                Values<K> piece = image[((u32)h * g.width + w) * g.channels];
                FEW(k) part[k] += weight * up(piece.v[k]);
            }
            FEW(k) sum[k] += share * part[k];
        }
        Values<K> result;
        FEW(k) result.v[k] = down(sum[k]);
        y[(size_t)row * g.columns * g.channels + i] = result;
    }
}

extern "C" __global__ void means_packs(
    Regions g, const int* image, const T* rows, const T* columns, const Range* ranges,
    const T* x, T* y) {
    means<LANES>(g, image, rows, columns, ranges, (const Values<LANES>*)x, (Values<LANES>*)y);
}

extern "C" __global__ void means_values(
    Regions g, const int* image, const T* rows, const T* columns, const Range* ranges,
    const T* x, T* y) {
    means<1>(g, image, rows, columns, ranges, (const Values<1>*)x, (Values<1>*)y);
}

template <int K> __device__ void means_backward(
    Regions g, const Box* __restrict__ boxes, const T* __restrict__ rows,
    const T* __restrict__ columns, const Values<K>* __restrict__ gy, Values<K>* __restrict__ gx) {
    int pixel = blockIdx.x, row = pixel / g.width, column = pixel - row * g.width;
    int h = row % g.height, c = blockIdx.y * blockDim.x + threadIdx.x;
    A sum[K] = {};
    gather(g.regions, boxes, row, column, [&](int region) {
        if (c >= g.channels) return;
        for (int i = 0; i < g.rows; i++) {
            size_t line = (size_t)region * g.rows + i;
            A share = up(rows[line * g.height + h]);
            if (share == 0) continue;
            for (int j = 0; j < g.columns; j++) {
                A weight = up(columns[((size_t)region * g.columns + j) * g.width + column]);
                if (weight == 0) continue;
                Values<K> piece = gy[(line * g.columns + j) * g.channels + c];
                FEW(k) sum[k] += share * weight * up(piece.v[k]);
            }
        }
    });
    if (c >= g.channels) return;
    Values<K> result;
    FEW(k) result.v[k] = down(sum[k]);
    gx[(size_t)pixel * g.channels + c] = result;
}

extern "C" __global__ void means_backward_packs(
    Regions g, const Box* boxes, const T* rows, const T* columns, const T* gy, T* gx) {
    means_backward<LANES>(g, boxes, rows, columns, (const Values<LANES>*)gy, (Values<LANES>*)gx);
}

extern "C" __global__ void means_backward_values(
    Regions g, const Box* boxes, const T* rows, const T* columns, const T* gy, T* gx) {
    means_backward<1>(g, boxes, rows, columns, (const Values<1>*)gy, (Values<1>*)gx);
}
