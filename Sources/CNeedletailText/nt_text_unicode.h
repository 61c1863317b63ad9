// Characters: what the tables say of each, and UTF-8.
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
  /// Removed by BERT's cleaning: controls, formats, private use, NUL and U+FFFD.
  NT_TEXT_IS_REMOVED = 1,
  NT_TEXT_IS_SPACE = 2,
  NT_TEXT_IS_PUNCTUATION = 4,
  /// Nonspacing marks, which the stripping of accents removes.
  NT_TEXT_IS_MARK = 8,
  NT_TEXT_IS_LETTER = 16,
  NT_TEXT_IS_NUMBER = 32,
  /// Characters of a word in a regular expression, which stand beside no added token that is a single word.
  NT_TEXT_IS_WORD = 64,
  /// Ideographs, which BERT puts between spaces.
  NT_TEXT_IS_IDEOGRAPH = 128,
};

/// Classes of Unicode's grapheme clusters, without those of conjuncts.
enum {
  NT_TEXT_CLUSTER_OTHER = 0,
  NT_TEXT_CLUSTER_CR,
  NT_TEXT_CLUSTER_LF,
  NT_TEXT_CLUSTER_CONTROL,
  NT_TEXT_CLUSTER_EXTEND,
  NT_TEXT_CLUSTER_ZWJ,
  NT_TEXT_CLUSTER_REGIONAL,
  NT_TEXT_CLUSTER_PREPEND,
  NT_TEXT_CLUSTER_SPACING,
  NT_TEXT_CLUSTER_L,
  NT_TEXT_CLUSTER_V,
  NT_TEXT_CLUSTER_T,
  NT_TEXT_CLUSTER_LV,
  NT_TEXT_CLUSTER_LVT,
  NT_TEXT_CLUSTER_PICTOGRAPHIC,
};
enum { NT_TEXT_CONJUNCT_CONSONANT = 1 << 4, NT_TEXT_CONJUNCT_LINKER = 2 << 4, NT_TEXT_CONJUNCT_EXTEND = 3 << 4 };

/// The distance to the lower case of U+0130, which is two characters: "i" and U+0307.
#define NT_TEXT_TWO_CHARACTERS INT32_MAX

typedef struct nt_text_character {
  /// What to add for the lower case.
  int32_t lower;
  /// Where in `nt_text_parts` the full canonical decomposition lies, and its characters: 0 for none.
  uint16_t parts;
  uint8_t parts_count;
  uint8_t flags;
  /// The canonical combining class.
  uint8_t combining;
  /// The class in grapheme clusters, an `nt_text_cluster`, and that in Indic conjuncts above it.
  uint8_t cluster;
} nt_text_character;

extern const nt_text_character nt_text_characters[];
extern const uint8_t nt_text_top[];
extern const uint16_t nt_text_middle[];
extern const uint16_t nt_text_leaves[];
extern const uint32_t nt_text_parts[];

static inline const nt_text_character *nt_text_character_of(uint32_t code) {
  uint32_t middle = nt_text_middle[nt_text_top[code >> 12] * 64 + (code >> 6 & 63)];
  return &nt_text_characters[nt_text_leaves[middle * 64 + (code & 63)]];
}

/// Bytes of the character that begins with `first`.
static inline uint32_t nt_text_character_bytes(uint8_t first) {
  return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

/// The character at `bytes`, which are UTF-8.
static inline uint32_t nt_text_decode(const uint8_t *bytes, uint32_t *count) {
  uint32_t first = bytes[0];
  if (first < 0x80) {
    *count = 1;
    return first;
  }
  if (first < 0xE0) {
    *count = 2;
    return (first & 0x1F) << 6 | (bytes[1] & 0x3Fu);
  }
  if (first < 0xF0) {
    *count = 3;
    return (first & 0x0F) << 12 | (bytes[1] & 0x3Fu) << 6 | (bytes[2] & 0x3Fu);
  }
  *count = 4;
  return (first & 0x07) << 18 | (bytes[1] & 0x3Fu) << 12 | (bytes[2] & 0x3Fu) << 6 | (bytes[3] & 0x3Fu);
}

/// The character that ends before `end`, which is above 0.
static inline uint32_t nt_text_decode_before(const uint8_t *bytes, size_t end, uint32_t *count) {
  size_t start = end - 1;
  while (start > 0 && (bytes[start] & 0xC0) == 0x80) start--;
  return nt_text_decode(bytes + start, count);
}

/// Writes a character of up to 4 bytes, and returns how many.
static inline uint32_t nt_text_put(uint8_t *bytes, uint32_t code) {
  if (code < 0x80) {
    bytes[0] = (uint8_t)code;
    return 1;
  }
  if (code < 0x800) {
    bytes[0] = (uint8_t)(0xC0 | code >> 6);
    bytes[1] = (uint8_t)(0x80 | (code & 0x3F));
    return 2;
  }
  if (code < 0x10000) {
    bytes[0] = (uint8_t)(0xE0 | code >> 12);
    bytes[1] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
    bytes[2] = (uint8_t)(0x80 | (code & 0x3F));
    return 3;
  }
  bytes[0] = (uint8_t)(0xF0 | code >> 18);
  bytes[1] = (uint8_t)(0x80 | (code >> 12 & 0x3F));
  bytes[2] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
  bytes[3] = (uint8_t)(0x80 | (code & 0x3F));
  return 4;
}

/// The end of the extended grapheme cluster of Unicode 17 that begins at `start`.
size_t nt_text_cluster_end(const uint8_t *bytes, size_t start, size_t end);
