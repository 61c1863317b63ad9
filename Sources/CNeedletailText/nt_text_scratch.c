#include "nt_text_internal.h"

/// Takes memory in order, each part aligned to a line of the cache. Without memory it only counts.
typedef struct arena {
  uint8_t *memory;
  size_t used;
} arena;

static void *take(arena *arena, size_t count, size_t size) {
  uint8_t *part = arena->memory == NULL ? NULL : arena->memory + arena->used;
  arena->used += (count * size + 63) / 64 * 64;
  return part;
}

/// Lays the parts of a scratch one after another.
static size_t lay(nt_text_scratch *scratch, nt_text_model model, size_t bytes_max, size_t tokens_max, uint8_t *memory) {
  arena arena = {memory, 0};
  size_t normalised_max = bytes_max * (model == NT_TEXT_UNIGRAM ? NT_TEXT_UNIGRAM_GROWTH : NT_TEXT_GROWTH) + 64;
  size_t normalised = normalised_max + NT_TEXT_PADDING, blocks = bytes_max / 64 + 2;
  size_t tokens = 2 * tokens_max + NT_TEXT_TEMPLATE_PIECES_MAX;
  take(&arena, 1, sizeof *scratch);
  *scratch = (nt_text_scratch){.bytes_max = bytes_max, .tokens_max = tokens_max, .normalised_max = normalised_max};
  scratch->text = take(&arena, normalised, 1);
  scratch->starts = take(&arena, normalised, sizeof(uint32_t));
  scratch->ends = take(&arena, normalised, sizeof(uint32_t));
  scratch->words = take(&arena, blocks, sizeof(uint64_t));
  scratch->marks = take(&arena, blocks, sizeof(uint64_t));
  // Marks wait in WordPiece's normaliser only, and only BPE merges. A space may be put in front.
  size_t marks = model == NT_TEXT_WORDPIECE ? bytes_max : 0, symbols = model == NT_TEXT_BPE ? bytes_max + 1 : 0;
  scratch->pending = take(&arena, marks, sizeof(uint64_t));
  scratch->sorted = take(&arena, marks, sizeof(uint64_t));
  scratch->sources = take(&arena, marks, sizeof(nt_text_span));
  scratch->symbols = take(&arena, symbols, sizeof(nt_text_symbol));
  scratch->candidates = take(&arena, 2 * symbols, sizeof(nt_text_candidate));
  size_t words = model == NT_TEXT_UNIGRAM ? normalised : 0;
  scratch->word = take(&arena, words, 1);
  scratch->word_starts = take(&arena, words, sizeof(uint32_t));
  scratch->word_ends = take(&arena, words, sizeof(uint32_t));
  scratch->paths = take(&arena, words, sizeof(nt_text_path));
  scratch->cache = take(&arena, NT_TEXT_CACHED_WORDS, sizeof(nt_text_cached_word));
  scratch->token_ids = take(&arena, tokens, sizeof(uint32_t));
  scratch->token_starts = take(&arena, tokens, sizeof(uint32_t));
  scratch->token_ends = take(&arena, tokens, sizeof(uint32_t));
  scratch->token_words = take(&arena, tokens, sizeof(uint32_t));
  scratch->token_types = take(&arena, tokens, 1);
  scratch->token_sequences = take(&arena, tokens, 1);
  scratch->second_ids = take(&arena, tokens_max, sizeof(uint32_t));
  scratch->second_starts = take(&arena, tokens_max, sizeof(uint32_t));
  scratch->second_ends = take(&arena, tokens_max, sizeof(uint32_t));
  scratch->second_words = take(&arena, tokens_max, sizeof(uint32_t));
  return arena.used;
}

/// Tokens of each text that a scratch keeps.
static size_t tokens_kept(const nt_text_vocabulary *vocabulary, size_t tokens_max) {
  return vocabulary->truncation == NT_TEXT_KEEP_ALL ? tokens_max : vocabulary->tokens_max;
}

size_t nt_text_scratch_bytes(const nt_text_vocabulary *vocabulary, size_t bytes_max, size_t tokens_max) {
  if (bytes_max > NT_TEXT_BYTES_MAX || tokens_max > NT_TEXT_BYTES_MAX) return 0;
  nt_text_scratch ignored;
  return lay(&ignored, vocabulary->model, bytes_max, tokens_kept(vocabulary, tokens_max), NULL);
}

nt_text_scratch *nt_text_scratch_make(const nt_text_vocabulary *vocabulary, size_t bytes_max, size_t tokens_max,
                                      void *memory) {
  nt_text_scratch *scratch = memory;
  lay(scratch, vocabulary->model, bytes_max, tokens_kept(vocabulary, tokens_max), memory);
  // Words are read 16 bytes at a time, behind what is written: those bytes are masked, but have to be there.
  memset(scratch->text, 0, scratch->normalised_max + NT_TEXT_PADDING);
  if (vocabulary->model == NT_TEXT_UNIGRAM) memset(scratch->word, 0, scratch->normalised_max + NT_TEXT_PADDING);
  memset(scratch->cache, 0, NT_TEXT_CACHED_WORDS * sizeof(nt_text_cached_word));
  return scratch;
}
