// One step of a recurrent layer, all gates at once. Sequences are (T, N, ...), states between
// the steps (T + 1, N, H); `out` is (T + states, N, H): outputs, then the last states.

__device__ inline A sigmoid(A x) { return 1 / (1 + exp(-x)); }

// Where a value of (N, H) lies. `i` counts (N, H), `gate` is its place in (N, gates * H).
struct Place { u32 i, gate, unit; bool active; };

__device__ inline Place place_of(u32 i, u32 H, u32 gates, const u8* active) {
    Place p = {i, i / H * gates * H + i % H, i % H, !active || active[i / H]};
    return p;
}

struct Cut { int t, before, now, steps, last; };

__device__ inline void put(
    T* out, const Place& p, u32 n, const Cut& cut, int state, T value) {
    if (state == 0) out[(size_t)cut.t * n + p.i] = p.active ? value : down(0);
    if (cut.last) out[(size_t)(cut.steps + state) * n + p.i] = value;
}

extern "C" __global__ void rnn_step(
    u32 n, const T* __restrict__ projected, const T* __restrict__ bias,
    const u8* __restrict__ active, T* h, T* out, u32 H, int t, int before, int now, int steps,
    int last, int relu) {
    Cut cut = {t, before, now, steps, last};
    EACH(i, n) {
        Place p = place_of(i, H, 1, active ? active + (size_t)t * (n / H) : nullptr);
        A a = up(projected[(size_t)t * n + i]);
        if (bias) a += up(bias[p.unit]);
        T value = down(relu ? (a < 0 ? (A)0 : a) : tanh(a));
        if (!p.active) value = h[(size_t)before * n + i];
        h[(size_t)now * n + i] = value;
        put(out, p, n, cut, 0, value);
    }
}

extern "C" __global__ void lstm_step(
    u32 n, T* __restrict__ projected, const T* __restrict__ bias, const u8* __restrict__ active,
    T* h, T* c, T* out, u32 H, int t, int before, int now, int steps, int last) {
    Cut cut = {t, before, now, steps, last};
    EACH(i, n) {
        Place p = place_of(i, H, 4, active ? active + (size_t)t * (n / H) : nullptr);
        T* gates = projected + (size_t)t * 4 * n + p.gate;
        A v[4];
        #pragma unroll
        for (int k = 0; k < 4; k++) {
            v[k] = up(gates[k * H]);
            if (bias) v[k] += up(bias[k * H + p.unit]);
            v[k] = k == 2 ? tanh(v[k]) : sigmoid(v[k]);
            gates[k * H] = down(v[k]);
        }
        T old = c[(size_t)before * n + i], cell = down(v[1] * up(old) + v[0] * v[2]);
        T value = down(v[3] * tanh(up(cell)));
        if (!p.active) cell = old, value = h[(size_t)before * n + i];
        c[(size_t)now * n + i] = cell;
        h[(size_t)now * n + i] = value;
        put(out, p, n, cut, 0, value);
        put(out, p, n, cut, 1, cell);
    }
}

// hidden (N, 3 H) is the state's part of the gates.
extern "C" __global__ void gru_step(
    u32 n, T* __restrict__ projected, const T* __restrict__ hidden, const T* __restrict__ bias,
    const u8* __restrict__ active, T* h, T* news, T* out, u32 H, int t, int before, int now,
    int steps, int last) {
    Cut cut = {t, before, now, steps, last};
    EACH(i, n) {
        Place p = place_of(i, H, 3, active ? active + (size_t)t * (n / H) : nullptr);
        T* gates = projected + (size_t)t * 3 * n + p.gate;
        A part[3];
        #pragma unroll
        for (int k = 0; k < 3; k++) {
            part[k] = up(hidden[p.gate + k * H]);
            if (bias) part[k] += up(bias[k * H + p.unit]);
        }
        T old = h[(size_t)before * n + i];
        A r = sigmoid(up(gates[0]) + part[0]), z = sigmoid(up(gates[H]) + part[1]);
        A fresh = tanh(up(gates[2 * H]) + r * part[2]);
        news[(size_t)t * n + i] = down(part[2]);
        gates[0] = down(r), gates[H] = down(z), gates[2 * H] = down(fresh);
        T value = p.active ? down(fresh + z * (up(old) - fresh)) : old;
        h[(size_t)now * n + i] = value;
        put(out, p, n, cut, 0, value);
    }
}

// Backward: gh comes in as the gradient of the state after step t, without that of the output.
// It goes out as what reaches the state before step t by other ways than the product.
extern "C" __global__ void rnn_back(
    u32 n, const T* __restrict__ gy, const T* __restrict__ h, const u8* __restrict__ active,
    const T* given, T* gh, T* __restrict__ ga, u32 H, int t, int now, int relu) {
    EACH(i, n) {
        Place p = place_of(i, H, 1, active ? active + (size_t)t * (n / H) : nullptr);
        A g = up(given[i]), y = up(h[(size_t)now * n + i]);
        if (p.active) g += up(gy[(size_t)t * n + i]);
        A slope = relu ? (A)(y > 0) : 1 - y * y;
        ga[(size_t)t * n + i] = down(p.active ? g * slope : 0);
        if (active) gh[i] = down(p.active ? 0 : g);
    }
}

extern "C" __global__ void lstm_back(
    u32 n, const T* __restrict__ gy, const T* __restrict__ c, const T* __restrict__ gates,
    const u8* __restrict__ active, const T* given, const T* given_cell, T* gh, T* gc,
    T* __restrict__ ga, u32 H, int t, int before, int now) {
    EACH(i, n) {
        Place p = place_of(i, H, 4, active ? active + (size_t)t * (n / H) : nullptr);
        size_t at = (size_t)t * 4 * n + p.gate;
        T* slopes = ga + at;
        A g = up(given[i]), cell = up(given_cell[i]);
        if (!p.active) {
            for (int k = 0; k < 4; k++) slopes[k * H] = down(0);
            gh[i] = down(g), gc[i] = down(cell);
            continue;
        }
        g += up(gy[(size_t)t * n + i]);
        A in = up(gates[at]), forget = up(gates[at + H]);
        A fresh = up(gates[at + 2 * H]), o = up(gates[at + 3 * H]);
        A squashed = tanh(up(c[(size_t)now * n + i]));
        A through = cell + g * o * (1 - squashed * squashed);
        slopes[0] = down(through * fresh * in * (1 - in));
        slopes[H] = down(through * up(c[(size_t)before * n + i]) * forget * (1 - forget));
        slopes[2 * H] = down(through * in * (1 - fresh * fresh));
        slopes[3 * H] = down(g * squashed * o * (1 - o));
        gc[i] = down(through * forget);
        if (active) gh[i] = down(0);
    }
}

extern "C" __global__ void gru_back(
    u32 n, const T* __restrict__ gy, const T* __restrict__ h, const T* __restrict__ gates,
    const T* __restrict__ news, const u8* __restrict__ active, const T* given, T* gh,
    T* __restrict__ ga, T* __restrict__ gb, u32 H, int t, int before) {
    EACH(i, n) {
        Place p = place_of(i, H, 3, active ? active + (size_t)t * (n / H) : nullptr);
        size_t at = (size_t)t * 3 * n + p.gate;
        A g = up(given[i]);
        if (!p.active) {
            for (int k = 0; k < 3; k++) ga[at + k * H] = gb[at + k * H] = down(0);
            gh[i] = down(g);
            continue;
        }
        g += up(gy[(size_t)t * n + i]);
        A r = up(gates[at]), z = up(gates[at + H]), fresh = up(gates[at + 2 * H]);
        A gn = g * (1 - z) * (1 - fresh * fresh);
        A gr = gn * up(news[(size_t)t * n + i]) * r * (1 - r);
        A gz = g * (up(h[(size_t)before * n + i]) - fresh) * z * (1 - z);
        ga[at] = gb[at] = down(gr);
        ga[at + H] = gb[at + H] = down(gz);
        ga[at + 2 * H] = down(gn);
        gb[at + 2 * H] = down(gn * r);
        gh[i] = down(g * z);
    }
}
