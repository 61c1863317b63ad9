// ASCII text split into words and punctuation marks, 64 bytes at a time.
#include "nt_text_internal.h"

#if defined(__x86_64__)
#include "nt_text_intrinsics.h"
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/// What one block says.
typedef struct nt_block {
  uint64_t spaces, marks;
  /// True where a byte is not ASCII, or cleaning removes it.
  bool other;
} nt_block;

/// Defines the loop over blocks. The last one is filled up with spaces.
#define NT_SPLIT(isa, target)                                                                                          \
  target bool nt_text_split__##isa(const uint8_t *bytes, size_t count, bool lowercase, uint8_t *copy, uint64_t *words, \
                                   uint64_t *marks) {                                                                  \
    size_t index = 0, block = 0;                                                                                       \
    for (; index + 64 <= count; index += 64, block++) {                                                                \
      nt_block found = block__##isa(bytes + index, lowercase, copy + index);                                           \
      if (found.other) return false;                                                                                   \
      words[block] = ~(found.spaces | found.marks);                                                                    \
      marks[block] = found.marks;                                                                                      \
    }                                                                                                                  \
    uint8_t rest[64];                                                                                                  \
    memset(rest, ' ', sizeof rest);                                                                                    \
    memcpy(rest, bytes + index, count - index);                                                                        \
    nt_block found = block__##isa(rest, lowercase, copy + index);                                                      \
    words[block] = ~(found.spaces | found.marks);                                                                      \
    marks[block] = found.marks;                                                                                        \
    words[block + 1] = 0;                                                                                              \
    marks[block + 1] = 0;                                                                                              \
    return !found.other;                                                                                               \
  }

static nt_block block__scalar(const uint8_t *bytes, bool lowercase, uint8_t *copy) {
  nt_block block = {0, 0, false};
  for (int bit = 0; bit < 64; bit++) {
    uint8_t byte = bytes[bit];
    bool space = byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
    bool mark = (byte >= '!' && byte <= '/') || (byte >= ':' && byte <= '@') || (byte >= '[' && byte <= '`') ||
                (byte >= '{' && byte <= '~');
    block.spaces |= (uint64_t)space << bit;
    block.marks |= (uint64_t)mark << bit;
    block.other |= byte >= 0x7F || (byte < 0x20 && !space);
    copy[bit] = (uint8_t)(lowercase && byte >= 'A' && byte <= 'Z' ? byte + 32 : byte);
  }
  return block;
}
NT_SPLIT(scalar, static)

#if defined(__x86_64__)
#define NT_AVX2 __attribute__((target("avx2,bmi,bmi2,lzcnt")))
#if defined(NT_USE_SIMDE)
#define NT_AVX512
#else
#define NT_AVX512 __attribute__((target("avx2,bmi,bmi2,lzcnt,avx512f,avx512bw,avx512vl")))
#endif

/// All ones in each byte from `low` on, `range` further at most.
#define NT_WITHIN_256(x, low, range)                                                                     \
  _mm256_cmpeq_epi8(_mm256_min_epu8(_mm256_sub_epi8(x, _mm256_set1_epi8(low)), _mm256_set1_epi8(range)), \
                    _mm256_sub_epi8(x, _mm256_set1_epi8(low)))

NT_AVX2 static inline nt_block block__avx2(const uint8_t *bytes, bool lowercase, uint8_t *copy) {
  nt_block block = {0, 0, false};
  for (int half = 0; half < 2; half++) {
    __m256i x = _mm256_loadu_si256((const __m256i *)(bytes + 32 * half));
    __m256i lines = _mm256_or_si256(NT_WITHIN_256(x, '\t', 1), _mm256_cmpeq_epi8(x, _mm256_set1_epi8('\r')));
    __m256i spaces = _mm256_or_si256(lines, _mm256_cmpeq_epi8(x, _mm256_set1_epi8(' ')));
    __m256i marks =
        _mm256_or_si256(_mm256_or_si256(NT_WITHIN_256(x, '!', '/' - '!'), NT_WITHIN_256(x, ':', '@' - ':')),
                        _mm256_or_si256(NT_WITHIN_256(x, '[', '`' - '['), NT_WITHIN_256(x, '{', '~' - '{')));
    // What is not from space to tilde, nor the end of a line.
    __m256i known = _mm256_or_si256(NT_WITHIN_256(x, ' ', '~' - ' '), spaces);
    __m256i capitals = lowercase ? NT_WITHIN_256(x, 'A', 'Z' - 'A') : _mm256_setzero_si256();
    __m256i lowered = _mm256_add_epi8(x, _mm256_and_si256(capitals, _mm256_set1_epi8(32)));
    _mm256_storeu_si256((__m256i *)(copy + 32 * half), lowered);
    block.spaces |= (uint64_t)(uint32_t)_mm256_movemask_epi8(spaces) << (32 * half);
    block.marks |= (uint64_t)(uint32_t)_mm256_movemask_epi8(marks) << (32 * half);
    block.other |= _mm256_movemask_epi8(known) != -1;
  }
  return block;
}
NT_SPLIT(avx2, NT_AVX2 static)

#define NT_WITHIN_512(x, low, range)                                                                          \
  _mm512_cmpeq_epi8_mask(_mm512_min_epu8(_mm512_sub_epi8(x, _mm512_set1_epi8(low)), _mm512_set1_epi8(range)), \
                         _mm512_sub_epi8(x, _mm512_set1_epi8(low)))

NT_AVX512 static inline nt_block block__avx512(const uint8_t *bytes, bool lowercase, uint8_t *copy) {
  __m512i x = _mm512_loadu_si512(bytes);
  uint64_t spaces = NT_WITHIN_512(x, '\t', 1) | _mm512_cmpeq_epi8_mask(x, _mm512_set1_epi8('\r')) |
                    _mm512_cmpeq_epi8_mask(x, _mm512_set1_epi8(' '));
  uint64_t marks = NT_WITHIN_512(x, '!', '/' - '!') | NT_WITHIN_512(x, ':', '@' - ':') |
                   NT_WITHIN_512(x, '[', '`' - '[') | NT_WITHIN_512(x, '{', '~' - '{');
  uint64_t known = NT_WITHIN_512(x, ' ', '~' - ' ') | spaces;
  uint64_t capitals = lowercase ? NT_WITHIN_512(x, 'A', 'Z' - 'A') : 0;
  _mm512_storeu_si512(copy, _mm512_mask_add_epi8(x, capitals, x, _mm512_set1_epi8(32)));
  return (nt_block){spaces, marks, known != ~(uint64_t)0};
}
NT_SPLIT(avx512, NT_AVX512 static)
#elif defined(__aarch64__)
/// One bit a byte, of four vectors whose bytes are all ones or zeros.
static inline uint64_t nt_bits(const uint8x16_t x[4]) {
  static const uint8_t powers[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  uint8x16_t bits = vld1q_u8(powers);
  uint8x16_t first = vpaddq_u8(vandq_u8(x[0], bits), vandq_u8(x[1], bits));
  uint8x16_t second = vpaddq_u8(vandq_u8(x[2], bits), vandq_u8(x[3], bits));
  uint8x16_t both = vpaddq_u8(first, second);
  return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(both, both)), 0);
}

static inline uint8x16_t nt_within(uint8x16_t x, uint8_t low, uint8_t range) {
  return vcleq_u8(vsubq_u8(x, vdupq_n_u8(low)), vdupq_n_u8(range));
}

static inline nt_block block__neon(const uint8_t *bytes, bool lowercase, uint8_t *copy) {
  uint8x16_t spaces[4], marks[4], known = vdupq_n_u8(255);
  for (int part = 0; part < 4; part++) {
    uint8x16_t x = vld1q_u8(bytes + 16 * part);
    uint8x16_t lines = vorrq_u8(nt_within(x, '\t', 1), vceqq_u8(x, vdupq_n_u8('\r')));
    spaces[part] = vorrq_u8(lines, vceqq_u8(x, vdupq_n_u8(' ')));
    marks[part] = vorrq_u8(vorrq_u8(nt_within(x, '!', '/' - '!'), nt_within(x, ':', '@' - ':')),
                           vorrq_u8(nt_within(x, '[', '`' - '['), nt_within(x, '{', '~' - '{')));
    known = vandq_u8(known, vorrq_u8(nt_within(x, ' ', '~' - ' '), spaces[part]));
    uint8x16_t capitals = lowercase ? nt_within(x, 'A', 'Z' - 'A') : vdupq_n_u8(0);
    vst1q_u8(copy + 16 * part, vaddq_u8(x, vandq_u8(capitals, vdupq_n_u8(32))));
  }
  return (nt_block){nt_bits(spaces), nt_bits(marks), vminvq_u8(known) != 255};
}
NT_SPLIT(neon, static)
#endif

nt_text_split nt_text_split_for(nt_isa isa) {
#if defined(__x86_64__)
  if (isa == NT_ISA_AVX2) return nt_text_split__avx2;
  if (isa == NT_ISA_AVX512VNNI || isa == NT_ISA_AMX) return nt_text_split__avx512;
#elif defined(__aarch64__)
  if (isa == NT_ISA_NEON || isa == NT_ISA_NEON_I8MM) return nt_text_split__neon;
#else
  (void)isa;
#endif
  return nt_text_split__scalar;
}
