// A pass that fills a tensor from another one, block by block (window.h), frame after frame.
//
// Where the frames under a kernel stay in the second-level cache they are read where they are. Others are read so often that
// each is packed first, one tile of channels at a time, as are numbers that are not floats and channels that fill no
// vector.
#pragma once

#include <type_traits>
#include <vector>

#include "packing.h"
#include "window.h"

namespace VIDNAS_ISA {

// The sides of a tensor.
struct Frames {
  int64_t t, h, w;
};

// How the frames of the kernel lie over those of the tensor that is read.
struct TimeKernel {
  int64_t size, stride, padding;
};

// A row split into blocks of nearly equal size, multiples of `align` but for the last: ten columns are 5 + 5, not 8 + 2.
class Blocks {
 public:
  Blocks(int64_t columns, int64_t most, int64_t align) : columns_(columns), align_(align) {
    const int64_t units = div_up(columns, align);
    count_ = div_up(units, most / align), size_ = units / count_, larger_ = units % count_;
  }

  // Calls body(first column, columns).
  template <class Body>
  VIDNAS_INLINE void each(Body body) const {
    for (int64_t block = 0, first = 0; block < count_; ++block) {
      const int64_t size = std::min((size_ + (block < larger_)) * align_, columns_ - first);
      body(first, size);
      first += size;
    }
  }

 private:
  int64_t columns_, align_, count_, size_, larger_;
};

// Whether passes over a tensor may read it where it is, one tile of channels after another.
template <class T>
bool in_place(const Frames& frames, int64_t kernel_frames, int64_t kernel_side) {
  const bool near = kernel_frames * frames.h * frames.w * kLines <= kNear;
  return std::is_same_v<T, float> && (kernel_frames == 1 || kernel_side == 1 || near);
}

// `weights` are of pack_weights. A work unit is some rows of all frames of a sample, for a group of tiles.
template <int M, class Shape, class T>
void fill_blocks(int64_t samples, int64_t channels, const Frames& from, const Frames& to, const TimeKernel& time,
                 const T* x, const float* weights, T* out, int threads) {
  constexpr int K = Shape::kTaps;
  const bool stays = in_place<T>(from, time.size, K);
  const int64_t tiles = count_tiles<M>(channels), taps = time.size * K * K;
  const auto plane_of = [&](int64_t rows) { return Shape::window(rows) * from.w * M; };
  int64_t rows = stays && time.size > 1 ? to.h : std::min(kRows, to.h);
  while (!stays && rows > 2 && time.size * plane_of(rows) * int64_t(sizeof(float)) > kPacked) --rows;
  rows = div_up(div_up(to.h, div_up(to.h, rows)), 2) * 2;
  const int64_t chunks = div_up(to.h, rows), plane_size = plane_of(rows), row_size = to.w * channels;
  const int64_t groups = std::clamp<int64_t>(div_up(4 * threads, samples * chunks), 1, tiles);
  const bool streamed = groups == 1 && streams(samples * to.t * to.h * row_size * int64_t(sizeof(T)));
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t unit = 0; unit < samples * chunks * groups; ++unit) {
    const int64_t n = unit / groups / chunks, first = unit / groups % chunks * rows, group = unit % groups;
    const int64_t last = std::min(first + rows, to.h), from_tile = tiles * group / groups;
    const int64_t to_tile = tiles * (group + 1) / groups, count = to_tile - from_tile;
    const int64_t top = std::max<int64_t>(Shape::first(first), 0), bottom = std::min(Shape::end(last), from.h);
    const T* source = x + n * from.t * from.h * from.w * channels;
    std::vector<float> ring(stays && channels >= M ? 0 : count * time.size * plane_size + 16);
    std::vector<T> finished(streamed ? (last - first) * row_size : 0);
    std::vector<const float*> frames(time.size);
    int64_t next = 0;
    for (int64_t t = 0; t < to.t; ++t) {
      const Taps kt(t, time.stride, time.padding, time.size, from.t);
      const int64_t done = std::max(next, kt.origin + kt.begin);
      next = kt.origin + kt.end;
      T* whole = out + ((n * to.t + t) * to.h + first) * row_size;
      T* target = streamed ? finished.data() : whole;
      // A share of the next frame for each tile and block: frames lie too far apart for the processor to foresee.
      const auto fetch_ahead = [&](int64_t tile, int64_t column, int64_t columns) {
        const int64_t size = (bottom - top) * from.w * channels, parts = count * to.w;
        if (next < 0 || next >= from.t || size <= 0) return;
        const int64_t begin = size * (tile * to.w + column) / parts, end = size * (tile * to.w + column + columns) / parts;
        fetch(source + (next * from.h + top) * from.w * channels + begin, end - begin);
      };
      int64_t index = -from_tile;
      for_tiles<M>(channels, [&](auto tile, int64_t c) {
        const int64_t i = index++;
        if (i < 0 || i >= count) return;
        constexpr int V = tile.value;
        constexpr bool kWhole = std::is_same_v<T, float> && std::is_same_v<decltype(tile), Tile<V>>;
        const bool packs = !kWhole || !stays;
        const auto slot = [&](int64_t f) { return aligned(ring.data()) + (i * time.size + f % time.size) * plane_size; };
        for (int64_t f = done; packs && f < next; ++f)
          pack_positions(tile, source + (f * from.h + top) * from.w * channels + c, channels, (bottom - top) * from.w,
                         slot(f));
        for (int64_t dt = kt.begin; dt < kt.end; ++dt) {
          const int64_t f = kt.origin + dt;
          if constexpr (kWhole) frames[dt - kt.begin] = source + f * from.h * from.w * channels + c;
          if (packs) frames[dt - kt.begin] = slot(f) - top * from.w * V;
        }
        const Plane plane = {bottom, from.w, packs ? V : channels};
        const float* of_tile = weights + ((from_tile + i) * taps + kt.begin * K * K) * M;
        constexpr int kMost = Shape::most_columns(V);
        Blocks(to.w, kMost, Shape::kAlign).each([&](int64_t column, int64_t size) {
          if (packs) fetch_ahead(i, column, size);
          with_size<kMost>(size, [&](auto B) {
            constexpr int R = Shape::rows(V, B.value);
            for (int64_t row = first; row < last; row += R) {
              T* to_block = target + ((row - first) * to.w + column) * channels + c;
              const auto block = [&](float* to_here, int64_t row_step, int64_t column_step) {
                fill_block<Shape, V, B.value>(plane, frames.data(), kt.end - kt.begin, of_tile, M, row, column, last - row,
                                              to_here, row_step, column_step);
              };
              if constexpr (kWhole) {
                block(to_block, row_size, channels);
              } else {
                float sums[R * B.value * V];
                block(sums, B.value * V, V);
                for (int64_t r = 0; r < std::min<int64_t>(R, last - row); ++r)
                  unpack_positions(tile, sums + r * B.value * V, channels, B.value, to_block + r * row_size);
              }
            }
          });
        });
      });
      if (streamed) stream(whole, target, (last - first) * row_size * int64_t(sizeof(T)));
    }
    if (streamed) fence();
  }
}

// Calls body(frame, row) for all rows of a tensor, for the loops that take any kernel.
template <class Body>
void for_rows(int64_t frames, int64_t rows, int threads, Body body) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t i = 0; i < frames * rows; ++i) body(i / rows, i % rows);
}

}  // namespace VIDNAS_ISA
