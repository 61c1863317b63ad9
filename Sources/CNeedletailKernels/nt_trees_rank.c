// Rows to ranks: nt_trees.h tells what they are.
//
// A table is searched in two levels of 16 comparisons: all pivots at once, which names a run of 16 thresholds, then
// all of that run. NaN, and the NaN that fills a table, compare false, so they count nothing.
#include "nt_trees_internal.h"

#if defined(NT_X86)
#include "nt_intrinsics.h"
#endif

/// Numbers of a table of thresholds.
#define TABLE(type) ((const type *)ranks->thresholds + (size_t)table * NT_RANK_TABLE_NUMBERS)

/// Ranks in plain C; the compiler vectorises the loops of comparisons.
NT_INLINE uint32_t rank_plain(const nt_ranks *ranks, uint32_t table, double x, const bool is_f64) {
  uint32_t block = 0, rank = 0;
  if (is_f64) {
    const double *t = TABLE(double);
    for (size_t i = 0; i < 16; i++) block += x >= t[i];
    for (size_t i = 0; i < 16; i++) rank += x >= t[16 + block * 16 + i];
  } else {
    const float *t = TABLE(float), f = (float)x;
    for (size_t i = 0; i < 16; i++) block += f >= t[i];
    for (size_t i = 0; i < 16; i++) rank += f >= t[16 + block * 16 + i];
  }
  return block * 16 + rank;
}

#if defined(NT_X86)
#define COUNT(mask) (uint32_t)__builtin_popcount((uint32_t)(mask))

NT_TARGET_AVX2 NT_INLINE uint32_t count_f32__avx2(const float *t, __m256 x) {
  uint32_t low = (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(x, _mm256_load_ps(t), _CMP_GE_OQ));
  uint32_t high = (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(x, _mm256_load_ps(t + 8), _CMP_GE_OQ));
  return COUNT(low | high << 8);
}
NT_TARGET_AVX2 NT_INLINE uint32_t count_f64__avx2(const double *t, __m256d x) {
  uint32_t mask = 0;
  for (int i = 0; i < 4; i++) {
    mask |= (uint32_t)_mm256_movemask_pd(_mm256_cmp_pd(x, _mm256_load_pd(t + 4 * i), _CMP_GE_OQ)) << (4 * i);
  }
  return COUNT(mask);
}
NT_TARGET_AVX2 NT_INLINE uint32_t rank__avx2(const nt_ranks *ranks, uint32_t table, double x, const bool is_f64) {
  if (is_f64) {
    __m256d wide = _mm256_set1_pd(x);
    uint32_t block = count_f64__avx2(TABLE(double), wide) * 16;
    return block + count_f64__avx2(TABLE(double) + 16 + block, wide);
  }
  __m256 wide = _mm256_set1_ps((float)x);
  uint32_t block = count_f32__avx2(TABLE(float), wide) * 16;
  return block + count_f32__avx2(TABLE(float) + 16 + block, wide);
}

NT_TARGET_VBMI NT_INLINE uint32_t count_f64__avx512vbmi(const double *t, __m512d x) {
  uint32_t low = _mm512_cmp_pd_mask(x, _mm512_load_pd(t), _CMP_GE_OQ);
  uint32_t high = _mm512_cmp_pd_mask(x, _mm512_load_pd(t + 8), _CMP_GE_OQ);
  return COUNT(low | high << 8);
}
NT_TARGET_VBMI NT_INLINE uint32_t rank__avx512vbmi(const nt_ranks *ranks, uint32_t table, double x, const bool is_f64) {
  if (is_f64) {
    __m512d wide = _mm512_set1_pd(x);
    uint32_t block = count_f64__avx512vbmi(TABLE(double), wide) * 16;
    return block + count_f64__avx512vbmi(TABLE(double) + 16 + block, wide);
  }
  __m512 wide = _mm512_set1_ps((float)x);
  uint32_t block = COUNT(_mm512_cmp_ps_mask(wide, _mm512_load_ps(TABLE(float)), _CMP_GE_OQ)) * 16;
  return block + COUNT(_mm512_cmp_ps_mask(wide, _mm512_load_ps(TABLE(float) + 16 + block), _CMP_GE_OQ));
}
#endif

NT_INLINE bool is_tiny(double x) { return __builtin_fabs(x) <= (double)NT_TREES_TINY; }

void nt_rank_fill_codes(const nt_ranks *ranks, const nt_rank_codes *codes, uint8_t *bytes) {
  for (uint32_t code = 0; code < codes->code_count + 2; code++) {
    for (uint32_t i = 0; i < codes->sets; i++) {
      *bytes++ = nt_rank_of_code(codes, &ranks->sets[codes->first_set + i], code);
    }
  }
}

/// The bytes of the sets of one column, in tiles of 64 rows and sets, which stay in L1 where rows are lanes.
NT_INLINE void rank_codes(const nt_ranks *ranks, const nt_rank_codes *codes, const uint8_t *row, size_t rows,
                          size_t lanes, uint8_t *of_sets, const bool is_f64) {
  enum { tile = 64 };
  const size_t row_bytes = ranks->columns * (is_f64 ? sizeof(double) : sizeof(float)), sets = codes->sets;
  uint8_t *out = of_sets + codes->first_set * lanes;
  if (!codes->bytes) {
    const nt_rank_set *set = &ranks->sets[codes->first_set];
    for (size_t i = 0; i < sets; i++) {
      NT_EACH_ROW
      for (size_t r = 0; r < rows; r++) {
        out[i * lanes + r] = nt_rank_in_set(&set[i], nt_trees_number(row + r * row_bytes, codes->column, is_f64));
      }
    }
  } else if (lanes == 1) {
    memcpy(out, codes->bytes + nt_code_of(codes, nt_trees_number(row, codes->column, is_f64)) * sets, sets);
  } else {
    for (size_t first = 0; first < rows; first += tile) {
      const size_t count = rows - first < tile ? rows - first : tile;
      const uint8_t *from[tile];
      NT_EACH_ROW
      for (size_t r = 0; r < count; r++) {
        from[r] = codes->bytes +
                  nt_code_of(codes, nt_trees_number(row + (first + r) * row_bytes, codes->column, is_f64)) * sets;
      }
      for (size_t i = 0; i < sets; i += tile) {
        const size_t end = sets - i < tile ? sets : i + tile;
        for (size_t r = 0; r < count; r++) {
          for (size_t s = i; s < end; s++) out[s * lanes + first + r] = from[r][s];
        }
      }
    }
  }
}

/// The bytes of the tables of a column, and of their copies, where its value is missing or tiny.
NT_INLINE void put_right(const nt_ranks *ranks, size_t column, double x, size_t lanes, uint8_t *v) {
  for (uint32_t i = ranks->column_tables[column]; i < ranks->column_tables[column + 1]; i++) {
    const nt_rank_table *table = &ranks->tables[i];
    bool is_missing = x != x || (table->zero_is_missing && is_tiny(x));
    if (!is_missing && !ranks->flushes_tiny) continue;
    v[i * lanes] = is_missing ? table->missing : table->zero;
    for (uint32_t c = table->copy_first; c < table->copy_end; c++) {
      v[(ranks->table_count + c) * lanes] = is_missing ? ranks->copies[c].missing : table->zero;
    }
  }
}

/// Missing values are few: after all ranks, those of missing values, and of values that are flushed to 0, are put
/// right, column by column.
NT_INLINE void fill_missing(const nt_ranks *ranks, const void *row, size_t lanes, uint8_t *v, const bool is_f64) {
  bool looks_for_tiny = ranks->flushes_tiny || ranks->has_missing_zeros;
  for (size_t column = 0; column < ranks->columns; column++) {
    double x = nt_trees_number(row, column, is_f64);
    if (x != x || (looks_for_tiny && is_tiny(x))) put_right(ranks, column, x, lanes, v);
  }
}

#if defined(NT_X86)
/// The same, of which most rows see 16 comparisons at a time only.
NT_TARGET_VBMI NT_INLINE void fill_missing__avx512vbmi(const nt_ranks *ranks, const void *row, size_t lanes, uint8_t *v,
                                                       const bool is_f64) {
  const bool looks_for_tiny = ranks->flushes_tiny || ranks->has_missing_zeros;
  const size_t step = is_f64 ? 8 : 16;
  size_t first = 0;
  for (; first + step <= ranks->columns; first += step) {
    uint32_t found;
    if (is_f64) {
      __m512d x = _mm512_loadu_pd((const double *)row + first), tiny = _mm512_set1_pd((double)NT_TREES_TINY);
      found = _mm512_cmp_pd_mask(x, x, _CMP_UNORD_Q);
      if (looks_for_tiny) found |= _mm512_cmp_pd_mask(_mm512_abs_pd(x), tiny, _CMP_LE_OQ);
    } else {
      __m512 x = _mm512_loadu_ps((const float *)row + first), tiny = _mm512_set1_ps(NT_TREES_TINY);
      found = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
      if (looks_for_tiny) found |= _mm512_cmp_ps_mask(_mm512_abs_ps(x), tiny, _CMP_LE_OQ);
    }
    for (; found; found &= found - 1) {
      size_t column = first + (size_t)__builtin_ctz(found);
      put_right(ranks, column, nt_trees_number(row, column, is_f64), lanes, v);
    }
  }
  for (; first < ranks->columns; first++) {
    double x = nt_trees_number(row, first, is_f64);
    if (x != x || (looks_for_tiny && is_tiny(x))) put_right(ranks, first, x, lanes, v);
  }
}
#endif

typedef uint32_t rank_one(const nt_ranks *ranks, uint32_t table, double x, const bool is_f64);
typedef void fill_one(const nt_ranks *ranks, const void *row, size_t lanes, uint8_t *v, const bool is_f64);

/// Tables outside, rows inside: a table stays in L1 for all rows.
NT_INLINE void rank_rows_as(const nt_ranks *ranks, const void *x, size_t rows, size_t lanes, uint8_t *v, rank_one *rank,
                            fill_one *fill, const bool is_f64) {
  const nt_rank_table *tables = ranks->tables;
  const size_t row_bytes = ranks->columns * (is_f64 ? sizeof(double) : sizeof(float));
  const uint32_t table_count = ranks->table_count;
  const uint8_t *row = x;
  if (rows == 1 && lanes == 1) {
    // Four chains of two dependent searches each overlap.
#pragma clang loop unroll_count(4)
    for (uint32_t i = 0; i < table_count; i++) {
      v[i] = (uint8_t)rank(ranks, i, nt_trees_number(row, tables[i].column, is_f64), is_f64);
    }
  } else {
    for (uint32_t i = 0; i < table_count; i++) {
      const uint8_t *at = row;
      uint8_t *out = v + i * lanes;
#pragma clang loop unroll_count(4)
      for (size_t r = 0; r < rows; r++, at += row_bytes) {
        out[r] = (uint8_t)rank(ranks, i, nt_trees_number(at, tables[i].column, is_f64), is_f64);
      }
    }
  }
  for (size_t i = 0; i < ranks->copy_count; i++) {
    memcpy(v + (table_count + i) * lanes, v + ranks->copies[i].table * lanes, rows);
  }
  for (size_t r = 0; r < rows; r++) fill(ranks, row + r * row_bytes, lanes, v + r, is_f64);
  uint8_t *of_sets = v + (size_t)(table_count + ranks->copy_count) * lanes;
  for (size_t i = 0; i < ranks->codes_count; i++)
    rank_codes(ranks, &ranks->codes[i], row, rows, lanes, of_sets, is_f64);
}

NT_INLINE void rank_rows(const nt_ranks *ranks, const void *x, size_t rows, size_t lanes, uint8_t *v, rank_one *rank,
                         fill_one *fill) {
  if (ranks->is_f64) {
    rank_rows_as(ranks, x, rows, lanes, v, rank, fill, true);
  } else {
    rank_rows_as(ranks, x, rows, lanes, v, rank, fill, false);
  }
}

static void rank_rows__scalar(const nt_ranks *ranks, const void *x, size_t rows, size_t lanes, uint8_t *v) {
  rank_rows(ranks, x, rows, lanes, v, rank_plain, fill_missing);
}

#if defined(NT_X86)
NT_TARGET_AVX2 static void rank_rows__avx2(const nt_ranks *ranks, const void *x, size_t rows, size_t lanes,
                                           uint8_t *v) {
  rank_rows(ranks, x, rows, lanes, v, rank__avx2, fill_missing);
}
NT_TARGET_VBMI static void rank_rows__avx512vbmi(const nt_ranks *ranks, const void *x, size_t rows, size_t lanes,
                                                 uint8_t *v) {
  rank_rows(ranks, x, rows, lanes, v, rank__avx512vbmi, fill_missing__avx512vbmi);
}
#endif

nt_rank_function nt_rank_rows(nt_isa isa) {
  if (!nt_isa_exists(isa)) return NULL;
#if defined(NT_X86)
  if (nt_isa_of_vectors(isa) == NT_ISA_AVX512VNNI && nt_trees_has_vbmi()) return rank_rows__avx512vbmi;
  if (isa != NT_ISA_SCALAR) return rank_rows__avx2;
#endif
  return rank_rows__scalar;
}
