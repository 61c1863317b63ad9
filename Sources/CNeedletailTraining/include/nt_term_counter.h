/// Counts terms of many texts, from which a vocabulary is chosen.
#pragma once

#include "nt_text_terms.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Different terms that are counted: some 1 GiB.
#define NT_TERM_COUNTER_MAX (1u << 24)

typedef struct nt_term_counter nt_term_counter;

typedef enum nt_term_counter_status {
  NT_TERM_COUNTER_OK = 0,
  NT_TERM_COUNTER_NO_MEMORY,
  /// There are more than NT_TERM_COUNTER_MAX different terms.
  NT_TERM_COUNTER_FULL,
} nt_term_counter_status;

/// Null where there is no memory.
nt_term_counter *nt_term_counter_make(const nt_term_analyser *analyser);
void nt_term_counter_free(nt_term_counter *counter);

/// Counts the terms of one more text, which is UTF-8.
nt_term_counter_status nt_term_counter_add(nt_term_counter *counter, const uint8_t *text, size_t bytes);

/// A term and how often it was met.
typedef struct nt_counted_term {
  const uint8_t *bytes;
  uint32_t size;
  /// Texts that have it.
  uint32_t texts;
  uint64_t occurrences;
} nt_counted_term;

/// Number of different terms, and one of them in the order in which they were met. It is borrowed until the next is
/// counted.
size_t nt_term_counter_count(const nt_term_counter *counter);
nt_counted_term nt_term_counter_term(const nt_term_counter *counter, size_t index);

#ifdef __cplusplus
}
#endif
