// Shared by the kernel files: targets, alignment, steps.
#pragma once

#include <assert.h>
#include <string.h>

#include "nt_kernels.h"
#include "nt_plan.h"

#define NT_INLINE static inline __attribute__((always_inline))
/// Marks a function that every shape of tile ends in, so that there is one copy per instruction set, not one per shape.
#define NT_SHARED static __attribute__((noinline))

/// Before a loop over rows whose columns fill the vectors. clang would take the rows instead, and gather them from 16
/// places and scatter them: 100 ns a panel of a product on Sapphire Rapids, more than its multiply-adds take.
#if defined(__clang__)
#define NT_EACH_ROW _Pragma("clang loop vectorize(disable) interleave(disable)")
#else
#define NT_EACH_ROW
#endif

#if defined(__x86_64__)
#define NT_X86 1
#define NT_TARGET_AVX2 __attribute__((target("avx2,fma")))
#if defined(NT_USE_SIMDE)
// The AVX-512 files compiled against SIMDe, so that they can be tested on CPUs without AVX-512.
#define NT_TARGET_AVX512VNNI
#else
#define NT_TARGET_AVX512VNNI __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#endif
#elif defined(__aarch64__)
#define NT_ARM64 1
#endif

/// The instruction set whose vector code `isa` runs: AMX has tiles for int8 products, and AVX-512 for all else.
NT_INLINE nt_isa nt_isa_of_vectors(nt_isa isa) { return isa == NT_ISA_AMX ? NT_ISA_AVX512VNNI : isa; }

/// Compiles the inline function `body` for every instruction set that compilers vectorise it for in another way, and
/// defines `name`, which finds the step of an instruction set. NEON is part of its architecture, so there the
/// scalar step is vectorised already. Loops over columns are elementwise, or reduce in fixed lanes, so that
/// vectorising them changes no bit.
#if defined(NT_X86)
#define NT_STEP(name, body)                                                                                        \
  static void body##__scalar(const void *parameters, const nt_call *call) { body(parameters, call); }              \
  NT_TARGET_AVX2 static void body##__avx2(const void *parameters, const nt_call *call) { body(parameters, call); } \
  NT_TARGET_AVX512VNNI static void body##__avx512vnni(const void *parameters, const nt_call *call) {               \
    body(parameters, call);                                                                                        \
  }                                                                                                                \
  nt_step_function name(nt_isa isa) {                                                                              \
    if (!nt_isa_exists(isa)) return NULL;                                                                          \
    if (isa == NT_ISA_AVX2) return body##__avx2;                                                                   \
    return nt_isa_of_vectors(isa) == NT_ISA_AVX512VNNI ? body##__avx512vnni : body##__scalar;                      \
  }
#else
#define NT_STEP(name, body)                                                                           \
  static void body##__scalar(const void *parameters, const nt_call *call) { body(parameters, call); } \
  nt_step_function name(nt_isa isa) { return nt_isa_exists(isa) ? body##__scalar : NULL; }
#endif

/// Declares the kernels behind the products of one instruction set.
#define NT_DECLARE_KERNELS(isa)                                                                                  \
  void nt_s8_pack__##isa(const int8_t *w, const float *scales, const float *bias, size_t columns, size_t depth,  \
                         void *packed);                                                                          \
  void nt_s8_gemm__##isa(const nt_s8_gemm_args *args);                                                           \
  void nt_f32_gemm__##isa(const nt_f32_gemm_args *args);                                                         \
  void nt_bf16_gemm__##isa(const nt_f32_gemm_args *args);                                                        \
  void nt_f32_quantise__##isa(const float *x, size_t rows, size_t columns, int8_t *q, size_t q_stride,           \
                              float *row_scales);                                                                \
  void nt_f32_quantise_known__##isa(const float *x, const uint32_t *row_magnitudes, size_t rows, size_t columns, \
                                    int8_t *q, size_t q_stride, float *row_scales);                              \
  void nt_f32_bias_activate__##isa(float *x, const float *bias, size_t rows, size_t columns, nt_activation activation);

#if defined(NT_X86)
/// The product of AVX-512 VNNI with tiles of up to six rows × four panels, and of up to eight × three.
void nt_s8_gemm_near__avx512vnni(const nt_s8_gemm_args *args);
void nt_s8_gemm_far__avx512vnni(const nt_s8_gemm_args *args);
/// Whether the tiles of this processor, which nt_isa_supported has found, multiply bf16.
bool nt_has_bf16_tiles(void);
void nt_bf16_tiles__amx(const nt_f32_gemm_args *args);
void nt_bf16_round_rows__amx(const float *x, size_t rows, size_t depth, uint16_t *to);
#endif

/// Groups of NT_K_GROUP in the padded depth: an even number.
NT_INLINE size_t nt_k_groups(size_t depth) {
  return (depth + NT_K_PADDING - 1) / NT_K_PADDING * (NT_K_PADDING / NT_K_GROUP);
}

/// Tail behind the weights of an int8 panel: dequantisation, strictly forward in memory.
typedef struct nt_s8_panel_tail {
  float scales[NT_PANEL_COLUMNS];
  float bias[NT_PANEL_COLUMNS];
} nt_s8_panel_tail;

NT_INLINE size_t nt_s8_panel_bytes(size_t depth) {
  return nt_k_groups(depth) * NT_K_GROUP * NT_PANEL_COLUMNS + sizeof(nt_s8_panel_tail);
}
NT_INLINE const nt_s8_panel_tail *nt_s8_tail_of_panel(const nt_s8_gemm_args *args, size_t panel) {
  const uint8_t *end = (const uint8_t *)args->weights + (panel + 1) * nt_s8_panel_bytes(args->depth);
  return (const nt_s8_panel_tail *)(end - sizeof(nt_s8_panel_tail));
}

/// Number that packing for AVX-512 VNNI adds to a weight: u8 = s8 + 128.
#define NT_S8_OFFSET__AVX512VNNI 128

/// A quantised row is two planes of the padded depth and a tail. AVX2 keeps magnitudes in the first
/// and 0xff for each negative element in the second; the others keep the elements in the first.
NT_INLINE size_t nt_s8_plane_bytes(size_t depth) { return (depth + NT_ALIGNMENT - 1) / NT_ALIGNMENT * NT_ALIGNMENT; }

/// Tail behind the planes of a quantised row.
typedef struct nt_s8_row_tail {
  /// Added to every sum of the row: what the form of its elements, or of the weights, leaves out.
  _Alignas(NT_ALIGNMENT) int32_t compensation;
} nt_s8_row_tail;

NT_INLINE nt_s8_row_tail *nt_s8_tail_of_row(const void *row, size_t depth) {
  return (nt_s8_row_tail *)((uint8_t *)(uintptr_t)row + 2 * nt_s8_plane_bytes(depth));
}

NT_INLINE size_t nt_f32_panel_floats(size_t depth) { return (depth + 1) * NT_PANEL_COLUMNS; }

/// Depth of packed bf16 weights is filled up with zeros to a multiple of this: a tile of AMX.
enum { nt_bf16_step_depth = 32 };

NT_INLINE size_t nt_bf16_padded_depth(size_t depth) {
  return (depth + nt_bf16_step_depth - 1) / nt_bf16_step_depth * nt_bf16_step_depth;
}
/// Per panel: for every two steps of padded depth 16 pairs, one of each column, then 16 fp32 biases.
NT_INLINE size_t nt_bf16_panel_bytes(size_t depth) {
  return nt_bf16_padded_depth(depth) * NT_PANEL_COLUMNS * sizeof(uint16_t) + NT_PANEL_COLUMNS * sizeof(float);
}
NT_INLINE const float *nt_bf16_bias(const nt_f32_gemm_args *args, size_t panel) {
  const char *end = (const char *)args->weights + (panel + 1) * nt_bf16_panel_bytes(args->depth);
  return (const float *)(const void *)end - NT_PANEL_COLUMNS;
}

NT_INLINE float nt_bf16_widened(uint16_t x) {
  uint32_t bits = (uint32_t)x << 16;
  float widened;
  memcpy(&widened, &bits, sizeof widened);
  return widened;
}

/// To the nearest bf16, halves to even. A number beyond the largest bf16 becomes that one, not infinity; NaN stays NaN.
NT_INLINE uint16_t nt_bf16_rounded(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
  if (magnitude < 0x7f800000 && magnitude > 0x7f7f0000) magnitude = 0x7f7f0000;
  return (uint16_t)((bits >> 31 << 15) | (magnitude + 0x7fff + (magnitude >> 16 & 1)) >> 16);
}
