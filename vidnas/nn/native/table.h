// What every instruction set offers, and the enumerations shared with Python.
#pragma once

#include "geometry.h"

enum Pass { kForward = 0, kForwardFlipped = 1, kInputGradient = 2, kWeightGradient = 3 };
enum Type { kFloat = 0, kBfloat16 = 1 };
enum Act { kNone = 0, kRelu = 1, kSilu = 2 };

// act(gates(norm(x)) + other) over channels-last rows; see norm_step.cpp. Shared with Python through ctypes.
struct Norm {
  int64_t samples, positions, channels;
  int64_t squeezed;  // hidden numbers of the gates, 0 without gates
  int64_t act;       // an Act
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

// A convolution and the norm of its output: norm.x is `output`. A chain of stages reads of each one act(gates(norm)),
// which is in no memory but a cache; see chain.cpp. Shared with Python through ctypes.
struct Stage {
  int64_t depthwise;  // or pointwise
  int64_t inputs;     // channels that it reads
  Geometry geometry;  // of a depthwise one
  const float* weight;
  float* output;
  Norm norm;  // `other` and y only in the last stage
};

// The gradients of a stage's parameters; of `norm` only the last stage's y and `other` are set, and never x.
struct StageGradient {
  float* weight;
  NormGradient norm;
};

struct Kernels {
  void (*depthwise)(int pass, int type, const Geometry&, const void*, const void*, void*, int threads);
  void (*moments)(const Norm&, double* mean, double* squares, int threads);
  // With swish `slope` may take or give its slope at each value; else it is null.
  void (*apply)(const Norm&, float* slope, int threads);
  void (*reduce)(const Norm&, const float* slope, const float* grad, float* kept, double* products, double* totals,
                 int threads);
  void (*gradient)(const Norm&, const NormGradient&, const float* slope, const float* offset, int threads);
  // Matrix products, see pointwise.h; a weight (out, in) is packed for kForward or kInputGradient.
  int64_t (*packed_weights)(int64_t depth, int64_t columns);
  void (*pack_pointwise)(int pass, int64_t in, int64_t out, const float* weight, float* packed);
  void (*rows_product)(int64_t rows, int64_t depth, int64_t columns, const float*, const float* packed, float*,
                       int threads);
  void (*columns_product)(int64_t rows, int64_t left, int64_t right, const float*, const float*, float*, int threads);
  void (*add_columns_product)(int64_t rows, int64_t left, int64_t right, const float*, const float*, float* sums);
  void (*total_of_columns)(int64_t parts, int64_t left, int64_t right, const float* sums, float*);
};

// norm_step.cpp
void norm_forward(const Kernels&, const Norm&, int threads);
void norm_backward(const Kernels&, const Norm&, const NormGradient&, int threads);

// chain.cpp
void chain_forward(const Kernels&, const Stage*, int64_t count, const float* x, int threads);
void chain_backward(const Kernels&, const Stage*, const StageGradient*, int64_t count, const float* x, float* dx,
                    int threads);
