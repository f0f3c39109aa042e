// Norm and activation over channels-last rows (N, P, C), P positions each: moments, and act(x * scale + shift + other)
// with its gradients. Scale and shift are per sample and channel, so that squeeze-excitation's gates fold into them.
#pragma once

#include <algorithm>
#include <numeric>
#include <tuple>
#include <vector>

#include "table.h"
#include "vec.h"

namespace VIDNAS_ISA {

constexpr int64_t kUnitRepeats = 128;   // times the pattern of a work unit's numbers
constexpr int64_t kBlockValues = 2048;  // values that are streamed at once
constexpr int kAtOnce = 4;              // repeats of the pattern for which its numbers are loaded once

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

// Swish and its slope, which share what costs most.
template <int V>
VIDNAS_INLINE f32<V> silu_and_slope(f32<V> u, f32<V>& slope) {
  const f32<V> gate = 1.0f / (1.0f + exp<V>(-u));
  slope = gate * (1.0f + u * (1.0f - gate));
  return u * gate;
}

// d activate(u) / du times `grad`. The gradient of ReLU follows the sign of its output, which is that of u; it passes
// where that is NaN, as PyTorch's does.
template <int A, int V>
VIDNAS_INLINE f32<V> deactivate(f32<V> u, f32<V> grad) {
  if constexpr (A == kRelu) return u <= 0 ? f32<V>{} : grad;
  if constexpr (A == kSilu) {
    f32<V> slope;
    silu_and_slope<V>(u, slope);
    return grad * slope;
  }
  return grad;
}

// Numbers of channels repeat along a row of values position after position. So that rows are read in order, by whole
// vectors, numbers are held for as many positions as fill vectors together.
template <int M>
class Pattern {
 public:
  explicit Pattern(int64_t channels) : channels(channels) {
    int64_t count = M / std::gcd(channels, int64_t(M));
    if (count * channels > 64 * M) count = 1;
    while (count * channels < 8 * M) count *= 2;
    length = count * channels, room = (length + M - 1) / M * M;
  }

  // Of each channel (C) -> for all places of the pattern.
  void repeat(const float* numbers, float* to) const {
    std::copy_n(numbers, channels, to);
    for (int64_t done = channels; done < length; done += std::min(done, length - done))
      std::copy_n(to, std::min(done, length - done), to + done);
  }

  // Sums of places -> of channels, in double.
  void add_up(const float* sums, double* to) const {
    std::fill_n(to, channels, 0.0);
    for (int64_t place = 0; place < length; place += channels)
      for (int64_t c = 0; c < channels; ++c) to[c] += sums[place + c];
  }

  int64_t channels;
  int64_t length;  // of the pattern, in values
  int64_t room;    // in whole vectors
};

// Numbers of channels, each repeated.
template <int M>
class Repeated {
 public:
  template <class... Numbers>
  explicit Repeated(const Pattern<M>& pattern, const Numbers*... numbers)
      : step_(pattern.room), values_(sizeof...(numbers) * pattern.room) {
    float* to = values_.data();
    ((pattern.repeat(numbers, to), to += step_), ...);
  }

  const float* operator[](int64_t i) const { return values_.data() + i * step_; }

 private:
  int64_t step_;
  std::vector<float> values_;
};

// Units of a sample's values that are worked on at once.
template <int M>
int64_t count_units(const Pattern<M>& pattern, int64_t values) {
  return (values + kUnitRepeats * pattern.length - 1) / (kUnitRepeats * pattern.length);
}

// Calls body(unit, n, first value, last value) for all units.
template <int M, class Body>
void for_units(int64_t samples, int64_t values, const Pattern<M>& pattern, int threads, Body body) {
  const int64_t units = count_units(pattern, values), size = kUnitRepeats * pattern.length;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t unit = 0; unit < samples * units; ++unit) {
    const int64_t first = unit % units * size;
    body(unit, unit / units, first, std::min(first + size, values));
  }
}

// Calls body(R, tile, first value, place in the pattern) for all vectors of the values: for R of them, a pattern apart.
template <int M, class Body>
VIDNAS_INLINE void for_vectors(int64_t first, int64_t last, int64_t length, Body body) {
  const auto run = [&](auto R, int64_t at, int64_t values) __attribute__((always_inline)) {
    int64_t place = 0;
    for (; place + M <= values; place += M) body(R, Tile<M>{}, at + place, place);
    if (place < values) body(R, Part<M>{{}, values - place}, at + place, place);
  };
  int64_t at = first;
  for (; at + kAtOnce * length <= last; at += kAtOnce * length) run(Width<kAtOnce>{}, at, length);
  for (; at < last; at += length) run(Width<1>{}, at, std::min(length, last - at));
}

// Asks for what the next vectors are made of: a processor does not foresee rows that are read a pattern apart.
VIDNAS_INLINE void fetch_next(const float* from, int64_t length) { __builtin_prefetch(from + kAtOnce * length, 0, 2); }

// A pass that fills tensors: body(R, tile, first value, place, to...), where `to` is where the first value goes. Large
// tensors are streamed.
template <int M, class Body, class... Out>
VIDNAS_INLINE void fill(const Pattern<M>& pattern, int64_t first, int64_t last, bool streamed, Body body, Out*... out) {
  const int64_t length = pattern.length;
  if (!streamed)
    return for_vectors<M>(first, last, length, [&](auto R, auto tile, int64_t at, int64_t place)
                              __attribute__((always_inline)) { body(R, tile, at, place, out + at...); });
  const int64_t block = std::max<int64_t>(kBlockValues / length, 1) * length;
  std::vector<float> finished(sizeof...(Out) * block);
  for (int64_t begin = first; begin < last; begin += block) {
    const int64_t end = std::min(begin + block, last);
    auto room = [&, index = 0](float*) mutable { return finished.data() + block * index++; };
    const auto run = [&](auto*... to) {
      for_vectors<M>(begin, end, length, [&](auto R, auto tile, int64_t at, int64_t place)
                         __attribute__((always_inline)) { body(R, tile, at, place, to + (at - begin)...); });
      (stream(out + begin, to, (end - begin) * int64_t(sizeof(float))), ...);
    };
    std::apply(run, std::tuple{room(out)...});
  }
  fence();
}

// Two sums per sample and channel over all positions: body(R, tile, first value, place, two sums) adds to them. Each unit
// has its own sums, which are added up in double.
template <int M, class Make, class Body>
void sum_up(int64_t samples, int64_t positions, int64_t channels, int threads, double* first_sums, double* second_sums,
            Make make, Body body) {
  const Pattern<M> pattern(channels);
  const int64_t values = positions * channels, units = count_units(pattern, values);
  std::vector<double> sums(samples * units * 2 * channels);
  for_units(samples, values, pattern, threads, [&](int64_t unit, int64_t n, int64_t first, int64_t last) {
    std::vector<float> room(2 * pattern.room);
    float *one = room.data(), *two = one + pattern.room;
    const Repeated<M> numbers = make(pattern, n);
    const auto add = body(n, numbers);
    for_vectors<M>(first, last, pattern.length, [&](auto R, auto tile, int64_t at, int64_t place)
                       __attribute__((always_inline)) {
      f32<M> a = load<M>(one + place), b = load<M>(two + place);
      add(R, tile, at, place, a, b);
      store<M>(one + place, a), store<M>(two + place, b);
    });
    pattern.add_up(one, sums.data() + unit * 2 * channels);
    pattern.add_up(two, sums.data() + unit * 2 * channels + channels);
  });
  for (int64_t n = 0; n < samples; ++n)
    for (int64_t c = 0; c < channels; ++c) {
      double a = 0, b = 0;
      for (int64_t unit = n * units; unit < (n + 1) * units; ++unit)
        a += sums[unit * 2 * channels + c], b += sums[(unit * 2 + 1) * channels + c];
      first_sums[n * channels + c] = a, second_sums[n * channels + c] = b;
    }
}

// Mean, and sum of squared distances from it, over the positions of each sample and channel. Values are taken from the
// sample's first position on, so that a mean far from zero costs no digits.
template <int M>
void moments(int64_t samples, int64_t positions, int64_t channels, const float* x, double* mean, double* squares,
             int threads) {
  const int64_t values = positions * channels;
  sum_up<M>(samples, positions, channels, threads, mean, squares,
            [&](const Pattern<M>& pattern, int64_t n) { return Repeated<M>(pattern, x + n * values); },
            [&](int64_t n, const Repeated<M>& numbers) {
              return [from = x + n * values, origin = numbers[0], length = Pattern<M>(channels).length](
                         auto R, auto tile, int64_t at, int64_t place, f32<M>& sum, f32<M>& square)
                         __attribute__((always_inline)) {
                const f32<M> base = tile.read(origin + place);
#pragma GCC unroll 4
                for (int r = 0; r < R.value; ++r) {
                  const f32<M> value = tile.read(from + at + r * length) - base;
                  sum += value, square += value * value;
                }
              };
            });
  for (int64_t n = 0; n < samples; ++n)
    for (int64_t c = 0; c < channels; ++c) {
      double &sum = mean[n * channels + c], &square = squares[n * channels + c];
      square = std::max(0.0, square - sum * sum / double(positions));
      sum = x[n * values + c] + sum / double(positions);
    }
}

// y = act(x * scale + shift + other), scale and shift (N, C); `other` may be null. The slope of swish, where it is wanted.
template <int M, int A, bool HasOther, class... Slope>
void affine_act(int64_t samples, int64_t positions, int64_t channels, const float* x, const float* scale,
                const float* shift, const float* other, int threads, float* y, Slope*... slope) {
  const Pattern<M> pattern(channels);
  const int64_t values = positions * channels, length = pattern.length;
  const bool streamed = streams(samples * values * int64_t(sizeof(float)));
  for_units(samples, values, pattern, threads, [&](int64_t, int64_t n, int64_t first, int64_t last) {
    const Repeated<M> numbers(pattern, scale + n * channels, shift + n * channels);
    const float *rates = numbers[0], *shifts = numbers[1], *from = x + n * values, *added = HasOther ? other + n * values : x;
    const auto body = [=](auto R, auto tile, int64_t at, int64_t place, float* to, auto*... slopes)
                          __attribute__((always_inline)) {
      const f32<M> a = load<M>(rates + place), b = load<M>(shifts + place);
#pragma GCC unroll 4
      for (int r = 0; r < R.value; ++r) {
        fetch_next(from + at + r * length, length);
        f32<M> u = tile.read(from + at + r * length) * a + b;
        if constexpr (HasOther) u += tile.read(added + at + r * length);
        if constexpr (sizeof...(slopes)) {
          f32<M> rate;
          tile.write(to + r * length, silu_and_slope<M>(u, rate));
          (tile.write(slopes + r * length, rate), ...);
        } else {
          tile.write(to + r * length, activate<A, M>(u));
        }
      }
    };
    fill(pattern, first, last, streamed, body, y + n * values, slope + n * values...);
  });
}

// What the activation's input is at a place: from x, or, with `other` (ReLU or nothing only), from the output y.
template <bool FromOutput, class Channels, class Values>
VIDNAS_INLINE Values inside(Channels tile, Values x, const float* y, Values a, Values b) {
  if constexpr (FromOutput) return tile.read(y);
  return x * a + b;
}

// Per sample and channel, the sums of dz * (x - mean) and of dz, dz the gradient of the activation's input; mean is (C).
// dz itself goes into `kept`, where there is one, which may be `grad`. `slope`, the activation's, saves finding it again.
template <int M, int A, bool FromOutput, class... Slope>
void affine_act_reduce(int64_t samples, int64_t positions, int64_t channels, const float* x, const float* y,
                       const float* scale, const float* shift, const float* mean, const float* grad, float* kept,
                       double* products, double* totals, int threads, const Slope*... slope) {
  const int64_t values = positions * channels;
  sum_up<M>(samples, positions, channels, threads, products, totals,
            [&](const Pattern<M>& pattern, int64_t n) {
              return Repeated<M>(pattern, scale + n * channels, shift + n * channels, mean);
            },
            [&](int64_t n, const Repeated<M>& numbers) {
              return [=, from = x + n * values, out = FromOutput ? y + n * values : x, back = grad + n * values,
                      to = kept ? kept + n * values : nullptr, rates = numbers[0], shifts = numbers[1], means = numbers[2],
                      length = Pattern<M>(channels).length](auto R, auto tile, int64_t at, int64_t place,
                                                            f32<M>& product, f32<M>& total)
                         __attribute__((always_inline)) {
                const f32<M> a = load<M>(rates + place), b = load<M>(shifts + place), m = load<M>(means + place);
#pragma GCC unroll 4
                for (int r = 0; r < R.value; ++r) {
                  const int64_t i = at + r * length;
                  const f32<M> value = tile.read(from + i), u = inside<FromOutput>(tile, value, out + i, a, b);
                  f32<M> dz = tile.read(back + i);
                  if constexpr (sizeof...(slope))
                    ((dz *= tile.read(slope + n * values + i)), ...);
                  else
                    dz = deactivate<A, M>(u, dz);
                  product += dz * (value - m), total += dz;
                  if (to) tile.write(to + i, dz);
                }
              };
            });
}

// dx = dz * scale + (x - mean) * slope + offset, mean and slope (C), the others (N, C); dother, where there is one, is dz.
// Without a slope the gradient does not depend on x, not even where x is not finite.
template <int M, int A, bool FromOutput, class... Other>
void affine_act_gradient(int64_t samples, int64_t positions, int64_t channels, const float* x, const float* y,
                         const float* scale, const float* shift, const float* grad, const float* mean,
                         const float* slope, const float* offset, int threads, float* dx, Other*... dother) {
  const Pattern<M> pattern(channels);
  const int64_t values = positions * channels, length = pattern.length;
  const bool streamed = streams(samples * values * int64_t(sizeof(float)));
  for_units(samples, values, pattern, threads, [&](int64_t, int64_t n, int64_t first, int64_t last) {
    const int64_t row = n * channels;
    const Repeated<M> numbers(pattern, scale + row, shift + row, offset + row, mean, slope);
    const float *rates = numbers[0], *shifts = numbers[1], *offsets = numbers[2], *means = numbers[3], *slopes = numbers[4];
    const float *from = x + n * values, *out = FromOutput ? y + n * values : x, *back = grad + n * values;
    const auto body = [=](auto R, auto tile, int64_t at, int64_t place, float* to, auto*... others)
                          __attribute__((always_inline)) {
      const f32<M> a = load<M>(rates + place), b = load<M>(shifts + place), o = load<M>(offsets + place);
      const f32<M> m = load<M>(means + place), s = load<M>(slopes + place);
#pragma GCC unroll 4
      for (int r = 0; r < R.value; ++r) {
        const int64_t i = at + r * length;
        fetch_next(from + i, length), fetch_next(back + i, length);
        const f32<M> value = tile.read(from + i), u = inside<FromOutput>(tile, value, out + i, a, b);
        const f32<M> dz = deactivate<A, M>(u, tile.read(back + i));
        const f32<M> away = s != 0 ? value - m : f32<M>{};
        tile.write(to + r * length, dz * a + away * s + o);
        (tile.write(others + r * length, dz), ...);
      }
    };
    fill(pattern, first, last, streamed, body, dx + n * values, dother + n * values...);
  });
}

}  // namespace VIDNAS_ISA
