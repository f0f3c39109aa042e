// Weight gradient.
#pragma once

#include "fill.h"

namespace VIDNAS_ISA {

// Adds the share of R rows of B outputs of one frame to the gradients [K * K][V] of each of `count` frames of the kernel.
template <int K, int S, int V, int R, int B>
void weight_block(const Plane& plane, const float* const* frames, int64_t count, int64_t row, int64_t column,
                  const float* grad, float* to) {
  typedef Direct<K, S> Shape;
  // A single tap has several sums, or additions would wait for each other.
  constexpr int kGroup = K < 5 ? K : R == 1 ? 1 : 2, kSums = K == 1 ? 4 : 1;
  const int64_t columns = (plane.columns - 1) / S + 1;
  f32<V> grads[R][B];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int b = 0; b < B; ++b) grads[r][b] = load<V>(grad + (r * columns + b) * plane.pitch);
  for (int64_t f = 0; f < count; ++f, to += K * K * V) {
#pragma GCC unroll 5
    for (int group = 0; group < K; group += kGroup) {
      f32<V> sum[kGroup][K][kSums] = {};
      for_window<V, Shape::window(R), Shape::window(B), Shape::kBefore, Shape::kBehind>(
          plane, frames[f], Shape::first(row), Shape::first(column),
          [&](f32<V> value, int i, int j) __attribute__((always_inline)) {
#pragma GCC unroll 5
            for (int a = 0; a < kGroup; ++a)
#pragma GCC unroll 5
              for (int b = 0; b < K; ++b) {
                const int r = group + a < K ? Shape::reached(i, group + a, R) : -1, c = Shape::reached(j, b, B);
                if (r >= 0 && c >= 0) sum[a][b][c % kSums] += value * grads[r][c];
              }
          });
#pragma GCC unroll 5
      for (int a = 0; a < kGroup; ++a)
#pragma GCC unroll 5
        for (int b = 0; b < K; ++b) {
          if (group + a >= K) continue;
          float* place = to + ((group + a) * K + b) * V;
#pragma GCC unroll 4
          for (int i = 1; i < kSums; ++i) sum[a][b][0] += sum[a][b][i];
          store<V>(place, load<V>(place) + sum[a][b][0]);
        }
    }
  }
}

// Adds the share of output rows [first, last) of all frames of a sample, and of one tile of channels, to the weight
// gradient [tap][V].
template <int K, int S, class Channels, class T>
void weight_sweep(Channels tile, const Geometry& g, bool stays, const T* x, const T* grad, int64_t first, int64_t last,
                  int64_t plane_size, float* room, float* sums) {
  typedef Direct<K, S> Shape;
  constexpr int V = Channels::value;
  constexpr bool kWhole = std::is_same_v<T, float> && std::is_same_v<Channels, Tile<V>>;
  const bool packs = !kWhole || !stays;
  const int64_t top = std::max<int64_t>(Shape::first(first), 0), bottom = std::min(Shape::end(last), g.h);
  const Plane plane = {bottom, g.w, packs ? V : g.c};
  const Blocks blocks(g.ow, kBlock, 1);
  float* packed_grad = room + g.kt * plane_size;
  const auto slot = [&](int64_t f) { return room + f % g.kt * plane_size; };
  std::vector<const float*> frames(g.kt);
  int64_t next = 0;
  for (int64_t t = 0; t < g.ot; ++t) {
    const Taps kt(t, g.st, g.pt, g.kt, g.t);
    const int64_t done = std::max(next, kt.origin + kt.begin);
    next = kt.origin + kt.end;
    const T* of_frame = grad + (t * g.oh + first) * g.ow * g.c;
    const float* back = packed_grad;
    if constexpr (kWhole)
      if (!packs) back = of_frame;
    if (packs) {
      for (int64_t f = done; f < next; ++f)
        pack_positions(tile, x + (f * g.h + top) * g.w * g.c, g.c, (bottom - top) * g.w, slot(f));
      pack_positions(tile, of_frame, g.c, (last - first) * g.ow, packed_grad);
    }
    for (int64_t dt = kt.begin; dt < kt.end; ++dt) {
      const int64_t f = kt.origin + dt;
      if constexpr (kWhole) frames[dt - kt.begin] = x + f * g.h * g.w * g.c;
      if (packs) frames[dt - kt.begin] = slot(f) - top * g.w * V;
    }
    blocks.each([&](int64_t column, int64_t size) {
      with_size<kBlock>(size, [&](auto B) {
        constexpr int R = Shape::rows(V, B.value);
        const auto add = [&](auto rows, int64_t row) {
          weight_block<K, S, V, rows.value, B.value>(plane, frames.data(), kt.end - kt.begin, row, column,
                                                     back + ((row - first) * g.ow + column) * plane.pitch,
                                                     sums + kt.begin * K * K * V);
        };
        int64_t row = first;
        for (; row + R <= last; row += R) add(Width<R>{}, row);
        for (; row < last; ++row) add(Width<1>{}, row);
      });
    });
  }
}

// Adds the share of one output.
template <class Channels, class T>
VIDNAS_INLINE void weight_position(Channels tile, const Geometry& g, const T* x, const T* grad, const Taps& kt,
                                   const Taps& kh, int64_t column, float* sums) {
  constexpr int V = Channels::value;
  const Taps kw(column, g.sw, g.pw, g.kw, g.w);
  const f32<V> value = tile.read(grad);
  for (int64_t dt = kt.begin; dt < kt.end; ++dt)
    for (int64_t dh = kh.begin; dh < kh.end; ++dh)
      for (int64_t dw = kw.begin; dw < kw.end; ++dw) {
        float* to = sums + ((dt * g.kh + dh) * g.kw + dw) * V;
        store<V>(to, load<V>(to) + value * tile.read(x + (((kt.origin + dt) * g.h + kh.origin + dh) * g.w + kw.origin +
                                                          dw) * g.c));
      }
}

// Output rows that a sweep takes at once: packed, a frame and its gradients stay in the first-level cache.
inline int64_t rows_of_sweep(const Geometry& g, bool stays, int64_t lanes) {
  if (stays && g.kt > 1) return g.oh;
  const int64_t left = kPacked / (lanes * 4) - g.w * (g.kh - g.sh);
  return std::clamp<int64_t>(left / (g.sh * g.w + g.ow) / 2 * 2, std::min<int64_t>(g.oh, 2), g.oh);
}

// Sums in three levels, a frame's block, a work unit and a thread, so that rounding grows little with the tensor's size.
// Writes `repeats` sums for each weight, since each channel of it may be there several times (see fold_positions).
template <int M, class T>
void weight_gradient(const Geometry& g, int64_t repeats, const T* grad, const T* x, T* dw, int threads) {
  const bool stays = in_place<T>({g.t, g.h, g.w}, g.kt, g.kw);
  const int64_t rows = rows_of_sweep(g, stays, M), chunks = div_up(g.oh, rows), tiles = count_tiles<M>(g.c);
  const int64_t plane_size = ((rows - 1) * g.sh + g.kh) * g.w * M;
  const int64_t taps = g.kt * g.kh * g.kw, units = g.n * chunks * tiles, room = tiles * taps * M;
  const int64_t parts = std::max<int64_t>(1, std::min<int64_t>(threads, units));
  std::vector<float> totals(parts * room);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int64_t part = 0; part < parts; ++part) {
    std::vector<float> sums(taps * M), packed(stays && g.c >= M ? 16 : g.kt * plane_size + rows * g.ow * M + 16);
    for (int64_t unit = units * part / parts; unit < units * (part + 1) / parts; ++unit) {
      const int64_t n = unit / tiles / chunks, first = unit / tiles % chunks * rows, last = std::min(first + rows, g.oh);
      const T *from = x + n * g.t * g.h * g.w * g.c, *back = grad + n * g.ot * g.oh * g.ow * g.c;
      int64_t index = 0;
      for_tiles<M>(g.c, [&](auto tile, int64_t c) {
        if (index++ != unit % tiles) return;
        std::fill(sums.begin(), sums.end(), 0.0f);
        with_kernel(g, [&](auto K, auto S) {
          if constexpr (K.value > 0)
            weight_sweep<K.value, S.value>(tile, g, stays, from + c, back + c, first, last, plane_size,
                                           aligned(packed.data()), sums.data());
          else
            for (int64_t i = first * g.ow; i < last * g.ow; ++i)
              for (int64_t t = 0; t < g.ot; ++t)
                weight_position(tile, g, from + c, back + (t * g.oh * g.ow + i) * g.c + c,
                                Taps(t, g.st, g.pt, g.kt, g.t), Taps(i / g.ow, g.sh, g.ph, g.kh, g.h), i % g.ow,
                                sums.data());
        });
        float* total = totals.data() + part * room + unit % tiles * taps * M;
        for (int64_t k = 0; k < taps * M; k += M) store<M>(total + k, load<M>(total + k) + load<M>(sums.data() + k));
      });
    }
  }
  // Tiles that overlap have the same sums.
  std::vector<float> whole(g.c * taps);
  const float* of_tile = totals.data();
  for_tiles<M>(g.c, [&](auto tile, int64_t c) {
    for (int64_t v = 0; v < tile.count; ++v)
      for (int64_t k = 0; k < taps; ++k) {
        float sum = 0;
        for (int64_t part = 0; part < parts; ++part) sum += of_tile[part * room + k * tile.value + v];
        whole[(c + v) * taps + k] = sum;
      }
    of_tile += taps * M;
  });
  const int64_t size = g.c / repeats * taps;
  for (int64_t i = 0; i < size; ++i) {
    float sum = 0;
    for (int64_t q = 0; q < repeats; ++q) sum += whole[q * size + i];
    store<1>(dw + i, f32<1>{sum});
  }
}

}  // namespace VIDNAS_ISA
