#include "nt_epilogue__avx512.h"
#include "nt_tiles.h"

#if defined(NT_X86)
NT_DECLARE_KERNELS(avx512vnni)

// VPDPBUSD multiplies unsigned by signed and takes its memory operand, which it can broadcast, as the
// signed one. So weights are packed as w + 128 and an activation group is the folded operand: one
// instruction for 64 products. The 128 · Σa that this adds is taken off by the row's compensation,
// from which its sums start. Sums wrap modulo 2³², so they may leave int32 on the way and still come
// back exact.
//
// Two VPDPBUSD start in a cycle and each takes five, so ten independent sums are the least, and 12 to 24 are what the
// shapes below have. G multiply-adds/s on Sapphire Rapids at 2.78 GHz, of 356 to 373 that registers alone allow:
//
//   N = K     1 row   4 rows   8 rows
//     128      188      273      280
//     512      125      344      337
//   1,024      134      347      350

/// Bytes of weights from which a product reads them from L3 or memory: part of the 2 MiB of L2 holds other things.
enum { far_weights_bytes = 3 << 19 };

NT_TARGET_AVX512VNNI NT_INLINE __m512i broadcast_four(const int8_t *at) {
  int32_t four;
  memcpy(&four, at, sizeof four);
  return _mm512_set1_epi32(four);
}

NT_TARGET_AVX512VNNI NT_INLINE __m512i weights_at(const uint8_t *panel, size_t group) {
  return _mm512_load_si512(panel + group * NT_K_GROUP * NT_PANEL_COLUMNS);
}

/// One row × P panels with the depth in C chains: P · C sums, where each broadcast serves P panels. Integers may be
/// added in any order.
NT_TARGET_AVX512VNNI NT_INLINE __m512i one_row(const nt_s8_gemm_args *args, const nt_tile_output *to, size_t panel,
                                               __m512i largest, const int P, const int C) {
  size_t bytes = nt_s8_panel_bytes(args->depth), groups = nt_k_groups(args->depth), g = 0;
  const uint8_t *w = (const uint8_t *)args->weights + panel * bytes;
  __m512i sums[16];
  for (int i = 0; i < P * C; i++) sums[i] = _mm512_setzero_si512();
  for (; g + (size_t)C <= groups; g += (size_t)C) {
    for (int c = 0; c < C; c++) {
      __m512i four = broadcast_four(args->a + (g + (size_t)c) * NT_K_GROUP);
      for (int p = 0; p < P; p++) {
        __m512i weights = weights_at(w + (size_t)p * bytes, g + (size_t)c);
        sums[c * P + p] = _mm512_dpbusd_epi32(sums[c * P + p], weights, four);
      }
    }
  }
  for (; g < groups; g++) {
    __m512i four = broadcast_four(args->a + g * NT_K_GROUP);
    for (int p = 0; p < P; p++) sums[p] = _mm512_dpbusd_epi32(sums[p], weights_at(w + (size_t)p * bytes, g), four);
  }
  __m512i start = _mm512_set1_epi32(nt_s8_tail_of_row(args->a, args->depth)->compensation);
  __m512 row_scale = _mm512_set1_ps(args->accumulators ? 0 : args->row_scales[0]);
  for (int p = 0; p < P; p++) {
    for (int half = C / 2; half > 0; half /= 2) {
      for (int c = 0; c < half; c++) sums[c * P + p] = _mm512_add_epi32(sums[c * P + p], sums[(c + half) * P + p]);
    }
    largest = nt_s8_finish_lanes(args, to, _mm512_add_epi32(sums[p], start), 0, panel + (size_t)p, row_scale,
                                 nt_s8_load_panel(args, panel + (size_t)p), largest);
  }
  return largest;
}

NT_TARGET_AVX512VNNI NT_SHARED void lone_row(const nt_s8_gemm_args *args) {
  nt_tile_output to = nt_s8_output(args);
  __m512i largest = _mm512_setzero_si512();
  size_t panel = args->panel_first, end = args->panel_end;
  for (; panel + 8 <= end; panel += 8) largest = one_row(args, &to, panel, largest, 8, 2);
  if (panel + 4 <= end) largest = one_row(args, &to, panel, largest, 4, 4), panel += 4;
  if (panel + 2 <= end) largest = one_row(args, &to, panel, largest, 2, 8), panel += 2;
  if (panel < end) largest = one_row(args, &to, panel, largest, 1, 8);
  if (args->row_magnitudes) nt_raise_magnitude(args->row_magnitudes, largest);
}

/// R rows × P panels: R · P sums of 16 int32. Whichever operands are fewer stay in registers.
NT_TARGET_AVX512VNNI NT_INLINE void tile(const nt_s8_gemm_args *args, size_t row, size_t panel, const int R,
                                         const int P) {
  size_t bytes = nt_s8_panel_bytes(args->depth), groups = nt_k_groups(args->depth), stride = args->a_stride;
  const uint8_t *w = (const uint8_t *)args->weights + panel * bytes;
  const int8_t *a = args->a + row * stride;
  __m512i sums[24], largest[16];
  for (int r = 0; r < R; r++) {
    int32_t compensation = nt_s8_tail_of_row(a + (size_t)r * stride, args->depth)->compensation;
    for (int p = 0; p < P; p++) sums[r * P + p] = _mm512_set1_epi32(compensation);
  }
  for (size_t g = 0; g < groups; g++) {
    if (P > R) {
      __m512i fours[8];
      for (int r = 0; r < R; r++) fours[r] = broadcast_four(a + (size_t)r * stride + g * NT_K_GROUP);
      for (int p = 0; p < P; p++) {
        __m512i weights = weights_at(w + (size_t)p * bytes, g);
        for (int r = 0; r < R; r++) sums[r * P + p] = _mm512_dpbusd_epi32(sums[r * P + p], weights, fours[r]);
      }
    } else {
      __m512i weights[8];
      for (int p = 0; p < P; p++) weights[p] = weights_at(w + (size_t)p * bytes, g);
      for (int r = 0; r < R; r++) {
        __m512i four = broadcast_four(a + (size_t)r * stride + g * NT_K_GROUP);
        for (int p = 0; p < P; p++) sums[r * P + p] = _mm512_dpbusd_epi32(sums[r * P + p], weights[p], four);
      }
    }
  }
  nt_tile_output to = nt_s8_output(args);
  NT_UNROLLED
  for (int r = 0; r < 16; r++) largest[r] = _mm512_setzero_si512();
  NT_UNROLLED
  for (int p = 0; p < P; p++) {
    nt_s8_panel_lanes lanes = nt_s8_load_panel(args, panel + (size_t)p);
    NT_UNROLLED
    for (int r = 0; r < R; r++) {
      size_t at = row + (size_t)r;
      __m512 row_scale = _mm512_set1_ps(args->accumulators ? 0 : args->row_scales[at]);
      largest[r] = nt_s8_finish_lanes(args, &to, sums[r * P + p], at, panel + (size_t)p, row_scale, lanes, largest[r]);
    }
  }
  if (args->row_magnitudes) nt_raise_magnitudes(args->row_magnitudes + row, largest, (size_t)R);
}

NT_ROWS_OF_2_TO_8(NT_TARGET_AVX512VNNI, nt_s8_gemm_args)

// Six rows × four panels are fastest where weights come from L1 and L2. From further away every pass over them costs
// more than that gains, so eight rows share one.
NT_TARGET_AVX512VNNI void nt_s8_gemm_near__avx512vnni(const nt_s8_gemm_args *args) {
  if (args->rows == 1) {
    lone_row(args);
  } else {
    NT_WALK_ROWS(args, 6);
  }
}

NT_TARGET_AVX512VNNI void nt_s8_gemm_far__avx512vnni(const nt_s8_gemm_args *args) {
  if (args->rows == 1) {
    lone_row(args);
  } else {
    NT_WALK_ROWS(args, 8);
  }
}

/// Where nobody has timed both.
NT_TARGET_AVX512VNNI void nt_s8_gemm__avx512vnni(const nt_s8_gemm_args *args) {
  bool is_far = nt_panel_count(args->columns) * nt_s8_panel_bytes(args->depth) > far_weights_bytes;
  if (is_far) {
    nt_s8_gemm_far__avx512vnni(args);
  } else {
    nt_s8_gemm_near__avx512vnni(args);
  }
}
#endif
