// Frames of one tile of channels, packed: aligned and in floats.
#pragma once

#include "depthwise.h"

namespace VIDNAS_ISA {

template <class Channels, class T>
VIDNAS_INLINE void pack_positions(Channels tile, const T* from, int64_t channels, int64_t count, float* to) {
  constexpr int V = Channels::value;
#pragma GCC unroll 4
  for (int64_t i = 0; i < count; ++i, from += channels, to += V) store<V>(to, tile.read(from));
}

template <class Channels, class T>
VIDNAS_INLINE void unpack_positions(Channels tile, const float* from, int64_t channels, int64_t count, T* to) {
  constexpr int V = Channels::value;
#pragma GCC unroll 4
  for (int64_t i = 0; i < count; ++i, from += V, to += channels) tile.write(to, load<V>(from));
}

// The same memory from its first whole cache line on; it must have 16 numbers more than are used.
inline float* aligned(float* room) { return room + (-reinterpret_cast<uintptr_t>(room) & 63) / sizeof(float); }

}  // namespace VIDNAS_ISA
