// What every instruction set offers, and the enumerations shared with Python.
#pragma once

#include "geometry.h"

enum Pass { kForward = 0, kForwardFlipped = 1, kInputGradient = 2, kWeightGradient = 3 };
enum Type { kFloat = 0, kBfloat16 = 1 };

// Channels-last rows: samples x positions x channels.
struct Rows {
  int64_t samples, positions, channels;
};

struct Kernels {
  void (*depthwise)(int pass, int type, const Geometry&, const void*, const void*, void*, int threads);
  void (*moments)(const Rows&, const float*, float*, float*, int threads);
  void (*apply)(const Rows&, int act, const float*, const float*, const float*, const float*, float*, int threads);
  void (*reduce)(const Rows&, int act, const float*, const float*, const float*, const float*, const float*, float*,
                 float*, int threads);
  void (*gradient)(const Rows&, int act, const float*, const float*, const float*, const float*, const float*,
                   const float*, const float*, const float*, float*, float*, int threads);
  void (*pointwise)(int pass, int64_t rows, int64_t in, int64_t out, const float*, const float*, float*, int threads);
};
