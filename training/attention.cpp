// Causal attention over packed conversations, forward and backward, for one thread and a head size of 32.
//
// PyTorch's attention on a CPU took three quarters of a step here. This one reads the projections as they come
// from the matrix product (bfloat16, tokens x {q,k,v} x heads x 32), turns queries and keys by their position on
// the way in, computes in float32 vectors of 16 lanes, skips what causality hides and never crosses a
// conversation's bounds, so that rows need no padding and no mask. GCC vector extensions: any processor will do.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

typedef float V16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t I16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t U16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint16_t H16 __attribute__((vector_size(32), aligned(2), may_alias));

namespace {
constexpr int D = 32;     // head size: two vectors
constexpr int ROWS = 4;   // queries handled together
constexpr int COLS = 64;  // keys handled together: four vectors
constexpr float SCALE = 0.17677669529663687f;  // 1 / sqrt(32)

inline V16 splat(float x) { return V16{} + x; }
inline V16 load_half(const uint16_t* p) {
  H16 h; std::memcpy(&h, p, 32);
  U16 u = __builtin_convertvector(h, U16) << 16;
  V16 f; std::memcpy(&f, &u, 64);
  return f;
}
inline void store_half(uint16_t* p, V16 f) {  // round to nearest, ties to even
  U16 u; std::memcpy(&u, &f, 64);
  u = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
  H16 h = __builtin_convertvector(u, H16);
  std::memcpy(p, &h, 32);
}
inline V16 load(const float* p) { V16 v; std::memcpy(&v, p, 64); return v; }
inline void store(float* p, V16 v) { std::memcpy(p, &v, 64); }
inline float sum(V16 v) { float s = 0; for (int i = 0; i < 16; i++) s += v[i]; return s; }
inline V16 exponential(V16 x) {  // relative error about 2e-7 for x in [-87, 0]
  V16 low = splat(-87.0f);
  x = x > low ? x : low;
  const V16 magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
  V16 shifted = x * 1.44269504f + magic;
  V16 n = shifted - magic;
  V16 r = x - n * 0.693359375f + n * 2.12194440e-4f;
  V16 y = splat(1.9875691500e-4f);
  y = y * r + 1.3981999507e-3f; y = y * r + 8.3334519073e-3f; y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f; y = y * r + 5.0000001201e-1f;
  y = y * r * r + r + 1.0f;
  I16 e = (__builtin_convertvector(n, I16) + 127) << 23;
  V16 power; std::memcpy(&power, &e, 64);
  return y * power;
}

// s[r][j] = q[r] . k[j] for 4 rows and 64 columns; kt holds keys with the head axis first.
inline void scores(const float* q, const float* kt, int stride, float* s) {
  V16 acc[ROWS][4] = {};
  for (int d = 0; d < D; d++) {
    V16 k[4];
    for (int c = 0; c < 4; c++) k[c] = load(kt + d * stride + 16 * c);
    for (int r = 0; r < ROWS; r++) {
      V16 x = splat(q[r * D + d]);
      for (int c = 0; c < 4; c++) acc[r][c] += x * k[c];
    }
  }
  for (int r = 0; r < ROWS; r++)
    for (int c = 0; c < 4; c++) store(s + r * stride + 16 * c, acc[r][c]);
}
// out[r] = sum over j < n of w[r][j] * v[j]
inline void weigh(const float* w, int stride, const float* v, int n, V16 out[ROWS][2]) {
  for (int r = 0; r < ROWS; r++) out[r][0] = out[r][1] = V16{};
  for (int j = 0; j < n; j++) {
    V16 a = load(v + j * D), b = load(v + j * D + 16);
    for (int r = 0; r < ROWS; r++) {
      V16 x = splat(w[r * stride + j]);
      out[r][0] += x * a; out[r][1] += x * b;
    }
  }
}
struct Room {  // one conversation and head in float32; rows are padded to full blocks
  int T = 0, S = 0;
  std::vector<float> q, k, kt, v, vt, s, p, go, dk, dv;
  void fit(int t) {
    T = t; S = (t + COLS - 1) / COLS * COLS;
    size_t n = size_t(S) * D;
    for (auto* x : {&q, &k, &kt, &v, &vt, &go, &dk, &dv}) if (x->size() < n) x->resize(n);
    for (auto* x : {&s, &p}) if (x->size() < size_t(ROWS) * S) x->resize(size_t(ROWS) * S);
  }
  void read(const uint16_t* qkv, const float* cos, const float* sin, int H, int h) {
    for (int t = 0; t < S; t++) {
      V16 q0{}, q1{}, k0{}, k1{}, v0{}, v1{};
      if (t < T) {
        const uint16_t* at = qkv + size_t(t) * 3 * H * D + h * D;
        V16 c = load(cos + t * 16), s16 = load(sin + t * 16);
        V16 a = load_half(at), b = load_half(at + 16);
        q0 = (a * c - b * s16) * SCALE; q1 = (b * c + a * s16) * SCALE;
        a = load_half(at + H * D); b = load_half(at + H * D + 16);
        k0 = a * c - b * s16; k1 = b * c + a * s16;
        v0 = load_half(at + 2 * H * D); v1 = load_half(at + 2 * H * D + 16);
      }
      store(&q[t * D], q0); store(&q[t * D + 16], q1);
      store(&k[t * D], k0); store(&k[t * D + 16], k1);
      store(&v[t * D], v0); store(&v[t * D + 16], v1);
      for (int d = 0; d < 16; d++) { kt[d * S + t] = k0[d]; kt[(d + 16) * S + t] = k1[d]; }
    }
  }
};
thread_local Room room;
}  // namespace

extern "C" {
// qkv: (N, 3, H, 32) bf16; bounds: (docs + 1) starts; cos, sin: (longest, 16); out: (N, H, 32) bf16; lse: (N, H)
void attention_forward(const uint16_t* qkv, const int64_t* bounds, int64_t docs, int64_t H, const float* cos,
                       const float* sin, uint16_t* out, float* lse) {
  Room& m = room;
  for (int64_t doc = 0; doc < docs; doc++) {
    int64_t start = bounds[doc];
    int T = int(bounds[doc + 1] - start);
    m.fit(T);
    const int S = m.S;
    for (int h = 0; h < H; h++) {
      m.read(qkv + size_t(start) * 3 * H * D, cos, sin, int(H), h);
      for (int i = 0; i < T; i += ROWS) {
        int n = std::min(i + ROWS, T);  // keys that some row of the block sees
        int full = (n + 15) / 16 * 16;
        for (int j = 0; j < n; j += COLS) scores(&m.q[i * D], &m.kt[j], S, &m.s[j]);
        float total[ROWS];
        for (int r = 0; r < ROWS; r++) {
          float* row = &m.s[r * S];
          int seen = std::min(i + r + 1, full);
          for (int j = seen; j < full; j++) row[j] = -1e30f;
          V16 top = load(row);
          for (int j = 16; j < full; j += 16) { V16 x = load(row + j); top = x > top ? x : top; }
          float peak = top[0];
          for (int c = 1; c < 16; c++) peak = std::max(peak, top[c]);
          V16 all{};
          for (int j = 0; j < full; j += 16) { V16 e = exponential(load(row + j) - peak); store(row + j, e); all += e; }
          for (int j = seen; j < full; j++) row[j] = 0.0f;
          total[r] = sum(all);
          if (i + r < T) lse[(start + i + r) * H + h] = peak + std::log(total[r]);
        }
        V16 o[ROWS][2];
        weigh(m.s.data(), S, m.v.data(), n, o);
        for (int r = 0; r < ROWS && i + r < T; r++) {
          uint16_t* at = out + (size_t(start + i + r) * H + h) * D;
          store_half(at, o[r][0] / total[r]); store_half(at + 16, o[r][1] / total[r]);
        }
      }
    }
  }
}

// gout: the gradient of out; gqkv receives the gradient of qkv.
void attention_backward(const uint16_t* qkv, const int64_t* bounds, int64_t docs, int64_t H, const float* cos,
                        const float* sin, const uint16_t* out, const float* lse, const uint16_t* gout,
                        uint16_t* gqkv) {
  Room& m = room;
  for (int64_t doc = 0; doc < docs; doc++) {
    int64_t start = bounds[doc];
    int T = int(bounds[doc + 1] - start);
    m.fit(T);
    const int S = m.S;
    for (int h = 0; h < H; h++) {
      m.read(qkv + size_t(start) * 3 * H * D, cos, sin, int(H), h);
      std::fill_n(m.dk.begin(), S * D, 0.0f); std::fill_n(m.dv.begin(), S * D, 0.0f);
      for (int t = 0; t < S; t++) {
        V16 g0{}, g1{};
        if (t < T) {
          const uint16_t* at = gout + (size_t(start + t) * H + h) * D;
          g0 = load_half(at); g1 = load_half(at + 16);
        }
        store(&m.go[t * D], g0); store(&m.go[t * D + 16], g1);
        for (int d = 0; d < D; d++) m.vt[d * S + t] = m.v[t * D + d];
      }
      for (int i = 0; i < T; i += ROWS) {
        int n = std::min(i + ROWS, T);
        int full = (n + 15) / 16 * 16;
        for (int j = 0; j < n; j += COLS) {
          scores(&m.q[i * D], &m.kt[j], S, &m.p[j]);
          scores(&m.go[i * D], &m.vt[j], S, &m.s[j]);
        }
        for (int r = 0; r < ROWS; r++) {  // p: probabilities; s: gradient of the scores
          float *p = &m.p[r * S], *s = &m.s[r * S];
          if (i + r >= T) { std::fill_n(p, full, 0.0f); std::fill_n(s, full, 0.0f); continue; }
          const uint16_t* at = out + (size_t(start + i + r) * H + h) * D;
          float delta = sum(load_half(at) * load(&m.go[(i + r) * D]) +
                            load_half(at + 16) * load(&m.go[(i + r) * D + 16]));
          float l = lse[(start + i + r) * H + h];
          int seen = i + r + 1;
          for (int j = seen; j < full; j++) p[j] = -1e30f;
          for (int j = 0; j < full; j += 16) {
            V16 e = exponential(load(p + j) - l);
            store(p + j, e); store(s + j, e * (load(s + j) - delta));
          }
          for (int j = seen; j < full; j++) p[j] = s[j] = 0.0f;
        }
        V16 dq[ROWS][2];
        weigh(m.s.data(), S, m.k.data(), n, dq);
        V16 g[ROWS][2], q[ROWS][2];
        for (int r = 0; r < ROWS; r++)
          for (int c = 0; c < 2; c++) {
            g[r][c] = load(&m.go[(i + r) * D + 16 * c]); q[r][c] = load(&m.q[(i + r) * D + 16 * c]);
          }
        for (int j = 0; j < n; j++) {
          float *dv = &m.dv[j * D], *dk = &m.dk[j * D];
          V16 v0 = load(dv), v1 = load(dv + 16), k0 = load(dk), k1 = load(dk + 16);
          for (int r = 0; r < ROWS; r++) {
            V16 p = splat(m.p[r * S + j]), s = splat(m.s[r * S + j]);
            v0 += p * g[r][0]; v1 += p * g[r][1]; k0 += s * q[r][0]; k1 += s * q[r][1];
          }
          store(dv, v0); store(dv + 16, v1); store(dk, k0); store(dk + 16, k1);
        }
        for (int r = 0; r < ROWS && i + r < T; r++) {
          int t = i + r;
          uint16_t* at = gqkv + size_t(start + t) * 3 * H * D + h * D;
          V16 c = load(cos + t * 16), s16 = load(sin + t * 16), a = dq[r][0] * SCALE, b = dq[r][1] * SCALE;
          store_half(at, a * c + b * s16); store_half(at + 16, b * c - a * s16);
        }
      }
      for (int t = 0; t < T; t++) {
        uint16_t* at = gqkv + size_t(start + t) * 3 * H * D + h * D;
        V16 c = load(cos + t * 16), s16 = load(sin + t * 16);
        V16 a = load(&m.dk[t * D]), b = load(&m.dk[t * D + 16]);  // the scale came in with q
        store_half(at + H * D, a * c + b * s16); store_half(at + H * D + 16, b * c - a * s16);
        store_half(at + 2 * H * D, load(&m.dv[t * D])); store_half(at + 2 * H * D + 16, load(&m.dv[t * D + 16]));
      }
    }
  }
}
}
