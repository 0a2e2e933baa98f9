// im2col and its transpose, both by gathering, over up to three spatial axes.

struct Geometry {
    int n, size[3], out[3], kernel[3], stride[3], padding[3], dilation[3];
    int channels, groups;  // values of one group, in packs or single ones
};

// Which value of the input output `o` sees at position `k` of the kernel, along one axis.
__device__ inline int seen(const Geometry& g, int axis, int o, int k) {
    return o * g.stride[axis] - g.padding[axis] + k * g.dilation[axis];
}

template <typename V>
__device__ void gather_columns(
    const V* __restrict__ x, V* __restrict__ columns, const Geometry& g, int first, int rows) {
    int positions = g.kernel[0] * g.kernel[1] * g.kernel[2];
    u32 width = positions * g.channels;
    // Threads stand side by side along a row of the matrix and go down several of its rows.
    u32 column = blockIdx.x * blockDim.x + threadIdx.x, group = blockIdx.z;
    if (column >= width) return;
    int c = column % g.channels, k = column / g.channels;
    int k2 = k % g.kernel[2], k1 = k / g.kernel[2] % g.kernel[1], k0 = k / g.kernel[2] / g.kernel[1];
    V nothing = {};
    for (int r = blockIdx.y; r < rows; r += gridDim.y) {
        int o = first + r;
        int o2 = o % g.out[2]; o /= g.out[2];
        int o1 = o % g.out[1]; o /= g.out[1];
        int o0 = o % g.out[0], n = o / g.out[0];
        int i0 = seen(g, 0, o0, k0), i1 = seen(g, 1, o1, k1), i2 = seen(g, 2, o2, k2);
        bool inside = (u32)i0 < (u32)g.size[0] && (u32)i1 < (u32)g.size[1] && (u32)i2 < (u32)g.size[2];
        size_t place = ((size_t)(n * g.size[0] + i0) * g.size[1] + i1) * g.size[2] + i2;
        columns[((size_t)group * rows + r) * width + column] =
            inside ? x[place * g.channels * g.groups + group * g.channels + c] : nothing;
    }
}

extern "C" __global__ void im2col_packs(
    const Pack* x, Pack* columns, Geometry g, int first, int rows) {
    gather_columns(x, columns, g, first, rows);
}

extern "C" __global__ void im2col_values(
    const T* x, T* columns, Geometry g, int first, int rows) {
    gather_columns(x, columns, g, first, rows);
}

// gx = the sum of the columns that an input value was gathered into, for samples from `first` on.
extern "C" __global__ void col2im(
    u32 count, const T* __restrict__ columns, T* __restrict__ gx, Geometry g, int rows) {
    int positions = g.kernel[0] * g.kernel[1] * g.kernel[2];
    size_t width = (size_t)positions * g.channels;
    EACH(i, count) {
        u32 rest = i;
        int c = rest % g.channels; rest /= g.channels;
        int group = rest % g.groups; rest /= g.groups;
        int i2 = rest % g.size[2]; rest /= g.size[2];
        int i1 = rest % g.size[1]; rest /= g.size[1];
        int i0 = rest % g.size[0], n = rest / g.size[0];
        A sum = 0;
        for (int k0 = 0; k0 < g.kernel[0]; k0++) {
            int o0 = i0 + g.padding[0] - k0 * g.dilation[0];
            if (o0 < 0 || o0 % g.stride[0] || (o0 /= g.stride[0]) >= g.out[0]) continue;
            for (int k1 = 0; k1 < g.kernel[1]; k1++) {
                int o1 = i1 + g.padding[1] - k1 * g.dilation[1];
                if (o1 < 0 || o1 % g.stride[1] || (o1 /= g.stride[1]) >= g.out[1]) continue;
                for (int k2 = 0; k2 < g.kernel[2]; k2++) {
                    int o2 = i2 + g.padding[2] - k2 * g.dilation[2];
                    if (o2 < 0 || o2 % g.stride[2] || (o2 /= g.stride[2]) >= g.out[2]) continue;
                    size_t row = ((size_t)(n * g.out[0] + o0) * g.out[1] + o1) * g.out[2] + o2;
                    int k = (k0 * g.kernel[1] + k1) * g.kernel[2] + k2;
                    sum += up(columns[((size_t)group * rows + row) * width + k * g.channels + c]);
                }
            }
        }
        gx[i] = down(sum);
    }
}
