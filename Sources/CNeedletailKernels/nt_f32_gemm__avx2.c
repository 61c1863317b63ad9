#include "nt_epilogue.h"
#include "nt_tiles.h"

#if defined(NT_X86)
#include <immintrin.h>

NT_DECLARE_KERNELS(avx2)

NT_TARGET_AVX2 NT_SHARED void epilogue(const nt_f32_gemm_args *args, float *tile, const float *bias, size_t row,
                                       size_t rows, size_t panel) {
  nt_f32_epilogue(args, tile, bias, row, rows, panel);
}

/// How 16 weights of one step of depth lie in memory.
enum { WEIGHTS_F32, WEIGHTS_BF16_LOWER, WEIGHTS_BF16_UPPER };

/// Eight weights. A bf16 is the upper half of an fp32: a shift, or a mask, widens eight of the 16 side by side.
NT_TARGET_AVX2 NT_INLINE __m256 weights_lanes(const char *at, const int form) {
  if (form == WEIGHTS_F32) return _mm256_load_ps((const float *)(const void *)at);
  __m256i pairs = _mm256_load_si256((const __m256i *)(const void *)at);
  if (form == WEIGHTS_BF16_LOWER) return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
  return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000)));
}

/// One step of depth of R rows × P panels.
NT_TARGET_AVX2 NT_INLINE void tile_step(__m256 *sums, const float *a, size_t depth, const char *w, size_t panel_bytes,
                                        const int R, const int P, const int form) {
  for (int p = 0; p < P; p++) {
    __m256 w0 = weights_lanes(w + (size_t)p * panel_bytes, form);
    __m256 w1 = weights_lanes(w + (size_t)p * panel_bytes + 32, form);
    // Twelve sums leave four registers. Reading an activation again for the second panel is free; kept for it, three of
    // them push sums into memory, which takes half of the speed.
    if (R * P >= 6) __asm__("" : "+r"(a));
    for (int r = 0; r < R; r++) {
      __m256 activation = _mm256_broadcast_ss(a + (size_t)r * depth);
      int i = 2 * (r * P + p);
      sums[i] = _mm256_fmadd_ps(activation, w0, sums[i]);
      sums[i + 1] = _mm256_fmadd_ps(activation, w1, sums[i + 1]);
    }
  }
}

/// R rows × P panels of 16 columns: 2·R·P accumulators of 8 floats.
NT_TARGET_AVX2 NT_INLINE void tile(const nt_f32_gemm_args *args, size_t row, size_t panel, const int R, const int P,
                                   const bool is_bf16) {
  size_t depth = args->depth;
  size_t bytes = is_bf16 ? nt_bf16_panel_bytes(depth) : nt_f32_panel_floats(depth) * sizeof(float);
  const char *w = (const char *)args->weights + panel * bytes;
  const float *a = args->a + row * depth;
  __m256 sums[12];
  for (int i = 0; i < 2 * R * P; i++) sums[i] = _mm256_setzero_ps();
  if (is_bf16) {
    for (size_t k = 0; k + 2 <= depth; k += 2) {
      tile_step(sums, a + k, depth, w + k * 32, bytes, R, P, WEIGHTS_BF16_LOWER);
      tile_step(sums, a + k + 1, depth, w + k * 32, bytes, R, P, WEIGHTS_BF16_UPPER);
    }
    if (depth % 2) tile_step(sums, a + depth - 1, depth, w + (depth - 1) * 32, bytes, R, P, WEIGHTS_BF16_LOWER);
  } else {
    for (size_t k = 0; k < depth; k++) tile_step(sums, a + k, depth, w + k * 64, bytes, R, P, WEIGHTS_F32);
  }
  for (int p = 0; p < P; p++) {
    _Alignas(64) float stored[6 * NT_PANEL_COLUMNS];
    for (int r = 0; r < R; r++) {
      int i = 2 * (r * P + p);
      _mm256_store_ps(stored + r * NT_PANEL_COLUMNS, sums[i]);
      _mm256_store_ps(stored + r * NT_PANEL_COLUMNS + 8, sums[i + 1]);
    }
    const char *end = w + (size_t)(p + 1) * bytes;
    epilogue(args, stored, (const float *)(const void *)end - NT_PANEL_COLUMNS, row, (size_t)R, panel + (size_t)p);
  }
}

/// R rows × two panels; four rows and more fill the registers with one panel at a time.
NT_TARGET_AVX2 NT_INLINE void two_panels(const nt_f32_gemm_args *args, size_t row, size_t panel, size_t panels,
                                         const int R, const bool is_bf16) {
  if (R < 4 && panels == 2) {
    tile(args, row, panel, R, 2, is_bf16);
  } else {
    for (size_t p = 0; p < panels; p++) tile(args, row, panel + p, R, 1, is_bf16);
  }
}

/// Eight chains hide the four cycles of two fused multiply-adds each. So rows are cut into tiles of
/// three to six as equal as can be, which beats sixes and a short rest: with 8 rows 4 + 4 reaches
/// the peak, 6 + 1 + 1 stays at 70 % of it.
NT_TARGET_AVX2 NT_INLINE void product(const nt_f32_gemm_args *args, const bool is_bf16) {
  size_t panels = args->panel_end;
  size_t rows = args->rows;
  if (rows == 1) {
    size_t panel = args->panel_first;
    for (; panel + 4 <= panels; panel += 4) tile(args, 0, panel, 1, 4, is_bf16);
    for (; panel < panels; panel++) tile(args, 0, panel, 1, 1, is_bf16);
    return;
  }
  size_t tiles = nt_tile_count(rows, 6);
  for (size_t panel = args->panel_first; panel < panels; panel += 2) {
    size_t count = panels - panel < 2 ? 1 : 2;
    for (size_t i = 0; i < tiles; i++) {
      size_t row = nt_tile_row(rows, tiles, i);
      switch (nt_tile_row(rows, tiles, i + 1) - row) {
        NT_CASE(2, two_panels(args, row, panel, count, 2, is_bf16))
        NT_CASE(3, two_panels(args, row, panel, count, 3, is_bf16))
        NT_CASE(4, two_panels(args, row, panel, count, 4, is_bf16))
        NT_CASE(5, two_panels(args, row, panel, count, 5, is_bf16))
        NT_CASE(6, two_panels(args, row, panel, count, 6, is_bf16))
      }
    }
  }
}

NT_TARGET_AVX2 void nt_f32_gemm__avx2(const nt_f32_gemm_args *args) { product(args, false); }
NT_TARGET_AVX2 void nt_bf16_gemm__avx2(const nt_f32_gemm_args *args) { product(args, true); }
#endif
