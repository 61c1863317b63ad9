#include "nt_epilogue.h"

#if defined(NT_X86)
#if defined(NT_USE_SIMDE)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#else
#include <immintrin.h>
#endif

NT_DECLARE_KERNELS(avx512vnni)

/// R rows × P panels of 16 columns: R·P accumulators of 16 int32.
///
/// VPDPBUSD wants unsigned × signed, so the activation is lifted to q + 128 (one XOR of the sign
/// bits) and 128 · Σw, kept beside each column, is taken off again. Sums wrap modulo 2³², so the
/// lifted sum may leave int32 on the way and still comes back exact.
NT_TARGET_AVX512VNNI NT_INLINE void tile(const nt_s8_gemm_args *args, size_t row, size_t panel, const int R,
                                         const int P) {
  size_t panel_bytes = nt_s8_panel_bytes(args->depth);
  size_t groups = nt_k_groups(args->depth);
  const uint8_t *w = (const uint8_t *)args->weights + panel * panel_bytes;
  const int8_t *a = args->a + row * args->a_stride;
  __m512i sums[8];
  for (int i = 0; i < R * P; i++) sums[i] = _mm512_setzero_si512();
  for (size_t g = 0; g < groups; g++) {
    for (int p = 0; p < P; p++) {
      __m512i weights = _mm512_load_si512(w + (size_t)p * panel_bytes + g * NT_K_GROUP * NT_PANEL_COLUMNS);
      for (int r = 0; r < R; r++) {
        uint32_t four;
        memcpy(&four, a + (size_t)r * args->a_stride + g * NT_K_GROUP, sizeof four);
        __m512i lifted = _mm512_set1_epi32((int32_t)(four ^ 0x80808080u));
        sums[r * P + p] = _mm512_dpbusd_epi32(sums[r * P + p], lifted, weights);
      }
    }
  }
  for (int p = 0; p < P; p++) {
    const nt_s8_panel_tail *tail =
        (const nt_s8_panel_tail *)(w + (size_t)(p + 1) * panel_bytes - sizeof(nt_s8_panel_tail));
    __m512i compensation = _mm512_slli_epi32(_mm512_load_si512(tail->sums), 7);
    _Alignas(64) int32_t stored[8 * NT_PANEL_COLUMNS];
    for (int r = 0; r < R; r++) {
      _mm512_store_si512(stored + r * NT_PANEL_COLUMNS, _mm512_sub_epi32(sums[r * P + p], compensation));
    }
    nt_s8_epilogue(args, stored, tail, row, (size_t)R, panel + (size_t)p);
  }
}

/// Eight rows share a load of weights; a lone row takes eight panels for the same number of chains.
NT_TARGET_AVX512VNNI void nt_s8_gemm__avx512vnni(const nt_s8_gemm_args *args) {
  size_t panels = args->panel_end;
  size_t rows = args->rows;
  if (rows >= 2) {
    for (size_t panel = args->panel_first; panel < panels; panel++) {
      size_t row = 0;
      for (; row + 8 <= rows; row += 8) tile(args, row, panel, 8, 1);
      if (row + 4 <= rows) {
        tile(args, row, panel, 4, 1);
        row += 4;
      }
      if (row + 2 <= rows) tile(args, row, panel, 2, 1);
    }
  }
  if (rows % 2 == 1) {
    size_t panel = args->panel_first;
    for (; panel + 8 <= panels; panel += 8) tile(args, rows - 1, panel, 1, 8);
    for (; panel < panels; panel++) tile(args, rows - 1, panel, 1, 1);
  }
}
#endif
