// Frames of one tile of channels, packed: aligned, in floats, with the padding.
#pragma once

#include "depthwise.h"

namespace VIDNAS_ISA {

// The tiles of channels, the last of which may overlap the one before.
template <int M>
int64_t count_tiles(int64_t channels) {
  int64_t count = 0;
  for_tiles<M>(channels, [&](auto, int64_t) { ++count; });
  return count;
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

}  // namespace VIDNAS_ISA
