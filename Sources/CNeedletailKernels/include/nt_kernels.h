/// Matrix products of the engine, int8 and fp32, with their packing. The other kernels stand in the header of
/// their operation; `nt_plan.h` strings all of them together.
///
/// One promise holds for everything here but bf16_tiles: for the same operands every instruction set gives the same
/// bits, and a row's answer does not depend on the rows beside it. int32 accumulators are exact;
/// floating point runs in one fixed order per row, with explicit fused multiply-adds or none
/// (the files are compiled with -ffp-contract=off).
///
/// No function allocates, locks or fails; sizes are the caller's duty and asserted in debug builds.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Columns of a packed panel of weights: one AVX-512 register of int32 or fp32.
#define NT_PANEL_COLUMNS 16
/// int8 products summed into one int32 by VPDPBUSD, by maddubs + madd, and by SDOT.
#define NT_K_GROUP 4
/// Depth of packed int8 weights is filled up with zeros to a multiple of this: SMMLA takes 8 at a time.
#define NT_K_PADDING 8
/// Bytes to which packed weights, quantised rows and arena values are aligned.
#define NT_ALIGNMENT 64
/// Bytes behind the last panel of packed int8 weights that may be read: a tile of AMX.
#define NT_S8_SLACK_BYTES 1024
/// Longest int8 row whose accumulator cannot leave int32: (2³¹ − 1) / 127².
#define NT_S8_DEPTH_MAX 133144

typedef enum nt_isa {
  NT_ISA_SCALAR = 0,
  NT_ISA_AVX2 = 1,
  NT_ISA_AVX512VNNI = 2,
  NT_ISA_NEON = 3,
  /// NEON with SMMLA for int8 products.
  NT_ISA_NEON_I8MM = 4,
  /// AVX-512 VNNI with the tiles of AMX for int8 products of several rows.
  NT_ISA_AMX = 5,
} nt_isa;

typedef enum nt_activation {
  NT_ACTIVATION_IDENTITY = 0,
  NT_ACTIVATION_RELU = 1,
  NT_ACTIVATION_TANH = 2,
  NT_ACTIVATION_LOGISTIC = 3,
  NT_ACTIVATION_GELU = 4,
} nt_activation;

// MARK: - operands

/// out[r, c] = activation(Σₖ a[r, k] · w[c, k] · row_scales[r] · scale[c] + bias[c]) for the columns of
/// the panels `panel_first` ..< `panel_end`.
///
/// A layer may be split between threads by panels: every call computes the same bits for its columns
/// as one call over all would, and touches nothing else.
typedef struct nt_s8_gemm_args {
  /// Rows that `quantise` of the same kernel table wrote, a_stride bytes apart: their form is a matter
  /// of the instruction set.
  const int8_t *a;
  size_t a_stride;
  const float *row_scales;
  /// Written by `pack` of the same kernel table: all panels, whichever of them are computed.
  const void *weights;
  size_t rows, columns, depth;
  /// 0 and nt_panel_count(columns) for the whole product.
  size_t panel_first, panel_end;
  /// rows × columns; unused where `accumulators` is set.
  float *out;
  /// Null, or per row the bits of the largest |out| so far: the call raises what it finds here to the
  /// largest of its own columns (NaN ranks above infinity). Start from 0; threads that share a layer
  /// take an array each, and the caller keeps the larger of both by unsigned comparison. The answer
  /// is what nt_s8_kernels.quantise would find, for `quantise_known`.
  uint32_t *row_magnitudes;
  /// Null, or rows × columns that take the bare sums instead: for tests.
  int32_t *accumulators;
  nt_activation activation;
  /// Promises that no element of `a` is below 0, as after ReLU or a logistic. The bits stay the same;
  /// AVX2 saves one instruction in four.
  bool a_is_nonnegative;
} nt_s8_gemm_args;

/// out[r, c] = activation(Σₖ a[r, k] · w[c, k] + bias[c]), the sum by fused multiply-adds in
/// ascending k from 0, for the columns of the panels `panel_first` ..< `panel_end`.
typedef struct nt_f32_gemm_args {
  /// rows × depth.
  const float *a;
  /// Null, or the same rows by nt_f32_kernels.round_rows, for products that read them so.
  const uint16_t *a_rounded;
  /// Written by nt_f32_pack or nt_bf16_pack, as the product wants: all panels, whichever of them are computed.
  const void *weights;
  size_t rows, columns, depth;
  /// 0 and nt_panel_count(columns) for the whole product.
  size_t panel_first, panel_end;
  float *out;
  /// Largest |out| of each row, as in nt_s8_gemm_args.
  uint32_t *row_magnitudes;
  nt_activation activation;
} nt_f32_gemm_args;

// MARK: - kernels

typedef void (*nt_s8_gemm)(const nt_s8_gemm_args *args);

/// Products that a layer may choose from, at most.
#define NT_S8_WAYS_MAX 3

/// Kernels of int8 products for one instruction set. They belong together: each reads the form of rows
/// and weights that another of the same table wrote.
typedef struct nt_s8_kernels {
  /// Writes all panels, in the order and with the offset that `gemm` of this table wants. w: columns × depth, −127 …
  /// 127; bias may be null. `packed` is aligned to NT_ALIGNMENT.
  void (*pack)(const int8_t *w, const float *scales, const float *bias, size_t columns, size_t depth, void *packed);
  nt_s8_gemm gemm;
  /// Products that read the same operands and give the same bits as `gemm`, null behind the last: which is fastest
  /// depends on the layer, the rows and the machine. None where there is nothing to choose.
  nt_s8_gemm ways[NT_S8_WAYS_MAX];
  /// Symmetric int8 per row: q = round-half-even(x · 127 / max|x|), row_scale = max|x| / 127.
  /// A row below 1e-30 is all zeros with scale 0; a row with a NaN or infinity gets scale NaN, so
  /// that the fault stays visible in the answer. Rows stand `q_stride` ≥ nt_s8_row_stride(columns)
  /// bytes apart, in the form that `gemm` of this table reads, aligned to NT_ALIGNMENT.
  void (*quantise)(const float *x, size_t rows, size_t columns, int8_t *q, size_t q_stride, float *row_scales);
  /// Gives the bits of `quantise` where the product that wrote `x` has gathered `row_magnitudes`: one pass less.
  void (*quantise_known)(const float *x, const uint32_t *row_magnitudes, size_t rows, size_t columns, int8_t *q,
                         size_t q_stride, float *row_scales);
} nt_s8_kernels;

typedef void (*nt_f32_gemm)(const nt_f32_gemm_args *args);

/// Kernels of fp32 products for one instruction set. All instruction sets read the same packed weights.
typedef struct nt_f32_kernels {
  nt_f32_gemm gemm;
  /// The same product of weights that nt_bf16_pack has rounded: half the bytes, and the bits of `gemm` for the rounded
  /// weights.
  nt_f32_gemm bf16_gemm;
  /// Null, or a product of bf16 weights and of rows rounded to bf16, by tiles. Its sums have an order of their own: its
  /// bits are those of no other product, though a row's do not depend on the rows beside it.
  nt_f32_gemm bf16_tiles;
  /// Null, or rows for `bf16_tiles`: each element to the nearest bf16, as nt_bf16_pack rounds, then zeros.
  void (*round_rows)(const float *x, size_t rows, size_t depth, uint16_t *to);
  /// x = activation(x + bias), in place, for products that a library computed; bias may be null.
  void (*bias_activate)(float *x, const float *bias, size_t rows, size_t columns, nt_activation activation);
} nt_f32_kernels;

/// Null where `isa` is of another architecture. The caller checks nt_isa_supported.
const nt_s8_kernels *nt_s8_kernels_for(nt_isa isa);
const nt_f32_kernels *nt_f32_kernels_for(nt_isa isa);

// MARK: - instruction sets

/// Name of an instruction set, as NEEDLETAIL_ISA spells it.
const char *nt_isa_name(nt_isa isa);
/// True where `isa` belongs to the architecture that this library was compiled for.
bool nt_isa_exists(nt_isa isa);
/// True if this CPU, and the system it runs under, can execute the kernels of `isa`.
bool nt_isa_supported(nt_isa isa);
/// The fastest supported instruction set.
nt_isa nt_isa_best(void);

// MARK: - packing

/// Panels of NT_PANEL_COLUMNS that `columns` fill, the last perhaps in part: what threads divide.
size_t nt_panel_count(size_t columns);
/// Bytes of packed int8 weights for any instruction set: per panel of 16 columns, 16 bytes for every
/// step of padded depth, then 16 scales and 16 biases, so that memory is read strictly forward; then
/// NT_S8_SLACK_BYTES that are never written. Packing itself is `pack` of the kernel table.
size_t nt_s8_packed_bytes(size_t columns, size_t depth);
/// Where the panel of `column`, a multiple of NT_PANEL_COLUMNS, begins in packed int8 weights: bytes.
size_t nt_s8_packed_offset(size_t column, size_t depth);
/// Bytes of packed fp32 weights: per panel, 16 floats for every step of depth, then 16 biases.
size_t nt_f32_packed_bytes(size_t columns, size_t depth);
void nt_f32_pack(const float *w, const float *bias, size_t columns, size_t depth, float *packed);
/// Bytes of packed bf16 weights: per panel, 32 bytes for every step of depth, filled up to a multiple of 32 steps, then
/// 16 fp32 biases.
size_t nt_bf16_packed_bytes(size_t columns, size_t depth);
/// Rounds weights to the nearest bf16, halves to even; what is too large for it becomes the largest. `packed` is
/// aligned to NT_ALIGNMENT.
void nt_bf16_pack(const float *w, const float *bias, size_t columns, size_t depth, void *packed);
/// Elements of a row that nt_f32_kernels.round_rows writes: `depth` filled up to a multiple of 32.
size_t nt_bf16_row_elements(size_t depth);
/// Bytes of a quantised row for any instruction set: two planes of `depth` rounded up to NT_ALIGNMENT,
/// and what the row adds to its sums.
size_t nt_s8_row_stride(size_t depth);

#ifdef __cplusplus
}
#endif
