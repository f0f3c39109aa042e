// The kernels of one instruction set (-DISA=portable, avx2, avx512) against plain loops, on tensors that end exactly
// where their memory does. Meant to run under sanitizers: `make sanitize`.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "table.h"

#define CONCAT_(a, b) a##b
#define CONCAT(a, b) CONCAT_(a, b)
#define NAME_(a) #a
#define NAME(a) NAME_(a)
extern const Kernels CONCAT(kernels_, ISA);

namespace {

const Kernels& kernels = CONCAT(kernels_, ISA);
std::mt19937 random_bits(0);

int64_t draw(int64_t least, int64_t most) { return least + int64_t(random_bits() % uint64_t(most - least + 1)); }

struct Bfloat16 {
  uint16_t bits;
};

double widen(float value) { return value; }

double widen(Bfloat16 value) {
  const uint32_t bits = uint32_t(value.bits) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

// Cut off, not rounded: which number is drawn does not matter.
template <class T>
T narrow(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if constexpr (std::is_same_v<T, Bfloat16>) return {uint16_t(bits >> 16)};
  else return value;
}

template <class T = float>
std::vector<T> values(int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<T> drawn(count);
  for (T& value : drawn) value = narrow<T>(normal(random_bits));
  return drawn;
}

template <class T = float>
std::vector<T> unwritten(int64_t count) {
  return std::vector<T>(count, narrow<T>(NAN));
}

template <class T>
void expect(const char* what, const std::vector<T>& found, const std::vector<double>& right, double most = 1e-3) {
  const double half_step = std::is_same_v<T, Bfloat16> ? 1.0 / 256 : 0;  // of a rounded result
  for (double value : right) most = std::max(most, std::abs(value));
  for (size_t i = 0; i < right.size(); ++i)
    if (!(std::abs(widen(found[i]) - right[i]) <= 1e-4 * most + half_step * std::abs(right[i]))) {
      std::printf("%s %s, %zu bytes each: value %zu is %g, should be %g\n", NAME(ISA), what, sizeof(T), i,
                  widen(found[i]), right[i]);
      std::exit(1);
    }
}

// Calls body(input, weight, output) with the indices of all products of the convolution.
template <class Body>
void products(const Geometry& g, Body body) {
  for (int64_t n = 0; n < g.n; ++n)
    for (int64_t t = 0; t < g.ot; ++t)
      for (int64_t h = 0; h < g.oh; ++h)
        for (int64_t w = 0; w < g.ow; ++w)
          for (int64_t a = 0; a < g.kt; ++a)
            for (int64_t b = 0; b < g.kh; ++b)
              for (int64_t d = 0; d < g.kw; ++d) {
                const int64_t x = t * g.st - g.pt + a, y = h * g.sh - g.ph + b, z = w * g.sw - g.pw + d;
                if (x < 0 || y < 0 || z < 0 || x >= g.t || y >= g.h || z >= g.w) continue;
                for (int64_t c = 0; c < g.c; ++c)
                  body((((n * g.t + x) * g.h + y) * g.w + z) * g.c + c, ((c * g.kt + a) * g.kh + b) * g.kw + d,
                       (((n * g.ot + t) * g.oh + h) * g.ow + w) * g.c + c);
              }
}

template <class T>
void check_depthwise(Type type) {
  Geometry g;
  const int64_t sides[] = {1, 3, 5, 2}, fast = draw(0, 3);
  g.n = draw(1, 3), g.c = draw(1, 70), g.t = draw(1, 5), g.h = draw(1, 12), g.w = draw(1, 40);
  g.kt = sides[draw(0, 3)], g.kh = sides[draw(0, 3)], g.kw = fast ? g.kh : sides[draw(0, 3)];
  g.st = fast ? 1 : draw(1, 2), g.sh = draw(1, 2), g.sw = fast ? g.sh : draw(1, 3);
  g.pt = fast ? g.kt / 2 : draw(0, g.kt), g.ph = fast ? g.kh / 2 : draw(0, g.kh), g.pw = fast ? g.kw / 2 : draw(0, g.kw);
  const auto out = [](int64_t side, int64_t k, int64_t s, int64_t p) {
    return side + 2 * p < k ? 0 : (side + 2 * p - k) / s + 1;
  };
  g.ot = out(g.t, g.kt, g.st, g.pt), g.oh = out(g.h, g.kh, g.sh, g.ph), g.ow = out(g.w, g.kw, g.sw, g.pw);
  const int64_t inputs = g.n * g.t * g.h * g.w * g.c, outputs = g.n * g.ot * g.oh * g.ow * g.c;
  const int64_t weights = g.c * g.kt * g.kh * g.kw;
  if (!outputs) return;
  const std::vector<T> x = values<T>(inputs), w = values<T>(weights), grad = values<T>(outputs);
  std::vector<double> y(outputs), dx(inputs), dw(weights);
  products(g, [&](int64_t i, int64_t k, int64_t o) {
    y[o] += widen(x[i]) * widen(w[k]);
    dx[i] += widen(grad[o]) * widen(w[k]);
    dw[k] += widen(grad[o]) * widen(x[i]);
  });
  std::vector<T> found_y = unwritten<T>(outputs), found_dx = unwritten<T>(inputs), found_dw = unwritten<T>(weights);
  const int threads = int(draw(1, 3));
  kernels.depthwise(kForward, type, g, x.data(), w.data(), found_y.data(), threads);
  expect("forward", found_y, y);
  kernels.depthwise(kInputGradient, type, g, grad.data(), w.data(), found_dx.data(), threads);
  expect("input gradient", found_dx, dx);
  kernels.depthwise(kWeightGradient, type, g, grad.data(), x.data(), found_dw.data(), threads);
  expect("weight gradient", found_dw, dw);
  if (g.st * g.sh * g.sw > 1 || g.pt >= g.kt || g.ph >= g.kh || g.pw >= g.kw) return;
  // The input gradient again, as a forward pass over the gradient with the kernel turned round.
  Geometry turned = g;
  turned.t = g.ot, turned.h = g.oh, turned.w = g.ow, turned.ot = g.t, turned.oh = g.h, turned.ow = g.w;
  turned.pt = g.kt - 1 - g.pt, turned.ph = g.kh - 1 - g.ph, turned.pw = g.kw - 1 - g.pw;
  found_dx = unwritten<T>(inputs);
  kernels.depthwise(kForwardFlipped, type, turned, grad.data(), w.data(), found_dx.data(), threads);
  expect("input gradient by the flipped kernel", found_dx, dx);
}

void check_norm() {
  Norm s = {};
  s.samples = draw(1, 3), s.positions = draw(2, 150), s.channels = draw(1, 70), s.squeezed = draw(0, 1) * draw(1, 9);
  s.act = 1, s.of_batch = 1, s.eps = 1e-5, s.momentum = 0.1;
  const int64_t N = s.samples, P = s.positions, C = s.channels, Q = s.squeezed, count = N * P * C;
  const auto x = values(count), other = values(count), grad = values(count), weight = values(C), bias = values(C);
  const auto reduce = values(Q * C), reduce_bias = values(Q), expand = values(C * Q), expand_bias = values(C);
  const int threads = int(draw(1, 3));
  std::vector<float> running_mean(C), running_variance(C), mean(C, NAN), variance(C, NAN), sample_mean(N * C, NAN);
  std::vector<float> y(count, NAN), scale(N * C, NAN), shift(N * C, NAN), dx(count, NAN), dother(count, NAN);
  std::vector<float> dweight(C, NAN), dbias(C, NAN), dreduce(Q * C, NAN), dreduce_bias(Q, NAN);
  std::vector<float> dexpand(C * Q, NAN), dexpand_bias(C, NAN);
  s.x = x.data(), s.other = other.data(), s.weight = weight.data(), s.bias = bias.data();
  s.reduce = reduce.data(), s.reduce_bias = reduce_bias.data();
  s.expand = expand.data(), s.expand_bias = expand_bias.data();
  s.running_mean = running_mean.data(), s.running_variance = running_variance.data();
  s.y = y.data(), s.mean = mean.data(), s.variance = variance.data(), s.sample_mean = sample_mean.data();
  s.scale = scale.data(), s.shift = shift.data();
  norm_forward(kernels, s, threads);
  const NormGradient g = {grad.data(),    dx.data(),           dother.data(),  dweight.data(),     dbias.data(),
                          dreduce.data(), dreduce_bias.data(), dexpand.data(), dexpand_bias.data()};
  norm_backward(kernels, s, g, threads);
  if (Q) return;  // gates: values against PyTorch's in test_norm_act.py, here only what they touch
  std::vector<double> right_mean(C), right_variance(C), right_y(count), right_dweight(C), right_dbias(C), right_dx(count);
  for (int64_t i = 0; i < count; ++i) right_mean[i % C] += x[i] / double(N * P);
  for (int64_t i = 0; i < count; ++i) right_variance[i % C] += std::pow(x[i] - right_mean[i % C], 2) / double(N * P);
  const auto normed = [&](int64_t i) { return (x[i] - right_mean[i % C]) / std::sqrt(right_variance[i % C] + s.eps); };
  for (int64_t i = 0; i < count; ++i) {
    right_y[i] = std::max(0.0, normed(i) * weight[i % C] + bias[i % C] + other[i]);
    const double dz = y[i] > 0 ? grad[i] : 0;
    right_dweight[i % C] += dz * normed(i);
    right_dbias[i % C] += dz;
  }
  for (int64_t i = 0; i < count; ++i) {
    const int64_t c = i % C;
    const double dz = y[i] > 0 ? grad[i] : 0, mean_dz = right_dbias[c] / double(N * P);
    right_dx[i] = (dz - mean_dz - normed(i) * right_dweight[c] / double(N * P)) * weight[c] /
                  std::sqrt(right_variance[c] + s.eps);
  }
  expect("mean", mean, right_mean);
  expect("variance", variance, right_variance);
  expect("relu", y, right_y);
  expect("gradient of the norm's weight", dweight, right_dweight);
  expect("gradient of the norm's bias", dbias, right_dbias);
  expect("gradient of x", dx, right_dx);
}

void check_pointwise() {
  const int64_t rows = draw(1, 300), in = draw(1, 70), out = draw(1, 70);
  const std::vector<float> x = values(rows * in), w = values(out * in), grad = values(rows * out);
  std::vector<double> y(rows * out), dx(rows * in), dw(out * in);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t o = 0; o < out; ++o)
      for (int64_t i = 0; i < in; ++i) {
        y[r * out + o] += double(x[r * in + i]) * w[o * in + i];
        dx[r * in + i] += double(grad[r * out + o]) * w[o * in + i];
        dw[o * in + i] += double(grad[r * out + o]) * x[r * in + i];
      }
  std::vector<float> found_y(rows * out, NAN), found_dx(rows * in, NAN), found_dw(out * in, NAN);
  const int threads = int(draw(1, 3));
  const auto product = [&](Pass pass, const std::vector<float>& from, std::vector<float>& to) {
    const int64_t depth = pass == kForward ? in : out, columns = pass == kForward ? out : in;
    std::vector<float> packed(kernels.packed_weights(depth, columns));
    kernels.pack_pointwise(pass, in, out, w.data(), packed.data());
    kernels.rows_product(rows, depth, columns, from.data(), packed.data(), to.data(), threads);
  };
  product(kForward, x, found_y);
  expect("product", found_y, y);
  product(kInputGradient, grad, found_dx);
  expect("product's gradient of x", found_dx, dx);
  kernels.columns_product(rows, out, in, grad.data(), x.data(), found_dw.data(), threads);
  expect("product's gradient of the weight", found_dw, dw);
}

// A stage with all its memory, and room for its gradients.
struct Layer {
  Stage stage = {};
  int64_t in_positions, in, positions, out;
  std::vector<float> weight, output, scale, shift, mean, variance, norm_weight, norm_bias, y;
  std::vector<float> dweight, dnorm_weight, dnorm_bias;
};

// A depthwise convolution of 3 x 3 x 3 with stride 1 or 2, or a pointwise one.
void fill_layer(Layer& l, int64_t samples, int64_t t, int64_t side, int64_t channels, bool depthwise) {
  Stage& s = l.stage;
  s.depthwise = depthwise, s.inputs = l.in = channels, l.out = depthwise ? channels : draw(1, 40);
  const int64_t stride = depthwise ? draw(1, 2) : 1, out_side = (side - 1) / stride + 1;
  s.geometry = {samples, channels, t, side, side, t, out_side, out_side, 3, 3, 3, 1, stride, stride, 1, 1, 1};
  l.in_positions = t * side * side, l.positions = t * out_side * out_side;
  l.weight = values(depthwise ? channels * 27 : l.out * channels);
  l.output.assign(samples * l.positions * l.out, NAN), l.y = l.output;
  l.scale.assign(samples * l.out, NAN), l.shift = l.scale, l.mean.assign(l.out, NAN), l.variance = l.mean;
  l.norm_weight = values(l.out), l.norm_bias = values(l.out);
  l.dweight.assign(l.weight.size(), NAN), l.dnorm_weight.assign(l.out, NAN), l.dnorm_bias = l.dnorm_weight;
  s.weight = l.weight.data(), s.output = l.output.data();
  Norm& n = s.norm;
  n.samples = samples, n.positions = l.positions, n.channels = l.out, n.act = draw(0, 2), n.of_batch = 1, n.eps = 1e-5;
  n.x = l.output.data(), n.weight = l.norm_weight.data(), n.bias = l.norm_bias.data();
  n.scale = l.scale.data(), n.shift = l.shift.data(), n.mean = l.mean.data(), n.variance = l.variance.data();
}

std::vector<double> wide(const std::vector<float>& from) { return std::vector<double>(from.begin(), from.end()); }

// A chain against the same convolutions and norms one after another, over whole tensors.
void check_chain() {
  const int64_t count = draw(1, 3), samples = draw(1, 5), t = draw(1, 4), side = draw(2, 30);
  const int threads = int(draw(1, 3));
  std::vector<Layer> layers(count);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t channels = i ? layers[i - 1].out : draw(1, 40);
    fill_layer(layers[i], samples, t, i ? layers[i - 1].stage.geometry.oh : side, channels, draw(0, 1));
    if (!layers[i].stage.depthwise) layers[i].stage.geometry.oh = layers[i].stage.geometry.h;
  }
  const Layer &first = layers[0], &last = layers.back();
  const bool is_input = last.output.size() == size_t(samples * first.in_positions * first.in) && last.stage.norm.act == 1;
  const std::vector<float> x = values(samples * first.in_positions * first.in), grad = values(last.output.size());
  std::vector<Stage> stages;
  std::vector<StageGradient> gradients(count);
  for (int64_t i = 0; i < count; ++i) {
    Layer& l = layers[i];
    stages.push_back(l.stage);
    gradients[i].weight = l.dweight.data();
    gradients[i].norm.weight = l.dnorm_weight.data(), gradients[i].norm.bias = l.dnorm_bias.data();
  }
  std::vector<float> dx(x.size(), NAN), y(last.output.size(), NAN);
  Norm& end = stages.back().norm;
  end.y = y.data(), end.other = is_input ? x.data() : nullptr;
  chain_forward(kernels, stages.data(), count, x.data(), threads);
  if (!is_input) end.y = nullptr;
  gradients.back().norm.y = grad.data(), gradients.back().norm.other = is_input ? dx.data() : nullptr;
  chain_backward(kernels, stages.data(), gradients.data(), count, x.data(), dx.data(), threads);

  std::vector<Layer> whole = layers;
  for (int64_t i = 0; i < count; ++i) {
    Layer& l = whole[i];
    Stage& s = l.stage;
    s.output = l.output.data(), s.norm.x = l.output.data(), s.norm.y = l.y.data();
    s.norm.scale = l.scale.data(), s.norm.shift = l.shift.data();
    s.norm.mean = l.mean.data(), s.norm.variance = l.variance.data();
    const float* from = i ? whole[i - 1].y.data() : x.data();
    if (s.depthwise) {
      kernels.depthwise(kForward, kFloat, s.geometry, from, s.weight, s.output, 1);
    } else {
      std::vector<float> packed(kernels.packed_weights(l.in, l.out));
      kernels.pack_pointwise(kForward, l.in, l.out, s.weight, packed.data());
      kernels.rows_product(samples * l.positions, l.in, l.out, from, packed.data(), s.output, 1);
    }
    s.norm.other = i == count - 1 && is_input ? x.data() : nullptr;
    norm_forward(kernels, s.norm, 1);
  }
  expect("chain's output", y, wide(whole.back().y));
  std::vector<float> back = grad, dother(x.size());
  for (int64_t i = count - 1; i >= 0; --i) {
    Layer& l = whole[i];
    Stage& s = l.stage;
    const bool added = i == count - 1 && is_input;
    if (!added) s.norm.y = nullptr;
    std::vector<float> dz(l.output.size()), din(samples * l.in_positions * l.in);
    std::vector<float> dweight(l.weight.size()), dnorm_weight(l.out), dnorm_bias(l.out);
    NormGradient g = {};
    g.y = back.data(), g.x = dz.data(), g.weight = dnorm_weight.data(), g.bias = dnorm_bias.data();
    g.other = added ? dother.data() : nullptr;
    norm_backward(kernels, s.norm, g, 1);
    const float* from = i ? whole[i - 1].y.data() : x.data();
    if (s.depthwise) {
      kernels.depthwise(kWeightGradient, kFloat, s.geometry, dz.data(), from, dweight.data(), 1);
      kernels.depthwise(kInputGradient, kFloat, s.geometry, dz.data(), s.weight, din.data(), 1);
    } else {
      std::vector<float> packed(kernels.packed_weights(l.out, l.in));
      kernels.pack_pointwise(kInputGradient, l.in, l.out, s.weight, packed.data());
      kernels.columns_product(samples * l.positions, l.out, l.in, dz.data(), from, dweight.data(), 1);
      kernels.rows_product(samples * l.positions, l.out, l.in, dz.data(), packed.data(), din.data(), 1);
    }
    if (samples * l.positions > 8) {  // the variance of a few values may be next to nothing, and gradients beyond all digits
      // Norms take most of them away, or all but rounding.
      expect("chain's gradient of a weight", layers[i].dweight, wide(dweight), 10.0);
      expect("chain's gradient of a norm's weight", layers[i].dnorm_weight, wide(dnorm_weight), 10.0);
      expect("chain's gradient of a norm's bias", layers[i].dnorm_bias, wide(dnorm_bias), 10.0);
    }
    back = din;
  }
  std::vector<double> right = wide(back);
  for (size_t i = 0; is_input && i < right.size(); ++i) right[i] += dother[i];
  expect("chain's gradient of x", dx, right, 10.0);
}

}  // namespace

int main() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool runs = std::string(NAME(ISA)) == "portable" || __builtin_cpu_supports("avx2");
  if (!runs || (std::string(NAME(ISA)) == "avx512" && !__builtin_cpu_supports("avx512bw"))) {
    std::printf("%s: not on this processor\n", NAME(ISA));
    return 0;
  }
#endif
  for (int i = 0; i < 400; ++i) check_depthwise<float>(kFloat);
  for (int i = 0; i < 200; ++i) check_depthwise<Bfloat16>(kBfloat16);
  for (int i = 0; i < 100; ++i) check_norm();
  for (int i = 0; i < 100; ++i) check_pointwise();
  for (int i = 0; i < 100; ++i) check_chain();
  std::printf("%s: 600 convolutions, 100 norms, 100 products and 100 chains, no error\n", NAME(ISA));
}
