// Batch norm, gates and activation of a block as one affine map per sample and channel, forwards and backwards: from
// the moments of x to scale and shift, and from the sums of the backward pass to every gradient. All of this is
// arithmetic on (N, C) numbers, in double; norm_act.h passes over the tensors.
#include <algorithm>
#include <cmath>
#include <vector>

#include "table.h"

namespace {

typedef std::vector<double> Numbers;

// Squeeze-excitation on the means of the normed tensor.
struct Gates {
  Numbers means;   // (N, C), of the normed tensor
  Numbers hidden;  // (N, squeezed)
  Numbers gates;   // (N, C)
};

double rate(const Norm& s, int64_t c) { return s.weight[c] / std::sqrt(double(s.variance[c]) + s.eps); }

Gates gates_of(const Norm& s) {
  const int64_t N = s.samples, C = s.channels, Q = s.squeezed;
  Gates g{Numbers(N * C), Numbers(N * Q), Numbers(N * C)};
  for (int64_t c = 0; c < C; ++c)
    for (int64_t n = 0; n < N; ++n)
      g.means[n * C + c] = (double(s.sample_mean[n * C + c]) - s.mean[c]) * rate(s, c) + s.bias[c];
  for (int64_t n = 0; n < N; ++n) {
    for (int64_t q = 0; q < Q; ++q) {
      double sum = s.reduce_bias[q];
      for (int64_t c = 0; c < C; ++c) sum += s.reduce[q * C + c] * g.means[n * C + c];
      g.hidden[n * Q + q] = sum <= 0 ? 0.0 : sum;  // std::max would hide a NaN
    }
    for (int64_t c = 0; c < C; ++c) {
      double sum = s.expand_bias[c];
      for (int64_t q = 0; q < Q; ++q) sum += s.expand[c * Q + q] * g.hidden[n * Q + q];
      g.gates[n * C + c] = 1.0 / (1.0 + std::exp(-sum));
    }
  }
  return g;
}

// Mean and variance over the batch from those over samples, and their running averages.
void batch_statistics(const Norm& s, const Numbers& means, const Numbers& squares) {
  const int64_t N = s.samples, C = s.channels;
  const double count = double(N * s.positions);
  for (int64_t c = 0; c < C; ++c) {
    double mean = 0, square = 0;
    for (int64_t n = 0; n < N; ++n) mean += means[n * C + c] / double(N);
    for (int64_t n = 0; n < N; ++n) {
      const double away = means[n * C + c] - mean;
      square += squares[n * C + c] + double(s.positions) * away * away;
    }
    s.mean[c] = float(mean);
    s.variance[c] = float(square / count);
    if (s.running_mean) {
      s.running_mean[c] += float(s.momentum * (mean - s.running_mean[c]));
      s.running_variance[c] += float(s.momentum * (square / std::max(count - 1, 1.0) - s.running_variance[c]));
    }
  }
}

// From the gradients of the gates (N, C) to those of the layers that made them; returns those of the normed means.
Numbers gates_backward(const Norm& s, const NormGradient& g, const Gates& gates, const Numbers& dgate) {
  const int64_t N = s.samples, C = s.channels, Q = s.squeezed;
  Numbers dmeans(N * C), dexpand(C * Q), dexpand_bias(C), dreduce(Q * C), dreduce_bias(Q);
  for (int64_t n = 0; n < N; ++n) {
    Numbers dhidden(Q);
    for (int64_t c = 0; c < C; ++c) {
      const double gate = gates.gates[n * C + c], du = dgate[n * C + c] * gate * (1 - gate);
      dexpand_bias[c] += du;
      for (int64_t q = 0; q < Q; ++q) {
        dexpand[c * Q + q] += du * gates.hidden[n * Q + q];
        dhidden[q] += du * s.expand[c * Q + q];
      }
    }
    for (int64_t q = 0; q < Q; ++q) {
      if (gates.hidden[n * Q + q] <= 0) continue;
      dreduce_bias[q] += dhidden[q];
      for (int64_t c = 0; c < C; ++c) {
        dreduce[q * C + c] += dhidden[q] * gates.means[n * C + c];
        dmeans[n * C + c] += dhidden[q] * s.reduce[q * C + c];
      }
    }
  }
  std::copy(dexpand.begin(), dexpand.end(), g.expand);
  std::copy(dexpand_bias.begin(), dexpand_bias.end(), g.expand_bias);
  std::copy(dreduce.begin(), dreduce.end(), g.reduce);
  std::copy(dreduce_bias.begin(), dreduce_bias.end(), g.reduce_bias);
  return dmeans;
}

}  // namespace

void norm_forward(const Kernels& kernels, const Norm& s, int threads) {
  const int64_t N = s.samples, C = s.channels;
  if (s.of_batch || s.squeezed) {
    Numbers means(N * C), squares(N * C);
    kernels.moments(s, means.data(), squares.data(), threads);
    if (s.of_batch) batch_statistics(s, means, squares);
    if (s.squeezed) std::copy(means.begin(), means.end(), s.sample_mean);
  }
  const Gates gates = s.squeezed ? gates_of(s) : Gates{};
  for (int64_t i = 0; i < N * C; ++i) {
    const int64_t c = i % C;
    const double gate = s.squeezed ? gates.gates[i] : 1.0, scale = rate(s, c);
    s.scale[i] = float(scale * gate);
    s.shift[i] = float((s.bias[c] - s.mean[c] * scale) * gate);
  }
  kernels.apply(s, threads);
}

// With a the norm's rate, b = bias - mean * a and g the gate: scale = a * g, shift = b * g. `products` and `totals` are
// the sums of Kernels.reduce, so the gradient of scale is products + mean * totals and that of shift is totals.
void norm_backward(const Kernels& kernels, const Norm& s, const NormGradient& g, int threads) {
  const int64_t N = s.samples, P = s.positions, C = s.channels;
  Numbers products(N * C), totals(N * C);
  kernels.reduce(s, g.y, products.data(), totals.data(), threads);
  Gates gates;
  Numbers dmeans(N * C);
  if (s.squeezed) {
    gates = gates_of(s);
    Numbers dgate(N * C);
    for (int64_t i = 0; i < N * C; ++i) dgate[i] = products[i] * rate(s, i % C) + totals[i] * s.bias[i % C];
    dmeans = gates_backward(s, g, gates, dgate);
  }
  std::vector<float> slope(C), offset(N * C);
  const double count = double(N * P);
  for (int64_t c = 0; c < C; ++c) {
    double dbias = 0, drate = 0;  // drate without what goes through the bias
    for (int64_t i = c; i < N * C; i += C) {
      const double gate = s.squeezed ? gates.gates[i] : 1.0;
      dbias += gate * totals[i] + dmeans[i];
      drate += gate * products[i] + (s.squeezed ? dmeans[i] * (double(s.sample_mean[i]) - s.mean[c]) : 0.0);
    }
    const double deviation = std::sqrt(double(s.variance[c]) + s.eps), a = s.weight[c] / deviation;
    g.bias[c] = float(dbias);
    g.weight[c] = float(drate / deviation);
    double dmean = 0;
    if (s.of_batch) {
      dmean = -dbias * a;
      slope[c] = float(-drate * a / (deviation * deviation * count));
    }
    for (int64_t i = c; i < N * C; i += C) offset[i] = float(dmean / count + dmeans[i] * a / double(P));
  }
  if (g.x) kernels.gradient(s, g, slope.data(), offset.data(), threads);
}
