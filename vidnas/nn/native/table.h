// What every instruction set offers, and the enumerations shared with Python.
#pragma once

#include "geometry.h"

enum Pass { kForward = 0, kForwardFlipped = 1, kInputGradient = 2, kWeightGradient = 3 };
enum Type { kFloat = 0, kBfloat16 = 1 };

// act(gates(norm(x)) + other) over channels-last rows; see norm_step.cpp. Shared with Python through ctypes.
struct Norm {
  int64_t samples, positions, channels;
  int64_t squeezed;  // hidden numbers of the gates, 0 without gates
  int64_t act;       // as in norm_act.h
  int64_t of_batch;  // whether mean and variance are the batch's, and so found here
  double eps, momentum;
  const float *x, *other;  // `other` may be null
  const float *weight, *bias, *reduce, *reduce_bias, *expand, *expand_bias;
  float *running_mean, *running_variance;  // moved towards the batch's unless null
  float* y;                // going back, only where the sign of ReLU's input cannot be told from x
  float *mean, *variance;  // (C)
  float* sample_mean;      // (N, C), with gates
  float *scale, *shift;    // (N, C)
};

// Gradients: that of y is given, the others are found. Those of x and `other` may be null.
struct NormGradient {
  const float* y;
  float *x, *other;
  float *weight, *bias, *reduce, *reduce_bias, *expand, *expand_bias;
};

struct Kernels {
  void (*depthwise)(int pass, int type, const Geometry&, const void*, const void*, void*, int threads);
  void (*moments)(const Norm&, double* mean, double* squares, int threads);
  void (*apply)(const Norm&, int threads);
  void (*reduce)(const Norm&, const float* grad, double* products, double* totals, int threads);
  void (*gradient)(const Norm&, const NormGradient&, const float* slope, const float* offset, int threads);
  void (*pointwise)(int pass, int64_t rows, int64_t in, int64_t out, const float*, const float*, float*, int threads);
};

// norm_step.cpp
void norm_forward(const Kernels&, const Norm&, int threads);
void norm_backward(const Kernels&, const Norm&, const NormGradient&, int threads);
