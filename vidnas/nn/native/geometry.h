// The shapes of a depthwise convolution, shared with Python through ctypes (vidnas/nn/native/__init__.py).
#pragma once

#include <cstdint>

struct Geometry {
  int64_t n, c;
  int64_t t, h, w;     // input
  int64_t ot, oh, ow;  // output
  int64_t kt, kh, kw;
  int64_t st, sh, sw;  // stride
  int64_t pt, ph, pw;  // padding
};
