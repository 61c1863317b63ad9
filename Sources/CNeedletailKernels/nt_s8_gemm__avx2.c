#include "nt_epilogue.h"

#if defined(NT_X86)
#include <immintrin.h>

NT_DECLARE_KERNELS(avx2)

/// R rows × P panels of 16 columns: 2·R·P accumulators of 8 int32.
///
/// maddubs wants unsigned × signed, so the activation's sign moves over to the weight:
/// |a| · sign(w, a). Its int16 pairs reach at most 2 · 127 · 127 = 32,258 and never saturate.
NT_TARGET_AVX2 NT_INLINE void tile(const nt_s8_gemm_args *args, size_t row, size_t panel, const int R, const int P) {
  size_t panel_bytes = nt_s8_panel_bytes(args->depth);
  size_t groups = nt_k_groups(args->depth);
  const uint8_t *w = (const uint8_t *)args->weights + panel * panel_bytes;
  const int8_t *a = args->a + row * args->a_stride;
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sums[8];
  for (int i = 0; i < 2 * R * P; i++) sums[i] = _mm256_setzero_si256();
  for (size_t g = 0; g < groups; g++) {
    for (int p = 0; p < P; p++) {
      const uint8_t *at = w + (size_t)p * panel_bytes + g * NT_K_GROUP * NT_PANEL_COLUMNS;
      __m256i w0 = _mm256_load_si256((const __m256i *)at);
      __m256i w1 = _mm256_load_si256((const __m256i *)(at + 32));
      for (int r = 0; r < R; r++) {
        int32_t four;
        memcpy(&four, a + (size_t)r * args->a_stride + g * NT_K_GROUP, sizeof four);
        __m256i signs = _mm256_set1_epi32(four);
        __m256i magnitude = _mm256_abs_epi8(signs);
        __m256i pairs0 = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(w0, signs));
        __m256i pairs1 = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(w1, signs));
        int i = 2 * (r * P + p);
        sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(pairs0, ones));
        sums[i + 1] = _mm256_add_epi32(sums[i + 1], _mm256_madd_epi16(pairs1, ones));
      }
    }
  }
  for (int p = 0; p < P; p++) {
    _Alignas(64) int32_t stored[4 * NT_PANEL_COLUMNS];
    for (int r = 0; r < R; r++) {
      int i = 2 * (r * P + p);
      _mm256_store_si256((__m256i *)(stored + r * NT_PANEL_COLUMNS), sums[i]);
      _mm256_store_si256((__m256i *)(stored + r * NT_PANEL_COLUMNS + 8), sums[i + 1]);
    }
    const nt_s8_panel_tail *tail =
        (const nt_s8_panel_tail *)(w + (size_t)(p + 1) * panel_bytes - sizeof(nt_s8_panel_tail));
    nt_s8_epilogue(args, stored, tail, row, (size_t)R, panel + (size_t)p);
  }
}

/// Four rows share a load of weights; a lone row takes four panels for the same number of chains.
NT_TARGET_AVX2 void nt_s8_gemm__avx2(const nt_s8_gemm_args *args) {
  size_t panels = nt_panels(args->columns);
  size_t row = 0;
  if (args->rows >= 2) {
    for (size_t panel = 0; panel < panels; panel++) {
      for (row = 0; row + 4 <= args->rows; row += 4) tile(args, row, panel, 4, 1);
      if (row + 3 == args->rows) tile(args, row, panel, 3, 1);
      if (row + 2 == args->rows) tile(args, row, panel, 2, 1);
    }
  }
  if (args->rows % 4 == 1) {
    row = args->rows - 1;
    size_t panel = 0;
    for (; panel + 4 <= panels; panel += 4) tile(args, row, panel, 1, 4);
    for (; panel < panels; panel++) tile(args, row, panel, 1, 1);
  }
}
#endif
