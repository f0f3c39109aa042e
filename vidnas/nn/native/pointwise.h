// Matrix products of pointwise convolutions: very many rows (positions), few columns (channels), all row-major.
//
// A block of rows stays in registers for one tile of columns while the depth passes by; weights are packed per tile as
// [depth][V], so that a tile is read in order.
#pragma once

#include <algorithm>
#include <vector>

#include "vec.h"

namespace VIDNAS_ISA {

// Rows in registers at once: with the tile's own they must not exceed the registers there are.
template <int M>
constexpr int kTall = M == 16 ? 14 : 8;

// Rows of a work unit.
template <int M>
constexpr int64_t kUnitRows = 7 * kTall<M>;

// Calls body(R, row) for blocks of nearly equal size R, at most `Most` rows each.
template <int Most, class Body>
VIDNAS_INLINE void for_row_blocks(int64_t first, int64_t last, Body body) {
  for (int64_t blocks = (last - first + Most - 1) / Most; blocks > 0; --blocks) {
    const int64_t size = (last - first) / blocks;
    with_size<Most>(size, [&](auto R) { body(R, first); });
    first += size;
  }
}

// Where a tile of columns starts in packed weights: each has room for depth * M.
template <int M>
int64_t tile_slot(int64_t column, int64_t depth) {
  return (column + M - 1) / M * depth * M;
}

template <int M>
int64_t packed_size(int64_t columns, int64_t depth) {
  return count_tiles<M>(columns) * depth * M;
}

// weight(d, c) at weight[d * by_depth + c * by_column] -> tiles.
template <int M>
void pack_tiles(int64_t depth, int64_t columns, const float* weight, int64_t by_depth, int64_t by_column,
                float* packed) {
  for_tiles<M>(columns, [&](auto tile, int64_t column) {
    float* to = packed + tile_slot<M>(column, depth);
    for (int64_t v = 0; v < tile.count; ++v)
      for (int64_t d = 0; d < depth; ++d) to[d * tile.value + v] = weight[d * by_depth + (column + v) * by_column];
  });
}

// sum[r] += a[r * by_row + d * by_depth] * b[d * step], a tile of columns of R rows.
template <int R, class Columns>
VIDNAS_INLINE void multiply(Columns tile, int64_t depth, const float* a, int64_t by_row, int64_t by_depth,
                            const float* b, int64_t step, f32<Columns::value> (&sum)[R]) {
  for (int64_t d = 0; d < depth; ++d, a += by_depth, b += step) {
    const f32<Columns::value> columns = tile.read(b);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sum[r] += a[r * by_row] * columns;
  }
}

// out (rows, columns) = x (rows, depth) * weight (depth, columns), packed.
template <int M>
void rows_product(int64_t rows, int64_t depth, int64_t columns, const float* x, const float* packed, float* out,
                  int threads) {
  const int64_t units = (rows + kUnitRows<M> - 1) / kUnitRows<M>;
  const bool streamed = streams(rows * columns * int64_t(sizeof(float)));
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t unit = 0; unit < units; ++unit) {
    const int64_t last = std::min((unit + 1) * kUnitRows<M>, rows);
    std::vector<float> block(streamed ? kTall<M> * columns : 0);
    for_row_blocks<kTall<M>>(unit * kUnitRows<M>, last, [&](auto R, int64_t row) {
      float* to = streamed ? block.data() : out + row * columns;
      for_tiles<M>(columns, [&](auto tile, int64_t column) {
        f32<tile.value> sum[R.value] = {};
        multiply<R.value>(Tile<tile.value>{}, depth, x + row * depth, depth, 1, packed + tile_slot<M>(column, depth),
                          tile.value, sum);
#pragma GCC unroll 16
        for (int r = 0; r < R.value; ++r) tile.write(to + r * columns + column, sum[r]);
      });
      if (streamed) stream(out + row * columns, to, R.value * columns * int64_t(sizeof(float)));
    });
    if (streamed) fence();
  }
}

// sums += a (rows, left) transposed * b (rows, right), the gradient of a weight, in tiles of packed_size(right, left). Sums
// in two levels.
template <int M>
void add_columns_product(int64_t rows, int64_t left, int64_t right, const float* a, const float* b, float* sums) {
  for (int64_t first = 0; first < rows; first += kUnitRows<M>) {
    const int64_t count = std::min(kUnitRows<M>, rows - first);
    for_row_blocks<kTall<M>>(0, left, [&](auto R, int64_t row) {
      for_tiles<M>(right, [&](auto tile, int64_t column) {
        f32<tile.value> sum[R.value] = {};
        multiply<R.value>(tile, count, a + first * left + row, 1, left, b + first * right + column, right, sum);
        float* to = sums + tile_slot<M>(column, left) + row * tile.value;
#pragma GCC unroll 16
        for (int r = 0; r < R.value; ++r)
          store<tile.value>(to + r * tile.value, load<tile.value>(to + r * tile.value) + sum[r]);
      });
    });
  }
}

// out (left, right) = the total of `parts` of such sums.
template <int M>
void total_of_columns(int64_t parts, int64_t left, int64_t right, const float* sums, float* out) {
  const int64_t room = packed_size<M>(right, left);
  for_tiles<M>(right, [&](auto tile, int64_t column) {
    for (int64_t row = 0; row < left; ++row) {
      f32<tile.value> sum = {};
      for (int64_t part = 0; part < parts; ++part)
        sum += load<tile.value>(sums + part * room + tile_slot<M>(column, left) + row * tile.value);
      tile.write(out + row * right + column, sum);
    }
  });
}

template <int M>
void columns_product(int64_t rows, int64_t left, int64_t right, const float* a, const float* b, float* out,
                     int threads) {
  const int64_t units = (rows + kUnitRows<M> - 1) / kUnitRows<M>;
  const int64_t parts = std::max<int64_t>(1, std::min<int64_t>(threads, units));
  const int64_t room = packed_size<M>(right, left);
  std::vector<float> sums(parts * room);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t first = units * part / parts * kUnitRows<M>;
    const int64_t last = std::min(units * (part + 1) / parts * kUnitRows<M>, rows);
    add_columns_product<M>(last - first, left, right, a + first * left, b + first * right, sums.data() + part * room);
  }
  total_of_columns<M>(parts, left, right, sums.data(), out);
}

}  // namespace VIDNAS_ISA
