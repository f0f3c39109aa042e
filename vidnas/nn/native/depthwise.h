// Depthwise 3D convolution over channels-last tensors (N, T, H, W, C): what its three passes share, for one instruction
// set (forward.h, input_gradient.h, weight_gradient.h).
//
// Outputs are computed in blocks of some rows and up to kBlock columns that stay in registers while the window of inputs
// passes over them (window.h): each input vector is loaded once per frame and used for every output that it reaches.
#pragma once

#include <algorithm>
#include <vector>

#include "geometry.h"
#include "vec.h"

namespace VIDNAS_ISA {

constexpr int kBlock = 8;               // most columns of a block
constexpr int64_t kRows = 8;            // most rows of a work unit
constexpr int64_t kNear = 512 << 10;    // bytes that stay in the second-level cache
constexpr int64_t kPacked = 96 << 10;     // bytes of packed frames that one tile passes over again and again
constexpr int64_t kLines = 128;         // bytes of the cache lines that an unaligned vector touches

VIDNAS_INLINE int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Asks for memory that is used soon: frames lie too far apart for the processor to foresee.
template <class T>
VIDNAS_INLINE void fetch(const T* from, int64_t count) {
  for (int64_t i = 0; i < count; i += int64_t(64 / sizeof(T))) __builtin_prefetch(from + i, 0, 2);
}

// Weights [C][taps] -> a tile of channels after another, [taps][M] each, in float; place(k) says where tap k goes. With
// fewer channels in the weight than in the tensor (see fold_positions) they are taken again and again.
template <int M, class T, class Place>
std::vector<float> pack_weights(const T* weight, int64_t of_weight, int64_t channels, int64_t taps, Place place) {
  std::vector<float> packed(count_tiles<M>(channels) * taps * M);
  float* to = packed.data();
  for_tiles<M>(channels, [&](auto tile, int64_t c) {
    for (int64_t v = 0; v < tile.count; ++v)
      for (int64_t k = 0; k < taps; ++k) to[place(k) * M + v] = load<1>(weight + (c + v) % of_weight * taps + k)[0];
    to += taps * M;
  });
  return packed;
}

// Calls body(tile, first channel, its weights) for all tiles.
template <int M, class Body>
VIDNAS_INLINE void for_weights(const Geometry& g, const float* packed, Body body) {
  for_tiles<M>(g.c, [&](auto tile, int64_t c) {
    body(tile, c, packed);
    packed += g.kt * g.kh * g.kw * M;
  });
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

inline bool is_square(const Geometry& g) {
  return g.kh == g.kw && g.sh == g.sw && g.ph == g.kh / 2 && g.pw == g.kw / 2;
}

// Runs body(k, stride) with compile-time constants where there are fast loops for them, else body(0, 0): for kernels of
// 1, 3 and 5 rows and columns, padded by half of that, with strides of 1 and 2.
template <class Body>
VIDNAS_INLINE void with_kernel(const Geometry& g, Body body) {
  const int64_t k = is_square(g) ? g.kw : 0, s = g.sw;
  if (k == 3 && s == 1) return body(Width<3>{}, Width<1>{});
  if (k == 5 && s == 1) return body(Width<5>{}, Width<1>{});
  if (k == 3 && s == 2) return body(Width<3>{}, Width<2>{});
  if (k == 5 && s == 2) return body(Width<5>{}, Width<2>{});
  if (k == 1 && s == 1) return body(Width<1>{}, Width<1>{});
  body(Width<0>{}, Width<0>{});
}

// A convolution over time alone sees no rows and no columns: several positions become one of as many times the channels,
// so that few channels fill whole vectors. Returns how many; 1 where the channels do.
template <int M>
int64_t fold_positions(Geometry& g) {
  if (g.kh * g.kw != 1 || g.sh * g.sw != 1 || g.ph + g.pw != 0) return 1;
  const int64_t positions = g.h * g.w;
  int64_t count = 1;
  while (count < positions && (count * g.c < 4 * M || positions % count)) ++count;
  g.c *= count;
  g.h = g.oh = 1;
  g.w = g.ow = positions / count;
  return count;
}

}  // namespace VIDNAS_ISA
