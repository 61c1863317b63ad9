// exp, tanh, logistic, erf and GELU, written once as branch-free scalar code.
//
// Each is a chain of single IEEE operations (no fused multiply-add, no reassociation), so the
// compiler may vectorise a loop over it for any instruction set and the bits stay the same.
// Errors against a double-precision libm are measured and asserted by Tests/kernels.
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

/// eˣ. Cody-Waite reduction by ln 2 in two parts, then a polynomial of degree 7 (coefficients of
/// Cephes expf). Relative error ≤ 1e-7; underflows to 0, overflows to infinity, NaN stays NaN.
NT_INLINE float nt_exp(float x) {
  x = x > 89.0f ? 89.0f : x;
  x = x < -104.0f ? -104.0f : x;
  float shifted = x * 1.44269504088896341f + NT_ROUND_MAGIC;
  uint32_t n = nt_bits(shifted) - nt_bits(NT_ROUND_MAGIC);
  float whole = shifted - NT_ROUND_MAGIC;
  float r = x - whole * 0.693359375f;
  r = r + whole * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2ⁿ in two factors: n itself may leave the exponent's range at both ends.
  uint32_t half = (uint32_t)((int32_t)n >> 1);
  float low = nt_from_bits((half + 127u) << 23);
  float high = nt_from_bits((n - half + 127u) << 23);
  return p * low * high;
}

/// log(1 + eˣ) = max(x, 0) + log(1 + u), u = e^−|x|. With s = u / (2 + u), log(1 + u) = 2 (s + s³/3 + s⁵/5 + …), and s
/// is at most 1/3. Relative error ≤ 3e-7 where the answer is a normal number.
NT_INLINE float nt_softplus(float x) {
  float u = nt_exp(-__builtin_fabsf(x));
  float s = u / (2.0f + u);
  float z = s * s;
  float p = 1.0f / 13.0f;
  p = p * z + 1.0f / 11.0f;
  p = p * z + 1.0f / 9.0f;
  p = p * z + 1.0f / 7.0f;
  p = p * z + 1.0f / 5.0f;
  p = p * z + 1.0f / 3.0f;
  float small = (s + s) + (s + s) * (z * p);
  return (x > 0.0f ? x : 0.0f) + small;
}

/// 1 / (1 + e⁻ˣ). Relative error ≤ 2e-7 where the answer is a normal number.
NT_INLINE float nt_logistic(float x) { return 1.0f / (1.0f + nt_exp(-x)); }

/// tanh x: an odd polynomial below 0.625 (Cephes tanhf), 1 − 2 / (e²ˣ + 1) above.
/// Relative error ≤ 2e-7.
NT_INLINE float nt_tanh(float x) {
  float z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  float small = p * z * x + x;
  float magnitude = __builtin_fabsf(x);
  float large = 1.0f - 2.0f / (nt_exp(magnitude + magnitude) + 1.0f);
  large = __builtin_copysignf(large, x);
  return magnitude < 0.625f ? small : large;
}

/// erf x: two minimax polynomials, the upper one inside an exponential (after N. Juffa's
/// erff, published under BSD terms). Relative error ≤ 2e-7.
NT_INLINE float nt_erf(float x) {
  float t = __builtin_fabsf(x);
  t = t > 4.0f ? 4.0f : t;
  float s = t * t;
  float r = -1.72853470e-5f * t + 3.83197126e-4f;
  float u = -3.88396438e-3f * t + 2.42546219e-2f;
  r = r * s + u;
  r = r * t - 1.06777877e-1f;
  r = r * t - 6.34846687e-1f;
  r = r * t - 1.28717512e-1f;
  r = r * t - t;
  float large = __builtin_copysignf(1.0f - nt_exp(r), x);
  float q = -5.96761703e-4f;
  q = q * s + 4.99119423e-3f;
  q = q * s - 2.67681349e-2f;
  q = q * s + 1.12819925e-1f;
  q = q * s - 3.76125336e-1f;
  q = q * s + 1.28379166e-1f;
  float small = q * x + x;
  return t > 0.927734375f ? large : small;
}

/// x · Φ(x), the exact erf form. Absolute error ≤ 2e-7 · max(1, |x|).
NT_INLINE float nt_gelu(float x) { return 0.5f * x * (1.0f + nt_erf(x * 0.70710678118654752f)); }

/// Applies an activation to `count` neighbours in place; the switch stands outside of the loops.
NT_INLINE void nt_activate(float *x, size_t count, nt_activation activation) {
  switch (activation) {
    case NT_ACTIVATION_IDENTITY:
      break;
    case NT_ACTIVATION_RELU:
      // NaN stays NaN: a fault upstream must not turn into a plausible 0.
      for (size_t i = 0; i < count; i++) x[i] = x[i] < 0.0f ? 0.0f : x[i];
      break;
    case NT_ACTIVATION_TANH:
      for (size_t i = 0; i < count; i++) x[i] = nt_tanh(x[i]);
      break;
    case NT_ACTIVATION_LOGISTIC:
      for (size_t i = 0; i < count; i++) x[i] = nt_logistic(x[i]);
      break;
    case NT_ACTIVATION_GELU:
      for (size_t i = 0; i < count; i++) x[i] = nt_gelu(x[i]);
      break;
  }
}
