// Forward pass, and the input gradient where the stride is 1, with the kernel turned round.
#pragma once

#include <vector>

#include "fill.h"

namespace VIDNAS_ISA {

// Any kernel, stride and padding: one position at a time.
template <class Channels, class T>
VIDNAS_INLINE void forward_position(Channels tile, const Geometry& g, const T* x, const float* weights, int64_t step,
                                    T* out, const Taps& kt, const Taps& kh, int64_t column) {
  constexpr int V = Channels::value;
  const Taps kw(column, g.sw, g.pw, g.kw, g.w);
  f32<V> sum = {};
  for (int64_t dt = kt.begin; dt < kt.end; ++dt)
    for (int64_t dh = kh.begin; dh < kh.end; ++dh)
      for (int64_t dw = kw.begin; dw < kw.end; ++dw)
        sum += tile.read(x + (((kt.origin + dt) * g.h + kh.origin + dh) * g.w + kw.origin + dw) * g.c) *
               load<V>(weights + ((dt * g.kh + dh) * g.kw + dw) * step);
  tile.write(out, sum);
}

// A convolution over time alone, of rows and columns folded into one: frames are read in order, all but the newest from a
// cache.
template <int M, class T>
void forward_in_time(const Geometry& g, const T* x, const float* weights, T* out, int threads) {
  const int64_t size = g.w * g.c;
  for_rows(g.n, g.ot, threads, [&](int64_t n, int64_t t) {
    const Taps kt(t, g.st, g.pt, g.kt, g.t);
    const T* from = x + (n * g.t + kt.origin + kt.begin) * size;
    T* to = out + (n * g.ot + t) * size;
    for (int64_t w = 0; w < g.w; ++w, from += g.c, to += g.c)
      for_weights<M>(g, weights, [&](auto tile, int64_t c, const float* of_tile) {
        f32<tile.value> sum = {};
        for (int64_t dt = kt.begin; dt < kt.end; ++dt)
          sum += tile.read(from + (dt - kt.begin) * size + c) * load<tile.value>(of_tile + dt * M);
        tile.write(to + c, sum);
      });
  });
}

template <int M, class T>
void forward(const Geometry& g, const T* x, const float* weights, T* out, int threads) {
  with_kernel(g, [&](auto K, auto S) {
    if constexpr (K.value == 1) {
      forward_in_time<M>(g, x, weights, out, threads);
    } else if constexpr (K.value > 0) {
      const Frames from = {g.t, g.h, g.w}, to = {g.ot, g.oh, g.ow};
      fill_blocks<M, Direct<K.value, S.value>>(g.n, g.c, from, to, {g.kt, g.st, g.pt}, x, weights, out, threads);
    } else {
      for_rows(g.n * g.ot, g.oh, threads, [&](int64_t frame, int64_t h) {
        const Taps kt(frame % g.ot, g.st, g.pt, g.kt, g.t), kh(h, g.sh, g.ph, g.kh, g.h);
        const T* from = x + frame / g.ot * g.t * g.h * g.w * g.c;
        for_weights<M>(g, weights, [&](auto tile, int64_t c, const float* of_tile) {
          for (int64_t w = 0; w < g.ow; ++w)
            forward_position(tile, g, from + c, of_tile, M, out + ((frame * g.oh + h) * g.ow + w) * g.c + c, kt, kh, w);
        });
      });
    }
  });
}

}  // namespace VIDNAS_ISA
