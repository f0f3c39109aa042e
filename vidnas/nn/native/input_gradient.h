// Input gradient for any stride: each input position gathers from the outputs that it reached.
#pragma once

#include "fill.h"

namespace VIDNAS_ISA {

template <class Channels, class T>
VIDNAS_INLINE void spread_position(Channels tile, const Geometry& g, const T* grad, const float* weights, int64_t step,
                                   T* dx, int64_t t, int64_t h, int64_t column) {
  constexpr int V = Channels::value;
  f32<V> sum = {};
  for (int64_t dt = 0; dt < g.kt; ++dt) {
    int64_t at = t + g.pt - dt;
    if (at < 0 || at % g.st || at / g.st >= g.ot) continue;
    for (int64_t dh = 0; dh < g.kh; ++dh) {
      int64_t ah = h + g.ph - dh;
      if (ah < 0 || ah % g.sh || ah / g.sh >= g.oh) continue;
      for (int64_t dw = 0; dw < g.kw; ++dw) {
        int64_t aw = column + g.pw - dw;
        if (aw < 0 || aw % g.sw || aw / g.sw >= g.ow) continue;
        sum += tile.read(grad + ((at / g.st * g.oh + ah / g.sh) * g.ow + aw / g.sw) * g.c) *
               load<V>(weights + ((dt * g.kh + dh) * g.kw + dw) * step);
      }
    }
  }
  tile.write(dx, sum);
}

// Whether there are fast loops: for the strides of 2 of these networks, in rows and columns only.
inline bool spreads_in_blocks(const Geometry& g) {
  return is_square(g) && (g.kw == 3 || g.kw == 5) && g.sw == 2 && g.st == 1 && g.pt < g.kt;
}

// Input gradient. Where the stride is 1 `forward` with the kernel turned round is the same; see the caller. For blocks the
// weights have their frames in reverse.
template <int M, class T>
void spread(const Geometry& g, const T* grad, const float* weights, T* dx, int threads) {
  with_kernel(g, [&](auto K, auto S) {
    if constexpr (K.value > 1 && S.value == 2) {
      if (spreads_in_blocks(g)) {
        const Frames from = {g.ot, g.oh, g.ow}, to = {g.t, g.h, g.w};
        return fill_blocks<M, Transposed<K.value>>(g.n, g.c, from, to, {g.kt, 1, g.kt - 1 - g.pt}, grad, weights, dx,
                                                   threads);
      }
    }
    for_rows(g.n * g.t, g.h, threads, [&](int64_t frame, int64_t h) {
      const T* from = grad + frame / g.t * g.ot * g.oh * g.ow * g.c;
      for_weights<M>(g, weights, [&](auto tile, int64_t c, const float* of_tile) {
        for (int64_t w = 0; w < g.w; ++w)
          spread_position(tile, g, from + c, of_tile, M, dx + ((frame * g.h + h) * g.w + w) * g.c + c, frame % g.t, h,
                          w);
      });
    });
  });
}

}  // namespace VIDNAS_ISA
