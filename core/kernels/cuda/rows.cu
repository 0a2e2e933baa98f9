// Sums of the rows that an index names, without atomics: the rows are sorted by their index,
// stably, and every row of the result takes its own in that order.

#define TILE 32       // rows of the result that a block sorts for, one for each lane
#define SERIAL 8      // rows that one warp adds up; more are shared out among all warps

__device__ inline int row_at(const i64* index, int i, int end, int count, int first) {
    if (i >= end) return TILE;
    i64 row = index[i];
    if (row < 0) row += count;
    return row < first ? -1 : row < min(first + TILE, count) ? (int)row - first : TILE;
}

// How many of the first 32 threads' rows are `row`, and which.
__device__ inline u32 same_rows(int row, u32 left, int* found) {
    *found = __shfl_sync(0xffffffff, row, __ffs(left) - 1);
    return __ballot_sync(0xffffffff, row == *found);
}

// order[start[r] .. start[r + 1]) are the places of r in the index, ascending. Each warp of a
// block takes a part of the index; each lane counts for one row.
extern "C" __global__ void __launch_bounds__(1024) order_rows(
    const i64* __restrict__ index, int n, int count, int* __restrict__ start,
    int* __restrict__ order) {
    __shared__ int counts[32][TILE], less[32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    int first = blockIdx.x * TILE, each = (n + warps * 32 - 1) / (warps * 32) * 32;
    int from = min(n, warp * each), end = min(n, from + each), mine = 0, before = 0, row;
    for (int i = from; i < end; i += 32) {
        int own = row_at(index, i + lane, end, count, first);
        before += __popc(__ballot_sync(0xffffffff, own < 0));
        for (u32 left = __ballot_sync(0xffffffff, own >= 0 && own < TILE); left;) {
            u32 same = same_rows(own, left, &row);
            if (lane == row) mine += __popc(same);
            left &= ~same;
        }
    }
    counts[warp][lane] = mine;
    if (lane == 0) less[warp] = before;
    __syncthreads();
    // Those in front: of smaller rows, and of the same row in the parts of the warps before.
    int total = 0, cursor = 0;
    for (int w = 0; w < warps; w++) {
        cursor += less[w];
        total += counts[w][lane];
    }
    for (int r = 0; r < TILE; r++) {
        int other = __shfl_sync(0xffffffff, total, r);
        if (r < lane) cursor += other;
    }
    if (warp == 0 && first + lane < count) start[first + lane] = cursor;
    if (warp == 0 && first + lane == count - 1) start[count] = cursor + total;
    for (int w = 0; w < warp; w++) cursor += counts[w][lane];
    for (int i = from; i < end; i += 32) {
        int own = row_at(index, i + lane, end, count, first);
        for (u32 left = __ballot_sync(0xffffffff, own >= 0 && own < TILE); left;) {
            u32 same = same_rows(own, left, &row);
            int place = __shfl_sync(0xffffffff, cursor, row);
            if (own == row) order[place + __popc(same & ((1u << lane) - 1))] = i + lane;
            if (lane == row) cursor += __popc(same);
            left &= ~same;
        }
    }
}

// The pack at `column` of every `step`-th of the rows from..end of the order, added up.
template <typename P> struct Lanes { A v[sizeof(P) / sizeof(T)]; };

template <typename P> __device__ inline Lanes<P> sum_of(
    const P* rows, const int* order, int from, int end, int step, int column, int columns) {
    Lanes<P> sum = {};
    #pragma unroll 4
    for (int i = from; i < end; i += step) {
        P p = rows[(size_t)order[i] * columns + column];
        for (int k = 0; k < (int)(sizeof(P) / sizeof(T)); k++) sum.v[k] += up(((const T*)&p)[k]);
    }
    return sum;
}

template <typename P> __device__ inline void store(P* out, const Lanes<P>& sum) {
    P p;
    for (int k = 0; k < (int)(sizeof(P) / sizeof(T)); k++) ((T*)&p)[k] = down(sum.v[k]);
    *out = p;
}

// A block takes as many rows as it has warps, and 32 packs of their columns at a time.
template <typename P> __device__ void add_up(
    const P* rows, const int* start, const int* order, P* out, int count, int columns) {
    __shared__ Lanes<P> part[512];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    int first = blockIdx.x * warps;
    for (int left = blockIdx.y * 32; left < columns; left += gridDim.y * 32) {
        int column = left + lane;
        bool inside = column < columns;
        if (first + warp < count && inside) {
            int from = start[first + warp], end = start[first + warp + 1];
            P* at = out + (size_t)(first + warp) * columns + column;
            if (end - from <= SERIAL) store(at, sum_of(rows, order, from, end, 1, column, columns));
        }
        for (int r = first; r < min(first + warps, count); r++) {
            int from = start[r], end = start[r + 1];
            if (end - from <= SERIAL) continue;
            if (inside)
                part[threadIdx.x] = sum_of(rows, order, from + warp, end, warps, column, columns);
            __syncthreads();
            if (warp == 0 && inside) {
                Lanes<P> sum = part[lane];
                for (int w = 1; w < warps; w++)
                    for (int k = 0; k < (int)(sizeof(P) / sizeof(T)); k++)
                        sum.v[k] += part[w * 32 + lane].v[k];
                store(out + (size_t)r * columns + column, sum);
            }
            __syncthreads();
        }
    }
}

extern "C" __global__ void __launch_bounds__(512) add_rows(
    const T* rows, const int* start, const int* order, T* out, int count, int columns) {
    if (columns % LANES || (size_t)rows % 16)
        add_up(rows, start, order, out, count, columns);
    else
        add_up((const Pack*)rows, start, order, (Pack*)out, count, columns / LANES);
}
