// Bits, rounding and scales of single floats.
#pragma once

#include "nt_internal.h"

NT_INLINE uint32_t nt_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

NT_INLINE float nt_from_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/// The largest |x| as bits: integer order is the order of magnitudes, and NaN stands above all.
NT_INLINE uint32_t nt_magnitude(const float *x, size_t count) {
  uint32_t largest = 0;
  for (size_t i = 0; i < count; i++) {
    uint32_t magnitude = nt_bits(x[i]) & 0x7fffffffu;
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest;
}

/// 1.5 · 2²³: adding it rounds |x| < 2²² to the nearest even integer, which then stands in the low bits.
#define NT_ROUND_MAGIC 12582912.0f

NT_INLINE int32_t nt_round_even(float x) { return (int32_t)(nt_bits(x + NT_ROUND_MAGIC) - nt_bits(NT_ROUND_MAGIC)); }

/// Scales that quantise one row to int8: x · inverse is rounded, and the scale undoes it. False for
/// a row that becomes zeros: below 1e-30 with scale 0, with a NaN or infinity with scale NaN.
NT_INLINE bool nt_row_scales(uint32_t magnitude, float *row_scale, float *inverse) {
  float largest = nt_from_bits(magnitude);
  bool is_finite = magnitude < 0x7f800000u;
  if (!is_finite || largest < 1e-30f) {
    *row_scale = is_finite ? 0.0f : nt_from_bits(0x7fc00000u);
    return false;
  }
  *inverse = 127.0f / largest;
  *row_scale = largest / 127.0f;
  return true;
}
