// Norm and activation over channels-last rows (N, P, C), P positions each: moments, and act(x * scale + shift + other)
// with its gradients. Scale and shift are per sample and channel, so that squeeze-excitation's gates fold into them.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "vec.h"

namespace VIDNAS_ISA {

constexpr int64_t kChunk = 128;         // positions of a work unit
constexpr int64_t kChunkValues = 1024;  // values of a tensor that stay in the first-level cache from tile to tile

enum Act { kNone = 0, kRelu = 1, kSilu = 2 };

// exp to 2 units in the last place, by a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes' coefficients); infinite from 88 on,
// so that swish is 0 far below zero, and not finite where its input is -infinity.
template <int V>
VIDNAS_INLINE f32<V> exp(f32<V> x) {
  typedef typename Lanes<V>::i32 i32;
  const f32<V> high = splat<V>(88.0f), low = splat<V>(-87.0f);
  const i32 large = x > high;
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
  return large ? splat<V>(__builtin_inff()) : (f32<V>)((i32)y + power);
}

// A NaN stays one, as in PyTorch: a network that diverged must show it.
template <int A, int V>
VIDNAS_INLINE f32<V> activate(f32<V> u) {
  if constexpr (A == kRelu) return u <= 0 ? f32<V>{} : u;
  if constexpr (A == kSilu) return u / (1.0f + exp<V>(-u));
  return u;
}

// d activate(u) / du times `grad`. The gradient of ReLU follows the sign of its output, which is that of u; it passes
// where that is NaN, as PyTorch's does.
template <int A, int V>
VIDNAS_INLINE f32<V> deactivate(f32<V> u, f32<V> grad) {
  if constexpr (A == kRelu) return u <= 0 ? f32<V>{} : grad;
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

VIDNAS_INLINE int64_t positions_of_piece(int64_t channels) { return std::max<int64_t>(4, kChunkValues / channels); }

// Asks for the values of a tensor that the next piece needs: tile after tile, lines are read out of order, which the
// processor does not foresee.
VIDNAS_INLINE void fetch_piece(const float* from, int64_t count) {
  for (int64_t i = 0; from && i < count; i += 16) __builtin_prefetch(from + i);
}

// Calls body(tile, channel, first, last) for tiles of channels and positions, a few positions at a time; `rows` are what it
// reads.
template <int M, class Body, class... Rows>
VIDNAS_INLINE void for_pieces(int64_t channels, int64_t first, int64_t last, Body body, const Rows*... rows) {
  const int64_t step = positions_of_piece(channels);
  for (int64_t begin = first; begin < last; begin += step) {
    const int64_t end = std::min(begin + step, last);
    (fetch_piece(rows + end * channels, step * channels), ...);
    for_tiles<M>(channels, [&](auto tile, int64_t c) { body(tile, c, begin, end); });
  }
}

// As for_units and for_pieces, for passes that fill tensors: body(tile, channel, n, first, last, to...), where `to` is where
// the piece's first position goes. Large tensors are streamed.
template <int M, class Body, class... Out>
void fill(int64_t samples, int64_t positions, int64_t channels, int threads, std::array<const float*, 2> rows, Body body,
          Out*... out) {
  const int64_t step = positions_of_piece(channels);
  const bool streamed = streams(samples * positions * channels * int64_t(sizeof(float)));
  for_units(samples, positions, threads, [&](int64_t, int64_t n, int64_t first, int64_t last) {
    std::vector<float> finished(streamed ? sizeof...(Out) * step * channels : 0);
    for (int64_t begin = first; begin < last; begin += step) {
      const int64_t end = std::min(begin + step, last), at = (n * positions + begin) * channels;
      for (const float* one : rows)
        if (one) fetch_piece(one + (n * positions + end) * channels, step * channels);
      int64_t place = 0;
      const auto target = [&](float* whole) {
        return streamed ? finished.data() + step * channels * place++ : whole + at;
      };
      [&](auto... to) {
        for_tiles<M>(channels, [&](auto tile, int64_t c) { body(tile, c, n, begin, end, to...); });
        if (streamed) (stream(out + at, to, (end - begin) * channels * int64_t(sizeof(float))), ...);
      }(target(out)...);
    }
    if (streamed) fence();
  });
}

// Two sums for each tile of channels. Tiles that overlap have each their own, since both add up all positions.
template <int M>
class TileSums {
 public:
  explicit TileSums(int64_t channels) : channels_(channels), sums_(count_tiles<M>(channels) * 2 * M) {}

  template <int V>
  VIDNAS_INLINE void add(int64_t c, f32<V> first, f32<V> second) {
    float* to = sums_.data() + slot(c);
    store<V>(to, load<V>(to) + first);
    store<V>(to + M, load<V>(to + M) + second);
  }

  // Writes [first of all channels][second of all channels].
  void take(float* to) const {
    for_tiles<M>(channels_, [&](auto tile, int64_t c) {
      const float* from = sums_.data() + slot(c);
      tile.write(to + c, load<tile.value>(from));
      tile.write(to + channels_ + c, load<tile.value>(from + M));
    });
  }

 private:
  static int64_t slot(int64_t c) { return (c + M - 1) / M * 2 * M; }

  int64_t channels_;
  std::vector<float> sums_;
};

// Adds up two sums per unit and channel into two per sample and channel, in double.
inline void add_units(const std::vector<float>& sums, int64_t samples, int64_t positions, int64_t channels,
                      double* first, double* second) {
  const int64_t chunks = (positions + kChunk - 1) / kChunk;
  std::fill(first, first + samples * channels, 0.0);
  std::fill(second, second + samples * channels, 0.0);
  for (int64_t n = 0; n < samples; ++n)
    for (int64_t u = 0; u < chunks; ++u) {
      const float* of_unit = sums.data() + (n * chunks + u) * 2 * channels;
      for (int64_t c = 0; c < channels; ++c) first[n * channels + c] += of_unit[c];
      for (int64_t c = 0; c < channels; ++c) second[n * channels + c] += of_unit[channels + c];
    }
}

// Mean, and sum of squared distances from it, over the positions of each sample and channel. Values are taken from the
// sample's first position on, so that a mean far from zero costs no digits.
template <int M>
void moments(int64_t samples, int64_t positions, int64_t channels, const float* x, double* mean, double* squares,
             int threads) {
  const int64_t chunks = (positions + kChunk - 1) / kChunk;
  std::vector<float> sums(samples * chunks * 2 * channels);
  for_units(samples, positions, threads, [&](int64_t unit, int64_t n, int64_t first, int64_t last) {
    const float* origin = x + n * positions * channels;
    TileSums<M> of_unit(channels);
    for_pieces<M>(channels, first, last, [&](auto tile, int64_t c, int64_t begin, int64_t end) {
      const f32<tile.value> base = tile.read(origin + c);
      f32<tile.value> sum = {}, square = {};
      for (int64_t p = begin; p < end; ++p) {
        f32<tile.value> value = tile.read(origin + p * channels + c) - base;
        sum += value;
        square += value * value;
      }
      of_unit.template add<tile.value>(c, sum, square);
    }, origin);
    of_unit.take(sums.data() + unit * 2 * channels);
  });
  add_units(sums, samples, positions, channels, mean, squares);
  for (int64_t n = 0; n < samples; ++n)
    for (int64_t c = 0; c < channels; ++c) {
      double &sum = mean[n * channels + c], &square = squares[n * channels + c];
      square = std::max(0.0, square - sum * sum / double(positions));
      sum = x[n * positions * channels + c] + sum / double(positions);
    }
}

// y = act(x * scale + shift + other), scale and shift (N, C); `other` may be null.
template <int M, int A, bool HasOther>
void affine_act(int64_t samples, int64_t positions, int64_t channels, const float* x, const float* scale,
                const float* shift, const float* other, float* y, int threads) {
  const auto body = [&](auto tile, int64_t c, int64_t n, int64_t begin, int64_t end, float* to) {
    const f32<tile.value> a = tile.read(scale + n * channels + c), b = tile.read(shift + n * channels + c);
    for (int64_t p = begin; p < end; ++p) {
      const int64_t at = (n * positions + p) * channels + c;
      f32<tile.value> u = tile.read(x + at) * a + b;
      if constexpr (HasOther) u += tile.read(other + at);
      tile.write(to + (p - begin) * channels + c, activate<A, tile.value>(u));
    }
  };
  fill<M>(samples, positions, channels, threads, {x, other}, body, y);
}

// What the activation's input is at a place: from x, or, with `other` (ReLU or nothing only), from the output y.
template <int A, bool FromOutput, class Channels, class Values>
VIDNAS_INLINE Values inside(Channels tile, const float* x, const float* y, int64_t at, Values a, Values b) {
  if constexpr (FromOutput) return tile.read(y + at);
  return tile.read(x + at) * a + b;
}

// Per sample and channel, the sums of dz * (x - mean) and of dz, dz the gradient of the activation's input; mean is (C).
template <int M, int A, bool FromOutput>
void affine_act_reduce(int64_t samples, int64_t positions, int64_t channels, const float* x, const float* y,
                       const float* scale, const float* shift, const float* mean, const float* grad,
                       double* products, double* totals, int threads) {
  const int64_t chunks = (positions + kChunk - 1) / kChunk;
  std::vector<float> sums(samples * chunks * 2 * channels);
  for_units(samples, positions, threads, [&](int64_t unit, int64_t n, int64_t first, int64_t last) {
    TileSums<M> of_unit(channels);
    for_pieces<M>(channels, first, last, [&](auto tile, int64_t c, int64_t begin, int64_t end) {
      const f32<tile.value> a = tile.read(scale + n * channels + c), b = tile.read(shift + n * channels + c);
      const f32<tile.value> middle = tile.read(mean + c);
      f32<tile.value> product = {}, total = {};
      for (int64_t p = begin; p < end; ++p) {
        const int64_t at = (n * positions + p) * channels + c;
        f32<tile.value> u = inside<A, FromOutput>(tile, x, y, at, a, b);
        f32<tile.value> dz = deactivate<A, tile.value>(u, tile.read(grad + at));
        product += dz * (tile.read(x + at) - middle);
        total += dz;
      }
      of_unit.template add<tile.value>(c, product, total);
    }, x + n * positions * channels, grad + n * positions * channels);
    of_unit.take(sums.data() + unit * 2 * channels);
  });
  add_units(sums, samples, positions, channels, products, totals);
}

// dx = dz * scale + (x - mean) * slope + offset, mean and slope (C), the others (N, C); dother, where there is one, is dz.
// Without a slope the gradient does not depend on x, not even where x is not finite.
template <int M, int A, bool FromOutput, class... Other>
void affine_act_gradient(int64_t samples, int64_t positions, int64_t channels, const float* x, const float* y,
                         const float* scale, const float* shift, const float* grad, const float* mean,
                         const float* slope, const float* offset, int threads, float* dx, Other*... dother) {
  const auto body = [&](auto tile, int64_t c, int64_t n, int64_t begin, int64_t end, float* to, auto... other) {
    const int64_t row = n * channels + c;
    const f32<tile.value> a = tile.read(scale + row), b = tile.read(shift + row), o = tile.read(offset + row);
    const f32<tile.value> m = tile.read(mean + c), s = tile.read(slope + c);
    for (int64_t p = begin; p < end; ++p) {
      const int64_t at = (n * positions + p) * channels + c, place = (p - begin) * channels + c;
      f32<tile.value> u = inside<A, FromOutput>(tile, x, y, at, a, b);
      f32<tile.value> dz = deactivate<A, tile.value>(u, tile.read(grad + at));
      const f32<tile.value> away = s != 0 ? tile.read(x + at) - m : f32<tile.value>{};
      tile.write(to + place, dz * a + away * s + o);
      (tile.write(other + place, dz), ...);
    }
  };
  fill<M>(samples, positions, channels, threads, {x, grad}, body, dx, dother...);
}

}  // namespace VIDNAS_ISA
