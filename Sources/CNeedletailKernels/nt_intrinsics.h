// Intrinsics of x86: the compiler's, or with NT_USE_SIMDE those of SIMDe, so that CPUs without AVX-512 test its
// kernels.
#pragma once

#if defined(NT_USE_SIMDE)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <string.h>

// SIMDe 0.7.4 lacks what follows. Each is a plain loop over the lanes, as Intel's guide to the intrinsics defines them.
#define NT_LANES(type, name, vector) \
  type name[64 / sizeof(type)];      \
  memcpy(name, &(vector), sizeof name)

static inline __m512i nt_lanes_maskz_load(__mmask16 mask, const void *from) {
  int32_t lanes[16] = {0};
  for (int i = 0; i < 16; i++) {
    if (mask >> i & 1) memcpy(lanes + i, (const char *)from + 4 * i, 4);
  }
  __m512i result;
  memcpy(&result, lanes, sizeof result);
  return result;
}
static inline void nt_lanes_mask_store(void *to, __mmask16 mask, __m512i x) {
  NT_LANES(int32_t, lanes, x);
  for (int i = 0; i < 16; i++) {
    if (mask >> i & 1) memcpy((char *)to + 4 * i, lanes + i, 4);
  }
}
static inline __m512 nt_lanes_of_integers(__m512i x) {
  NT_LANES(int32_t, lanes, x);
  float y[16];
  for (int i = 0; i < 16; i++) y[i] = (float)lanes[i];
  __m512 result;
  memcpy(&result, y, sizeof result);
  return result;
}
/// Rounds half to even, as the processor does unless it is told otherwise.
static inline __m512i nt_lanes_rounded(__m512 x) {
  NT_LANES(float, lanes, x);
  int32_t y[16];
  for (int i = 0; i < 16; i++) y[i] = (int32_t)__builtin_rintf(lanes[i]);
  __m512i result;
  memcpy(&result, y, sizeof result);
  return result;
}
static inline __m512i nt_lanes_of_bytes(__m256i x) {
  uint8_t bytes[32];
  uint16_t lanes[32];
  memcpy(bytes, &x, sizeof bytes);
  for (int i = 0; i < 32; i++) lanes[i] = bytes[i];
  __m512i result;
  memcpy(&result, lanes, sizeof result);
  return result;
}
static inline uint32_t nt_lanes_largest(__m512i x) {
  NT_LANES(uint32_t, lanes, x);
  uint32_t largest = 0;
  for (int i = 0; i < 16; i++) largest = lanes[i] > largest ? lanes[i] : largest;
  return largest;
}
static inline int32_t nt_lanes_sum(__m512i x) {
  NT_LANES(uint32_t, lanes, x);
  uint32_t sum = 0;
  for (int i = 0; i < 16; i++) sum += lanes[i];
  return (int32_t)sum;
}
#define _mm512_maskz_loadu_epi32(mask, from) nt_lanes_maskz_load(mask, from)
#define _mm512_maskz_loadu_ps(mask, from) _mm512_castsi512_ps(nt_lanes_maskz_load(mask, from))
#define _mm512_mask_storeu_epi32(to, mask, x) nt_lanes_mask_store(to, mask, x)
#define _mm512_mask_storeu_ps(to, mask, x) nt_lanes_mask_store(to, mask, _mm512_castps_si512(x))
#define _mm512_cvtepi32_ps(x) nt_lanes_of_integers(x)
#define _mm512_cvtepu8_epi16(x) nt_lanes_of_bytes(x)
#define _mm512_cvtps_epi32(x) nt_lanes_rounded(x)
#define _mm512_reduce_max_epu32(x) nt_lanes_largest(x)
#define _mm512_reduce_add_epi32(x) nt_lanes_sum(x)
#else
#include <immintrin.h>
#endif
