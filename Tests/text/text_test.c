// Tests of the tokenizers without Python: splitting on every instruction set, refusals, hostile texts.
#include "text_test.h"

// MARK: - splitting

static void splitting_is_the_same_on_every_instruction_set(void) {
  enum { bytes_max = 400, blocks = bytes_max / 64 + 2 };
  static const nt_isa isas[] = {NT_ISA_AVX2, NT_ISA_AVX512VNNI, NT_ISA_NEON};
  nt_text_split scalar = nt_text_split_for(NT_ISA_SCALAR);
  for (size_t isa = 0; isa < sizeof isas / sizeof *isas; isa++) {
#if defined(NT_USE_SIMDE)
    if (!nt_isa_exists(isas[isa])) continue;
#else
    if (!nt_isa_supported(isas[isa])) continue;
#endif
    nt_text_split split = nt_text_split_for(isas[isa]);
    EXPECT(split != scalar, "%s has code of its own", nt_isa_name(isas[isa]));
    size_t plain = 0;
    for (uint32_t round = 0; round < 20000; round++) {
      uint32_t count = chance(bytes_max), kind = chance(8);
      // At the end of its own memory, so that the sanitizer sees a byte read behind it.
      uint8_t *bytes = malloc(count + 1);
      for (uint32_t index = 0; index < count; index++) {
        bytes[index] = (uint8_t)(kind == 0 ? chance(256) : kind == 1 ? chance(128) : 32 + chance(95));
        if (kind > 1 && chance(5) == 0) bytes[index] = (uint8_t)" \t\n\r"[chance(4)];
      }
      uint8_t *exact = malloc(count == 0 ? 1 : count);
      memcpy(exact, bytes, count);
      uint8_t copies[2][bytes_max + 64];
      uint64_t words[2][blocks] = {{0}}, marks[2][blocks] = {{0}};
      bool lowercase = chance(2);
      bool expected = scalar(exact, count, lowercase, copies[0], words[0], marks[0]);
      bool found = split(exact, count, lowercase, copies[1], words[1], marks[1]);
      EXPECT(expected == found, "%u bytes", count);
      plain += expected;
      if (expected) {
        EXPECT(memcmp(copies[0], copies[1], count) == 0, "copy of %u bytes", count);
        EXPECT(memcmp(words[0], words[1], sizeof words[0]) == 0, "words of %u bytes", count);
        EXPECT(memcmp(marks[0], marks[1], sizeof marks[0]) == 0, "marks of %u bytes", count);
      }
      free(bytes);
      free(exact);
    }
    EXPECT(plain > 5000, "plain texts: %zu", plain);
  }
}

// MARK: - UTF-8

static void finds_the_first_byte_that_is_not_utf8(void) {
  static const struct {
    const char *bytes;
    size_t count, expected;
  } cases[] = {
      {"", 0, 0},
      {"abc", 3, 3},
      {"\xC3\xA9", 2, 2},
      {"a\x80", 2, 1},
      {"ab\xC0\x80", 4, 2},
      {"\xC1\xBF", 2, 0},
      {"\xE0\x9F\xBF", 3, 0},
      {"\xE0\xA0\x80", 3, 3},
      {"\xED\x9F\xBF", 3, 3},
      {"x\xED\xA0\x80", 4, 1},
      {"\xF0\x8F\xBF\xBF", 4, 0},
      {"\xF0\x90\x80\x80", 4, 4},
      {"\xF4\x8F\xBF\xBF", 4, 4},
      {"\xF4\x90\x80\x80", 4, 0},
      {"\xF5\x80\x80\x80", 4, 0},
      {"12345678\xE4\xB8", 10, 8},
      {"1234567\xE4\xB8\xAD\xFF", 11, 10},
      {"\xE4\xB8\x41", 3, 0},
      {"\xF0\x9F\x98\x41", 4, 0},
  };
  for (size_t index = 0; index < sizeof cases / sizeof *cases; index++) {
    size_t found = nt_text_invalid((const uint8_t *)cases[index].bytes, cases[index].count);
    EXPECT(found == cases[index].expected, "case %zu: expected %zu, found %zu", index, cases[index].expected, found);
  }
}

// MARK: - vocabularies

enum { tokens_count = 12, cls = 9, sep = 10, mask = 11 };
static const char *const token_words[tokens_count] = {"[UNK]", "un", "##aff", "##able", "the",   "cafe",
                                                      "中",    ",",  "##x",   "[CLS]",  "[SEP]", "[MASK]"};
static const uint32_t ids[tokens_count] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
static const nt_text_piece single[] = {
    {NT_TEXT_SPECIAL, cls, 0}, {NT_TEXT_SEQUENCE_A, 0, 0}, {NT_TEXT_SPECIAL, sep, 0}};
static const nt_text_piece pair[] = {{NT_TEXT_SPECIAL, cls, 0},
                                     {NT_TEXT_SEQUENCE_A, 0, 0},
                                     {NT_TEXT_SPECIAL, sep, 0},
                                     {NT_TEXT_SEQUENCE_B, 0, 1},
                                     {NT_TEXT_SPECIAL, sep, 1}};
static const nt_text_added added[] = {{mask, 0}};
static words tokens, added_words;

/// A specification like BERT's, of twelve tokens.
static nt_text_spec small_spec(void) {
  set_words(&tokens, token_words, tokens_count);
  set_words(&added_words, (const char *const[]){"[MASK]"}, 1);
  return (nt_text_spec){
      .tokens = tokens.strings,
      .ids = ids,
      .continuing_prefix = (const uint8_t *)"##",
      .continuing_prefix_bytes = 2,
      .word_characters_max = 100,
      .clean_text = true,
      .space_ideographs = true,
      .strip_accents = true,
      .lowercase = true,
      .added = added_words.strings,
      .added_properties = added,
      .single = {single, 3},
      .pair = {pair, 5},
  };
}

static void refuses_vocabularies_that_contradict_themselves(void) {
  nt_text_spec spec = small_spec();
  uint32_t other_ids[tokens_count];
  memcpy(other_ids, ids, sizeof ids);
  spec.ids = other_ids;
  other_ids[4] = 3;
  expect_refusal(&spec, NT_TEXT_DUPLICATE_ID, 4);
  other_ids[4] = 4000000000u;
  expect_refusal(&spec, NT_TEXT_ID_GAP, 4);
  other_ids[4] = 12;
  expect_refusal(&spec, NT_TEXT_ID_GAP, 4);
  spec = small_spec();
  memcpy(tokens.bytes + 5, "##", 2);
  tokens.bytes[12] = '\xFF';
  expect_refusal(&spec, NT_TEXT_BAD_TOKEN, 3);
  spec = small_spec();
  const char *twice[tokens_count];
  memcpy(twice, token_words, sizeof token_words);
  twice[7] = "un";
  set_words(&tokens, twice, tokens_count);
  expect_refusal(&spec, NT_TEXT_DUPLICATE_TOKEN, 7);
  spec = small_spec();
  tokens.ends[3] = 1;
  expect_refusal(&spec, NT_TEXT_BAD_SIZE, 3);
  spec = small_spec();
  tokens.ends[11] = NT_TEXT_VOCABULARY_BYTES_MAX + 1;
  expect_refusal(&spec, NT_TEXT_BAD_SIZE, 11);
  spec = small_spec();
  spec.added_properties = (const nt_text_added[]){{3, 0}};
  expect_refusal(&spec, NT_TEXT_BAD_ADDED_TOKEN, 0);
  // A mark alone leaves nothing to look for in a text without accents.
  set_words(&added_words, (const char *const[]){"\xCC\x81"}, 1);
  spec = small_spec();
  set_words(&added_words, (const char *const[]){"\xCC\x81"}, 1);
  spec.added = added_words.strings;
  spec.added_properties = (const nt_text_added[]){{12, NT_TEXT_NORMALIZED}};
  expect_refusal(&spec, NT_TEXT_BAD_ADDED_TOKEN, 0);
  spec = small_spec();
  spec.pair = (nt_text_template){single, 3};
  expect_refusal(&spec, NT_TEXT_BAD_TEMPLATE, 0);
  spec = small_spec();
  spec.single = (nt_text_template){(const nt_text_piece[]){{NT_TEXT_SEQUENCE_A, 0, 0}, {NT_TEXT_SPECIAL, 12, 0}}, 2};
  expect_refusal(&spec, NT_TEXT_BAD_TEMPLATE, 0);
  spec = small_spec();
  spec.truncation = NT_TEXT_LONGEST_FIRST;
  spec.tokens_max = 2;
  expect_refusal(&spec, NT_TEXT_UNSUPPORTED, 0);
}

// MARK: - encoding

static void finds_tokens_and_their_places(void) {
  nt_text_spec spec = small_spec();
  encoder encoder = make_encoder(&spec, NT_ISA_SCALAR, 1000, 100);
  // Twice, for the second time the word is remembered.
  for (int round = 0; round < 2; round++) {
    EXPECT(encode(&encoder, "The unaffable,[MASK] zz", 23) == NT_TEXT_OK, "plain text");
    expect_tokens(&encoder,
                  (const uint32_t[][3]){{cls, 0, 0},
                                        {4, 0, 3},
                                        {1, 4, 6},
                                        {2, 6, 9},
                                        {3, 9, 13},
                                        {7, 13, 14},
                                        {mask, 14, 20},
                                        {0, 21, 23},
                                        {sep, 0, 0}},
                  9);
  }
  // An accent that the letter brings, one behind it, and an ideograph without spaces.
  EXPECT(encode(&encoder,
                "Caf\xC3\xA9\xE4\xB8\xAD"
                "cafe\xCC\x81x",
                16) == NT_TEXT_OK,
         "accents");
  expect_tokens(&encoder,
                (const uint32_t[][3]){{cls, 0, 0}, {5, 0, 5}, {6, 5, 8}, {5, 8, 12}, {8, 14, 15}, {sep, 0, 0}}, 6);
  EXPECT(encode(&encoder, "", 0) == NT_TEXT_OK, "nothing");
  expect_tokens(&encoder, (const uint32_t[][3]){{cls, 0, 0}, {sep, 0, 0}}, 2);
  free_encoder(&encoder);
}

static void without_tokens_inside_words_only_whole_ones_are_known(void) {
  nt_text_spec spec = small_spec();
  spec.continuing_prefix = (const uint8_t *)"@@";
  encoder encoder = make_encoder(&spec, NT_ISA_SCALAR, 100, 100);
  EXPECT(encode(&encoder, "the unaffable thethethethethethe", 32) == NT_TEXT_OK, "three words");
  expect_tokens(&encoder, (const uint32_t[][3]){{cls, 0, 0}, {4, 0, 3}, {0, 4, 13}, {0, 14, 32}, {sep, 0, 0}}, 5);
  free_encoder(&encoder);
}

static void refuses_texts_beyond_bounds(void) {
  nt_text_spec spec = small_spec();
  encoder encoder = make_encoder(&spec, NT_ISA_SCALAR, 50, 3);
  EXPECT(encode(&encoder, "the the\xFF", 8) == NT_TEXT_INVALID_UTF8 && encoder.where == 7, "at %zu", encoder.where);
  char long_text[51];
  memset(long_text, ' ', sizeof long_text);
  EXPECT(encode(&encoder, long_text, 51) == NT_TEXT_TOO_LONG && encoder.where == 50, "at %zu", encoder.where);
  EXPECT(encode(&encoder, long_text, 50) == NT_TEXT_OK, "spaces");
  EXPECT(encode(&encoder, "the the the", 11) == NT_TEXT_OK && encoder.tokens.count == 5, "three tokens");
  EXPECT(encode(&encoder, "the the the the", 15) == NT_TEXT_TOO_MANY_TOKENS && encoder.where == 3, "at %zu",
         encoder.where);
  EXPECT(nt_text_scratch_bytes(encoder.vocabulary, (size_t)NT_TEXT_BYTES_MAX + 1, 1) == 0,
         "a text of 64 MB and a byte");
  free_encoder(&encoder);
  spec.unknown_id = NT_TEXT_NONE;
  encoder = make_encoder(&spec, NT_ISA_SCALAR, 50, 10);
  EXPECT(encode(&encoder, "zz", 2) == NT_TEXT_NO_UNKNOWN_TOKEN, "no unknown token");
  free_encoder(&encoder);
}

/// Each is a megabyte: a word, marks on one letter in the worst order, marks that stay, ideographs, brackets.
static void hostile_texts_take_linear_time(void) {
  static const char *const pieces[] = {
      "a",    "\xCC\xA7\xCC\x81", "\xE3\x80\xAE\xCC\x9B", "\xE4\xB8\xAD", "[MASK", "\xEA\xB0\x81", "\xC4\xB0",
      "\x01", "\xCE\x90"};
  enum { bytes_max = 1 << 20 };
  nt_text_spec spec = small_spec();
  uint8_t *text = malloc(bytes_max);
  for (int settings = 0; settings < 4; settings++) {
    spec.strip_accents = settings & 1;
    spec.clean_text = settings & 2;
    encoder encoder = make_encoder(&spec, nt_isa_best(), bytes_max, bytes_max);
    for (size_t piece = 0; piece < sizeof pieces / sizeof *pieces; piece++) {
      size_t size = strlen(pieces[piece]), count = 0;
      text[count++] = 'x';
      for (; count + size <= bytes_max; count += size) memcpy(text + count, pieces[piece], size);
      EXPECT(encode(&encoder, text, count) == NT_TEXT_OK, "piece %zu", piece);
      for (size_t index = 0; index < encoder.tokens.count; index++) {
        if (encoder.tokens.starts[index] > encoder.tokens.ends[index] || encoder.tokens.ends[index] > count) {
          EXPECT(false, "piece %zu, token %zu", piece, index);
          break;
        }
      }
    }
    free_encoder(&encoder);
  }
  free(text);
}

int main(void) {
  splitting_is_the_same_on_every_instruction_set();
  finds_the_first_byte_that_is_not_utf8();
  refuses_vocabularies_that_contradict_themselves();
  finds_tokens_and_their_places();
  without_tokens_inside_words_only_whole_ones_are_known();
  refuses_texts_beyond_bounds();
  hostile_texts_take_linear_time();
  if (failures == 0) printf("every test passed\n");
  return failures == 0 ? 0 : 1;
}
