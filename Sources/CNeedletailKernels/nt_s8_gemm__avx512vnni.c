#include "nt_epilogue.h"
#include "nt_tiles.h"

#if defined(NT_X86)
#if defined(NT_USE_SIMDE)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#else
#include <immintrin.h>
#endif

NT_DECLARE_KERNELS(avx512vnni)

// VPDPBUSD multiplies unsigned by signed and takes its memory operand, which it can broadcast, as the
// signed one. So weights are packed as w + 128 and an activation group is the folded operand: one
// instruction for 64 products. The 128 · Σa that this adds is taken off by the row's compensation,
// from which its sums start. Sums wrap modulo 2³², so they may leave int32 on the way and still come
// back exact.
//
// None of this has been timed: no CPU with VNNI was at hand. Bits are checked under emulation.

enum { tile_rows_max = 8 };

NT_TARGET_AVX512VNNI NT_SHARED void epilogue(const nt_s8_gemm_args *args, const int32_t *sums,
                                             const nt_s8_panel_tail *tail, size_t row, size_t rows, size_t panel) {
  nt_s8_epilogue(args, sums, tail, row, rows, panel);
}

NT_TARGET_AVX512VNNI NT_INLINE __m512i broadcast_four(const int8_t *at) {
  int32_t four;
  memcpy(&four, at, sizeof four);
  return _mm512_set1_epi32(four);
}

NT_TARGET_AVX512VNNI NT_INLINE void finish(const nt_s8_gemm_args *args, const __m512i *sums, size_t row, size_t panel,
                                           const int R) {
  _Alignas(64) int32_t stored[tile_rows_max * NT_PANEL_COLUMNS];
  for (int r = 0; r < R; r++) _mm512_store_si512(stored + r * NT_PANEL_COLUMNS, sums[r]);
  epilogue(args, stored, nt_s8_tail_of_panel(args, panel), row, (size_t)R, panel);
}

/// R rows × P panels: R·P sums of 16 int32.
NT_TARGET_AVX512VNNI NT_INLINE void tile(const nt_s8_gemm_args *args, size_t row, size_t panel, const int R,
                                         const int P) {
  size_t panel_bytes = nt_s8_panel_bytes(args->depth);
  size_t groups = nt_k_groups(args->depth);
  const uint8_t *w = (const uint8_t *)args->weights + panel * panel_bytes;
  const int8_t *a = args->a + row * args->a_stride;
  __m512i sums[24];
  for (int r = 0; r < R; r++) {
    int32_t compensation = nt_s8_tail_of_row(a + (size_t)r * args->a_stride, args->depth)->compensation;
    for (int p = 0; p < P; p++) sums[p * R + r] = _mm512_set1_epi32(compensation);
  }
  for (size_t g = 0; g < groups; g++) {
    __m512i weights[4];
    for (int p = 0; p < P; p++) {
      weights[p] = _mm512_load_si512(w + (size_t)p * panel_bytes + g * NT_K_GROUP * NT_PANEL_COLUMNS);
    }
    for (int r = 0; r < R; r++) {
      __m512i four = broadcast_four(a + (size_t)r * args->a_stride + g * NT_K_GROUP);
      for (int p = 0; p < P; p++) sums[p * R + r] = _mm512_dpbusd_epi32(sums[p * R + r], weights[p], four);
    }
  }
  for (int p = 0; p < P; p++) finish(args, sums + p * R, row, panel + (size_t)p, R);
}

/// A lone row is a matter of bandwidth: one panel after the other, strictly forward, with eight
/// independent sums over the depth to hide the latency. Integers may be added in any order.
NT_TARGET_AVX512VNNI NT_INLINE void lone_row(const nt_s8_gemm_args *args, size_t panel) {
  enum { chains = 8 };
  size_t groups = nt_k_groups(args->depth), g = 0;
  const uint8_t *w = (const uint8_t *)args->weights + panel * nt_s8_panel_bytes(args->depth);
  __m512i sums[chains];
  sums[0] = _mm512_set1_epi32(nt_s8_tail_of_row(args->a, args->depth)->compensation);
  for (int i = 1; i < chains; i++) sums[i] = _mm512_setzero_si512();
  for (; g + chains <= groups; g += chains, w += chains * NT_K_GROUP * NT_PANEL_COLUMNS) {
    for (size_t i = 0; i < chains; i++) {
      __m512i weights = _mm512_load_si512(w + i * NT_K_GROUP * NT_PANEL_COLUMNS);
      sums[i] = _mm512_dpbusd_epi32(sums[i], weights, broadcast_four(args->a + (g + i) * NT_K_GROUP));
    }
  }
  for (; g < groups; g++, w += NT_K_GROUP * NT_PANEL_COLUMNS) {
    sums[g % 2] = _mm512_dpbusd_epi32(sums[g % 2], _mm512_load_si512(w), broadcast_four(args->a + g * NT_K_GROUP));
  }
  for (int half = chains / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) sums[i] = _mm512_add_epi32(sums[i], sums[i + half]);
  }
  finish(args, sums, 0, panel, 1);
}

NT_TARGET_AVX512VNNI void nt_s8_gemm__avx512vnni(const nt_s8_gemm_args *args) {
  if (args->rows == 1) {
    for (size_t panel = args->panel_first; panel < args->panel_end; panel++) lone_row(args, panel);
    return;
  }
  NT_WALK_TILES_OF_8(args, tile);
}
#endif
