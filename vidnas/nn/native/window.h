// A block of outputs and the window of inputs under it, all in registers but the inputs: what the passes of a depthwise
// convolution are made of. Taps that fall into the padding are left out, not multiplied by zeros.
#pragma once

#include "depthwise.h"

namespace VIDNAS_ISA {

// A frame of one tile of channels: of the tensor itself, or packed.
struct Plane {
  int64_t rows, columns;
  int64_t pitch;  // from one column to the next
};

// Calls body(value, row, column) for those of the R x C places from (top, left) on that lie in the plane. R and C are known
// to the compiler, which keeps what the body indexes by row and column in registers; only the first `Before` columns and
// the last `Behind` can lie outside.
template <int V, int R, int C, int Before, int Behind, class Body>
VIDNAS_INLINE void for_window(const Plane& plane, const float* frame, int64_t top, int64_t left, Body body) {
  const float* at_row = frame + (top * plane.columns + left) * plane.pitch;
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r, at_row += plane.columns * plane.pitch) {
    VIDNAS_STEP(at_row);
    if (uint64_t(top + r) >= uint64_t(plane.rows)) continue;
    const float* at = at_row;
#pragma GCC unroll 32
    for (int c = 0; c < C; ++c, at += plane.pitch) {
      VIDNAS_STEP(at);
      if ((c < Before && left + c < 0) || (c >= C - Behind && left + c >= plane.columns)) continue;
      f32<V> value = load<V>(at);
      VIDNAS_KEEP(value);
      body(value, r, c);
    }
  }
}

// Outputs of a convolution with K x K taps and stride S: what a block of them reads and how.
template <int K, int S>
struct Direct {
  static constexpr int kTaps = K, kAlign = 1, kPad = K / 2, kBefore = kPad, kBehind = kPad;

  static constexpr int most_columns(int) { return kBlock; }
  // Whole small planes, or two rows, where there are registers for them.
  static constexpr int rows(int lanes, int columns) { return K == 1 || lanes < 16 ? 1 : columns <= 4 ? columns : 2; }
  static constexpr int64_t window(int64_t side) { return (side - 1) * S + K; }
  // Of the inputs under outputs [a, b): the first one, and where they end.
  static int64_t first(int64_t a) { return a * S - kPad; }
  static int64_t end(int64_t b) { return (b - 1) * S - kPad + K; }
  // Which output of a block place `i` of its window reaches with a tap; -1 for none.
  static constexpr int reached(int i, int tap, int side) {
    return (i - tap) % S == 0 && i >= tap && (i - tap) / S < side ? (i - tap) / S : -1;
  }
};

// Input gradients of a convolution with K x K taps and stride 2, from the gradients of its outputs. Blocks start at even
// rows and columns.
template <int K>
struct Transposed {
  static constexpr int kTaps = K, kAlign = 2, kPad = K / 2, kBefore = kPad / 2, kBehind = (kPad + 1) / 2;

  static constexpr int most_columns(int lanes) { return lanes < 16 ? 4 : kBlock; }
  static constexpr int rows(int lanes, int columns) { return lanes < 16 || columns > 4 ? 2 : 4; }
  static constexpr int64_t window(int64_t side) { return (side - 1 + kPad) / 2 + kBefore + 1; }
  static int64_t first(int64_t a) { return a / 2 - kBefore; }
  static int64_t end(int64_t b) { return (b - 1 + kPad) / 2 + 1; }
  static constexpr int reached(int i, int tap, int side) {
    const int output = 2 * (i - kBefore) + tap - kPad;
    return output >= 0 && output < side ? output : -1;
  }
};

// One block of outputs: those of `rows` that are there are written, B of each.
template <class Shape, int V, int B>
void fill_block(const Plane& plane, const float* const* frames, int64_t count, const float* weights, int64_t weight_step,
                int64_t row, int64_t column, int64_t rows, float* out, int64_t row_step, int64_t column_step) {
  constexpr int K = Shape::kTaps, R = Shape::rows(V, B), kGroup = R == 1 ? 1 : K == 5 ? 2 : K;
  f32<V> sum[R][B] = {};
  for (int64_t f = 0; f < count; ++f) {
    const float* of_frame = weights + f * K * K * weight_step;
#pragma GCC unroll 5
    for (int group = 0; group < K; group += kGroup) {
      f32<V> taps[kGroup][K];
#pragma GCC unroll 5
      for (int a = 0; a < kGroup; ++a)
#pragma GCC unroll 5
        for (int b = 0; b < K; ++b)
          if (group + a < K) taps[a][b] = load<V>(of_frame + ((group + a) * K + b) * weight_step);
      for_window<V, Shape::window(R), Shape::window(B), Shape::kBefore, Shape::kBehind>(
          plane, frames[f], Shape::first(row), Shape::first(column), [&](f32<V> value, int i, int j) __attribute__((always_inline)) {
#pragma GCC unroll 5
            for (int a = 0; a < kGroup; ++a)
#pragma GCC unroll 5
              for (int b = 0; b < K; ++b) {
                const int r = group + a < K ? Shape::reached(i, group + a, R) : -1, c = Shape::reached(j, b, B);
                if (r >= 0 && c >= 0) sum[r][c] += value * taps[a][b];
              }
          });
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    if (r >= rows) break;
#pragma GCC unroll 8
    for (int b = 0; b < B; ++b) store<V>(out + r * row_step + b * column_step, sum[r][b]);
  }
}

}  // namespace VIDNAS_ISA
