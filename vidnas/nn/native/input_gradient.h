// Input gradient for any stride: each input position gathers from the outputs that it reached.
#pragma once

#include <vector>

#include "depthwise.h"

namespace VIDNAS_ISA {

template <class T, int V>
VIDNAS_INLINE void spread_position(const Geometry& g, const T* grad, const float* packed, T* dx, int64_t t, int64_t h,
                                   int64_t column) {
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
        sum += load<V>(grad + ((at / g.st * g.oh + ah / g.sh) * g.ow + aw / g.sw) * g.c) *
               load<V>(packed + ((dt * g.kh + dh) * g.kw + dw) * g.c);
      }
    }
  }
  store<V>(dx + column * g.c, sum);
}

// One block of B input gradients of a row where outputs lie two columns apart. `column` is even.
template <class T, int V, int KW, int B>
VIDNAS_INLINE void spread_block(const Geometry& g, const T* grad, const float* packed, const T* zeros, T* dx,
                                int64_t t, int64_t h, int64_t column) {
  constexpr int P = KW / 2, kFirst = -((KW - 1 - P) / 2), kLast = (B - 1 + P) / 2;
  const Outside outside(column / 2 + kFirst, kLast - kFirst + 1, g.ow);
  f32<V> sum[B] = {};
  for (int64_t dt = 0; dt < g.kt; ++dt) {
    int64_t at = t + g.pt - dt;
    if (at < 0 || at % g.st || at / g.st >= g.ot) continue;
    for (int64_t dh = 0; dh < g.kh; ++dh) {
      int64_t ah = h + g.ph - dh;
      if (ah < 0 || ah % g.sh || ah / g.sh >= g.oh) continue;
      const T* from = grad + ((at / g.st * g.oh + ah / g.sh) * g.ow + column / 2 + kFirst) * g.c;
      const float* w = packed + (dt * g.kh + dh) * KW * g.c;
      f32<V> taps[KW];
#pragma GCC unroll 8
      for (int k = 0; k < KW; ++k) taps[k] = load<V>(w + k * g.c);
#pragma GCC unroll 32
      for (int j = kFirst; j <= kLast; ++j, from += g.c) {
        VIDNAS_STEP(from);
        const bool out = (j < 0 && j - kFirst < outside.before) || (j > (B - 1) / 2 && j - kFirst >= outside.behind);
        f32<V> value = load<V>(out ? zeros : from);
        VIDNAS_KEEP(value);
#pragma GCC unroll 8
        for (int k = 0; k < KW; ++k) {
          const int b = 2 * j + k - P;
          if (b >= 0 && b < B) sum[b] += value * taps[k];
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int b = 0; b < B; ++b) store<V>(dx + (column + b) * g.c, sum[b]);
}

// Input gradient. Where the stride is 1 `forward` with the kernel flipped is the same; see the caller.
template <int M, class T>
void spread(const Geometry& g, const T* grad, const float* packed, T* dx, int threads) {
  const std::vector<T> zeros(M);
  const int64_t chunks = div_up(g.h, std::min(kRows, rows_of_unit<T>(g) * g.sh)), rows = div_up(g.h, chunks);
  const bool tiles_inside = g.kt * g.kh * g.w * kLines > kNear;
  const int64_t row_bytes = g.w * g.c * int64_t(sizeof(T));
  const bool streamed = tiles_inside && streams(g.n * g.t * g.h * row_bytes);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t unit = 0; unit < g.n * g.t * chunks; ++unit) {
    std::vector<T> finished(streamed ? g.w * g.c : 0);
    const int64_t n = unit / g.t / chunks, t = unit % g.t, first = unit / g.t % chunks * rows;
    const T* from = grad + n * g.ot * g.oh * g.ow * g.c;
    T* to = dx + (n * g.t + t) * g.h * g.w * g.c;
    with_kernel(g, [&](auto KW, auto S) {
      for_unit<M>(tiles_inside, g.c, first, std::min(first + rows, g.h), [&](int64_t h, auto for_each_tile) {
        T* row = streamed ? finished.data() : to + h * g.w * g.c;
        if (tiles_inside) {
          const int64_t frame = t + g.pt + 1, ahead = (h + g.ph) / g.sh;
          if (frame % g.st == 0 && frame / g.st < g.ot && h % g.sh == 0 && ahead < g.oh)
            fetch<false>(from + (frame / g.st * g.oh + ahead) * g.ow * g.c, g.ow * g.c);
          if (!streamed) fetch<true>(row + g.w * g.c, g.w * g.c);
        }
        for (int64_t column = 0; column < g.w; column += kBlock) {
          const int64_t size = std::min<int64_t>(kBlock, g.w - column);
          for_each_tile([&](auto V, int64_t c) {
            if constexpr (KW.value < 3 || S.value != 2 || V.value < kFewest<M>) {
              for (int64_t w = column; w < column + size; ++w)
                spread_position<T, V.value>(g, from + c, packed + c, row + c, t, h, w);
            } else {
              with_size<kBlock>(size, [&](auto B) {
                spread_block<T, V.value, KW.value, B.value>(g, from + c, packed + c, zeros.data(), row + c, t, h,
                                                            column);
              });
            }
          });
        }
        if (streamed) stream(to + h * g.w * g.c, row, row_bytes);
      });
    });
    if (streamed) fence();
  }
}

}  // namespace VIDNAS_ISA
