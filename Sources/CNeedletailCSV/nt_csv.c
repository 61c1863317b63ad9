#include "nt_csv.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#define NT_BLOCK 64
#endif

#if defined(NT_BLOCK)
/// One bit for each byte of a block.
typedef struct nt_block {
  uint64_t marks, delimiters, high;
} nt_block;

/// Marks are what ends a record or needs the state machine: CR, LF, the quote and NUL.
static inline nt_block nt_block_of(const uint8_t *bytes, __m128i delimiter, __m128i quote) {
  const __m128i cr = _mm_set1_epi8('\r'), lf = _mm_set1_epi8('\n'), zero = _mm_setzero_si128();
  nt_block block = {0, 0, 0};
  for (int part = 0; part < NT_BLOCK / 16; part++) {
    __m128i x = _mm_loadu_si128((const __m128i *)(bytes + 16 * part));
    __m128i lines = _mm_or_si128(_mm_cmpeq_epi8(x, cr), _mm_cmpeq_epi8(x, lf));
    __m128i others = _mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, zero));
    int shift = 16 * part;
    block.marks |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_or_si128(lines, others)) << shift;
    block.delimiters |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(x, delimiter)) << shift;
    block.high |= (uint64_t)(uint32_t)_mm_movemask_epi8(x) << shift;
  }
  return block;
}
#endif

nt_csv_scan nt_csv_split(const uint8_t *bytes, size_t count, uint8_t delimiter, uint8_t quote, uint32_t *ends,
                         size_t ends_max) {
  nt_csv_scan scan = {.stop = NT_CSV_OTHER};
  size_t fields = 0, index = 0;
  // Offsets are 32 bits wide; a longer record is refused by the state machine.
  if (count > UINT32_MAX) count = UINT32_MAX;
#if defined(NT_BLOCK)
  const __m128i delimiters = _mm_set1_epi8((char)delimiter), quotes = _mm_set1_epi8((char)quote);
  uint64_t high = 0;
  for (; index + NT_BLOCK <= count; index += NT_BLOCK) {
    nt_block block = nt_block_of(bytes + index, delimiters, quotes);
    // Bits before the first mark; all of them without any.
    uint64_t before = block.marks == 0 ? ~(uint64_t)0 : (block.marks & -block.marks) - 1;
    uint64_t left = block.delimiters & before;
    high |= block.high & before;
    if (fields + NT_BLOCK + 1 > ends_max) {
      scan.stop = NT_CSV_FULL;
      return scan;
    }
    for (; left != 0; left &= left - 1) ends[fields++] = (uint32_t)(index + (size_t)__builtin_ctzll(left));
    if (block.marks != 0) {
      index += (size_t)__builtin_ctzll(block.marks);
      scan.has_high_bytes = high != 0;
      if (bytes[index] != '\n' && bytes[index] != '\r') return scan;
      ends[fields++] = (uint32_t)index;
      scan.stop = NT_CSV_LINE;
      scan.fields = (uint32_t)fields;
      scan.length = index;
      return scan;
    }
  }
  scan.has_high_bytes = high != 0;
#endif
  for (; index < count; index++) {
    uint8_t byte = bytes[index];
    if (byte == delimiter || byte == '\n' || byte == '\r') {
      if (fields == ends_max) {
        scan.stop = NT_CSV_FULL;
        return scan;
      }
      ends[fields++] = (uint32_t)index;
      if (byte == delimiter) continue;
      scan.stop = NT_CSV_LINE;
      scan.fields = (uint32_t)fields;
      scan.length = index;
      return scan;
    }
    if (byte == quote || byte == 0) return scan;
    if (byte >= 0x80) scan.has_high_bytes = true;
  }
  return scan;
}

size_t nt_csv_find(const uint8_t *bytes, size_t count, uint8_t a, uint8_t b, uint8_t c, uint8_t d,
                   bool *has_high_bytes) {
  size_t index = 0;
#if defined(__SSE2__)
  const __m128i va = _mm_set1_epi8((char)a), vb = _mm_set1_epi8((char)b), vc = _mm_set1_epi8((char)c),
                vd = _mm_set1_epi8((char)d), zero = _mm_setzero_si128();
  for (; index + 16 <= count; index += 16) {
    __m128i x = _mm_loadu_si128((const __m128i *)(bytes + index));
    __m128i found = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(x, va), _mm_cmpeq_epi8(x, vb)),
                                 _mm_or_si128(_mm_cmpeq_epi8(x, vc), _mm_cmpeq_epi8(x, vd)));
    uint32_t mask = (uint32_t)_mm_movemask_epi8(_mm_or_si128(found, _mm_cmpeq_epi8(x, zero)));
    uint32_t high = (uint32_t)_mm_movemask_epi8(x);
    if (mask != 0) {
      uint32_t first = (uint32_t)__builtin_ctz(mask);
      if (high & ((1u << first) - 1)) *has_high_bytes = true;
      return index + first;
    }
    if (high != 0) *has_high_bytes = true;
  }
#endif
  for (; index < count; index++) {
    uint8_t byte = bytes[index];
    if (byte == a || byte == b || byte == c || byte == d || byte == 0) return index;
    if (byte >= 0x80) *has_high_bytes = true;
  }
  return index;
}
