#include "nt_text_build.h"

/// A word of more characters than the model takes is unknown, even if it is a token.
static bool is_word(const nt_text_key *token, uint32_t characters_max) {
  uint32_t characters = 0;
  for (uint32_t index = 0; index < token->count; index++) characters += (token->bytes[index] & 0xC0) != 0x80;
  return token->count > 0 && token->count <= NT_TEXT_KEY_BYTES && characters <= characters_max;
}

nt_text_status nt_text_build_wordpiece(const nt_text_spec *spec, const nt_text_key *tokens,
                                       const nt_text_trie_builder *trie, nt_text_vocabulary *draft, nt_text_key *words,
                                       size_t *word_count) {
  if (spec->word_characters_max < 1 || spec->word_characters_max > NT_TEXT_WORD_CHARACTERS_MAX) {
    return NT_TEXT_UNSUPPORTED;
  }
  draft->word_characters_max = spec->word_characters_max;
  draft->continuing = 0;
  for (size_t index = 0; index < spec->continuing_prefix_bytes && draft->continuing != NT_TEXT_NONE; index++) {
    draft->continuing = nt_text_child(trie->units, draft->continuing, spec->continuing_prefix[index]);
  }
  for (size_t index = 0; index < spec->tokens.count; index++) {
    if (is_word(&tokens[index], spec->word_characters_max)) words[(*word_count)++] = tokens[index];
  }
  for (uint32_t byte = 0; byte < 128; byte++) {
    nt_text_key one = {(const uint8_t[]){(uint8_t)byte}, 1, 0};
    uint32_t id = nt_text_find_key(tokens, spec->tokens.count, &one);
    draft->ascii_ids[byte] = id == NT_TEXT_NONE ? spec->unknown_id : id;
  }
  return NT_TEXT_OK;
}
