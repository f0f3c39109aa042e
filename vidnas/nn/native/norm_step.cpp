// Batch norm, gates and activation of a block as one affine map per sample and channel, forwards and backwards: from
// the moments of x to scale and shift, and from the sums of the backward pass to every gradient. All of this is
// arithmetic on (N, C) numbers, in double; norm_act.h passes over the tensors.
#include "norm_step.h"

#include <cmath>

namespace {

// Squeeze-excitation on the means of the normed tensor.
struct Gates {
  Numbers means;   // (N, C), of the normed tensor
  Numbers hidden;  // (N, squeezed)
  Numbers gates;   // (N, C)
};

// What the norm multiplies each channel by.
Numbers rates_of(const Norm& s) {
  Numbers rates(s.channels);
  for (int64_t c = 0; c < s.channels; ++c) rates[c] = s.weight[c] / std::sqrt(double(s.variance[c]) + s.eps);
  return rates;
}

Gates gates_of(const Norm& s, const Numbers& rates) {
  const int64_t N = s.samples, C = s.channels, Q = s.squeezed;
  Gates g{Numbers(N * C), Numbers(N * Q), Numbers(N * C)};
  for (int64_t c = 0; c < C; ++c)
    for (int64_t n = 0; n < N; ++n)
      g.means[n * C + c] = (double(s.sample_mean[n * C + c]) - s.mean[c]) * rates[c] + s.bias[c];
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
  const int64_t C = s.channels;
  const double count = double(s.samples * s.positions);
  Numbers mean(C), square(C);
  join_moments(s.samples, C, [&](int64_t) { return double(s.positions); }, means.data(), squares.data(), mean.data(),
               square.data());
  for (int64_t c = 0; c < C; ++c) {
    s.mean[c] = float(mean[c]);
    s.variance[c] = float(square[c] / count);
    if (s.running_mean) {
      s.running_mean[c] += float(s.momentum * (mean[c] - s.running_mean[c]));
      s.running_variance[c] += float(s.momentum * (square[c] / std::max(count - 1, 1.0) - s.running_variance[c]));
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

void find_coefficients(const Norm& s, const Numbers& means, const Numbers& squares) {
  const int64_t N = s.samples, C = s.channels;
  if (s.of_batch) batch_statistics(s, means, squares);
  if (s.squeezed) std::copy(means.begin(), means.end(), s.sample_mean);
  const Numbers rates = rates_of(s);
  const Gates gates = s.squeezed ? gates_of(s, rates) : Gates{};
  for (int64_t n = 0; n < N; ++n)
    for (int64_t c = 0; c < C; ++c) {
      const int64_t i = n * C + c;
      const double gate = s.squeezed ? gates.gates[i] : 1.0;
      s.scale[i] = float(rates[c] * gate);
      s.shift[i] = float((s.bias[c] - s.mean[c] * rates[c]) * gate);
    }
}

void norm_forward(const Kernels& kernels, const Norm& s, int threads) {
  Numbers means, squares;
  if (s.of_batch || s.squeezed) {
    means.resize(s.samples * s.channels), squares.resize(s.samples * s.channels);
    kernels.moments(s, means.data(), squares.data(), threads);
  }
  find_coefficients(s, means, squares);
  kernels.apply(s, nullptr, threads);
}

// With a the norm's rate, b = bias - mean * a and g the gate: scale = a * g, shift = b * g. `products` and `totals` are
// the sums of Kernels.reduce, so the gradient of scale is products + mean * totals and that of shift is totals.
Slopes find_gradients(const Norm& s, const NormGradient& g, const Numbers& products, const Numbers& totals) {
  const int64_t N = s.samples, P = s.positions, C = s.channels;
  const Numbers rates = rates_of(s);
  Gates gates;
  Numbers dmeans(N * C);
  if (s.squeezed) {
    gates = gates_of(s, rates);
    Numbers dgate(N * C);
    for (int64_t i = 0; i < N * C; ++i) dgate[i] = products[i] * rates[i % C] + totals[i] * s.bias[i % C];
    dmeans = gates_backward(s, g, gates, dgate);
  }
  Numbers dbias(C), drate(C);  // drate without what goes through the bias
  for (int64_t n = 0; n < N; ++n)
    for (int64_t c = 0; c < C; ++c) {
      const int64_t i = n * C + c;
      const double gate = s.squeezed ? gates.gates[i] : 1.0;
      dbias[c] += gate * totals[i] + dmeans[i];
      drate[c] += gate * products[i] + (s.squeezed ? dmeans[i] * (double(s.sample_mean[i]) - s.mean[c]) : 0.0);
    }
  std::vector<float> slope(C), offset(N * C);
  const double count = double(N * P);
  for (int64_t c = 0; c < C; ++c) {
    const double deviation = std::sqrt(double(s.variance[c]) + s.eps), a = s.weight[c] / deviation;
    g.bias[c] = float(dbias[c]);
    g.weight[c] = float(drate[c] / deviation);
    double dmean = 0;
    if (s.of_batch) {
      dmean = -dbias[c] * a / count;
      slope[c] = float(-drate[c] * a / (deviation * deviation * count));
    }
    for (int64_t n = 0; n < N; ++n) offset[n * C + c] = float(dmean + dmeans[n * C + c] * a / double(P));
  }
  return {slope, offset};
}

void norm_backward(const Kernels& kernels, const Norm& s, const NormGradient& g, int threads) {
  Numbers products(s.samples * s.channels), totals(s.samples * s.channels);
  kernels.reduce(s, nullptr, g.y, nullptr, products.data(), totals.data(), threads);
  const Slopes found = find_gradients(s, g, products, totals);
  if (g.x) kernels.gradient(s, g, found.slope.data(), found.offset.data(), threads);
}
