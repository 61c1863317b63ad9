/// Tokenizers: text to the ids that Hugging Face's fast `tokenizers` find, with the place of each token in the text.
///
/// A vocabulary is compiled once and never changes: any number of threads share it. Each thread brings a scratch, whose
/// memory is fixed when it is made; encoding allocates nothing. Time is near-linear in the text, whatever it holds.
///
/// Offsets are bytes of the text that was given, not characters. Text that is not UTF-8 is refused, with the offset of
/// the first byte that is at fault: Hugging Face's library cannot be asked about it.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nt_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/// An id that no token has: a missing unknown token, or the word of a special token.
#define NT_TEXT_NONE UINT32_MAX

/// Bytes of all tokens of a vocabulary together. XLM-RoBERTa's 250,002 tokens have 2 MB.
#define NT_TEXT_VOCABULARY_BYTES_MAX (1u << 24)
/// Tokens of a vocabulary, added ones included. The largest public vocabularies have 262,144.
#define NT_TEXT_TOKENS_MAX (1u << 21)
/// Merges of a vocabulary. GPT-2 has 50,000.
#define NT_TEXT_MERGES_MAX (1u << 21)
/// Bytes of one added token. Each place of a text is compared with that many bytes at most.
#define NT_TEXT_ADDED_BYTES_MAX 512u
/// Characters of a word that is not unknown for its length. BERT has 100.
#define NT_TEXT_WORD_CHARACTERS_MAX 256u
/// Bytes of a character map. The one of XLM-RoBERTa has 240 KB.
#define NT_TEXT_CHARSMAP_BYTES_MAX (1u << 24)
/// Special tokens in front of, between and behind the sequences of a template.
#define NT_TEXT_TEMPLATE_PIECES_MAX 64u
/// Bytes of one text. Offsets and places inside a scratch are 32 bits wide, and a text grows when it is normalised.
#define NT_TEXT_BYTES_MAX (1u << 26)

typedef enum nt_text_status {
  NT_TEXT_OK = 0,
  /// The text is not UTF-8; `where` is the byte at fault.
  NT_TEXT_INVALID_UTF8,
  /// The text has more bytes than the scratch takes, or grows to more than it takes, which is four times as much and
  /// happens to real text nowhere; `where` is the bound of the text.
  NT_TEXT_TOO_LONG,
  /// There are more tokens than the scratch takes, and the vocabulary does not truncate; `where` is that bound.
  NT_TEXT_TOO_MANY_TOKENS,
  /// Truncation is wanted of one sequence only, which is missing or too short for it.
  NT_TEXT_CANNOT_TRUNCATE,
  /// The model has no token for some text, and no unknown token.
  NT_TEXT_NO_UNKNOWN_TOKEN,

  /// There is no memory for the vocabulary.
  NT_TEXT_NO_MEMORY,
  /// A part of the vocabulary is larger than its bound, or the ends of its strings do not ascend; `where` is the index.
  NT_TEXT_BAD_SIZE,
  /// A token is not UTF-8; `where` is its index.
  NT_TEXT_BAD_TOKEN,
  /// Two tokens have the same bytes; `where` is the index of the later one.
  NT_TEXT_DUPLICATE_TOKEN,
  /// Two tokens have the same id; `where` is the index of the later one.
  NT_TEXT_DUPLICATE_ID,
  /// The ids of all tokens do not fill 0 to their count; `where` is the first id without a token.
  NT_TEXT_ID_GAP,
  /// An added token has other bytes or another id than the model's token; `where` is its index among those added.
  NT_TEXT_BAD_ADDED_TOKEN,
  /// A merge names ids without a token, comes twice, or there is no token of the two in a row; `where` is its index.
  NT_TEXT_BAD_MERGE,
  /// A byte has no token; `where` is that byte.
  NT_TEXT_NO_BYTE_TOKEN,
  /// A score is not finite; `where` is its index.
  NT_TEXT_BAD_SCORE,
  /// The character map is cut off or leads outside itself; `where` is the offset at fault.
  NT_TEXT_BAD_CHARSMAP,
  /// A template names an id without a token, or does not name each of its sequences once, in order.
  NT_TEXT_BAD_TEMPLATE,
  /// The parts are each correct, but not supported together.
  NT_TEXT_UNSUPPORTED,
} nt_text_status;

typedef enum nt_text_model {
  /// The longest token that begins a word, again and again: BERT.
  NT_TEXT_WORDPIECE = 0,
  /// Bytes merged in pairs, by the rank of the pair: GPT-2 and RoBERTa.
  NT_TEXT_BPE,
  /// The tokens of a word whose scores have the largest sum: SentencePiece's models, such as XLM-RoBERTa.
  NT_TEXT_UNIGRAM,
} nt_text_model;

/// Where Metaspace puts a mark in front of a text.
typedef enum nt_text_prepend {
  NT_TEXT_PREPEND_NEVER = 0,
  /// Where the text begins, not behind an added token.
  NT_TEXT_PREPEND_FIRST,
  NT_TEXT_PREPEND_ALWAYS,
} nt_text_prepend;

typedef enum nt_text_truncation {
  NT_TEXT_KEEP_ALL = 0,
  NT_TEXT_LONGEST_FIRST,
  NT_TEXT_ONLY_FIRST,
  NT_TEXT_ONLY_SECOND,
} nt_text_truncation;

/// Strings one after another: string i is the bytes from the end of string i - 1 to `ends[i]`.
typedef struct nt_text_strings {
  const uint8_t *bytes;
  const uint32_t *ends;
  size_t count;
} nt_text_strings;

/// Properties of an added token: a bit each, with the names of Hugging Face's `AddedToken`.
enum {
  NT_TEXT_SINGLE_WORD = 1,
  NT_TEXT_LSTRIP = 2,
  NT_TEXT_RSTRIP = 4,
  NT_TEXT_NORMALIZED = 8,
};

typedef struct nt_text_added {
  uint32_t id;
  uint32_t properties;
} nt_text_added;

typedef enum nt_text_piece_kind {
  NT_TEXT_SPECIAL = 0,
  NT_TEXT_SEQUENCE_A,
  NT_TEXT_SEQUENCE_B,
} nt_text_piece_kind;

/// One part of a template: a special token, or all tokens of a sequence. `type` is the token type id.
typedef struct nt_text_piece {
  nt_text_piece_kind kind;
  uint32_t id;
  uint8_t type;
} nt_text_piece;

typedef struct nt_text_template {
  const nt_text_piece *pieces;
  size_t count;
} nt_text_template;

/// Everything that a `tokenizer.json` says, as plain arrays. Nothing of it is kept.
typedef struct nt_text_spec {
  nt_text_model model;
  nt_text_strings tokens;
  /// The id of each token.
  const uint32_t *ids;
  /// The id for text that no token covers; and whether its tokens are left out of the answer once texts are
  /// truncated, as for static embeddings.
  uint32_t unknown_id;
  bool drops_unknown;

  /// WordPiece: what stands before a token that goes on inside a word, "##"; and characters of a word, beyond which it
  /// is unknown.
  const uint8_t *continuing_prefix;
  size_t continuing_prefix_bytes;
  uint32_t word_characters_max;

  /// BPE: pairs of ids, in the order in which they are merged. Tokens are written in the alphabet of GPT-2, which has a
  /// character for each byte, and every byte has a token. The text is split as by GPT-2's regular expression.
  const uint32_t (*merges)[2];
  size_t merge_count;
  /// A word that is a token is not merged from its bytes.
  bool ignore_merges;
  /// A space is put in front of a text, and behind an added token, where there is none.
  bool add_prefix_space;
  /// Spaces at the ends of a token are not part of what it covers. `trim_prefix_space` is the post-processor's
  /// `add_prefix_space`: the first token keeps a space that was put in front.
  bool trim_offsets, trim_prefix_space;

  /// Unigram: the score of each token; text that no token covers becomes tokens of its bytes, where they exist.
  const double *scores;
  bool byte_fallback;
  /// Unigram: SentencePiece's precompiled map, as `tokenizer.json` has it in base64; none with 0 bytes. Then spaces at
  /// the ends are stripped, and several spaces become one.
  const uint8_t *charsmap;
  size_t charsmap_bytes;
  bool strip_left, strip_right, collapse_spaces;
  /// Unigram: words are split at white space before Metaspace; and at Metaspace's marks.
  bool splits_spaces, splits_marks;
  nt_text_prepend prepend;

  /// WordPiece: normaliser and pre-tokenizer of BERT.
  bool clean_text, space_ideographs, strip_accents, lowercase;

  nt_text_strings added;
  const nt_text_added *added_properties;

  /// Special tokens around one sequence and around two. A template without pieces is the sequences alone.
  nt_text_template single, pair;

  nt_text_truncation truncation;
  /// Tokens to truncate to, special ones included.
  uint32_t tokens_max;
} nt_text_spec;

typedef struct nt_text_vocabulary nt_text_vocabulary;
typedef struct nt_text_scratch nt_text_scratch;

/// Compiles a vocabulary into one block of memory, for `nt_text_free`. `where` may be NULL.
nt_text_status nt_text_build(const nt_text_spec *spec, nt_isa isa, nt_text_vocabulary **vocabulary, size_t *where);
void nt_text_free(nt_text_vocabulary *vocabulary);
/// Bytes of the block.
size_t nt_text_vocabulary_bytes(const nt_text_vocabulary *vocabulary);

/// Bytes of a scratch that takes texts of `bytes_max`, and as many tokens as the vocabulary truncates to, else
/// `tokens_max` for each of two sequences. 0: `bytes_max` is above NT_TEXT_BYTES_MAX, or `tokens_max` above its bytes.
size_t nt_text_scratch_bytes(const nt_text_vocabulary *vocabulary, size_t bytes_max, size_t tokens_max);
/// A scratch in `memory` of the bytes that `nt_text_scratch_bytes` says, aligned to 64. The caller frees that memory.
nt_text_scratch *nt_text_scratch_make(const nt_text_vocabulary *vocabulary, size_t bytes_max, size_t tokens_max,
                                      void *memory);

/// The offset of the first byte that is not UTF-8: no surrogates, nothing above U+10FFFF, no longer form than needed.
/// `count` where there is none.
size_t nt_text_invalid(const uint8_t *bytes, size_t count);

typedef struct nt_text {
  const uint8_t *bytes;
  size_t count;
} nt_text;

/// The tokens of one text or of two, in the scratch until its next use.
typedef struct nt_text_tokens {
  size_t count;
  const uint32_t *ids;
  /// Bytes of its own text that a token covers; 0 to 0 for a special token of the template.
  const uint32_t *starts, *ends;
  /// The number of the word that a token is part of; NT_TEXT_NONE for a special token of the template.
  const uint32_t *words;
  const uint8_t *types;
  /// 1 for each token of the second text.
  const uint8_t *sequences;
} nt_text_tokens;

/// Encodes a text, or two where `second` is not NULL. Without `special`, the templates' special tokens are left out.
/// `where` may be NULL.
nt_text_status nt_text_encode(const nt_text_vocabulary *vocabulary, nt_text_scratch *scratch, nt_text first,
                              const nt_text *second, bool special, nt_text_tokens *tokens, size_t *where);

#ifdef __cplusplus
}
#endif
