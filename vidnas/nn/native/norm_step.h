// What steps of a norm are made of, apart from the passes over tensors (norm_step.cpp, chain.cpp).
#pragma once

#include <algorithm>
#include <vector>

#include "table.h"

typedef std::vector<double> Numbers;

// Some of the rows: whole samples, or some positions of one.
struct Piece {
  int64_t sample, samples;
  int64_t position, positions;
};

// A norm's tensors from the first row of a piece on.
inline Norm rows_of(const Norm& s, const Piece& p) {
  Norm rows = s;
  const int64_t at = (p.sample * s.positions + p.position) * s.channels, first = p.sample * s.channels;
  rows.samples = p.samples, rows.positions = p.positions;
  rows.x += at;
  if (s.other) rows.other += at;
  if (s.y) rows.y += at;
  rows.scale += first, rows.shift += first;
  return rows;
}

// Means (S, C) of S shares of the rows and squared distances from them (S, C) -> those of all rows together, (C);
// `rows_of_share` is how many rows each has.
template <class Rows>
void join_moments(int64_t shares, int64_t C, Rows rows_of_share, const double* means, const double* squares,
                  double* mean, double* square) {
  double rows = 0;
  std::fill_n(mean, C, 0.0);
  std::fill_n(square, C, 0.0);
  for (int64_t i = 0; i < shares; ++i) {
    rows += rows_of_share(i);
    for (int64_t c = 0; c < C; ++c) mean[c] += rows_of_share(i) * means[i * C + c];
  }
  for (int64_t c = 0; c < C; ++c) mean[c] /= rows;
  for (int64_t i = 0; i < shares; ++i)
    for (int64_t c = 0; c < C; ++c) {
      const double away = means[i * C + c] - mean[c];
      square[c] += squares[i * C + c] + rows_of_share(i) * away * away;
    }
}

// From the moments of each sample, (N, C): fills scale and shift; first mean, variance and running statistics where they are the batch's, and the gates' means.
void find_coefficients(const Norm&, const Numbers& means, const Numbers& squares);

// From the sums of Kernels.reduce, (N, C): the gradients of parameters, and how that of x depends on x and where it starts.
struct Slopes {
  std::vector<float> slope, offset;  // (C) and (N, C)
};
Slopes find_gradients(const Norm&, const NormGradient&, const Numbers& products, const Numbers& totals);
