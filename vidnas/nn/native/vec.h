// Vectors of floats on the compiler's vector extensions, and the two storage types: float and bfloat16.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define VIDNAS_INLINE inline __attribute__((always_inline))

// Keeps a loaded vector in a register. GCC would load it anew for each use, as an operand of the arithmetic, and a vector
// that crosses a cache line costs two loads every time.
#if defined(VIDNAS_AVX512)
#define VIDNAS_KEEP(value) __asm__("" : "+v"(value))
#elif defined(__x86_64__)
#define VIDNAS_KEEP(value) __asm__("" : "+x"(value))
#elif defined(__aarch64__)
#define VIDNAS_KEEP(value) __asm__("" : "+w"(value))
#else
#define VIDNAS_KEEP(value)
#endif

// Bytes of a result that no cache holds. tests/nn/native_check.cpp sets less, to have small results streamed.
#ifndef VIDNAS_STREAMED
#define VIDNAS_STREAMED (64 << 20)
#endif

// Advances a pointer where it stands. GCC would multiply out all addresses beforehand and then lack registers for them.
#define VIDNAS_STEP(pointer) __asm__("" : "+r"(pointer))

namespace VIDNAS_ISA {

struct bf16 {
  uint16_t bits;
};

template <int V>
struct Lanes;

#define VIDNAS_LANES(V)                                                      \
  template <>                                                                \
  struct Lanes<V> {                                                          \
    typedef float f32 __attribute__((vector_size(V * 4)));                   \
    typedef int32_t i32 __attribute__((vector_size(V * 4)));                 \
    typedef uint32_t u32 __attribute__((vector_size(V * 4)));                \
    typedef uint16_t u16 __attribute__((vector_size(V * 2)));                \
  };
VIDNAS_LANES(16)
VIDNAS_LANES(8)
VIDNAS_LANES(4)
VIDNAS_LANES(1)
#undef VIDNAS_LANES

template <int V>
using f32 = typename Lanes<V>::f32;

template <int V>
VIDNAS_INLINE f32<V> load(const float* from) {
  f32<V> value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <int V>
VIDNAS_INLINE f32<V> load(const bf16* from) {
  typename Lanes<V>::u16 half;
  std::memcpy(&half, from, sizeof half);
  typename Lanes<V>::u32 bits = __builtin_convertvector(half, typename Lanes<V>::u32) << 16;
  return (f32<V>)bits;
}

template <int V>
VIDNAS_INLINE void store(float* to, f32<V> value) {
  std::memcpy(to, &value, sizeof value);
}

// Rounds to nearest, ties to even; a NaN stays one.
template <int V>
VIDNAS_INLINE void store(bf16* to, f32<V> value) {
  typedef typename Lanes<V>::u32 u32;
  u32 bits = (u32)value;
  u32 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  u32 nan = (u32)(value != value);
  rounded = (nan & 0x7fc0) | (~nan & rounded);
  typename Lanes<V>::u16 half = __builtin_convertvector(rounded, typename Lanes<V>::u16);
  std::memcpy(to, &half, sizeof half);
}

template <int V>
VIDNAS_INLINE f32<V> splat(float value) {
  return f32<V>{} + value;
}

template <int V>
struct Width {
  static constexpr int value = V;
};

// The first `count` lanes, zeros in the others.
template <int V, class T>
VIDNAS_INLINE f32<V> load_part(const T* from, int64_t count) {
  T room[V] = {};
  std::memcpy(room, from, count * sizeof(T));
  return load<V>(room);
}

template <int V, class T>
VIDNAS_INLINE void store_part(T* to, f32<V> values, int64_t count) {
  T room[V];
  store<V>(room, values);
  std::memcpy(to, room, count * sizeof(T));
}

#if defined(VIDNAS_AVX512)
template <>
VIDNAS_INLINE f32<16> load_part<16>(const float* from, int64_t count) {
  return _mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), from);
}

template <>
VIDNAS_INLINE void store_part<16>(float* to, f32<16> values, int64_t count) {
  _mm512_mask_storeu_ps(to, __mmask16((1u << count) - 1), values);
}

template <>
VIDNAS_INLINE f32<8> load_part<8>(const float* from, int64_t count) {
  return _mm256_maskz_loadu_ps(__mmask8((1u << count) - 1), from);
}

template <>
VIDNAS_INLINE void store_part<8>(float* to, f32<8> values, int64_t count) {
  _mm256_mask_storeu_ps(to, __mmask8((1u << count) - 1), values);
}
#elif defined(VIDNAS_AVX2)
VIDNAS_INLINE __m256i mask_of(int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(int(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

template <>
VIDNAS_INLINE f32<8> load_part<8>(const float* from, int64_t count) {
  return _mm256_maskload_ps(from, mask_of(count));
}

template <>
VIDNAS_INLINE void store_part<8>(float* to, f32<8> values, int64_t count) {
  _mm256_maskstore_ps(to, mask_of(count), values);
}
#endif

// V channels of a tensor, all of which it has.
template <int V>
struct Tile : Width<V> {
  static constexpr int64_t count = V;

  template <class T>
  VIDNAS_INLINE f32<V> read(const T* from) const {
    return load<V>(from);
  }
  template <class T>
  VIDNAS_INLINE void write(T* to, f32<V> values) const {
    store<V>(to, values);
  }
};

// The only channels of a tensor that has fewer than V: others are read as zeros and never written.
template <int V>
struct Part : Width<V> {
  int64_t count;

  template <class T>
  VIDNAS_INLINE f32<V> read(const T* from) const {
    return load_part<V>(from, count);
  }
  template <class T>
  VIDNAS_INLINE void write(T* to, f32<V> values) const {
    store_part<V>(to, values, count);
  }
};

// Calls body(tile, first channel) for the tiles of `channels`: of M, and one of M / 2 where that holds the rest. The last
// may overlap the one before: it then computes the same values again, which is cheaper than masks.
template <int M, class Body>
VIDNAS_INLINE void for_tiles(int64_t channels, Body body) {
  constexpr int kHalf = M > 8 ? M / 2 : M;
  int64_t first = 0;
  for (; first + M <= channels; first += M) body(Tile<M>{}, first);
  const int64_t rest = channels - first;
  if (!rest) return;
  if (channels == kHalf || (first && rest <= kHalf))
    body(Tile<kHalf>{}, channels - kHalf);
  else if (first)
    body(Tile<M>{}, channels - M);
  else if (rest < kHalf)
    body(Part<kHalf>{{}, rest}, 0);
  else
    body(Part<M>{{}, rest}, 0);
}

template <int M>
int64_t count_tiles(int64_t channels) {
  return (channels + M - 1) / M;
}

// Runs body with a compile-time size, for sizes of 1 to B.
template <int B, class Body>
VIDNAS_INLINE void with_size(int64_t size, Body body) {
  if (size == B) {
    body(Width<B>{});
  } else if constexpr (B > 1) {
    with_size<B - 1>(size, body);
  }
}

// Copies finished results past the caches. A plain store fetches the line that it is about to overwrite, which for a
// tensor larger than the caches is a third of the traffic. `fence` makes the copies visible to other threads.
inline void stream(void* to, const void* from, int64_t bytes) {
#if defined(__x86_64__)
  char* target = static_cast<char*>(to);
  const char* source = static_cast<const char*>(from);
  const int64_t head = std::min<int64_t>(bytes, -reinterpret_cast<uintptr_t>(to) & 63);
  std::memcpy(target, source, head);
  int64_t at = head;
  for (; at + 64 <= bytes; at += 64) {
#if defined(VIDNAS_AVX512)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(target + at), _mm512_loadu_si512(source + at));
#else
    for (int64_t part = at; part < at + 64; part += 16)
      _mm_stream_si128(reinterpret_cast<__m128i*>(target + part),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + part)));
#endif
  }
  std::memcpy(target + at, source + at, bytes - at);
#else
  std::memcpy(to, from, bytes);
#endif
}

inline void fence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

// Whether a result is better streamed: one that the caches hold is read from there by what comes next.
inline bool streams(int64_t bytes) {
#if defined(__x86_64__)
  return bytes >= VIDNAS_STREAMED;
#else
  return false;
#endif
}

}  // namespace VIDNAS_ISA
