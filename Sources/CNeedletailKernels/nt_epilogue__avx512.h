// Work that follows the sums of a tile on AVX-512, in registers: each row of a panel is one vector.
//
// A tile that is written to memory first, as the other instruction sets do it, costs more than its products where depth
// is small: one row of 128 × 128 made 112 G multiply-adds/s so, and makes 188 in registers (Sapphire Rapids).
#pragma once

#include "nt_epilogue.h"

#if defined(NT_X86)
#include "nt_intrinsics.h"

/// Where the answers of one product go, for both types of operands.
typedef struct nt_tile_output {
  float *out;
  /// Null, or the largest |out| of each row.
  uint32_t *row_magnitudes;
  size_t columns;
  nt_activation activation;
} nt_tile_output;

/// The columns of a panel that the product has.
NT_TARGET_AVX512VNNI NT_INLINE __mmask16 nt_valid_lanes(size_t columns, size_t panel) {
  size_t left = columns - panel * NT_PANEL_COLUMNS;
  return left >= NT_PANEL_COLUMNS ? 0xffff : (__mmask16)((1u << left) - 1);
}

/// Activations that are curves. They take tens of instructions a vector, so one copy of them serves all shapes of tile.
NT_TARGET_AVX512VNNI NT_SHARED __m512 nt_curve_lanes(__m512 x, nt_activation activation) {
  _Alignas(64) float lanes[NT_PANEL_COLUMNS];
  _mm512_store_ps(lanes, x);
  nt_activate(lanes, NT_PANEL_COLUMNS, activation);
  return _mm512_load_ps(lanes);
}

/// One row of one panel: activation and store. Returns the largest |y| of each lane so far.
NT_TARGET_AVX512VNNI NT_INLINE __m512i nt_finish_lanes(const nt_tile_output *to, __m512 y, size_t row, size_t panel,
                                                       __m512i largest) {
  __mmask16 valid = nt_valid_lanes(to->columns, panel);
  if (to->activation == NT_ACTIVATION_RELU) {
    // MAXPS gives its second operand for NaN, and for −0 against 0, as x < 0 ? 0 : x does.
    y = _mm512_max_ps(_mm512_setzero_ps(), y);
  } else if (to->activation != NT_ACTIVATION_IDENTITY) {
    y = nt_curve_lanes(y, to->activation);
  }
  float *at = to->out + row * to->columns + panel * NT_PANEL_COLUMNS;
  if (__builtin_expect(valid == 0xffff, 1)) {
    _mm512_storeu_ps(at, y);
  } else {
    _mm512_mask_storeu_ps(at, valid, y);
  }
  __m512i magnitude = _mm512_maskz_and_epi32(valid, _mm512_castps_si512(y), _mm512_set1_epi32(0x7fffffff));
  return _mm512_max_epu32(largest, magnitude);
}

/// The larger of neighbours at two distances: one step of a transposition that keeps half of the lanes.
NT_TARGET_AVX512VNNI NT_INLINE __m512i nt_halve32(__m512i a, __m512i b) {
  return _mm512_max_epu32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}
NT_TARGET_AVX512VNNI NT_INLINE __m512i nt_halve64(__m512i a, __m512i b) {
  return _mm512_max_epu32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}
NT_TARGET_AVX512VNNI NT_INLINE __m512i nt_halve128(__m512i a, __m512i b) {
  return _mm512_max_epu32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));
}

/// Raises the magnitudes of up to 16 rows by the largest lane of their vectors, all at once: three instructions a row
/// instead of ten for each row's own reduction.
///
/// - largest: 16 vectors, of which the first `rows` count.
NT_TARGET_AVX512VNNI NT_INLINE void nt_raise_magnitudes(uint32_t *row_magnitudes, const __m512i *largest, size_t rows) {
  __m512i quarter[4];
  for (int i = 0; i < 4; i++) {
    quarter[i] =
        nt_halve64(nt_halve32(largest[4 * i], largest[4 * i + 1]), nt_halve32(largest[4 * i + 2], largest[4 * i + 3]));
  }
  __m512i all = nt_halve128(nt_halve128(quarter[0], quarter[1]), nt_halve128(quarter[2], quarter[3]));
  __mmask16 valid = rows >= 16 ? 0xffff : (__mmask16)((1u << rows) - 1);
  __m512i known = _mm512_maskz_loadu_epi32(valid, row_magnitudes);
  _mm512_mask_storeu_epi32(row_magnitudes, valid, _mm512_max_epu32(all, known));
}

/// The same for a lone row.
NT_TARGET_AVX512VNNI NT_INLINE void nt_raise_magnitude(uint32_t *row_magnitude, __m512i largest) {
  uint32_t found = _mm512_reduce_max_epu32(largest);
  if (found > *row_magnitude) *row_magnitude = found;
}

/// Columns of one int8 panel: what turns sums into numbers.
typedef struct nt_s8_panel_lanes {
  __m512 scales, bias;
} nt_s8_panel_lanes;

NT_TARGET_AVX512VNNI NT_INLINE nt_s8_panel_lanes nt_s8_load_panel(const nt_s8_gemm_args *args, size_t panel) {
  const nt_s8_panel_tail *tail = nt_s8_tail_of_panel(args, panel);
  return (nt_s8_panel_lanes){.scales = _mm512_load_ps(tail->scales), .bias = _mm512_load_ps(tail->bias)};
}

NT_TARGET_AVX512VNNI NT_INLINE nt_tile_output nt_s8_output(const nt_s8_gemm_args *args) {
  return (nt_tile_output){.out = args->out,
                          .row_magnitudes = args->row_magnitudes,
                          .columns = args->columns,
                          .activation = args->activation};
}

/// Sums of one row of one panel → numbers, in the order of operations of the scalar twin, or the bare sums where those
/// are asked for.
NT_TARGET_AVX512VNNI NT_INLINE __m512i nt_s8_finish_lanes(const nt_s8_gemm_args *args, const nt_tile_output *to,
                                                          __m512i sums, size_t row, size_t panel, __m512 row_scale,
                                                          nt_s8_panel_lanes lanes, __m512i largest) {
  if (__builtin_expect(args->accumulators != NULL, 0)) {
    size_t at = row * args->columns + panel * NT_PANEL_COLUMNS;
    _mm512_mask_storeu_epi32(args->accumulators + at, nt_valid_lanes(args->columns, panel), sums);
    return largest;
  }
  __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_mul_ps(row_scale, lanes.scales));
  return nt_finish_lanes(to, _mm512_add_ps(product, lanes.bias), row, panel, largest);
}
#endif
