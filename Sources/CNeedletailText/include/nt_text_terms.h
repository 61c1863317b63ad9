/// Terms of texts: n-grams of words or of characters, as scikit-learn's vectorisers count and weigh them.
#pragma once

#include "nt_sparse.h"

#ifdef __cplusplus
extern "C" {
#endif

/// What a term is made of. Numbers of `needletail.v1.TextUnit`.
typedef enum nt_term_unit {
  /// Runs of two letters, digits and underscores or more, as scikit-learn's default pattern `\b\w\w+\b` finds them.
  NT_TERM_WORDS = 0,
  /// Characters, white space among them; of several in a row one space is left: `analyzer="char"`.
  NT_TERM_CHARACTERS = 1,
  /// Characters of a word with a space on both sides, where words are what stands between white space:
  /// `analyzer="char_wb"`.
  NT_TERM_WORD_CHARACTERS = 2,
} nt_term_unit;

/// Numbers of `needletail.v1.TermNorm`.
typedef enum nt_term_norm { NT_TERM_NORM_NONE = 0, NT_TERM_NORM_L1 = 1, NT_TERM_NORM_L2 = 2 } nt_term_norm;

/// How a text becomes terms.
typedef struct nt_term_analyser {
  nt_term_unit unit;
  /// Units of the shortest and of the longest term, from 1.
  uint32_t shortest, longest;
  /// Without it letters become lower case first.
  bool keeps_case;
} nt_term_analyser;

/// Most units of a term.
#define NT_TERM_UNITS_MAX 16

/// Bytes that the units of a text of `bytes` bytes take, number of their starts, and number of terms at most.
size_t nt_term_unit_bytes(size_t bytes);
size_t nt_term_starts(size_t bytes);
size_t nt_term_count(const nt_term_analyser *analyser, size_t bytes);

/// Writes the units of a text, which is UTF-8, one behind the other: words with a space between them, characters as
/// they are. `starts` gets the offset of each unit, and behind the last what would be that of the next. Returns the
/// number of units.
size_t nt_term_units(const nt_term_analyser *analyser, const uint8_t *text, size_t bytes, uint8_t *units,
                     uint32_t *starts);

/// Calls `visit` with the bytes of each term of some units.
typedef void (*nt_term_visitor)(void *context, const uint8_t *term, size_t bytes);
void nt_term_visit(const nt_term_analyser *analyser, const uint8_t *units, const uint32_t *starts, size_t count,
                   nt_term_visitor visit, void *context);

/// Terms that have a column each, and what a term weighs.
typedef struct nt_terms {
  nt_term_analyser analyser;
  /// The terms one after the other: term t ends before `ends[t]`. Null: terms are hashed to columns by MurmurHash3, as
  /// scikit-learn's FeatureHasher does.
  const uint8_t *bytes;
  const uint32_t *ends;
  /// Number of a term + 1 at its hash, or behind it; 0: free. At least half of them are.
  const uint32_t *slots;
  uint32_t slot_mask;
  /// Number of columns: at most 2²⁰.
  uint32_t columns;
  /// Hashed terms of a negative hash count −1.
  bool is_signed;
  /// A term counts once, or as 1 + log(count).
  bool is_binary, is_sublinear;
  /// Null, or a factor for each column.
  const float *idf;
  nt_term_norm norm;
} nt_terms;

/// Puts term `index` into free slots that are being filled.
void nt_terms_insert(const nt_terms *terms, uint32_t *slots, uint32_t index);

/// A number of occurrences, and later what they weigh.
typedef union nt_term_number {
  int32_t count;
  float weight;
} nt_term_number;

/// Memory for one text at a time.
typedef struct nt_terms_scratch {
  uint8_t *units;
  uint32_t *starts, *columns;
  nt_term_number *numbers;
} nt_terms_scratch;

/// Bytes of the scratch for texts of `bytes` bytes, and the scratch in such a block, which is aligned to 4.
size_t nt_terms_scratch_bytes(const nt_term_analyser *analyser, size_t bytes);
nt_terms_scratch nt_terms_scratch_at(const nt_term_analyser *analyser, size_t bytes, void *block);

/// Finds the terms of a text: in ascending order the columns that are not 0, and their weights.
/// Returns how many there are.
size_t nt_terms_of(const nt_terms *terms, const uint8_t *text, size_t bytes, const nt_terms_scratch *scratch);

/// Buffers: texts, `texts_per_row` items a row; fp32 output of all columns; scratch for `bytes_max`.
typedef struct nt_terms_step {
  nt_terms terms;
  uint32_t text, texts_per_row;
  size_t bytes_max;
} nt_terms_step;

void nt_terms_run(const void *parameters, const nt_call *call);

/// Terms and the layer behind them, which reads the weights of the terms that are there and no others. Buffers: texts;
/// fp32 output of the layer; scratch.
typedef struct nt_terms_layer {
  nt_terms_step step;
  nt_sparse_layer layer;
  nt_sparse_row row;
} nt_terms_layer;

void nt_terms_layer_run(const void *parameters, const nt_call *call);

#ifdef __cplusplus
}
#endif
