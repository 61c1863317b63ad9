// Tests of models whose words may be long, without Python.
#include "text_test.h"

// MARK: - byte-level BPE

/// A vocabulary of 256 bytes in GPT-2's alphabet, and of a, aa, aaaa and so on to sixteen.
static nt_text_spec merging_spec(void) {
  static uint8_t bytes[1024];
  static uint32_t ends[260], all_ids[260];
  static const uint32_t merges[][2] = {{'a', 'a'}, {256, 256}, {257, 257}, {258, 258}};
  uint32_t end = 0, next = 0x100;
  for (uint32_t byte = 0; byte < 260; byte++) {
    bool visible = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
    if (byte < 256) {
      end += nt_text_put(bytes + end, visible ? byte : next++);
    } else {
      memset(bytes + end, 'a', 2u << (byte - 256));
      end += 2u << (byte - 256);
    }
    ends[byte] = end;
    all_ids[byte] = byte;
  }
  return (nt_text_spec){.model = NT_TEXT_BPE,
                        .tokens = {bytes, ends, 260},
                        .ids = all_ids,
                        .unknown_id = NT_TEXT_NONE,
                        .merges = merges,
                        .merge_count = 4};
}

static void merges_a_megabyte_of_one_letter(void) {
  enum { bytes_max = 1 << 20 };
  nt_text_spec spec = merging_spec();
  encoder encoder = make_encoder(&spec, NT_ISA_SCALAR, bytes_max, bytes_max);
  uint8_t *text = malloc(bytes_max);
  memset(text, 'a', bytes_max);
  for (size_t count = bytes_max; count > 0; count /= 3) {
    EXPECT(encode(&encoder, text, count) == NT_TEXT_OK, "%zu bytes", count);
    // Sixteens, then one each of the halves that are left.
    size_t expected = count / 16 + (size_t)__builtin_popcountll(count % 16);
    EXPECT(encoder.tokens.count == expected, "%zu bytes: expected %zu tokens, found %zu", count, expected,
           encoder.tokens.count);
    EXPECT(encoder.tokens.ends[expected - 1] == count, "%zu bytes: the last token ends at %u", count,
           encoder.tokens.ends[expected - 1]);
  }
  for (size_t index = 0; index < bytes_max; index++) text[index] = (uint8_t)"aaab\n '\x7F"[chance(8)];
  EXPECT(encode(&encoder, text, bytes_max) == NT_TEXT_OK, "a megabyte of anything");
  free(text);
  free_encoder(&encoder);
}

static void refuses_merges_that_lead_nowhere(void) {
  nt_text_spec spec = merging_spec();
  spec.merges = (const uint32_t[][2]){{'a', 'a'}, {256, 'a'}};
  spec.merge_count = 2;
  expect_refusal(&spec, NT_TEXT_BAD_MERGE, 1);
  spec.merges = (const uint32_t[][2]){{'a', 'a'}, {260, 'a'}};
  expect_refusal(&spec, NT_TEXT_BAD_MERGE, 1);
  spec.merges = (const uint32_t[][2]){{'a', 'a'}, {'a', 'a'}};
  expect_refusal(&spec, NT_TEXT_BAD_MERGE, 1);
  spec = merging_spec();
  uint8_t bytes[2048];
  memcpy(bytes, spec.tokens.bytes, spec.tokens.ends[259]);
  bytes[spec.tokens.ends['q'] - 1] = 0x7F;
  spec.tokens.bytes = bytes;
  expect_refusal(&spec, NT_TEXT_NO_BYTE_TOKEN, 'q');
}

// MARK: - Unigram

/// The vocabulary that Hugging Face's documentation of its model shows.
static nt_text_spec scored_spec(void) {
  static words pieces;
  static const uint32_t all_ids[] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
  static const double scores[] = {0, 0, 0, 0, 0, 1, 2, 5, 10};
  set_words(&pieces, (const char *const[]){"<unk>", "a", "b", "c", "d", "cd", "ab", "abc", "abcd"}, 9);
  return (nt_text_spec){.model = NT_TEXT_UNIGRAM, .tokens = pieces.strings, .ids = all_ids, .scores = scores};
}

static void finds_the_best_scores(void) {
  nt_text_spec spec = scored_spec();
  encoder encoder = make_encoder(&spec, NT_ISA_SCALAR, 100, 100);
  for (int round = 0; round < 2; round++) {
    EXPECT(encode(&encoder, "abcdacdxx", 9) == NT_TEXT_OK, "a word");
    expect_tokens(&encoder, (const uint32_t[][3]){{8, 0, 4}, {1, 4, 5}, {5, 5, 7}, {0, 7, 9}}, 4);
  }
  free_encoder(&encoder);
  spec.unknown_id = NT_TEXT_NONE;
  encoder = make_encoder(&spec, NT_ISA_SCALAR, 100, 100);
  // The second time too: such a word is not remembered.
  for (int round = 0; round < 2; round++) {
    EXPECT(encode(&encoder, "x", 1) == NT_TEXT_NO_UNKNOWN_TOKEN, "no unknown token, round %d", round);
  }
  free_encoder(&encoder);
}

/// A map of one key, "x", which becomes 40 letters: more than a text may grow.
static void refuses_a_text_that_grows_without_end(void) {
  enum { units = 512, offset = 256 };
  uint32_t map[1 + units] = {units * 4};
  map[1] = (uint32_t)offset << 10;
  uint32_t child = offset ^ 'x';
  map[1 + child] = (uint32_t)(child ^ 1) << 10 | 1 << 8 | 'x';
  map[1 + 1] = 1u << 31;
  uint8_t bytes[sizeof map + 40];
  memcpy(bytes, map, sizeof map);
  memset(bytes + sizeof map, 'a', 40);
  nt_text_spec spec = scored_spec();
  spec.charsmap = bytes;
  spec.charsmap_bytes = sizeof bytes;
  encoder encoder = make_encoder(&spec, NT_ISA_SCALAR, 100, 1000);
  EXPECT(encode(&encoder, "bx", 2) == NT_TEXT_OK && encoder.tokens.count == 41, "one");
  EXPECT(encoder.tokens.starts[40] == 1 && encoder.tokens.ends[40] == 2, "the last letter");
  char text[100];
  memset(text, 'x', sizeof text);
  EXPECT(encode(&encoder, text, 100) == NT_TEXT_TOO_LONG && encoder.where == 100, "at %zu", encoder.where);
  EXPECT(encode(&encoder, "bx", 2) == NT_TEXT_OK, "after that");
  free_encoder(&encoder);
  // Values that lie behind the end, nodes that do, and a map that is cut off.
  map[1 + 1] = 1u << 31 | 41;
  memcpy(bytes, map, sizeof map);
  expect_refusal(&spec, NT_TEXT_BAD_CHARSMAP, offset);
  map[1 + 1] = 1u << 31;
  map[1 + child] = (uint32_t)(child ^ 600) << 10 | 1 << 8 | 'x';
  memcpy(bytes, map, sizeof map);
  expect_refusal(&spec, NT_TEXT_BAD_CHARSMAP, offset);
  map[0] = sizeof bytes;
  memcpy(bytes, map, sizeof map);
  expect_refusal(&spec, NT_TEXT_BAD_CHARSMAP, 0);
  spec = scored_spec();
  spec.scores = (const double[]){0, 0, 0, __builtin_nan(""), 0, 0, 0, 0, 0};
  expect_refusal(&spec, NT_TEXT_BAD_SCORE, 3);
}

static void takes_a_megabyte_of_one_word(void) {
  enum { bytes_max = 1 << 20 };
  nt_text_spec spec = scored_spec();
  spec.splits_marks = spec.splits_spaces = true;
  spec.prepend = NT_TEXT_PREPEND_ALWAYS;
  encoder encoder = make_encoder(&spec, NT_ISA_SCALAR, bytes_max, bytes_max);
  uint8_t *text = malloc(bytes_max);
  for (size_t index = 0; index < bytes_max; index++) text[index] = (uint8_t)"abcd"[index % 4];
  EXPECT(encode(&encoder, text, bytes_max) == NT_TEXT_OK, "one word");
  // The mark in front is unknown.
  EXPECT(encoder.tokens.count == bytes_max / 4 + 1, "found %zu tokens", encoder.tokens.count);
  memset(text, ' ', bytes_max);
  EXPECT(encode(&encoder, text, bytes_max) == NT_TEXT_OK && encoder.tokens.count == 0, "spaces");
  free(text);
  free_encoder(&encoder);
}

// MARK: - grapheme clusters

static void ends_clusters_as_unicode_says(void) {
  // Lines of Unicode's GraphemeBreakTest, with a bar where a cluster ends.
  static const char *const cases[] = {
      "a|b|",
      "\r\n|a|",
      "\n|\xCC\x88|",
      "a\xCC\x88\xE2\x80\x8D|b|",
      "\xD8\x80z|b|",
      "\xE1\x84\x80\xE1\x85\xA0\xE1\x86\xA8|\xE1\x84\x80|",
      "\xEA\xB0\x80\xE1\x86\xA8|\xE1\x84\x80|",
      "\xF0\x9F\x87\xA6\xF0\x9F\x87\xA7|\xF0\x9F\x87\xA8|b|",
      "\xF0\x9F\x91\xB6\xF0\x9F\x8F\xBF\xE2\x80\x8D\xF0\x9F\x91\xB6|",
      "a\xE2\x80\x8D|\xF0\x9F\x9B\x91|",
      "\xE0\xA4\x95\xE0\xA5\x8D\xE2\x80\x8D\xE0\xA4\xA4|",
      "\xE0\xA4\x95|\xE0\xA4\xA4|",
      "\xE0\xA4\x95\xE0\xA5\x8D|a|",
  };
  for (size_t index = 0; index < sizeof cases / sizeof *cases; index++) {
    uint8_t text[64];
    size_t count = 0, ends[16], clusters = 0;
    for (const char *at = cases[index]; *at != 0; at++) {
      if (*at == '|') {
        ends[clusters++] = count;
      } else {
        text[count++] = (uint8_t)*at;
      }
    }
    size_t end = 0;
    for (size_t cluster = 0; cluster < clusters; cluster++) {
      end = nt_text_cluster_end(text, end, count);
      EXPECT(end == ends[cluster], "case %zu: expected %zu, found %zu", index, ends[cluster], end);
      end = ends[cluster];
    }
  }
}

int main(void) {
  merges_a_megabyte_of_one_letter();
  refuses_merges_that_lead_nowhere();
  finds_the_best_scores();
  refuses_a_text_that_grows_without_end();
  takes_a_megabyte_of_one_word();
  ends_clusters_as_unicode_says();
  if (failures == 0) printf("every test passed\n");
  return failures == 0 ? 0 : 1;
}
