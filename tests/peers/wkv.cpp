// RWKV-4's time-mixing recurrence (WKV) for the PyTorch peer: the published algorithm, forward and backward, on a CPU.
//
// Built by pytorch_train.py: g++ -O3 -march=native -ffast-math -fopenmp -shared -fPIC wkv.cpp -o libwkv.so
//
// Per batch row b and channel c, with w = -exp(time_decay) < 0 and u = time_first:
//   y_t = (sum_{i<t} e^{(t-1-i)w + k_i} v_i + e^{u+k_t} v_t) / (sum_{i<t} e^{(t-1-i)w + k_i} + e^{u+k_t})
// kept stable by the running exponent pp: numerator and denominator are aa e^pp and bb e^pp.
//
// Shapes: w, u [C]; k, v, y and their gradients [B, T, C]; gw, gu [B, C], which the caller sums over B. gw is the gradient of
// w; the caller applies the chain rule to time_decay.
//
// The parallel unit is a batch row times LANES neighbouring channels, walked serially in time: the inner loop over channels
// is contiguous in memory, so that one vector instruction serves 16 channels, where a thread per channel would serve one.
#include <algorithm>
#include <cmath>
#include <cstdint>

namespace {
constexpr int64_t LANES = 32;
// The published kernels' "minus infinity": finite, so that exp(a - b) never meets inf - inf.
constexpr float LOWEST = -1e38f;

template <typename F>
void forward(int64_t B, int64_t T, int64_t C, const F *w, const F *u, const F *k, const F *v, F *y) {
    const int64_t blocks = (C + LANES - 1) / LANES;
#pragma omp parallel for schedule(static) collapse(2)
    for (int64_t b = 0; b < B; b++)
        for (int64_t block = 0; block < blocks; block++) {
            const int64_t c0 = block * LANES, n = std::min(LANES, C - c0);
            F aa[LANES], bb[LANES], pp[LANES];
            for (int64_t j = 0; j < n; j++) aa[j] = bb[j] = 0, pp[j] = LOWEST;
            for (int64_t t = 0; t < T; t++) {
                const int64_t row = (b * T + t) * C + c0;
#pragma omp simd
                for (int64_t j = 0; j < n; j++) {
                    const F kt = k[row + j], vt = v[row + j];
                    F ww = u[c0 + j] + kt;
                    F p = std::max(pp[j], ww);
                    F e1 = std::exp(pp[j] - p), e2 = std::exp(ww - p);
                    y[row + j] = (e1 * aa[j] + e2 * vt) / (e1 * bb[j] + e2);
                    ww = w[c0 + j] + pp[j];
                    p = std::max(ww, kt);
                    e1 = std::exp(ww - p), e2 = std::exp(kt - p);
                    aa[j] = e1 * aa[j] + e2 * vt;
                    bb[j] = e1 * bb[j] + e2;
                    pp[j] = p;
                }
            }
        }
}

template <typename F>
void backward(int64_t B, int64_t T, int64_t C, const F *w, const F *u, const F *k, const F *v, const F *y, const F *gy, F *gw,
              F *gu, F *gk, F *gv) {
    const int64_t blocks = (C + LANES - 1) / LANES;
#pragma omp parallel for schedule(static) collapse(2)
    for (int64_t b = 0; b < B; b++)
        for (int64_t block = 0; block < blocks; block++) {
            const int64_t c0 = block * LANES, n = std::min(LANES, C - c0);
            F aa[LANES], bb[LANES], pp[LANES], ga[LANES], gb[LANES], sw[LANES], su[LANES];
            for (int64_t j = 0; j < n; j++) aa[j] = bb[j] = ga[j] = gb[j] = sw[j] = su[j] = 0, pp[j] = LOWEST;
            // Pass 1, forward in time: gradients of w and u. q and r wait in gk and gv for pass 2, so no buffer grows with T.
            for (int64_t t = 0; t < T; t++) {
                const int64_t row = (b * T + t) * C + c0;
#pragma omp simd
                for (int64_t j = 0; j < n; j++) {
                    const F kt = k[row + j], vt = v[row + j], yt = y[row + j];
                    F ww = u[c0 + j] + kt;
                    F p = std::max(pp[j], ww);
                    F e1 = std::exp(pp[j] - p), e2 = std::exp(ww - p);
                    const F q = gy[row + j] / (e1 * bb[j] + e2);
                    sw[j] += (ga[j] - gb[j] * yt) * e1 * q;
                    su[j] += (vt - yt) * e2 * q;
                    gk[row + j] = q;
                    gv[row + j] = ww - p;
                    ww = w[c0 + j] + pp[j];
                    p = std::max(ww, kt);
                    e1 = std::exp(ww - p), e2 = std::exp(kt - p);
                    ga[j] = e1 * (aa[j] + ga[j]);
                    gb[j] = e1 * (bb[j] + gb[j]);
                    aa[j] = e1 * aa[j] + e2 * vt;
                    bb[j] = e1 * bb[j] + e2;
                    pp[j] = p;
                }
            }
            for (int64_t j = 0; j < n; j++) {
                gw[b * C + c0 + j] = sw[j];
                gu[b * C + c0 + j] = su[j];
                aa[j] = bb[j] = 0, pp[j] = LOWEST;
            }
            // Pass 2, backward in time: aa, bb, pp now carry what later tokens ask of this one.
            for (int64_t t = T - 1; t >= 0; t--) {
                const int64_t row = (b * T + t) * C + c0;
#pragma omp simd
                for (int64_t j = 0; j < n; j++) {
                    const F kt = k[row + j], vt = v[row + j], yt = y[row + j], q = gk[row + j], r = gv[row + j];
                    F e1 = q * std::exp(r), e2 = std::exp(kt + pp[j]);
                    gk[row + j] = e1 * (vt - yt) + e2 * (aa[j] * vt + bb[j]);
                    gv[row + j] = e1 + e2 * aa[j];
                    const F ww = w[c0 + j] + pp[j], www = r - u[c0 + j] - kt;
                    const F p = std::max(ww, www);
                    e1 = std::exp(ww - p), e2 = q * std::exp(www - p);
                    aa[j] = e1 * aa[j] + e2;
                    bb[j] = e1 * bb[j] - e2 * yt;
                    pp[j] = p;
                }
            }
        }
}
}  // namespace

#define EXPORT(F, SUFFIX)                                                                                                          \
    extern "C" void wkv_forward_##SUFFIX(int64_t B, int64_t T, int64_t C, const F *w, const F *u, const F *k, const F *v, F *y) {  \
        forward<F>(B, T, C, w, u, k, v, y);                                                                                        \
    }                                                                                                                              \
    extern "C" void wkv_backward_##SUFFIX(int64_t B, int64_t T, int64_t C, const F *w, const F *u, const F *k, const F *v,         \
                                          const F *y, const F *gy, F *gw, F *gu, F *gk, F *gv) {                                   \
        backward<F>(B, T, C, w, u, k, v, y, gy, gw, gu, gk, gv);                                                                   \
    }
EXPORT(float, f32)
EXPORT(double, f64)
