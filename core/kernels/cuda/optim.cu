// Steps of optimisers over many parameters in one launch: blockIdx.y says which.

#define TENSORS 48
#define ARRAYS 5

// The arrays of each parameter (itself, its gradient, its state), all of one size and order.
struct Table { i64 arrays[ARRAYS][TENSORS]; int sizes[TENSORS]; int pad[TENSORS]; };
struct Numbers { double v[8]; };

#define PARAMETER (((T*)t.arrays[0][blockIdx.y])[i])
#define GRADIENT (((const T*)t.arrays[1][blockIdx.y])[i])
#define STATE(k) (((T*)t.arrays[2 + k][blockIdx.y])[i])
#define HAS(k) (t.arrays[2 + k][blockIdx.y] != 0)
#define OVER_PARAMETER EACH(i, t.sizes[blockIdx.y])

// What a replayed step reads instead of what it was recorded with.
__device__ inline const double* numbers_of(const Numbers& given, const double* replayed) {
    return replayed ? replayed : given.v;
}

// scaling: 1 / (what the loss was scaled with), and whether a gradient overflowed; or null.
#define BEGIN \
    if (scaling && scaling[1] > 0) return; \
    const double* v = numbers_of(given, replayed); \
    A unscale = scaling ? (A)scaling[0] : (A)1;

extern "C" __global__ void sgd(
    Table t, Numbers given, const double* replayed, const float* scaling) {
    BEGIN
    A rate = v[0], momentum = v[1], share = v[2], decay = v[4];
    bool nesterov = v[3] != 0;
    OVER_PARAMETER {
        A p = up(PARAMETER), g = up(GRADIENT) * unscale;
        if (decay != 0) g += decay * p;
        A step = g;
        if (HAS(0)) {
            A velocity = momentum * up(STATE(0)) + share * g;
            STATE(0) = down(velocity);
            step = nesterov ? g + momentum * velocity : velocity;
        }
        PARAMETER = down(p - rate * step);
    }
}

extern "C" __global__ void adagrad(
    Table t, Numbers given, const double* replayed, const float* scaling) {
    BEGIN
    A rate = v[0], eps = v[1], decay = v[2];
    OVER_PARAMETER {
        A p = up(PARAMETER), g = up(GRADIENT) * unscale;
        if (decay != 0) g += decay * p;
        A total = up(STATE(0)) + g * g;
        STATE(0) = down(total);
        PARAMETER = down(p - rate * g / (sqrt(total) + eps));
    }
}

extern "C" __global__ void rmsprop(
    Table t, Numbers given, const double* replayed, const float* scaling) {
    BEGIN
    A rate = v[0], alpha = v[1], eps = v[2], decay = v[3], momentum = v[4];
    OVER_PARAMETER {
        A p = up(PARAMETER), g = up(GRADIENT) * unscale;
        if (decay != 0) g += decay * p;
        A square = alpha * up(STATE(0)) + (1 - alpha) * g * g, spread = square;
        STATE(0) = down(square);
        if (HAS(1)) {
            A mean = up(STATE(1));
            mean += (1 - alpha) * (g - mean);
            STATE(1) = down(mean);
            spread -= mean * mean;
        }
        A step = g / (sqrt(spread) + eps);
        if (HAS(2)) {
            step += momentum * up(STATE(2));
            STATE(2) = down(step);
        }
        PARAMETER = down(p - rate * step);
    }
}

extern "C" __global__ void adam(
    Table t, Numbers given, const double* replayed, const float* scaling) {
    BEGIN
    A rate = v[0], beta1 = v[1], beta2 = v[2], root = v[3], eps = v[4], decay = v[5], shrink = v[6];
    OVER_PARAMETER {
        A p = up(PARAMETER), g = up(GRADIENT) * unscale;
        if (shrink != 1) p *= shrink;
        if (decay != 0) g += decay * p;
        A mean = up(STATE(0)), square = up(STATE(1));
        mean += (1 - beta1) * (g - mean);
        square = beta2 * square + (1 - beta2) * g * g;
        STATE(0) = down(mean);
        STATE(1) = down(square);
        PARAMETER = down(p - rate * mean / (sqrt(square) / root + eps));
    }
}

// partial[tensor * gridDim.x + block]: the sums of the squares.
extern "C" __global__ void square_sums(Table t, int first, double* partial) {
    double sum = 0;
    OVER_PARAMETER {
        double x = up(PARAMETER);
        sum += x * x;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) partial[(first + blockIdx.y) * gridDim.x + blockIdx.x] = sum;
}

extern "C" __global__ void scale_all(Table t, const double* factor) {
    A by = (A)factor[0];
    OVER_PARAMETER PARAMETER = down(up(PARAMETER) * by);
}

// scaling[1] becomes 1 where a gradient is no finite number.
extern "C" __global__ void find_overflow(Table t, float* scaling) {
    bool wrong = false;
    OVER_PARAMETER wrong = wrong || !isfinite(up(PARAMETER));
    if (wrong) scaling[1] = 1;
}

// state: scale, steps since it last changed; scaling as above, for the next step.
extern "C" __global__ void adjust_scale(float* state, float* scaling, float growth, float backoff, int interval) {
    if (threadIdx.x || blockIdx.x) return;
    if (scaling[1] > 0) {
        state[0] *= backoff;
        state[1] = 0;
    } else if (++state[1] >= interval) {
        if (isfinite(state[0] * growth)) state[0] *= growth;
        state[1] = 0;
    }
    scaling[0] = 1 / state[0];
    scaling[1] = 0;
}
