// Weight gradient.
#pragma once

#include <vector>

#include "depthwise.h"
#include "packing.h"

namespace VIDNAS_ISA {

// Adds the share of `count` blocks of B outputs of each row to the weight gradient, for KH rows of the kernel. Both
// tensors are packed: x has `width` columns with the padding, grad those of the output.
template <int V, int KW, int KH, int S, int B>
VIDNAS_INLINE void weight_blocks(const float* x, int64_t width, int64_t row_step, const float* grad, int64_t columns,
                                 int64_t rows, int64_t count, float* sums) {
  // With few taps two sums for each where registers allow it, or additions would wait for each other.
  constexpr int kIn = (B - 1) * S + KW, kSums = KW * KH > 5 || (KW > 3 && V < 16) ? 1 : 2;
  f32<V> sum[KH][KW][kSums] = {};
  for (int64_t row = 0; row < rows; ++row, x += row_step * width * V, grad += columns * V) {
    const float *at = x, *of = grad;
    for (int64_t block = 0; block < count; ++block, at += B * S * V, of += B * V) {
      f32<V> grads[B];
#pragma GCC unroll 8
      for (int b = 0; b < B; ++b) grads[b] = load<V>(of + b * V);
#pragma GCC unroll 3
      for (int dh = 0; dh < KH; ++dh) {
        const float* from = at + dh * width * V;
#pragma GCC unroll 32
        for (int i = 0; i < kIn; ++i) {
          f32<V> value = load<V>(from + i * V);
          VIDNAS_KEEP(value);
#pragma GCC unroll 8
          for (int k = 0; k < KW; ++k)
            if ((i - k) % S == 0 && i >= k && (i - k) / S < B)
              sum[dh][k][(i - k) / S % kSums] += value * grads[(i - k) / S];
        }
      }
    }
  }
#pragma GCC unroll 3
  for (int dh = 0; dh < KH; ++dh)
#pragma GCC unroll 8
    for (int k = 0; k < KW; ++k, sums += V) {
      if (kSums == 2) sum[dh][k][0] += sum[dh][k][kSums - 1];
      store<V>(sums, load<V>(sums) + sum[dh][k][0]);
    }
}

// Output rows that a sweep takes at once: a packed frame and its gradients stay in the first-level cache.
inline int64_t rows_of_sweep(const Geometry& g, int64_t lanes) {
  const int64_t width = (g.ow - 1) * g.sw + g.kw, left = kPacked / (lanes * 4) - width * (g.kh - g.sh);
  return std::clamp<int64_t>(left / (g.sh * width + g.ow), 1, g.oh);
}

// Floats that a sweep packs at once: the frames under a kernel and one frame of gradients.
inline int64_t room_of_sweep(const Geometry& g, int64_t rows, int64_t lanes) {
  return (g.kt * ((rows - 1) * g.sh + g.kh) * ((g.ow - 1) * g.sw + g.kw) + rows * g.ow) * lanes;
}

// Adds the share of output rows [first, last) of all frames of a sample, and of one tile of channels, to the weight
// gradient [tap][V]. Each frame is packed once; then all is read from there, aligned and without a look at borders.
template <class T, int V, int KW, int KH, int S>
VIDNAS_INLINE void weight_sweep(const Geometry& g, const T* x, const T* grad, int64_t first, int64_t last, float* packed,
                                float* sums) {
  const int64_t rows = last - first, in_rows = (rows - 1) * g.sh + g.kh, width = (g.ow - 1) * S + KW;
  const int64_t blocks = div_up(g.ow, kBlock), size = g.ow / blocks, larger = g.ow % blocks;
  float* grads = packed + g.kt * in_rows * width * V;
  const auto frame = [&](int64_t t) { return packed + t % g.kt * in_rows * width * V; };
  int64_t next = 0;
  for (int64_t t = 0; t < g.ot; ++t) {
    const Taps kt(t, g.st, g.pt, g.kt, g.t);
    for (next = std::max(next, kt.origin + kt.begin); next < kt.origin + kt.end; ++next)
      pack_frame<T, V>(g, x + next * g.h * g.w * g.c, first * g.sh - g.ph, in_rows, -(KW / 2), width, frame(next));
    pack_positions<T, V>(grad + (t * g.oh + first) * g.ow * g.c, g.c, rows * g.ow, grads);
    for (int64_t dt = kt.begin; dt < kt.end; ++dt)
      for (int64_t dh = 0; dh < g.kh; dh += KH) {
        const float* from = frame(kt.origin + dt) + dh * width * V;
        float* to = sums + (dt * g.kh + dh) * KW * V;
        const auto add = [&](int64_t outputs, int64_t column, int64_t count) {
          with_size<kBlock>(outputs, [&](auto B) {
            weight_blocks<V, KW, KH, S, B.value>(from + column * S * V, width, g.sh, grads + column * V, g.ow, rows, count,
                                             to);
          });
        };
        if (larger) add(size + 1, 0, larger);
        add(size, larger * (size + 1), blocks - larger);
      }
  }
}

// Adds the share of one output.
template <class T, int V>
VIDNAS_INLINE void weight_position(const Geometry& g, const T* x, const T* grad, const Taps& kt, const Taps& kh,
                                   int64_t column, float* sums) {
  const Taps kw(column, g.sw, g.pw, g.kw, g.w);
  const f32<V> value = load<V>(grad);
  for (int64_t dt = kt.begin; dt < kt.end; ++dt)
    for (int64_t dh = kh.begin; dh < kh.end; ++dh)
      for (int64_t dw = kw.begin; dw < kw.end; ++dw) {
        float* to = sums + ((dt * g.kh + dh) * g.kw + dw) * V;
        store<V>(to, load<V>(to) + value * load<V>(x + (((kt.origin + dt) * g.h + kh.origin + dh) * g.w + kw.origin +
                                                        dw) * g.c));
      }
}

// Sums in three levels, a frame's rows, a work unit and a thread, so that rounding grows little with the tensor's size.
template <int M, class T>
void weight_gradient(const Geometry& g, const T* grad, const T* x, T* dw, int threads) {
  const int64_t rows = rows_of_sweep(g, M), chunks = div_up(g.oh, rows), tiles = count_tiles<M>(g.c);
  const int64_t taps = g.kt * g.kh * g.kw, units = g.n * chunks * tiles, room = tiles * taps * M;
  const int64_t parts = std::max<int64_t>(1, std::min<int64_t>(threads, units));
  std::vector<float> totals(parts * room);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int64_t part = 0; part < parts; ++part) {
    std::vector<float> sums(taps * M), packed(room_of_sweep(g, rows, M) + 16);
    // Aligned to whole cache lines.
    float* start = packed.data() + (-reinterpret_cast<uintptr_t>(packed.data()) & 63) / sizeof(float);
    for (int64_t unit = units * part / parts; unit < units * (part + 1) / parts; ++unit) {
      const int64_t n = unit / tiles / chunks, first = unit / tiles % chunks * rows, last = std::min(first + rows, g.oh);
      const T *from = x + n * g.t * g.h * g.w * g.c, *back = grad + n * g.ot * g.oh * g.ow * g.c;
      int64_t tile = 0;
      for_tiles<M>(g.c, [&](auto V, int64_t c) {
        if (tile++ != unit % tiles) return;
        std::fill(sums.begin(), sums.end(), 0.0f);
        with_kernel(g, [&](auto KW, auto S) {
          if constexpr (KW.value == 0 || V.value < kFewest<M>) {
            for (int64_t i = first * g.ow; i < last * g.ow; ++i)
              for (int64_t t = 0; t < g.ot; ++t)
                weight_position<T, V.value>(g, from + c, back + (t * g.oh * g.ow + i) * g.c + c,
                                            Taps(t, g.st, g.pt, g.kt, g.t), Taps(i / g.ow, g.sh, g.ph, g.kh, g.h),
                                            i % g.ow, sums.data());
          } else {
            // All nine sums of 3 x 3 taps fit into registers.
            if (KW.value == 3 && g.kh == 3)
              weight_sweep<T, V.value, KW.value, 3, S.value>(g, from + c, back + c, first, last, start, sums.data());
            else
              weight_sweep<T, V.value, KW.value, 1, S.value>(g, from + c, back + c, first, last, start, sums.data());
          }
        });
        float* total = totals.data() + part * room + unit % tiles * taps * M;
        for (int64_t k = 0; k < taps * M; k += M) store<M>(total + k, load<M>(total + k) + load<M>(sums.data() + k));
      });
    }
  }
  int64_t tile = 0;
  for_tiles<M>(g.c, [&](auto V, int64_t c) {
    const float* of_tile = totals.data() + tile++ * taps * M;
    for (int64_t v = 0; v < V.value; ++v)
      for (int64_t k = 0; k < taps; ++k) {
        float sum = 0;
        for (int64_t part = 0; part < parts; ++part) sum += of_tile[part * room + k * V.value + v];
        store<1>(dw + (c + v) * taps + k, f32<1>{sum});
      }
  });
}

}  // namespace VIDNAS_ISA
