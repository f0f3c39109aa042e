// Forward pass, and the input gradient where the stride is 1, with the kernel turned round.
#pragma once

#include <vector>

#include "depthwise.h"
#include "packing.h"

namespace VIDNAS_ISA {

// Any kernel, stride and padding: one position at a time.
template <class T, int V>
VIDNAS_INLINE void forward_position(const Geometry& g, const T* x, const float* packed, T* out, const Taps& kt,
                                    const Taps& kh, int64_t column) {
  Taps kw(column, g.sw, g.pw, g.kw, g.w);
  f32<V> sum = {};
  for (int64_t dt = kt.begin; dt < kt.end; ++dt)
    for (int64_t dh = kh.begin; dh < kh.end; ++dh)
      for (int64_t dw = kw.begin; dw < kw.end; ++dw)
        sum += load<V>(x + (((kt.origin + dt) * g.h + kh.origin + dh) * g.w + kw.origin + dw) * g.c) *
               load<V>(packed + ((dt * g.kh + dh) * g.kw + dw) * g.c);
  store<V>(out + column * g.c, sum);
}

// One block of B outputs of a row: all kernel rows, one tile of channels.
template <class T, int V, int KW, int S, int B>
VIDNAS_INLINE void forward_block(const Geometry& g, const T* x, const float* packed, const T* zeros, T* out,
                                 const Taps& kt, const Taps& kh, int64_t column) {
  constexpr int P = KW / 2, kIn = (B - 1) * S + KW;
  const Outside outside(column * S - P, kIn, g.w);
  f32<V> sum[B] = {};
  for (int64_t dt = kt.begin; dt < kt.end; ++dt)
    for (int64_t dh = kh.begin; dh < kh.end; ++dh) {
      const T* at = x + (((kt.origin + dt) * g.h + kh.origin + dh) * g.w + column * S - P) * g.c;
      const float* w = packed + (dt * g.kh + dh) * KW * g.c;
      f32<V> taps[KW];
#pragma GCC unroll 8
      for (int k = 0; k < KW; ++k) taps[k] = load<V>(w + k * g.c);
#pragma GCC unroll 32
      for (int i = 0; i < kIn; ++i, at += g.c) {
        VIDNAS_STEP(at);
        f32<V> value = load<V>((i < P && i < outside.before) || (i >= kIn - P && i >= outside.behind) ? zeros : at);
        VIDNAS_KEEP(value);
#pragma GCC unroll 8
        for (int k = 0; k < KW; ++k)
          if ((i - k) % S == 0 && i >= k && (i - k) / S < B) sum[(i - k) / S] += value * taps[k];
      }
    }
#pragma GCC unroll 8
  for (int b = 0; b < B; ++b) store<V>(out + (column + b) * g.c, sum[b]);
}

// Forward from the tensor as it is: for kernels of one frame, where packing costs more than it saves, and odd ones.
template <int M, class T>
void forward_in_place(const Geometry& g, const T* x, const float* packed, T* out, int threads) {
  const std::vector<T> zeros(M);
  const int64_t chunks = div_up(g.oh, rows_of_unit<T>(g)), rows = div_up(g.oh, chunks);
  const bool tiles_inside = g.kt * g.kh * g.w * kLines > kNear;
  const int64_t row_bytes = g.ow * g.c * int64_t(sizeof(T));
  const bool streamed = tiles_inside && streams(g.n * g.ot * g.oh * row_bytes);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t unit = 0; unit < g.n * g.ot * chunks; ++unit) {
    std::vector<T> finished(streamed ? g.ow * g.c : 0);
    const int64_t n = unit / g.ot / chunks, t = unit % g.ot, first = unit / g.ot % chunks * rows;
    const T* from = x + n * g.t * g.h * g.w * g.c;
    T* to = out + (n * g.ot + t) * g.oh * g.ow * g.c;
    const Taps kt(t, g.st, g.pt, g.kt, g.t);
    with_kernel(g, [&](auto KW, auto S) {
      for_unit<M>(tiles_inside, g.c, first, std::min(first + rows, g.oh), [&](int64_t h, auto for_each_tile) {
        const Taps kh(h, g.sh, g.ph, g.kh, g.h);
        T* row = streamed ? finished.data() : to + h * g.ow * g.c;
        if (tiles_inside) fetch_next_frame(g, from, kt, kh);
        if (tiles_inside && !streamed) fetch<true>(row + g.ow * g.c, g.ow * g.c);
        for_blocks(g.ow, kBlock, [&](int64_t column, int64_t size) {
          for_each_tile([&](auto V, int64_t c) {
            if constexpr (KW.value == 0 || V.value < kFewest<M>) {
              for (int64_t w = column; w < column + size; ++w)
                forward_position<T, V.value>(g, from + c, packed + c, row + c, kt, kh, w);
            } else {
              with_size<kBlock>(size, [&](auto B) {
                forward_block<T, V.value, KW.value, S.value, B.value>(g, from + c, packed + c, zeros.data(), row + c, kt,
                                                                      kh, column);
              });
            }
          });
        });
        if (streamed) stream(to + h * g.ow * g.c, row, row_bytes);
      });
    });
    if (streamed) fence();
  }
}

// One block of B outputs from packed frames: `frame(t)` has `width` columns with the padding.
template <class T, int V, int KW, int S, int B, class Frame>
VIDNAS_INLINE void forward_packed_block(const Geometry& g, Frame frame, int64_t width, const float* weight, T* out,
                                        const Taps& kt, int64_t row, const Taps& kh, int64_t column) {
  constexpr int kIn = (B - 1) * S + KW;
  f32<V> sum[B] = {};
  for (int64_t dt = kt.begin; dt < kt.end; ++dt)
    for (int64_t dh = kh.begin; dh < kh.end; ++dh) {
      const float* at = frame(kt.origin + dt) + ((row + dh) * width + column * S) * V;
      const float* w = weight + (dt * g.kh + dh) * KW * V;
      f32<V> taps[KW];
#pragma GCC unroll 8
      for (int k = 0; k < KW; ++k) taps[k] = load<V>(w + k * V);
#pragma GCC unroll 32
      for (int i = 0; i < kIn; ++i) {
        f32<V> value = load<V>(at + i * V);
        VIDNAS_KEEP(value);
#pragma GCC unroll 8
        for (int k = 0; k < KW; ++k)
          if ((i - k) % S == 0 && i >= k && (i - k) / S < B) sum[(i - k) / S] += value * taps[k];
      }
    }
#pragma GCC unroll 8
  for (int b = 0; b < B; ++b) store<V>(out + (column + b) * g.c, sum[b]);
}

// Forward from packed tiles. A unit is some output rows of all frames of a sample, for a group of tiles; each frame is
// packed once, and the frames under a kernel are kept.
template <int M, int KW, int S, class T>
void forward_packed(const Geometry& g, const T* x, const float* weight, T* out, int threads) {
  const int64_t tiles = count_tiles<M>(g.c), taps = g.kt * g.kh * g.kw, width = (g.ow - 1) * S + KW;
  const auto plane_of = [&](int64_t rows) { return ((rows - 1) * g.sh + g.kh) * width * M; };
  int64_t rows = std::min<int64_t>(kRows, g.oh);
  while (rows > 1 && g.kt * plane_of(rows) * int64_t(sizeof(float)) > kPacked) --rows;
  const int64_t chunks = div_up(g.oh, rows);
  rows = div_up(g.oh, chunks);
  const int64_t groups = std::clamp<int64_t>(div_up(4 * threads, g.n * chunks), 1, tiles);
  const int64_t plane = plane_of(rows), in_rows = (rows - 1) * g.sh + g.kh, row_size = g.ow * g.c;
  const bool streamed = groups == 1 && streams(g.n * g.ot * g.oh * row_size * int64_t(sizeof(T)));
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t unit = 0; unit < g.n * chunks * groups; ++unit) {
    const int64_t n = unit / groups / chunks, first = unit / groups % chunks * rows, group = unit % groups;
    const int64_t last = std::min(first + rows, g.oh), from_tile = tiles * group / groups;
    const int64_t to_tile = tiles * (group + 1) / groups, count = to_tile - from_tile;
    const T* from = x + n * g.t * g.h * g.w * g.c;
    std::vector<float> room(count * (g.kt * plane + taps * M) + 16);
    float* start = room.data() + (-reinterpret_cast<uintptr_t>(room.data()) & 63) / sizeof(float);
    float* weights = start + count * g.kt * plane;
    const auto each_tile = [&](auto body) {
      int64_t tile = 0;
      for_tiles<M>(g.c, [&](auto V, int64_t c) {
        if (tile >= from_tile && tile < to_tile) body(V, c, tile - from_tile);
        ++tile;
      });
    };
    each_tile([&](auto V, int64_t c, int64_t i) {
      for (int64_t k = 0; k < taps; ++k)
        store<V.value>(weights + i * taps * M + k * V.value, load<V.value>(weight + k * g.c + c));
    });
    std::vector<T> finished(streamed ? (last - first) * row_size : 0);
    int64_t next = 0;
    for (int64_t t = 0; t < g.ot; ++t) {
      const Taps kt(t, g.st, g.pt, g.kt, g.t);
      const int64_t done = std::max(next, kt.origin + kt.begin);
      next = kt.origin + kt.end;
      T* whole = out + ((n * g.ot + t) * g.oh + first) * row_size;
      T* to = streamed ? finished.data() : whole;
      // A share of the next frame for each tile and row: frames lie too far apart for the processor to foresee.
      const auto fetch_ahead = [&](int64_t tile, int64_t h) {
        const int64_t top = std::max<int64_t>(0, h == first ? first * g.sh - g.ph : h * g.sh - g.ph + g.kh - g.sh);
        const int64_t bottom = std::min(g.h, h * g.sh - g.ph + g.kh), size = (bottom - top) * g.w * g.c;
        if (next < 0 || next >= g.t || size <= 0) return;
        const int64_t begin = size * tile / count, end = size * (tile + 1) / count;
        fetch<false>(from + (next * g.h + top) * g.w * g.c + begin, end - begin);
      };
      each_tile([&](auto V, int64_t c, int64_t i) {
        if constexpr (V.value < kFewest<M>) {
          for (int64_t h = first; h < last; ++h)
            for (int64_t w = 0; w < g.ow; ++w)
              forward_position<T, V.value>(g, from + c, weight + c, to + (h - first) * row_size + c, kt,
                                           Taps(h, g.sh, g.ph, g.kh, g.h), w);
        } else {
          const auto frame = [&](int64_t f) { return start + (i * g.kt + f % g.kt) * plane; };
          for (int64_t f = done; f < next; ++f)
            pack_frame<T, V.value>(g, from + f * g.h * g.w * g.c + c, first * g.sh - g.ph, in_rows, -(KW / 2), width,
                                   frame(f));
          for (int64_t h = first; h < last; ++h) {
            const Taps kh(h, g.sh, g.ph, g.kh, g.h);
            T* row = to + (h - first) * row_size + c;
            fetch_ahead(i, h);
            for_blocks(g.ow, kBlock, [&](int64_t column, int64_t size) {
              with_size<kBlock>(size, [&](auto B) {
                forward_packed_block<T, V.value, KW, S, B.value>(g, frame, width, weights + i * taps * M, row, kt,
                                                                 (h - first) * g.sh, kh, column);
              });
            });
          }
        }
      });
      if (streamed) stream(whole, to, (last - first) * row_size * int64_t(sizeof(T)));
    }
    if (streamed) fence();
  }
}

template <int M, class T>
void forward(const Geometry& g, const T* x, const float* packed, T* out, int threads) {
  with_kernel(g, [&](auto KW, auto S) {
    if constexpr (KW.value > 1)
      if (g.kt > 1) return forward_packed<M, KW.value, S.value>(g, x, packed, out, threads);
    forward_in_place<M>(g, x, packed, out, threads);
  });
}

}  // namespace VIDNAS_ISA
