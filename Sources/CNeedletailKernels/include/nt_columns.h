/// Steps on the columns of a row: columns made from others, tables of categories, curves through numbers. Each comes
/// for rows of fp32 and of fp64 and computes in fp64.
#pragma once

#include "nt_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Numbers of `needletail.v1.Derivation`.
typedef enum nt_derivation {
  /// 1 where the operand is NaN, else 0.
  NT_DERIVE_MISSING = 0,
  NT_DERIVE_PRODUCT = 1,
  /// Bucket of several codes, see nt_cross.
  NT_DERIVE_CROSS = 2,
} nt_derivation;

/// MurmurHash3_x86_32 with seed 0 (Austin Appleby, public domain).
uint32_t nt_murmur3(const void *bytes, size_t count);

/// Bucket of a hash: its magnitude as a signed number modulo `buckets`, as scikit-learn's FeatureHasher counts.
uint32_t nt_bucket(uint32_t hash, uint32_t buckets);

/// Codes that a cross takes at most.
#define NT_CROSS_MAX 8

/// Bucket of the hash of the codes as little-endian int32, one after the other. What is no code of a category counts as
/// −1. At most NT_CROSS_MAX codes.
uint32_t nt_cross(const double *codes, size_t count, uint32_t buckets);

/// Buffers: input, output. The output holds the input's columns, then one for each derivation.
typedef struct nt_derive {
  /// nt_derivation of each.
  const uint32_t *kinds;
  /// Operands of each, and the columns of all of them, one after the other.
  const uint32_t *counts, *columns;
  /// Buckets of each; read for crosses only.
  const uint32_t *buckets;
  uint32_t count, in_columns;
} nt_derive;

void nt_derive_f32_step(const void *parameters, const nt_call *call);
void nt_derive_f64_step(const void *parameters, const nt_call *call);

/// Buffers: input, output. Per input column: width 0 passes it through; width n takes it for a code and writes the n
/// numbers of its row, or of the row behind the last, for what is no code below `entries`.
typedef struct nt_lookup {
  const uint32_t *widths, *entries;
  /// Rows of all columns, (entries + 1) × width numbers each.
  const float *values;
  uint32_t in_columns, out_columns;
} nt_lookup;

void nt_lookup_f32_step(const void *parameters, const nt_call *call);
void nt_lookup_f64_step(const void *parameters, const nt_call *call);

/// Numbers of `needletail.v1.Curve`.
typedef enum nt_curve_kind {
  NT_CURVE_NONE = 0,
  /// sign(x) · log(1 + |x|).
  NT_CURVE_LOG = 1,
  /// Yeo and Johnson (2000).
  NT_CURVE_YEO_JOHNSON = 2,
  /// Share of the training rows below, from a table of their quantiles.
  NT_CURVE_QUANTILE_UNIFORM = 3,
  /// The same as a quantile of the standard normal distribution, within ±5.2.
  NT_CURVE_QUANTILE_NORMAL = 4,
} nt_curve_kind;

typedef struct nt_curve {
  uint32_t kind;
  /// Number of `knots`, from 2; 0 for curves without a table.
  uint32_t knot_count;
  /// Exponent of Yeo and Johnson.
  double lambda;
  /// Ascending; equal ones stand for a step.
  const double *knots;
} nt_curve;

/// The number of a curve at x, within ±3.4e38; NaN for NaN. The trainer asks here for what a server's steps compute.
double nt_curve_at(const nt_curve *curve, double x);

/// Natural logarithm of a positive normal number, within one unit of the last place and the same on every machine.
double nt_natural_log(double x);

/// Quantile of the standard normal distribution (Wichura, AS 241, 1988); 0 < p < 1.
double nt_normal_quantile(double p);

/// Buffers: input, output. One curve a column.
typedef struct nt_curves {
  const nt_curve *curves;
  uint32_t columns;
} nt_curves;

void nt_curves_f32_step(const void *parameters, const nt_call *call);
void nt_curves_f64_step(const void *parameters, const nt_call *call);

#ifdef __cplusplus
}
#endif
