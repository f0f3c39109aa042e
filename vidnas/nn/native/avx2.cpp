// x86 with AVX2 and FMA.
#include <algorithm>
#include <vector>
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define VIDNAS_ISA avx2
#define VIDNAS_AVX2  // GCC before 13 does not say so itself
#define VIDNAS_LANES_MAX 8
#include "isa.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
