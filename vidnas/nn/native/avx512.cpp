// x86 with AVX-512 (F, VL, BW, DQ).
#include <algorithm>
#include <vector>
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,fma,prefer-vector-width=512")
#endif
#define VIDNAS_ISA avx512
#define VIDNAS_AVX512  // GCC before 13 does not say so itself
#define VIDNAS_LANES_MAX 16
#include "isa.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
