// Shared by the tests of the tokenizers in C.
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "nt_text_internal.h"

static int failures;
#define EXPECT(condition, ...)                                       \
  do {                                                               \
    if (!(condition)) {                                              \
      failures++;                                                    \
      printf("FAILED: %s:%d: %s: ", __FILE__, __LINE__, #condition); \
      printf(__VA_ARGS__);                                           \
      printf("\n");                                                  \
    }                                                                \
  } while (0)

static uint64_t seed = 1;
static inline uint32_t chance(uint32_t below) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(seed >> 33) % below;
}

/// Strings and ends from words.
typedef struct words {
  uint8_t bytes[4096];
  uint32_t ends[64];
  nt_text_strings strings;
} words;

static inline void set_words(words *to, const char *const *from, size_t count) {
  uint32_t end = 0;
  for (size_t index = 0; index < count; index++) {
    memcpy(to->bytes + end, from[index], strlen(from[index]));
    end += (uint32_t)strlen(from[index]);
    to->ends[index] = end;
  }
  to->strings = (nt_text_strings){to->bytes, to->ends, count};
}

static inline void expect_refusal(const nt_text_spec *spec, nt_text_status expected, size_t expected_where) {
  nt_text_vocabulary *vocabulary;
  size_t where;
  nt_text_status status = nt_text_build(spec, NT_ISA_SCALAR, &vocabulary, &where);
  EXPECT(status == expected && where == expected_where && vocabulary == NULL, "expected %d at %zu, found %d at %zu",
         expected, expected_where, status, where);
  nt_text_free(vocabulary);
}

typedef struct encoder {
  nt_text_vocabulary *vocabulary;
  nt_text_scratch *scratch;
  nt_text_tokens tokens;
  size_t where;
} encoder;

static inline encoder make_encoder(const nt_text_spec *spec, nt_isa isa, size_t bytes_max, size_t tokens_max) {
  encoder made = {0};
  size_t where = 0;
  nt_text_status status = nt_text_build(spec, isa, &made.vocabulary, &where);
  if (status != NT_TEXT_OK) {
    printf("FAILED: the vocabulary: status %d at %zu\n", status, where);
    exit(1);
  }
  size_t size = nt_text_scratch_bytes(made.vocabulary, bytes_max, tokens_max);
  made.scratch = nt_text_scratch_make(made.vocabulary, bytes_max, tokens_max, aligned_alloc(64, size));
  return made;
}

static inline void free_encoder(encoder *encoder) {
  nt_text_free(encoder->vocabulary);
  free(encoder->scratch);
}

static inline nt_text_status encode(encoder *encoder, const void *bytes, size_t count) {
  return nt_text_encode(encoder->vocabulary, encoder->scratch, (nt_text){bytes, count}, NULL, true, &encoder->tokens,
                        &encoder->where);
}

static inline void expect_tokens(const encoder *encoder, const uint32_t (*expected)[3], size_t count) {
  EXPECT(encoder->tokens.count == count, "expected %zu tokens, found %zu", count, encoder->tokens.count);
  for (size_t index = 0; index < count && index < encoder->tokens.count; index++) {
    EXPECT(encoder->tokens.ids[index] == expected[index][0] && encoder->tokens.starts[index] == expected[index][1] &&
               encoder->tokens.ends[index] == expected[index][2],
           "token %zu: expected %u at %u to %u, found %u at %u to %u", index, expected[index][0], expected[index][1],
           expected[index][2], encoder->tokens.ids[index], encoder->tokens.starts[index], encoder->tokens.ends[index]);
  }
}
