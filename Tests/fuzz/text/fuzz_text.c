// Fuzzes tokenizers: vocabularies made of the input, and texts for vocabularies that are sound.
//
// The first two bytes are settings. With an odd first byte the vocabulary is made of the input, else it is one of three
// small ones. What is left is the text, whose middle is the second text of a pair.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nt_text.h"

enum { tokens_max = 64, bytes_max = 2048, kept_max = 1000 };

static void require(bool holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "fuzz text: %s\n", what);
  abort();
}

/// The input, read from the front.
typedef struct input {
  const uint8_t *bytes;
  size_t count;
} input;

static uint8_t take(input *input) {
  if (input->count == 0) return 0;
  input->count--;
  return *input->bytes++;
}

/// What a specification points to.
typedef struct memory {
  uint8_t bytes[8192];
  uint32_t ends[tokens_max + 256], ids[tokens_max + 256], added_ends[8], merges[tokens_max][2];
  double scores[tokens_max + 256];
  nt_text_added added[8];
  nt_text_piece pieces[4];
} memory;

static void add_token(nt_text_spec *spec, memory *memory, const char *token, size_t count) {
  size_t index = spec->tokens.count++;
  uint32_t start = index == 0 ? 0 : memory->ends[index - 1];
  memcpy(memory->bytes + start, token, count);
  memory->ends[index] = start + (uint32_t)count;
  memory->ids[index] = (uint32_t)index;
  memory->scores[index] = -(double)(index % 17);
}

/// Sound tokens: those of bytes first, so that BPE has them, then some that texts of letters are made of.
static void make_sound(nt_text_spec *spec, memory *memory) {
  static const char *const words[] = {"[UNK]",        "the",           "##e",    "##a", "\xE4\xB8\xAD",
                                      "\xE2\x96\x81", "\xE2\x96\x81z", "[MASK]", "aa",  "ab"};
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; byte++) {
    bool visible = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    uint32_t code = visible ? byte : next++;
    char two[2] = {(char)(0xC0 | code >> 6), (char)(0x80 | (code & 63))};
    if (code < 0x80) two[0] = (char)code;
    add_token(spec, memory, two, code < 0x80 ? 1 : 2);
  }
  for (size_t index = 0; index < sizeof words / sizeof *words; index++) {
    add_token(spec, memory, words[index], strlen(words[index]));
  }
  spec->unknown_id = 256;
  memory->merges[0][0] = memory->merges[0][1] = 'a';
  memory->merges[1][0] = 'a', memory->merges[1][1] = 'b';
  spec->merge_count = 2;
  spec->added = (nt_text_strings){(const uint8_t *)"[MASK] \xC3\xA9", memory->added_ends, 2};
  memory->added_ends[0] = 6, memory->added_ends[1] = 9;
  memory->added[0] = (nt_text_added){263, 0};
  memory->added[1] = (nt_text_added){266, 0};
}

/// A vocabulary of whatever the input says.
static void make_hostile(nt_text_spec *spec, memory *memory, input *input) {
  size_t count = take(input) % tokens_max, used = 0;
  for (size_t index = 0; index < count; index++) {
    size_t bytes = take(input) % 16;
    for (size_t byte = 0; byte < bytes; byte++) memory->bytes[used++] = take(input);
    memory->ends[index] = (uint32_t)used;
    memory->ids[index] = take(input) % 8 == 7 ? take(input) : (uint32_t)index;
    memory->scores[index] = (double)take(input) - 200;
  }
  spec->tokens.count = count;
  spec->unknown_id = take(input) % 4 == 0 ? NT_TEXT_NONE : take(input) % 8;
  spec->merge_count = take(input) % 8;
  for (size_t index = 0; index < spec->merge_count; index++) {
    memory->merges[index][0] = take(input);
    memory->merges[index][1] = take(input);
  }
  size_t added = take(input) % 4, end = 0;
  spec->added = (nt_text_strings){input->bytes, memory->added_ends, added};
  for (size_t index = 0; index < added; index++) {
    end += take(input) % 8;
    if (end > input->count) end = input->count;
    memory->added_ends[index] = (uint32_t)end;
    memory->added[index] = (nt_text_added){(uint32_t)(count + index), 0};
  }
  spec->added.bytes = input->bytes;
  size_t map = take(input) * 16u;
  spec->charsmap_bytes = map < input->count ? map : input->count;
  spec->charsmap = input->bytes;
}

static void check(const nt_text_tokens *tokens, const nt_text *texts, size_t ids) {
  for (size_t index = 0; index < tokens->count; index++) {
    require(tokens->ids[index] < ids, "an id that no token has");
    require(tokens->starts[index] <= tokens->ends[index], "a token that ends before it starts");
    require(tokens->ends[index] <= texts[tokens->sequences[index]].count, "a token that ends behind its text");
  }
}

/// Encodes twice with each instruction set: what is remembered changes nothing, and neither does how text is split.
static void encode(const nt_text_spec *spec, const nt_text *texts, bool pair) {
  static uint32_t ids[3 * kept_max], starts[3 * kept_max];
  size_t count = 0;
  nt_text_status first = NT_TEXT_OK;
  const nt_isa isas[] = {NT_ISA_SCALAR, nt_isa_best()};
  for (int round = 0; round < 4; round++) {
    nt_text_vocabulary *vocabulary;
    size_t where;
    nt_text_status status = nt_text_build(spec, isas[round / 2], &vocabulary, &where);
    if (status != NT_TEXT_OK) return;
    size_t size = nt_text_scratch_bytes(vocabulary, bytes_max, kept_max);
    void *scratch_memory = aligned_alloc(64, size);
    nt_text_scratch *scratch = nt_text_scratch_make(vocabulary, bytes_max, kept_max, scratch_memory);
    nt_text_tokens tokens = {0};
    for (int again = 0; again <= round % 2; again++) {
      status = nt_text_encode(vocabulary, scratch, texts[0], pair ? &texts[1] : NULL, true, &tokens, &where);
    }
    if (round == 0) first = status;
    require(status == first, "another status");
    if (status == NT_TEXT_OK) {
      check(&tokens, texts, spec->tokens.count + spec->added.count);
      if (round == 0) {
        count = tokens.count;
        memcpy(ids, tokens.ids, count * sizeof *ids);
        memcpy(starts, tokens.starts, count * sizeof *starts);
      }
      require(tokens.count == count && memcmp(ids, tokens.ids, count * sizeof *ids) == 0, "other ids");
      require(memcmp(starts, tokens.starts, count * sizeof *starts) == 0, "other places");
    }
    free(scratch_memory);
    nt_text_free(vocabulary);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
  if (count < 3 || count > bytes_max) return 0;
  static memory memory;
  input input = {bytes + 3, count - 3};
  uint8_t a = bytes[0], b = bytes[1], c = bytes[2];
  nt_text_spec spec = {.model = (nt_text_model)((a >> 1) % 3),
                       .tokens = {memory.bytes, memory.ends, 0},
                       .ids = memory.ids,
                       .continuing_prefix = (const uint8_t *)"##",
                       .continuing_prefix_bytes = 2,
                       .word_characters_max = 20,
                       .merges = (const uint32_t (*)[2])memory.merges,
                       .scores = memory.scores,
                       .added_properties = memory.added,
                       .clean_text = b & 1,
                       .space_ideographs = b & 2,
                       .strip_accents = b & 4,
                       .lowercase = b & 8,
                       .add_prefix_space = b & 1,
                       .trim_offsets = b & 2,
                       .trim_prefix_space = b & 4,
                       .ignore_merges = b & 8,
                       .byte_fallback = b & 1,
                       .strip_left = b & 2,
                       .strip_right = b & 4,
                       .collapse_spaces = b & 8,
                       .splits_spaces = b & 16,
                       .splits_marks = b & 32,
                       .prepend = (nt_text_prepend)((b >> 6) % 3),
                       .truncation = (nt_text_truncation)(c & 3),
                       .tokens_max = c >> 4};
  if (a & 1) {
    make_hostile(&spec, &memory, &input);
  } else {
    make_sound(&spec, &memory);
  }
  for (size_t index = 0; index < spec.added.count; index++) memory.added[index].properties = (a >> 3) + (uint32_t)index;
  size_t half = c & 4 ? input.count / 2 : input.count;
  nt_text texts[2] = {{input.bytes, half}, {input.bytes + half, input.count - half}};
  encode(&spec, texts, c & 4);
  return 0;
}
