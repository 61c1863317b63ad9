// Checks a specification and compiles it into one block of memory.
#include <stdlib.h>

#include "nt_text_build.h"

// MARK: - checks

static bool are_sized(const nt_text_strings *strings, size_t count_max, size_t *where) {
  uint32_t end = 0;
  *where = 0;
  if (strings->count > count_max) return false;
  for (size_t index = 0; index < strings->count; index++) {
    *where = index;
    if (strings->ends[index] < end || strings->ends[index] > NT_TEXT_VOCABULARY_BYTES_MAX) return false;
    end = strings->ends[index];
  }
  return true;
}

static nt_text_key key_at(const nt_text_strings *strings, size_t index) {
  uint32_t start = index == 0 ? 0 : strings->ends[index - 1];
  return (nt_text_key){strings->bytes + start, strings->ends[index] - start, (uint32_t)index};
}

int nt_text_compare(const void *left, const void *right) {
  const nt_text_key *a = left, *b = right;
  int order = memcmp(a->bytes, b->bytes, a->count < b->count ? a->count : b->count);
  if (order != 0) return order;
  if (a->count != b->count) return a->count < b->count ? -1 : 1;
  return a->value < b->value ? -1 : a->value > b->value;
}

static bool are_equal(const nt_text_key *a, const nt_text_key *b) {
  return a->count == b->count && memcmp(a->bytes, b->bytes, a->count) == 0;
}

/// All strings as keys with their index, sorted; checked to be UTF-8 and to differ. NULL with a status.
static nt_text_key *sorted_keys(const nt_text_strings *strings, nt_text_status *status, size_t *where) {
  nt_text_key *keys = malloc((strings->count + 1) * sizeof *keys);
  *status = NT_TEXT_NO_MEMORY;
  if (keys == NULL) return NULL;
  *status = NT_TEXT_OK;
  for (size_t index = 0; index < strings->count && *status == NT_TEXT_OK; index++) {
    keys[index] = key_at(strings, index);
    *where = index;
    if (nt_text_invalid(keys[index].bytes, keys[index].count) < keys[index].count) *status = NT_TEXT_BAD_TOKEN;
  }
  if (*status == NT_TEXT_OK) {
    qsort(keys, strings->count, sizeof *keys, nt_text_compare);
    for (size_t index = 1; index < strings->count && *status == NT_TEXT_OK; index++) {
      *where = keys[index].value;
      if (are_equal(&keys[index - 1], &keys[index])) *status = NT_TEXT_DUPLICATE_TOKEN;
    }
  }
  if (*status == NT_TEXT_OK) return keys;
  free(keys);
  return NULL;
}

/// The index of a token of the model by its bytes, NT_TEXT_NONE without one.
uint32_t nt_text_find_key(const nt_text_key *keys, size_t count, const nt_text_key *wanted) {
  size_t low = 0, high = count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (are_equal(&keys[middle], wanted)) return keys[middle].value;
    nt_text_key first = *wanted;
    first.value = 0;
    if (nt_text_compare(&keys[middle], &first) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return NT_TEXT_NONE;
}

/// Ids fill 0 to their count. An added token that is a token of the model has its id; any other a new one.
static nt_text_status check_ids(const nt_text_spec *spec, const nt_text_key *tokens, const nt_text_key *added,
                                size_t *id_count, size_t *where) {
  size_t total = spec->tokens.count + spec->added.count, ids = 0;
  uint8_t *taken = calloc(total + 1, 1);
  if (taken == NULL) return NT_TEXT_NO_MEMORY;
  nt_text_status status = NT_TEXT_OK;
  for (size_t index = 0; index < spec->tokens.count && status == NT_TEXT_OK; index++) {
    *where = index;
    if (spec->ids[index] >= total) {
      status = NT_TEXT_ID_GAP;
    } else if (taken[spec->ids[index]]++) {
      status = NT_TEXT_DUPLICATE_ID;
    }
    ids++;
  }
  for (size_t index = 0; index < spec->added.count && status == NT_TEXT_OK; index++) {
    uint32_t id = spec->added_properties[added[index].value].id;
    uint32_t known = nt_text_find_key(tokens, spec->tokens.count, &added[index]);
    *where = added[index].value;
    if (id >= total || added[index].count == 0 || added[index].count > NT_TEXT_ADDED_BYTES_MAX ||
        (known != NT_TEXT_NONE ? spec->ids[known] != id : taken[id]++ != 0)) {
      status = NT_TEXT_BAD_ADDED_TOKEN;
    }
    ids += known == NT_TEXT_NONE;
  }
  for (size_t id = 0; id < ids && status == NT_TEXT_OK; id++) {
    *where = id;
    if (!taken[id]) status = NT_TEXT_ID_GAP;
  }
  free(taken);
  *id_count = ids;
  if (status == NT_TEXT_OK && spec->unknown_id != NT_TEXT_NONE && spec->unknown_id >= ids) status = NT_TEXT_UNSUPPORTED;
  return status;
}

/// Takes a template over. Without pieces it is its sequences, the second with type 1.
static bool take_template(const nt_text_template *given, bool pair, size_t ids, nt_text_layout *layout) {
  static const nt_text_piece bare[] = {{NT_TEXT_SEQUENCE_A, 0, 0}, {NT_TEXT_SEQUENCE_B, 0, 1}};
  nt_text_template template = given->count > 0 ? *given : (nt_text_template){bare, pair ? 2 : 1};
  uint32_t expected = NT_TEXT_SEQUENCE_A;
  if (template.count > NT_TEXT_TEMPLATE_PIECES_MAX) return false;
  *layout = (nt_text_layout){.count = template.count};
  for (size_t index = 0; index < template.count; index++) {
    const nt_text_piece *piece = &template.pieces[index];
    layout->pieces[index] = *piece;
    if (piece->kind == NT_TEXT_SPECIAL) {
      if (piece->id >= ids) return false;
      layout->specials++;
    } else if ((uint32_t)piece->kind != expected++) {
      return false;
    }
  }
  return expected == (pair ? NT_TEXT_SEQUENCE_B : NT_TEXT_SEQUENCE_A) + 1u;
}

// MARK: - building

typedef struct build {
  const nt_text_spec *spec;
  nt_text_vocabulary draft;
  nt_text_key *tokens, *added;
  /// Ids of all tokens: 0 up to here.
  size_t ids;
  nt_text_trie_builder trie, raw_added, normalised_added;
  nt_text_word_slot *slots;
  nt_text_parts_of_bpe bpe;
  double *scores;
  uint32_t *map_units;
  uint8_t *map_values;
  size_t map_value_bytes;
} build;

/// Replaces each added token that is looked for in the normalised text by its own normalised form, in `forms`.
static nt_text_status normalise_added(build *build, nt_text_key *keys, size_t count, uint8_t *forms, size_t *where) {
  const nt_text_vocabulary *draft = &build->draft;
  void *memory = aligned_alloc(64, nt_text_scratch_bytes(draft, NT_TEXT_ADDED_BYTES_MAX, 1));
  if (memory == NULL) return NT_TEXT_NO_MEMORY;
  nt_text_scratch *scratch = nt_text_scratch_make(draft, NT_TEXT_ADDED_BYTES_MAX, 1, memory);
  nt_text_status status = NT_TEXT_OK;
  for (size_t index = 0; index < count && status == NT_TEXT_OK; index++) {
    nt_text_run run = {.vocabulary = draft, .scratch = scratch, .text = keys[index].bytes, .bytes = keys[index].count};
    keys[index].bytes = forms;
    size_t count = draft->model == NT_TEXT_UNIGRAM ? nt_text_normalise_charsmap(&run, 0, run.bytes)
                                                   : nt_text_normalise_bert(&run, 0, run.bytes);
    keys[index].count = (uint32_t)count;
    memcpy(forms, scratch->text, keys[index].count);
    forms += keys[index].count;
    *where = keys[index].value;
    if (keys[index].count == 0 || run.overflow) status = NT_TEXT_BAD_ADDED_TOKEN;
  }
  free(memory);
  if (status != NT_TEXT_OK) return status;
  qsort(keys, count, sizeof *keys, nt_text_compare);
  for (size_t index = 1; index < count; index++) {
    *where = keys[index].value;
    if (are_equal(&keys[index - 1], &keys[index])) return NT_TEXT_BAD_ADDED_TOKEN;
  }
  return NT_TEXT_OK;
}

/// The added tokens with or without `NT_TEXT_NORMALIZED`, as a trie of their indices.
static nt_text_status build_added(build *build, bool normalised, nt_text_added_set *set, nt_text_trie_builder *trie,
                                  size_t *where) {
  size_t count = 0, bytes = 0, added_count = build->spec->added.count;
  nt_text_key *keys = malloc((added_count + 1) * sizeof *keys);
  if (keys == NULL) return NT_TEXT_NO_MEMORY;
  for (size_t index = 0; index < added_count; index++) {
    uint32_t properties = build->spec->added_properties[build->added[index].value].properties;
    if (((properties & NT_TEXT_NORMALIZED) != 0) != normalised) continue;
    bytes += build->added[index].count;
    keys[count++] = build->added[index];
  }
  uint8_t *forms = malloc(bytes * NT_TEXT_UNIGRAM_GROWTH + 64 * count + 1);
  nt_text_status status = forms == NULL ? NT_TEXT_NO_MEMORY : NT_TEXT_OK;
  // BPE has no normaliser.
  if (status == NT_TEXT_OK && normalised && count > 0 && build->draft.model != NT_TEXT_BPE)
    status = normalise_added(build, keys, count, forms, where);
  for (size_t index = 0; index < count && status == NT_TEXT_OK; index++) {
    set->firsts += !set->first[keys[index].bytes[0]];
    set->first[keys[index].bytes[0]] = 1;
    set->only = keys[index].bytes[0];
  }
  if (status == NT_TEXT_OK && !nt_text_trie_build(keys, count, trie)) status = NT_TEXT_NO_MEMORY;
  free(forms);
  free(keys);
  return status;
}

static size_t up(size_t bytes) { return (bytes + 63) / 64 * 64; }

static size_t trie_bytes(const nt_text_trie_builder *trie) {
  return up(trie->count * sizeof *trie->units) + up(trie->count * sizeof *trie->values);
}

static void *lay(uint8_t **at, const void *from, size_t bytes) {
  void *to = *at;
  if (bytes > 0) memcpy(to, from, bytes);
  *at += up(bytes);
  return to;
}

static void lay_trie(uint8_t **at, const nt_text_trie_builder *from, nt_text_trie *to) {
  to->units = lay(at, from->units, from->count * sizeof *from->units);
  to->values = lay(at, from->values, from->count * sizeof *from->values);
}

/// Copies all parts into one block.
static nt_text_status lay_block(build *build, nt_text_vocabulary **vocabulary) {
  nt_text_vocabulary *draft = &build->draft;
  size_t slot_bytes = build->slots == NULL ? 0 : (draft->slot_mask + 1) * sizeof *build->slots;
  size_t added_bytes = build->spec->added.count * sizeof(nt_text_added);
  size_t merge_bytes = build->bpe.merges == NULL ? 0 : (draft->merge_mask + 1) * sizeof *build->bpe.merges;
  size_t space_bytes = build->bpe.spaces == NULL ? 0 : build->ids * sizeof *build->bpe.spaces;
  size_t score_bytes = build->scores == NULL ? 0 : build->ids * sizeof *build->scores;
  size_t unit_bytes = draft->charsmap.unit_count * sizeof *build->map_units;
  draft->bytes = up(score_bytes) + up(unit_bytes) + up(build->map_value_bytes) + up(sizeof *draft) + up(slot_bytes) +
                 up(added_bytes) + up(merge_bytes) + up(space_bytes) + trie_bytes(&build->trie) +
                 trie_bytes(&build->raw_added) + trie_bytes(&build->normalised_added);
  uint8_t *block = aligned_alloc(64, draft->bytes), *at = block;
  if (block == NULL) return NT_TEXT_NO_MEMORY;
  nt_text_vocabulary *made = lay(&at, draft, sizeof *draft);
  made->slots = lay(&at, build->slots, slot_bytes);
  made->merges = lay(&at, build->bpe.merges, merge_bytes);
  made->spaces = lay(&at, build->bpe.spaces, space_bytes);
  made->scores = lay(&at, build->scores, score_bytes);
  made->charsmap.units = lay(&at, build->map_units, unit_bytes);
  made->charsmap.values = lay(&at, build->map_values, build->map_value_bytes);
  made->added = lay(&at, build->spec->added_properties, added_bytes);
  lay_trie(&at, &build->trie, &made->trie);
  lay_trie(&at, &build->raw_added, &made->raw_added.trie);
  lay_trie(&at, &build->normalised_added, &made->normalised_added.trie);
  *vocabulary = made;
  return NT_TEXT_OK;
}

static nt_text_status check(const nt_text_spec *spec, build *build, size_t *where) {
  nt_text_status status = NT_TEXT_OK;
  size_t tokens_max = NT_TEXT_TOKENS_MAX / 2;
  if (!are_sized(&spec->tokens, tokens_max, where) || !are_sized(&spec->added, tokens_max, where)) {
    return NT_TEXT_BAD_SIZE;
  }
  build->tokens = sorted_keys(&spec->tokens, &status, where);
  if (status == NT_TEXT_OK) build->added = sorted_keys(&spec->added, &status, where);
  if (status == NT_TEXT_OK) status = check_ids(spec, build->tokens, build->added, &build->ids, where);
  if (status != NT_TEXT_OK) return status;
  *where = 0;
  if (!take_template(&spec->single, false, build->ids, &build->draft.single) ||
      !take_template(&spec->pair, true, build->ids, &build->draft.pair)) {
    return NT_TEXT_BAD_TEMPLATE;
  }
  size_t specials = build->draft.pair.specials > build->draft.single.specials ? build->draft.pair.specials
                                                                              : build->draft.single.specials;
  if (spec->truncation > NT_TEXT_ONLY_SECOND || spec->model > NT_TEXT_UNIGRAM) return NT_TEXT_UNSUPPORTED;
  if (spec->truncation == NT_TEXT_KEEP_ALL) return NT_TEXT_OK;
  return spec->tokens_max < specials || spec->tokens_max > NT_TEXT_BYTES_MAX ? NT_TEXT_UNSUPPORTED : NT_TEXT_OK;
}

/// What belongs to the model: its trie, its whole words.
static nt_text_status build_model(build *build, size_t *where) {
  const nt_text_spec *spec = build->spec;
  nt_text_vocabulary *draft = &build->draft;
  nt_text_key *words = malloc((spec->tokens.count + 1) * sizeof *words);
  size_t word_count = 0;
  nt_text_status status = words == NULL ? NT_TEXT_NO_MEMORY : NT_TEXT_OK;
  if (status == NT_TEXT_OK && spec->model == NT_TEXT_BPE) {
    status = nt_text_build_bpe(spec, build->tokens, build->ids, draft, &build->bpe, words, &word_count, where);
    // Only a vocabulary that looks whole words up needs them beyond 16 bytes.
    size_t count = spec->ignore_merges ? build->bpe.key_count : 0;
    if (status == NT_TEXT_OK && !nt_text_trie_build(build->bpe.keys, count, &build->trie)) status = NT_TEXT_NO_MEMORY;
  } else if (status == NT_TEXT_OK && spec->model == NT_TEXT_UNIGRAM) {
    status = nt_text_read_charsmap(spec, &draft->charsmap, &build->map_units, &build->map_values,
                                   &build->map_value_bytes, where);
    if (status == NT_TEXT_OK) {
      status = nt_text_build_unigram(spec, build->tokens, build->ids, draft, &build->scores, where);
    }
    if (status == NT_TEXT_OK && !nt_text_trie_build(build->tokens, spec->tokens.count, &build->trie)) {
      status = NT_TEXT_NO_MEMORY;
    }
    if (status == NT_TEXT_OK) nt_text_set_ascii(draft);
  } else if (status == NT_TEXT_OK) {
    bool built = nt_text_trie_build(build->tokens, spec->tokens.count, &build->trie);
    status = built ? nt_text_build_wordpiece(spec, build->tokens, &build->trie, draft, words, &word_count)
                   : NT_TEXT_NO_MEMORY;
  }
  if (status == NT_TEXT_OK) status = nt_text_fill_words(words, word_count, draft, &build->slots);
  free(words);
  return status;
}

static nt_text_status compile(build *build, nt_isa isa, size_t *where) {
  const nt_text_spec *spec = build->spec;
  nt_text_vocabulary *draft = &build->draft;
  draft->model = spec->model;
  draft->split = nt_text_split_for(isa);
  draft->unknown_id = spec->unknown_id;
  draft->dropped_id = spec->drops_unknown ? spec->unknown_id : NT_TEXT_NONE;
  draft->truncation = spec->truncation;
  draft->tokens_max = spec->tokens_max;
  draft->clean_text = spec->clean_text;
  draft->space_ideographs = spec->space_ideographs;
  draft->strip_accents = spec->strip_accents;
  draft->lowercase = spec->lowercase;
  draft->strip_left = spec->strip_left;
  draft->strip_right = spec->strip_right;
  draft->collapse_spaces = spec->collapse_spaces;
  draft->splits_spaces = spec->splits_spaces;
  draft->splits_marks = spec->splits_marks;
  draft->prepend = spec->prepend;
  for (uint32_t byte = 0; byte < 128; byte++) {
    const nt_text_character *character = nt_text_character_of(byte);
    draft->ascii[byte] = (uint8_t)(spec->lowercase ? (int32_t)byte + character->lower : (int32_t)byte);
    if (!spec->clean_text) continue;
    if (character->flags & NT_TEXT_IS_SPACE) draft->ascii[byte] = ' ';
    if (character->flags & NT_TEXT_IS_REMOVED) draft->ascii[byte] = 0x80;
  }
  // Values of the trie are ids from here on.
  for (size_t index = 0; index < spec->tokens.count; index++) {
    build->tokens[index].value = spec->ids[build->tokens[index].value];
  }
  nt_text_status status = build_model(build, where);
  if (status == NT_TEXT_OK) status = build_added(build, false, &draft->raw_added, &build->raw_added, where);
  if (status == NT_TEXT_OK) {
    status = build_added(build, true, &draft->normalised_added, &build->normalised_added, where);
  }
  return status;
}

nt_text_status nt_text_build(const nt_text_spec *spec, nt_isa isa, nt_text_vocabulary **vocabulary, size_t *where) {
  size_t ignored;
  if (where == NULL) where = &ignored;
  *where = 0;
  *vocabulary = NULL;
  build build = {.spec = spec};
  nt_text_status status = check(spec, &build, where);
  if (status == NT_TEXT_OK) status = compile(&build, isa, where);
  if (status == NT_TEXT_OK) status = lay_block(&build, vocabulary);
  free(build.tokens);
  free(build.added);
  free(build.slots);
  free(build.scores);
  free(build.map_units);
  free(build.map_values);
  free(build.bpe.merges);
  free(build.bpe.spaces);
  free(build.bpe.keys);
  free(build.bpe.bytes);
  nt_text_trie_builder *tries[] = {&build.trie, &build.raw_added, &build.normalised_added};
  for (size_t index = 0; index < sizeof tries / sizeof *tries; index++) {
    free(tries[index]->units);
    free(tries[index]->values);
  }
  return status;
}

void nt_text_free(nt_text_vocabulary *vocabulary) { free(vocabulary); }

size_t nt_text_vocabulary_bytes(const nt_text_vocabulary *vocabulary) { return vocabulary->bytes; }
