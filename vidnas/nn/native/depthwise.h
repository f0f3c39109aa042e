// Depthwise 3D convolution over channels-last tensors (N, T, H, W, C): the loops, for one instruction set.
//
// A row of outputs is computed in blocks of up to kBlock columns that stay in registers while the kernel's rows pass
// over them; each input vector is loaded once per kernel row and used for every column that it reaches. Where the rows
// that a kernel covers stay in the first-level cache for one tile of channels, tiles are the outer loop and their weights
// stay there too; where rows are long, tiles are the inner loop and every cache line is fetched once.
#pragma once

#include <algorithm>
#include <vector>

#include "geometry.h"
#include "vec.h"

namespace VIDNAS_ISA {

// Narrower vectors serve networks of a few channels only: they take the loops for any kernel.
template <int M>
constexpr int kFewest = M < 8 ? M : 8;

constexpr int kBlock = 8;          // columns of a forward or input gradient block
constexpr int64_t kRows = 8;          // most rows of a work unit
constexpr int64_t kNear = 12 << 10;   // bytes that stay in the first-level cache
constexpr int64_t kMiddle = 512 << 10;  // bytes that stay in the second-level cache
constexpr int64_t kSweep = 96 << 10;  // bytes of a packed frame and its gradients, to stay there beside the sums
constexpr int64_t kLines = 128;       // bytes of the cache lines that an unaligned vector touches

VIDNAS_INLINE int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Splits a row into blocks of nearly equal size: ten columns are 5 + 5, not 8 + 2.
template <class Body>
VIDNAS_INLINE void for_blocks(int64_t columns, int64_t most, Body body) {
  int64_t blocks = div_up(columns, most), first = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    int64_t size = (columns - first) / (blocks - b);
    body(first, size);
    first += size;
  }
}

// Asks for memory that is used soon: frames lie too far apart for the processor to foresee.
template <bool Write, class T>
VIDNAS_INLINE void fetch(const T* from, int64_t count) {
  for (int64_t i = 0; i < count; i += int64_t(64 / sizeof(T))) __builtin_prefetch(from + i, Write, 2);
}

// Output rows of a work unit: the input frames under a kernel, and the next one, stay in the second-level cache.
template <class T>
VIDNAS_INLINE int64_t rows_of_unit(const Geometry& g) {
  const int64_t input_rows = kMiddle / ((g.kt + 1) * g.w * g.c * int64_t(sizeof(T)));
  return std::clamp<int64_t>((input_rows - g.kh) / g.sh, 1, kRows);
}

// [C][taps] -> [taps][C], in float; flipped reverses the taps.
template <class T>
void pack(const T* weight, int64_t channels, int64_t taps, bool flipped, float* packed) {
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t k = 0; k < taps; ++k)
      packed[(flipped ? taps - 1 - k : k) * channels + c] = load<1>(weight + c * taps + k)[0];
}

// Kernel rows [begin, end) that meet the input where output `o` starts at o * stride - pad.
struct Taps {
  int64_t begin, end, origin;
  Taps(int64_t o, int64_t stride, int64_t pad, int64_t kernel, int64_t size) {
    origin = o * stride - pad;
    begin = std::max<int64_t>(0, -origin);
    end = std::min(kernel, size - origin);
  }
};

// Which of a block's columns lie outside the row: the first `before`, and all from `behind` on. Padding is KW / 2, so
// only the first and last KW / 2 can.
struct Outside {
  int64_t before, behind;
  Outside(int64_t first, int64_t count, int64_t columns) {
    before = -first;
    behind = std::min(count, columns - first);
  }
};

// Fetches what the same row needs anew when the next frame is computed.
template <class T>
VIDNAS_INLINE void fetch_next_frame(const Geometry& g, const T* x, const Taps& kt, const Taps& kh) {
  const int64_t frame = kt.origin + g.kt, row = kh.origin + g.kh - g.sh;
  if (frame < g.t && row >= 0 && row + g.sh <= g.h)
    fetch<false>(x + (frame * g.h + row) * g.w * g.c, g.sh * g.w * g.c);
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

template <int V>
VIDNAS_INLINE float* pack_zeros(int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i, to += V) store<V>(to, f32<V>{});
  return to;
}

template <class T, int V>
VIDNAS_INLINE float* pack_positions(const T* from, int64_t channels, int64_t count, float* to) {
#pragma GCC unroll 4
  for (int64_t i = 0; i < count; ++i, from += channels, to += V) store<V>(to, load<V>(from));
  return to;
}

// Rows [top, top + rows) and columns [left, left + columns) of a frame, as floats [row][column][V]; zero outside of it.
template <class T, int V>
VIDNAS_INLINE void pack_frame(const Geometry& g, const T* frame, int64_t top, int64_t rows, int64_t left,
                              int64_t columns, float* to) {
  const int64_t begin = std::max<int64_t>(left, 0), end = std::min(left + columns, g.w);
  for (int64_t row = top; row < top + rows; ++row) {
    if (row < 0 || row >= g.h) {
      to = pack_zeros<V>(columns, to);
      continue;
    }
    to = pack_zeros<V>(begin - left, to);
    to = pack_positions<T, V>(frame + (row * g.w + begin) * g.c, g.c, end - begin, to);
    to = pack_zeros<V>(left + columns - end, to);
  }
}

// Output rows that a sweep takes at once: a packed frame and its gradients stay in the first-level cache.
inline int64_t rows_of_sweep(const Geometry& g, int64_t lanes) {
  const int64_t width = (g.ow - 1) * g.sw + g.kw, left = kSweep / (lanes * 4) - width * (g.kh - g.sh);
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

// Runs body(kw, stride) with compile-time constants where there are fast loops for them, else body(0, 0): for kernels
// of 1, 3 and 5 columns, padded by half of that, with strides of 1 and 2.
template <class Body>
VIDNAS_INLINE void with_kernel(const Geometry& g, Body body) {
  const int64_t kw = g.pw == g.kw / 2 ? g.kw : 0, sw = g.sw;
  if (kw == 3 && sw == 1) return body(Width<3>{}, Width<1>{});
  if (kw == 5 && sw == 1) return body(Width<5>{}, Width<1>{});
  if (kw == 3 && sw == 2) return body(Width<3>{}, Width<2>{});
  if (kw == 5 && sw == 2) return body(Width<5>{}, Width<2>{});
  if (kw == 1 && sw == 1) return body(Width<1>{}, Width<1>{});
  body(Width<0>{}, Width<0>{});
}

// Calls body(row, for_each_tile) for the rows of a work unit, with tiles inside or outside of them.
template <int M, class Body>
VIDNAS_INLINE void for_unit(bool tiles_inside, int64_t channels, int64_t first, int64_t last, Body body) {
  if (tiles_inside) {
    for (int64_t h = first; h < last; ++h) body(h, [&](auto each) { for_tiles<M>(channels, each); });
  } else {
    for_tiles<M>(channels, [&](auto V, int64_t c) {
      for (int64_t h = first; h < last; ++h) body(h, [&](auto each) { each(V, c); });
    });
  }
}

template <int M, class T>
void forward(const Geometry& g, const T* x, const float* packed, T* out, int threads) {
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

// The tiles of channels, the last of which may overlap the one before.
template <int M>
int64_t count_tiles(int64_t channels) {
  int64_t count = 0;
  for_tiles<M>(channels, [&](auto, int64_t) { ++count; });
  return count;
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
