// Norm and activation over channels-last rows (N, P, C), P positions each: moments, and act(x * scale + shift + other)
// with its gradients. Scale and shift are per sample and channel, so that squeeze-excitation's gates fold into them.
#pragma once

#include <algorithm>
#include <vector>

#include "vec.h"

namespace VIDNAS_ISA {

constexpr int64_t kChunk = 128;         // positions of a work unit
constexpr int64_t kChunkValues = 2048;  // values of a tensor that stay in the first-level cache from tile to tile

enum Act { kNone = 0, kRelu = 1, kSilu = 2 };

// exp to 2 units in the last place, by a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes' coefficients).
template <int V>
VIDNAS_INLINE f32<V> exp(f32<V> x) {
  typedef typename Lanes<V>::i32 i32;
  const f32<V> high = splat<V>(88.0f), low = splat<V>(-87.0f);
  x = x > high ? high : x;
  x = x < low ? low : x;
  f32<V> k = x * 1.44269504088896341f + 12582912.0f;  // rounds: 1.5 * 2^23 leaves no room for a fraction
  i32 power = (i32)k << 23;
  k -= 12582912.0f;
  x -= k * 0.693359375f;
  x -= k * -2.12194440e-4f;
  f32<V> y = splat<V>(1.9875691500e-4f);
  y = y * x + 1.3981999507e-3f;
  y = y * x + 8.3334519073e-3f;
  y = y * x + 4.1665795894e-2f;
  y = y * x + 1.6666665459e-1f;
  y = y * x + 5.0000001201e-1f;
  y = y * x * x + x + 1.0f;
  return (f32<V>)((i32)y + power);
}

template <int A, int V>
VIDNAS_INLINE f32<V> activate(f32<V> u) {
  if constexpr (A == kRelu) return u > 0 ? u : f32<V>{};
  if constexpr (A == kSilu) return u / (1.0f + exp<V>(-u));
  return u;
}

// d activate(u) / du times `grad`. The gradient of ReLU follows the sign of its output, which is that of u.
template <int A, int V>
VIDNAS_INLINE f32<V> deactivate(f32<V> u, f32<V> grad) {
  if constexpr (A == kRelu) return u > 0 ? grad : f32<V>{};
  if constexpr (A == kSilu) {
    f32<V> gate = 1.0f / (1.0f + exp<V>(-u));
    return grad * gate * (1.0f + u * (1.0f - gate));
  }
  return grad;
}

// Calls body(unit, n, first position, last position) for all units of kChunk positions.
template <class Body>
void for_units(int64_t samples, int64_t positions, int threads, Body body) {
  const int64_t chunks = (positions + kChunk - 1) / kChunk;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t unit = 0; unit < samples * chunks; ++unit) {
    const int64_t first = unit % chunks * kChunk;
    body(unit, unit / chunks, first, std::min(first + kChunk, positions));
  }
}

// Calls body(V, channel, first, last) for tiles of channels and positions, a few positions at a time.
template <int M, class Body>
VIDNAS_INLINE void for_pieces(int64_t channels, int64_t first, int64_t last, Body body) {
  const int64_t step = std::max<int64_t>(4, kChunkValues / channels);
  for (int64_t begin = first; begin < last; begin += step) {
    const int64_t end = std::min(begin + step, last);
    for_tiles<M>(channels, [&](auto V, int64_t c) { body(V, c, begin, end); });
  }
}

// Two sums for each tile of channels. Tiles that overlap have each their own, since both add up all positions.
template <int M>
class TileSums {
 public:
  explicit TileSums(int64_t channels) : channels_(channels), sums_((channels / M + 8) * 2 * M) {}

  template <int V>
  VIDNAS_INLINE void add(int64_t c, f32<V> first, f32<V> second) {
    float* to = sums_.data() + slot(V, c);
    store<V>(to, load<V>(to) + first);
    store<V>(to + M, load<V>(to + M) + second);
  }

  // Writes [first of all channels][second of all channels].
  void take(float* to) const {
    for_tiles<M>(channels_, [&](auto V, int64_t c) {
      const float* from = sums_.data() + slot(V.value, c);
      store<V.value>(to + c, load<V.value>(from));
      store<V.value>(to + channels_ + c, load<V.value>(from + M));
    });
  }

 private:
  static int64_t slot(int64_t width, int64_t c) { return (width == 1 ? c : (c + M - 1) / M) * 2 * M; }

  int64_t channels_;
  std::vector<float> sums_;
};

// Adds up two sums per unit and channel into two per sample and channel, in double.
inline void add_units(const std::vector<float>& sums, int64_t samples, int64_t positions, int64_t channels,
                      std::vector<double>& totals) {
  const int64_t chunks = (positions + kChunk - 1) / kChunk;
  totals.assign(samples * 2 * channels, 0.0);
  for (int64_t n = 0; n < samples; ++n)
    for (int64_t u = 0; u < chunks; ++u)
      for (int64_t i = 0; i < 2 * channels; ++i)
        totals[n * 2 * channels + i] += sums[(n * chunks + u) * 2 * channels + i];
}

// Mean, and sum of squared distances from it, over the positions of each sample and channel. Values are taken from the
// sample's first position on, so that a mean far from zero costs no digits.
template <int M>
void moments(int64_t samples, int64_t positions, int64_t channels, const float* x, float* mean, float* squares,
             int threads) {
  const int64_t chunks = (positions + kChunk - 1) / kChunk;
  std::vector<float> sums(samples * chunks * 2 * channels);
  for_units(samples, positions, threads, [&](int64_t unit, int64_t n, int64_t first, int64_t last) {
    const float* origin = x + n * positions * channels;
    TileSums<M> of_unit(channels);
    for_pieces<M>(channels, first, last, [&](auto V, int64_t c, int64_t begin, int64_t end) {
      const f32<V.value> base = load<V.value>(origin + c);
      f32<V.value> sum = {}, square = {};
      for (int64_t p = begin; p < end; ++p) {
        f32<V.value> value = load<V.value>(origin + p * channels + c) - base;
        sum += value;
        square += value * value;
      }
      of_unit.template add<V.value>(c, sum, square);
    });
    of_unit.take(sums.data() + unit * 2 * channels);
  });
  std::vector<double> totals;
  add_units(sums, samples, positions, channels, totals);
  for (int64_t n = 0; n < samples; ++n)
    for (int64_t c = 0; c < channels; ++c) {
      const double sum = totals[n * 2 * channels + c], square = totals[(n * 2 + 1) * channels + c];
      mean[n * channels + c] = float(x[n * positions * channels + c] + sum / positions);
      squares[n * channels + c] = float(std::max(0.0, square - sum * sum / positions));
    }
}

// y = act(x * scale + shift + other); `other` may be null.
template <int M, int A, bool HasOther>
void affine_act(int64_t samples, int64_t positions, int64_t channels, const float* x, const float* scale,
                const float* shift, const float* other, float* y, int threads) {
  for_units(samples, positions, threads, [&](int64_t, int64_t n, int64_t first, int64_t last) {
    for_pieces<M>(channels, first, last, [&](auto V, int64_t c, int64_t begin, int64_t end) {
      const f32<V.value> a = load<V.value>(scale + n * channels + c), b = load<V.value>(shift + n * channels + c);
      for (int64_t p = begin; p < end; ++p) {
        const int64_t at = (n * positions + p) * channels + c;
        f32<V.value> u = load<V.value>(x + at) * a + b;
        if constexpr (HasOther) u += load<V.value>(other + at);
        store<V.value>(y + at, activate<A, V.value>(u));
      }
    });
  });
}

// What the activation's input is at a place: from x, or, with `other` (ReLU or nothing only), from the output y.
template <int A, bool FromOutput, int V>
VIDNAS_INLINE f32<V> inside(const float* x, const float* y, int64_t at, f32<V> a, f32<V> b) {
  if constexpr (FromOutput) return load<V>(y + at);
  return load<V>(x + at) * a + b;
}

// Gradients of scale and shift: per sample and channel, the sums of dz * x and dz, dz that of the activation's input.
template <int M, int A, bool FromOutput>
void affine_act_reduce(int64_t samples, int64_t positions, int64_t channels, const float* x, const float* y,
                       const float* scale, const float* shift, const float* grad, float* dscale, float* dshift,
                       int threads) {
  const int64_t chunks = (positions + kChunk - 1) / kChunk;
  std::vector<float> sums(samples * chunks * 2 * channels);
  for_units(samples, positions, threads, [&](int64_t unit, int64_t n, int64_t first, int64_t last) {
    TileSums<M> of_unit(channels);
    for_pieces<M>(channels, first, last, [&](auto V, int64_t c, int64_t begin, int64_t end) {
      const f32<V.value> a = load<V.value>(scale + n * channels + c), b = load<V.value>(shift + n * channels + c);
      // Taken from the sample's first position on, as in `moments`.
      const f32<V.value> base = load<V.value>(x + n * positions * channels + c);
      f32<V.value> da = {}, db = {};
      for (int64_t p = begin; p < end; ++p) {
        const int64_t at = (n * positions + p) * channels + c;
        f32<V.value> u = inside<A, FromOutput, V.value>(x, y, at, a, b);
        f32<V.value> dz = deactivate<A, V.value>(u, load<V.value>(grad + at));
        da += dz * (load<V.value>(x + at) - base);
        db += dz;
      }
      of_unit.template add<V.value>(c, da, db);
    });
    of_unit.take(sums.data() + unit * 2 * channels);
  });
  std::vector<double> totals;
  add_units(sums, samples, positions, channels, totals);
  for (int64_t n = 0; n < samples; ++n)
    for (int64_t c = 0; c < channels; ++c) {
      const double da = totals[n * 2 * channels + c], db = totals[(n * 2 + 1) * channels + c];
      dscale[n * channels + c] = float(da + db * x[n * positions * channels + c]);
      dshift[n * channels + c] = float(db);
    }
}

// dx = dz * scale + (x - mean) * slope + offset; `dother`, which may be null, gets dz.
template <int M, int A, bool FromOutput>
void affine_act_gradient(int64_t samples, int64_t positions, int64_t channels, const float* x, const float* y,
                         const float* scale, const float* shift, const float* grad, const float* mean,
                         const float* slope, const float* offset, float* dx, float* dother, int threads) {
  for_units(samples, positions, threads, [&](int64_t, int64_t n, int64_t first, int64_t last) {
    for_pieces<M>(channels, first, last, [&](auto V, int64_t c, int64_t begin, int64_t end) {
      const int64_t row = n * channels + c;
      const f32<V.value> a = load<V.value>(scale + row), b = load<V.value>(shift + row), m = load<V.value>(mean + row);
      const f32<V.value> s = load<V.value>(slope + row), o = load<V.value>(offset + row);
      for (int64_t p = begin; p < end; ++p) {
        const int64_t at = (n * positions + p) * channels + c;
        f32<V.value> u = inside<A, FromOutput, V.value>(x, y, at, a, b);
        f32<V.value> dz = deactivate<A, V.value>(u, load<V.value>(grad + at));
        store<V.value>(dx + at, dz * a + (load<V.value>(x + at) - m) * s + o);
        if (dother) store<V.value>(dother + at, dz);
      }
    });
  });
}

}  // namespace VIDNAS_ISA
