// Weighted sums along axes: the taps of an axis say which values each result reads, and what they
// weigh. Each thread has one value or pack.

#define FEW(k) _Pragma("unroll") for (int k = 0; k < K; k++)
#define EACH_ROW(row, n) for (u32 row = blockIdx.y; row < (u32)(n); row += gridDim.y)

template <int K> struct alignas(K * sizeof(T)) Values { T v[K]; };

// Tables (count, m) for an axis that had n values and gets m.
struct Taps { int count, m, n; };

// Axes (outer, n, inner): y[o, i, j] = sum of weight[k, i] * x[o, source[k, i], j].
template <int K> __device__ void along_axis(
    int outer, int inner, Taps t, const int* __restrict__ source, const A* __restrict__ weight,
    const Values<K>* __restrict__ x, Values<K>* __restrict__ y) {
    EACH_ROW(row, outer * t.m) EACH(j, inner) {
        int i = row % t.m;
        const Values<K>* from = x + (size_t)(row / t.m) * t.n * inner + j;
        A sum[K] = {};
        for (int tap = 0; tap < t.count; tap++) {
            A share = weight[tap * t.m + i];
            Values<K> piece = from[(u32)source[tap * t.m + i] * inner];
            FEW(k) sum[k] += share * up(piece.v[k]);
        }
        Values<K> result;
        FEW(k) result.v[k] = down(sum[k]);
        y[(size_t)row * inner + j] = result;
    }
}

extern "C" __global__ void axis_packs(
    int outer, int inner, Taps t, const int* source, const A* weight, const T* x, T* y) {
    along_axis<LANES>(outer, inner, t, source, weight, (const Values<LANES>*)x, (Values<LANES>*)y);
}

extern "C" __global__ void axis_values(
    int outer, int inner, Taps t, const int* source, const A* weight, const T* x, T* y) {
    along_axis<1>(outer, inner, t, source, weight, (const Values<1>*)x, (Values<1>*)y);
}

// Both axes of pictures (images, height, width, channels) at once.
template <int K> __device__ void along_both(
    int images, int channels, Taps rows, const int* __restrict__ row_source,
    const A* __restrict__ row_weight, Taps columns, const int* __restrict__ column_source,
    const A* __restrict__ column_weight, const Values<K>* __restrict__ x,
    Values<K>* __restrict__ y) {
    EACH_ROW(row, images * rows.m) EACH(j, columns.m * channels) {
        int r = row % rows.m, column = j / channels;
        const Values<K>* image = x + (size_t)(row / rows.m) * rows.n * columns.n * channels;
        image += j % channels;
        A sum[K] = {};
        for (int ty = 0; ty < rows.count; ty++) {
            A part[K] = {}, share = row_weight[ty * rows.m + r];
            u32 line = (u32)row_source[ty * rows.m + r] * columns.n;
            for (int tx = 0; tx < columns.count; tx++) {
                int tap = tx * columns.m + column;
                Values<K> piece = image[(line + column_source[tap]) * channels];
                FEW(k) part[k] += column_weight[tap] * up(piece.v[k]);
            }
            FEW(k) sum[k] += share * part[k];
        }
        Values<K> result;
        FEW(k) result.v[k] = down(sum[k]);
        y[(size_t)row * columns.m * channels + j] = result;
    }
}

extern "C" __global__ void both_packs(
    int images, int channels, Taps rows, const int* row_source, const A* row_weight, Taps columns,
    const int* column_source, const A* column_weight, const T* x, T* y) {
    along_both<LANES>(images, channels, rows, row_source, row_weight, columns, column_source,
                      column_weight, (const Values<LANES>*)x, (Values<LANES>*)y);
}

extern "C" __global__ void both_values(
    int images, int channels, Taps rows, const int* row_source, const A* row_weight, Taps columns,
    const int* column_source, const A* column_weight, const T* x, T* y) {
    along_both<1>(images, channels, rows, row_source, row_weight, columns, column_source,
                  column_weight, (const Values<1>*)x, (Values<1>*)y);
}
