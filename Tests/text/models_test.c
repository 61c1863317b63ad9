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

int main(void) {
  merges_a_megabyte_of_one_letter();
  refuses_merges_that_lead_nowhere();
  if (failures == 0) printf("every test passed\n");
  return failures == 0 ? 0 : 1;
}
