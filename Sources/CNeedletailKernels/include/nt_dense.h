/// Steps of fully connected layers: quantise, int8 product, fp32 product.
#pragma once

#include "nt_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/// How long a layer takes on one thread, as measured when it was packed, and what a part of it must take to be worth a
/// thread. All 0: the layer always runs alone.
typedef struct nt_dense_time {
  /// Nanoseconds of one item, most of which may be reading the weights, and of each further one.
  float first, next;
  /// Nanoseconds of the smallest part that is worth a thread. A layer is shared from two of them on.
  float part_min;
} nt_dense_time;

/// Threads that are worth it for `items` items: 1 below two parts.
static inline size_t nt_dense_threads(const nt_dense_time *time, size_t items) {
  float all = time->first + time->next * (float)(items - 1);
  return time->part_min > 0 && all >= 2 * time->part_min ? (size_t)(all / time->part_min) : 1;
}

/// Buffers: fp32 items; int8 items; their fp32 scales; where `has_magnitudes`, what a layer gathered.
typedef struct nt_quantise {
  const nt_s8_kernels *kernels;
  uint32_t columns;
  bool has_magnitudes;
} nt_quantise;

void nt_quantise_step(const void *parameters, const nt_call *call);

/// Numbers of items by which a layer chooses among products: 1, 2 to 3, 4 to 7 and so on, the last 128 and more.
#define NT_DENSE_BUCKETS 8

static inline size_t nt_dense_bucket(size_t items) {
  size_t bucket = 0;
  while (bucket + 1 < NT_DENSE_BUCKETS && items >> (bucket + 1) != 0) bucket++;
  return bucket;
}

/// Buffers: int8 items; their scales; fp32 output; where `gathers_magnitudes`, one word an item, in which the
/// quantise behind it finds the largest |output|, so that it reads each item once instead of twice.
typedef struct nt_dense_s8 {
  const nt_s8_kernels *kernels;
  /// Written by `pack` of these kernels.
  const void *weights;
  uint32_t columns, depth;
  nt_activation activation;
  /// No element of the input is below 0.
  bool input_is_nonnegative;
  bool gathers_magnitudes;
  nt_dense_time time;
  /// For each number of items: null, or one of the kernels' ways in place of their `gemm`.
  nt_s8_gemm gemms[NT_DENSE_BUCKETS];
} nt_dense_s8;

/// Has a layer, which threads may be running, compute some number of items by another way of its kernels.
void nt_dense_choose(nt_dense_s8 *layer, size_t bucket, nt_s8_gemm gemm);

void nt_dense_s8_step(const void *parameters, const nt_call *call);

/// C ← A · Bᵀ: a is rows × depth, b columns × depth, c rows × columns, all row-major.
typedef void (*nt_sgemm)(const float *a, const float *b, float *c, size_t rows, size_t columns, size_t depth);

/// How an fp32 layer computes some number of items. All but the first are for plans that may round: they need operands
/// of their own, and their answers have other last digits.
typedef enum nt_f32_way {
  /// `gemm` of the kernels.
  NT_F32_WAY_EXACT = 0,
  /// `bf16_gemm`, which needs `bf16_weights`.
  NT_F32_WAY_BF16 = 1,
  /// `bf16_tiles`, which needs them and room for rounded rows.
  NT_F32_WAY_BF16_TILES = 2,
  /// `sgemm`, which needs the plain weights.
  NT_F32_WAY_LIBRARY = 3,
} nt_f32_way;

/// Buffers: fp32 input; fp32 output; where `gathers_magnitudes`, as in nt_dense_s8; where the kernels have `bf16_tiles`
/// and there are `bf16_weights`, nt_bf16_row_elements(depth) rounded elements an item.
typedef struct nt_dense_f32 {
  const nt_f32_kernels *kernels;
  /// Written by nt_f32_pack.
  const void *weights;
  /// Null, or written by nt_bf16_pack.
  const void *bf16_weights;
  uint32_t columns, depth;
  nt_activation activation;
  bool gathers_magnitudes;
  nt_dense_time time;
  /// For each number of items: an nt_f32_way.
  uint8_t ways[NT_DENSE_BUCKETS];
  /// Null, or a library's product; it reads the weights and the bias in their canonical order. The bias may be null.
  nt_sgemm sgemm;
  const float *plain_weights, *plain_bias;
} nt_dense_f32;

/// nt_dense_choose for an fp32 layer.
void nt_dense_f32_choose(nt_dense_f32 *layer, size_t bucket, nt_f32_way way);

/// Whether a step of this layer has a buffer of rounded rows.
static inline bool nt_dense_f32_rounds_rows(const nt_dense_f32 *layer) {
  return layer->bf16_weights && layer->kernels->bf16_tiles;
}

void nt_dense_f32_step(const void *parameters, const nt_call *call);

#ifdef __cplusplus
}
#endif
