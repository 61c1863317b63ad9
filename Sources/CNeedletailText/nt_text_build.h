// Parts of the builder: what each model adds to a vocabulary.
#pragma once

#include "nt_text_internal.h"

/// Orders keys by their bytes, then by their value.
int nt_text_compare(const void *left, const void *right);
/// The value of a key among sorted ones, NT_TEXT_NONE without it.
uint32_t nt_text_find_key(const nt_text_key *keys, size_t count, const nt_text_key *wanted);

/// Fills in what WordPiece needs: whole words, from `malloc`, and where tokens inside words begin.
nt_text_status nt_text_build_wordpiece(const nt_text_spec *spec, const nt_text_key *tokens,
                                       const nt_text_trie_builder *trie, nt_text_vocabulary *draft,
                                       nt_text_word_slot **slots);
