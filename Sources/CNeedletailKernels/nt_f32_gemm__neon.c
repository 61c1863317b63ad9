#include "nt_epilogue.h"
#include "nt_neon.h"
#include "nt_tiles.h"

#if defined(NT_ARM64)

NT_DECLARE_KERNELS(neon)

enum { tile_rows_max = 6 };

NT_SHARED void epilogue(const nt_f32_gemm_args *args, float *tile, const float *bias, size_t row, size_t rows,
                        size_t panel) {
  nt_f32_epilogue(args, tile, bias, row, rows, panel);
}

/// Sixteen weights of one step of depth. A bf16 is the upper half of an fp32: a shift, or a mask, widens four of the
/// eight side by side.
enum { WEIGHTS_F32, WEIGHTS_BF16_LOWER, WEIGHTS_BF16_UPPER };

NT_INLINE float32x4_t weights_lanes(const char *at, const int form) {
  if (form == WEIGHTS_F32) return vld1q_f32((const float *)(const void *)at);
  uint32x4_t pairs = vld1q_u32((const uint32_t *)(const void *)at);
  if (form == WEIGHTS_BF16_LOWER) return vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16));
  return vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000)));
}

/// One step of depth of R rows × P panels.
NT_INLINE void tile_step(float32x4_t *sums, const float *a, size_t depth, const char *w, size_t panel_bytes,
                         const int R, const int P, const int form) {
  for (int p = 0; p < P; p++) {
    float32x4_t weights[4];
    for (int q = 0; q < 4; q++) weights[q] = weights_lanes(w + (size_t)p * panel_bytes + 16 * (size_t)q, form);
    for (int r = 0; r < R; r++) {
      float32x4_t activation = vld1q_dup_f32(a + (size_t)r * depth);
      for (int q = 0; q < 4; q++) {
        float32x4_t *to = sums + 4 * (p * R + r) + q;
        *to = vfmaq_f32(*to, weights[q], activation);
      }
    }
  }
}

/// R rows × P panels: 4·R·P sums of 4 floats, by fused multiply-adds in ascending depth.
NT_INLINE void tile(const nt_f32_gemm_args *args, size_t row, size_t panel, const int R, const int P,
                    const bool is_bf16) {
  size_t depth = args->depth;
  size_t bytes = is_bf16 ? nt_bf16_panel_bytes(depth) : nt_f32_panel_floats(depth) * sizeof(float);
  const char *w = (const char *)args->weights + panel * bytes;
  const float *a = args->a + row * depth;
  float32x4_t sums[4 * tile_rows_max];
  for (int i = 0; i < 4 * R * P; i++) sums[i] = vdupq_n_f32(0);
  if (is_bf16) {
    for (size_t k = 0; k + 2 <= depth; k += 2) {
      tile_step(sums, a + k, depth, w + k * 32, bytes, R, P, WEIGHTS_BF16_LOWER);
      tile_step(sums, a + k + 1, depth, w + k * 32, bytes, R, P, WEIGHTS_BF16_UPPER);
    }
    if (depth % 2) tile_step(sums, a + depth - 1, depth, w + (depth - 1) * 32, bytes, R, P, WEIGHTS_BF16_LOWER);
  } else {
    for (size_t k = 0; k < depth; k++) tile_step(sums, a + k, depth, w + k * 64, bytes, R, P, WEIGHTS_F32);
  }
  _Alignas(64) float stored[tile_rows_max * NT_PANEL_COLUMNS];
  for (int p = 0; p < P; p++) {
    for (int i = 0; i < 4 * R; i++) vst1q_f32(stored + 4 * i, sums[4 * p * R + i]);
    const char *end = w + (size_t)(p + 1) * bytes;
    epilogue(args, stored, (const float *)(const void *)end - NT_PANEL_COLUMNS, row, (size_t)R, panel + (size_t)p);
  }
}

NT_INLINE void tile_f32(const nt_f32_gemm_args *args, size_t row, size_t panel, const int R, const int P) {
  tile(args, row, panel, R, P, false);
}
NT_INLINE void tile_bf16(const nt_f32_gemm_args *args, size_t row, size_t panel, const int R, const int P) {
  tile(args, row, panel, R, P, true);
}

void nt_f32_gemm__neon(const nt_f32_gemm_args *args) {
  if (args->rows == 1) {
    NT_WALK_ONE_ROW(args, tile_f32, 4);
  } else {
    NT_WALK_TILES_OF_6(args, tile_f32);
  }
}

void nt_bf16_gemm__neon(const nt_f32_gemm_args *args) {
  if (args->rows == 1) {
    NT_WALK_ONE_ROW(args, tile_bf16, 4);
  } else {
    NT_WALK_TILES_OF_6(args, tile_bf16);
  }
}
#endif
