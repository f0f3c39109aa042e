// The entry points of one instruction set. A source file sets VIDNAS_ISA, VIDNAS_LANES_MAX and the compiler's target,
// and includes this.
#pragma once

#include "forward.h"
#include "input_gradient.h"
#include "norm_act.h"
#include "pointwise.h"
#include "table.h"
#include "weight_gradient.h"

namespace VIDNAS_ISA {

constexpr int M = VIDNAS_LANES_MAX;

// The input gradient with stride 1 is a forward pass over the gradient, of this geometry, with the kernel turned round.
inline Geometry turned(Geometry g) {
  std::swap(g.t, g.ot), std::swap(g.h, g.oh), std::swap(g.w, g.ow);
  g.pt = g.kt - 1 - g.pt, g.ph = g.kh - 1 - g.ph, g.pw = g.kw - 1 - g.pw;
  return g;
}

template <class T>
void run_depthwise(int pass, Geometry g, const void* a, const void* b, void* out, int threads) {
  if (pass == kInputGradient && g.st * g.sh * g.sw == 1 && g.pt < g.kt && g.ph < g.kh && g.pw < g.kw)
    return run_depthwise<T>(kForwardFlipped, turned(g), a, b, out, threads);
  const int64_t channels = g.c, taps = g.kt * g.kh * g.kw, of_frame = g.kh * g.kw, repeats = fold_positions<M>(g);
  const T* first = static_cast<const T*>(a);
  T* result = static_cast<T*>(out);
  if (pass == kWeightGradient) return weight_gradient<M>(g, repeats, first, static_cast<const T*>(b), result, threads);
  const std::vector<float> weights = pack_weights<M>(static_cast<const T*>(b), channels, g.c, taps, [&](int64_t k) {
    if (pass == kForwardFlipped) return taps - 1 - k;
    if (pass == kInputGradient && spreads_in_blocks(g)) return taps - of_frame - k + 2 * (k % of_frame);
    return k;
  });
  if (pass == kInputGradient)
    spread<M>(g, first, weights.data(), result, threads);
  else
    forward<M>(g, first, weights.data(), result, threads);
}

void depthwise(int pass, int type, const Geometry& g, const void* a, const void* b, void* out, int threads) {
  if (type == kFloat)
    run_depthwise<float>(pass, g, a, b, out, threads);
  else
    run_depthwise<bf16>(pass, g, a, b, out, threads);
}

int64_t packed_weights(int64_t depth, int64_t columns) { return packed_size<M>(columns, depth); }

void pack_pointwise(int pass, int64_t in, int64_t out, const float* weight, float* packed) {
  const bool ahead = pass == kForward;
  pack_tiles<M>(ahead ? in : out, ahead ? out : in, weight, ahead ? 1 : in, ahead ? in : 1, packed);
}

template <class Body>
void with_act(int64_t act, Body body) {
  if (act == kSilu) return body(Width<kSilu>{});
  if (act == kRelu) return body(Width<kRelu>{});
  body(Width<kNone>{});
}

void norm_moments(const Norm& s, double* mean, double* squares, int threads) {
  moments<M>(s.samples, s.positions, s.channels, s.x, mean, squares, threads);
}

void norm_apply(const Norm& s, float* slope, int threads) {
  const auto run = [&](auto A, auto has_other, auto... slopes) {
    affine_act<M, A.value, has_other.value != 0>(s.samples, s.positions, s.channels, s.x, s.scale, s.shift, s.other,
                                                 threads, s.y, slopes...);
  };
  if (slope) return run(Width<kSilu>{}, Width<0>{}, slope);
  with_act(s.act, [&](auto A) {
    if (s.other)
      run(A, Width<1>{});
    else
      run(A, Width<0>{});
  });
}

void norm_reduce(const Norm& s, const float* slope, const float* grad, float* kept, double* products, double* totals,
                 int threads) {
  const auto run = [&](auto A, auto from_output, auto... slopes) {
    affine_act_reduce<M, A.value, from_output.value != 0>(s.samples, s.positions, s.channels, s.x, s.y, s.scale, s.shift,
                                                          s.mean, grad, kept, products, totals, threads, slopes...);
  };
  if (slope) return run(Width<kSilu>{}, Width<0>{}, slope);
  with_act(s.act, [&](auto A) {
    if (s.y)
      run(A, Width<1>{});
    else
      run(A, Width<0>{});
  });
}

void norm_gradient(const Norm& s, const NormGradient& g, const float* slope, const float* offset, int threads) {
  with_act(s.act, [&](auto A) {
    const auto run = [&](auto from_output, auto... dother) {
      affine_act_gradient<M, A.value, from_output.value != 0>(s.samples, s.positions, s.channels, s.x, s.y, s.scale,
                                                              s.shift, g.y, s.mean, slope, offset, threads, g.x,
                                                              dother...);
    };
    if (!s.y)
      run(Width<0>{});
    else if (g.other)
      run(Width<1>{}, g.other);
    else
      run(Width<1>{});
  });
}

}  // namespace VIDNAS_ISA

#define VIDNAS_CONCAT_(a, b) a##b
#define VIDNAS_CONCAT(a, b) VIDNAS_CONCAT_(a, b)

extern const Kernels VIDNAS_CONCAT(kernels_, VIDNAS_ISA) = {
    VIDNAS_ISA::depthwise,
    VIDNAS_ISA::norm_moments,
    VIDNAS_ISA::norm_apply,
    VIDNAS_ISA::norm_reduce,
    VIDNAS_ISA::norm_gradient,
    VIDNAS_ISA::packed_weights,
    VIDNAS_ISA::pack_pointwise,
    VIDNAS_ISA::rows_product<VIDNAS_ISA::M>,
    VIDNAS_ISA::columns_product<VIDNAS_ISA::M>,
    VIDNAS_ISA::add_columns_product<VIDNAS_ISA::M>,
    VIDNAS_ISA::total_of_columns<VIDNAS_ISA::M>,
};
