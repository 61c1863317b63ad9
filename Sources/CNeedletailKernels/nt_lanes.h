// exp, logistic, tanh, GELU and softplus on sixteen floats at a time, written once in vector types of the compiler: one
// register of AVX-512, two of AVX2, four of NEON, sixteen numbers elsewhere.
//
// Each step is one IEEE operation in a fixed order, with a fused multiply-add wherever one is written and none else
// (-ffp-contract=off), so that the bits are the same everywhere. Estimates (RCP14, RSQRT) differ between processors and
// are not used. The polynomials are minimax fits, by least squares reweighted at Chebyshev nodes. Tests/kernels
// measures their errors against a double-precision libm.
//
// Functions take their vectors by address: as a parameter, a vector of 64 bytes is passed in another way by each
// instruction set, and the compiler refuses to mix those.
#pragma once

#include "nt_math.h"

typedef float nt_lanes __attribute__((vector_size(64)));
typedef uint32_t nt_lanes_bits __attribute__((vector_size(64)));
typedef int32_t nt_lanes_mask __attribute__((vector_size(64)));
/// Sixteen neighbours in memory.
typedef float nt_loose_lanes __attribute__((vector_size(64), aligned(4), may_alias));

enum { nt_lane_count = 16 };

#define nt_load(from) (*(const nt_loose_lanes *)(from))
#define nt_store(to, x) (*(nt_loose_lanes *)(to) = (x))
/// One number in all lanes. Less 0, it keeps the sign of −0.
#define nt_all(x) ((float)(x) - (nt_lanes){0})

#if defined(__has_builtin)
#if __has_builtin(__builtin_elementwise_fma)
#define nt_fma(a, b, c) __builtin_elementwise_fma(a, b, c)
#endif
#endif
#if !defined(nt_fma)
#define nt_fma(a, b, c)                                                                                               \
  ({                                                                                                                  \
    nt_lanes nt_a = (a), nt_b = (b), nt_c = (c);                                                                      \
    for (int nt_i = 0; nt_i < nt_lane_count; nt_i++) nt_c[nt_i] = __builtin_fmaf(nt_a[nt_i], nt_b[nt_i], nt_c[nt_i]); \
    nt_c;                                                                                                             \
  })
#endif

/// mask ? a : b, for the mask that a comparison gives.
#define nt_select(mask, a, b) ((nt_lanes)(((nt_lanes_mask)(a) & (mask)) | ((nt_lanes_mask)(b) & ~(mask))))
/// The larger and the smaller of two. A NaN in b stays, one in a does not.
#define nt_larger(a, b) nt_select((a) > (b), a, b)
#define nt_smaller(a, b) nt_select((a) < (b), a, b)

NT_INLINE bool nt_any(const nt_lanes_mask *mask) {
  int32_t any = 0;
  for (int i = 0; i < nt_lane_count; i++) any |= (*mask)[i];
  return any != 0;
}

#if defined(__clang__)
#define NT_MASKED _Pragma("clang loop unroll(disable)")
#else
#define NT_MASKED
#endif

// Loops over all lanes, which compilers turn into one masked access where there is such an instruction. What a copy of
// `count` numbers wrote would be read back before it had reached the cache, which takes longer than the rest of a short
// row.

/// The first `count` of sixteen neighbours, and `fill` behind them.
NT_INLINE void nt_load_rest(nt_lanes *x, const float *from, size_t count, float fill) {
  float lanes[nt_lane_count];
  NT_MASKED
  for (uint32_t i = 0; i < nt_lane_count; i++) lanes[i] = i < (uint32_t)count ? from[i] : fill;
  *x = nt_load(lanes);
}

NT_INLINE void nt_store_rest(float *to, const nt_lanes *x, size_t count) {
  float lanes[nt_lane_count];
  nt_store(lanes, *x);
  NT_MASKED
  for (uint32_t i = 0; i < nt_lane_count; i++) {
    if (i < (uint32_t)count) to[i] = lanes[i];
  }
}

/// The sum of all lanes in halves: 8 + 8, 4 + 4, 2 + 2, 1 + 1.
NT_INLINE float nt_lane_sum(const nt_lanes *x) {
  float lanes[nt_lane_count];
  nt_store(lanes, *x);
  for (size_t half = nt_lane_count / 2; half > 0; half /= 2) {
    for (size_t i = 0; i < half; i++) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

// A row is summed, and its largest column found, in vectors that do not wait for each other: four cycles lie between
// two additions to the same one.
enum { chains = 4, chained = chains * nt_lane_count };

/// The largest column; a NaN is none. −∞ where there is no other.
NT_INLINE float nt_row_largest(const float *x, size_t columns) {
  size_t c = 0;
  nt_lanes largest[chains];
  for (size_t i = 0; i < chains; i++) largest[i] = nt_all(-__builtin_inff());
  for (; c + chained <= columns; c += chained) {
    for (size_t i = 0; i < chains; i++) largest[i] = nt_larger(nt_load(x + c + nt_lane_count * i), largest[i]);
  }
  for (; c + nt_lane_count <= columns; c += nt_lane_count) largest[0] = nt_larger(nt_load(x + c), largest[0]);
  if (c < columns) {
    nt_lanes rest;
    nt_load_rest(&rest, x + c, columns - c, -__builtin_inff());
    largest[1] = nt_larger(rest, largest[1]);
  }
  largest[0] = nt_larger(nt_larger(largest[0], largest[1]), nt_larger(largest[2], largest[3]));
  float lanes[nt_lane_count];
  nt_store(lanes, largest[0]);
  for (size_t half = nt_lane_count / 2; half > 0; half /= 2) {
    for (size_t i = 0; i < half; i++) lanes[i] = lanes[i + half] > lanes[i] ? lanes[i + half] : lanes[i];
  }
  return lanes[0];
}

/// eˣ; Cody-Waite reduction by ln 2 in two parts, then a polynomial of degree 6. Relative error ≤ 1e-7 where the answer
/// is a normal number; what would be smaller is 0, overflow is infinity, NaN stays NaN.
///
/// - is_below: promises that no lane is above 0, which spares the upper bound.
NT_INLINE void nt_exp_bounded(nt_lanes *to, const bool is_below) {
  // The least number whose exponential is normal, and the largest whose exponential is finite.
  const float least = -87.33654f, most = 88.72283f;
  const nt_lanes x = *to, magic = nt_all(NT_ROUND_MAGIC);
  nt_lanes y = nt_larger(nt_all(least), x);
  if (!is_below) y = nt_smaller(nt_all(most), y);
  nt_lanes shifted = nt_fma(y, nt_all(1.44269504f), magic);
  nt_lanes whole = shifted - magic;
  nt_lanes r = nt_fma(whole, nt_all(-0.693145752f), y);
  r = nt_fma(whole, nt_all(-1.42860677e-6f), r);
  nt_lanes p = nt_fma(nt_all(0.0013950478751f), r, nt_all(0.0083688842133f));
  p = nt_fma(p, r, nt_all(0.0416662059725f));
  p = nt_fma(p, r, nt_all(0.1666651815176f));
  p = nt_fma(p, r, nt_all(0.5f));
  p = nt_fma(p, r * r, r) + 1.0f;
  // The whole number stands in the low bits of `shifted`, and is added to the exponent.
  nt_lanes e = (nt_lanes)((nt_lanes_bits)p + ((nt_lanes_bits)shifted << 23));
  e = (nt_lanes)((nt_lanes_mask)e & ~(x < least));
  if (!is_below) e = nt_select(x > most, nt_all(__builtin_inff()), e);
  // A NaN's own bits would have been shifted into the exponent.
  *to = nt_select(x != x, p, e);
}

NT_INLINE void nt_exp(nt_lanes *x) { nt_exp_bounded(x, false); }
NT_INLINE void nt_exp_below(nt_lanes *x) { nt_exp_bounded(x, true); }

/// e^−|x|.
NT_INLINE void nt_exp_of_minus_magnitude(nt_lanes *x) {
  *x = (nt_lanes)((nt_lanes_bits)*x | 0x80000000u);
  nt_exp_below(x);
}

/// 1 / (1 + e⁻ˣ). Relative error ≤ 2e-7 where the answer is a normal number.
NT_INLINE void nt_logistic(nt_lanes *x) {
  nt_lanes e = *x;
  nt_exp_of_minus_magnitude(&e);
  *x = nt_select(*x < 0.0f, e, nt_all(1)) / (e + 1.0f);
}

/// tanh x: an odd polynomial below 0.625, 1 − 2e / (1 + e) with e = e⁻²ˣ above. Relative error ≤ 2e-7.
NT_INLINE void nt_tanh(nt_lanes *to) {
  const nt_lanes x = *to, magnitude = (nt_lanes)((nt_lanes_bits)x & 0x7fffffffu);
  nt_lanes z = x * x;
  nt_lanes p = nt_fma(nt_all(-0.00571703631431f), z, nt_all(0.02065057866275f));
  p = nt_fma(p, z, nt_all(-0.05374349653721f));
  p = nt_fma(p, z, nt_all(0.13331490755081f));
  p = nt_fma(p, z, nt_all(-0.33333283662796f));
  nt_lanes small = nt_fma(p * z, x, x);
  nt_lanes e = magnitude * -2.0f;
  nt_exp_below(&e);
  nt_lanes large = 1.0f - e * 2.0f / (e + 1.0f);
  large = (nt_lanes)((nt_lanes_bits)large | ((nt_lanes_bits)x & 0x80000000u));
  *to = nt_select(magnitude < 0.625f, small, large);
}

/// x · Φ(x), the exact erf form: Φ − ½ is odd, x · P(x²) up to 5.25, and beyond that Φ is 1 or 0. No exponential.
/// Absolute error ≤ 2e-7 · max(1, |x|).
NT_INLINE void nt_gelu(nt_lanes *to) {
  static const float c[] = {0.134659350f,   -0.0671268180f,  0.0496457927f,   -0.0397633500f,   0.0320313014f,
                            -0.0250425488f, 0.0185397211f,   -0.0127727548f,  0.00841404777f,   -0.00545335608f,
                            0.00289917318f, -0.00103509275f, 0.000658833538f, -0.000658136327f, 0.000241924237f};
  enum { last = sizeof c / sizeof *c - 1 };
  const nt_lanes x = *to;
  nt_lanes bounded = nt_larger(nt_all(-5.25f), x);
  bounded = nt_smaller(nt_all(5.25f), bounded);
  // From −1 at 0 to 1 at ±5.25.
  nt_lanes u = nt_fma(bounded * bounded, nt_all(0.0725623593f), nt_all(-1));
  nt_lanes p = nt_all(c[last]);
  for (int i = last - 1; i >= 0; i--) p = nt_fma(p, u, nt_all(c[i]));
  nt_lanes phi = nt_fma(p, bounded, nt_all(0.5f));
  phi = (nt_lanes)((nt_lanes_mask)phi & ~(x < -5.25f));
  *to = x * phi;
}

/// log(1 + eˣ) = max(x, 0) + log(1 + u), u = e^−|x|. With s = u / (2 + u), log(1 + u) = 2 (s + s³/3 + s⁵/5 + …), and s
/// is at most 1/3. Relative error ≤ 2e-7 where the answer is a normal number.
NT_INLINE void nt_softplus(nt_lanes *to) {
  const nt_lanes x = *to;
  nt_lanes u = x;
  nt_exp_of_minus_magnitude(&u);
  // 2s = u − u · w: what is subtracted is small, and so are its errors.
  nt_lanes half = u * 0.5f;
  nt_lanes w = half / (half + 1.0f);
  nt_lanes twice_s = nt_fma(-u, w, u);
  nt_lanes z = twice_s * twice_s * 0.25f;
  nt_lanes p = nt_fma(nt_all(1.0f / 13), z, nt_all(1.0f / 11));
  p = nt_fma(p, z, nt_all(1.0f / 9));
  p = nt_fma(p, z, nt_all(1.0f / 7));
  p = nt_fma(p, z, nt_all(1.0f / 5));
  p = nt_fma(p, z, nt_all(1.0f / 3));
  // A NaN arrives by way of u.
  *to = nt_larger(x, nt_all(0)) + (u + nt_fma(twice_s, z * p, -(u * w)));
}

/// NaN stays NaN: a fault upstream must not turn into a plausible 0.
NT_INLINE void nt_relu(nt_lanes *x) { *x = nt_select(*x < 0.0f, nt_all(0), *x); }

/// Writes f of `count` neighbours at x to y, which may be x.
#define NT_MAP(f, x, y, count)                                      \
  do {                                                              \
    const float *nt_x = (x);                                        \
    float *nt_y = (y);                                              \
    size_t nt_i = 0, nt_end = (count);                              \
    nt_lanes nt_each;                                               \
    for (; nt_i + nt_lane_count <= nt_end; nt_i += nt_lane_count) { \
      nt_each = nt_load(nt_x + nt_i);                               \
      f(&nt_each);                                                  \
      nt_store(nt_y + nt_i, nt_each);                               \
    }                                                               \
    if (nt_i < nt_end) {                                            \
      nt_load_rest(&nt_each, nt_x + nt_i, nt_end - nt_i, 0);        \
      f(&nt_each);                                                  \
      nt_store_rest(nt_y + nt_i, &nt_each, nt_end - nt_i);          \
    }                                                               \
  } while (0)

/// Applies an activation to `count` neighbours in place; the switch stands outside of the loops.
NT_INLINE void nt_activate(float *x, size_t count, nt_activation activation) {
  switch (activation) {
    case NT_ACTIVATION_IDENTITY:
      break;
    case NT_ACTIVATION_RELU:
      NT_MAP(nt_relu, x, x, count);
      break;
    case NT_ACTIVATION_TANH:
      NT_MAP(nt_tanh, x, x, count);
      break;
    case NT_ACTIVATION_LOGISTIC:
      NT_MAP(nt_logistic, x, x, count);
      break;
    case NT_ACTIVATION_GELU:
      NT_MAP(nt_gelu, x, x, count);
      break;
  }
}
