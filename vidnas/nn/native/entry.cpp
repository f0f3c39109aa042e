// The C interface: pointers and plain structs, the instruction set chosen when first used.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "table.h"

extern const Kernels kernels_portable;
#if defined(__x86_64__)
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

namespace {

struct Choice {
  const Kernels* kernels;
  const char* name;
};

// VIDNAS_ISA=portable or avx2 keeps to less than the processor has; what it does not have cannot be asked for.
Choice choose() {
#if defined(__x86_64__)
  const char* most = std::getenv("VIDNAS_ISA");
  const bool portable = most && std::strcmp(most, "portable") == 0, avx2 = most && std::strcmp(most, "avx2") == 0;
  __builtin_cpu_init();
  if (!portable && !avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
    return {&kernels_avx512, "avx512"};
  if (!portable && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {&kernels_avx2, "avx2"};
#endif
  return {&kernels_portable, "portable"};
}

// Threads worth waking for so many multiply-adds or moved values: a thread's wake costs as much as 32 thousand of them.
int worth(int threads, int64_t work) { return int(std::min<int64_t>(threads, 1 + work / 32768)); }

int64_t size(const Norm& norm) { return norm.samples * norm.positions * norm.channels; }

int64_t size(const Stage* stages, int64_t count) {
  int64_t total = 0;
  for (int64_t i = 0; i < count; ++i) total += size(stages[i].norm);
  return total;
}

const Choice& chosen() {
  static const Choice choice = choose();
  return choice;
}

}  // namespace

extern "C" {

const char* vidnas_isa() { return chosen().name; }

void vidnas_depthwise(int pass, int type, const Geometry* g, const void* a, const void* b, void* out, int threads) {
  const int64_t outputs = g->n * g->c * g->ot * g->oh * g->ow;
  // A vector does some ten multiply-adds in the time that a value takes to move.
  chosen().kernels->depthwise(pass, type, *g, a, b, out, worth(threads, outputs * (g->kt * g->kh * g->kw / 10 + 1)));
}

void vidnas_pointwise(int pass, int64_t rows, int64_t in, int64_t out, const float* a, const float* b, float* result,
                      int threads) {
  const Kernels& kernels = *chosen().kernels;
  threads = worth(threads, rows * in * out / 10);
  // kForward takes x and the weight (out, in), kInputGradient grad and it, kWeightGradient grad and x.
  if (pass == kWeightGradient) return kernels.columns_product(rows, out, in, a, b, result, threads);
  const int64_t depth = pass == kForward ? in : out, columns = pass == kForward ? out : in;
  std::vector<float> packed(kernels.packed_weights(depth, columns));
  kernels.pack_pointwise(pass, in, out, b, packed.data());
  kernels.rows_product(rows, depth, columns, a, packed.data(), result, threads);
}

void vidnas_norm_forward(const Norm* norm, int threads) {
  norm_forward(*chosen().kernels, *norm, worth(threads, size(*norm)));
}

void vidnas_norm_backward(const Norm* norm, const NormGradient* gradient, int threads) {
  norm_backward(*chosen().kernels, *norm, *gradient, worth(threads, size(*norm)));
}

void vidnas_chain_forward(const Stage* stages, int64_t count, const float* x, int threads) {
  chain_forward(*chosen().kernels, stages, count, x, worth(threads, size(stages, count)));
}

void vidnas_chain_backward(const Stage* stages, const StageGradient* gradients, int64_t count, const float* x, float* dx,
                           int threads) {
  chain_backward(*chosen().kernels, stages, gradients, count, x, dx, worth(threads, size(stages, count)));
}
}
