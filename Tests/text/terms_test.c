// Tests of terms without Python: memory that ends where it must, long and hostile texts, the layer behind the terms.
#include <math.h>

#include "nt_columns.h"
#include "nt_text_item.h"
#include "nt_text_terms.h"
#include "text_test.h"

static const char *const pieces[] = {"a",
                                     "bc",
                                     " ",
                                     "  ",
                                     "\n",
                                     "_",
                                     "\xC4\xB0",
                                     "\xC8\xBA",
                                     "\xCE\xA3",
                                     "\xE4\xB8\xAD",
                                     "\xF0\x9F\x98\x80",
                                     "\xC2\xA0",
                                     "e\xCC\x81",
                                     "-",
                                     "Z9",
                                     "\x01",
                                     "\x1C",
                                     "\xD6\x80"};

/// A text of pieces in memory that ends with it, so that the sanitizer sees a byte read behind it.
static uint8_t *random_text(size_t *count) {
  uint8_t bytes[400];
  size_t end = 0;
  for (uint32_t left = chance(60); left > 0; left--) {
    const char *piece = pieces[chance(sizeof pieces / sizeof *pieces)];
    memcpy(bytes + end, piece, strlen(piece));
    end += strlen(piece);
  }
  uint8_t *text = malloc(end == 0 ? 1 : end);
  memcpy(text, bytes, end);
  *count = end;
  return text;
}

static nt_term_analyser random_analyser(void) {
  uint32_t shortest = 1 + chance(4);
  return (nt_term_analyser){
      .unit = chance(3), .shortest = shortest, .longest = shortest + chance(5), .keeps_case = chance(2)};
}

/// Scratch in memory of exactly its size.
static nt_terms_scratch make_scratch(const nt_term_analyser *analyser, size_t bytes, void **block) {
  *block = malloc(nt_terms_scratch_bytes(analyser, bytes));
  return nt_terms_scratch_at(analyser, bytes, *block);
}

static void terms_stay_within_their_memory(void) {
  size_t met = 0;
  for (uint32_t round = 0; round < 20000; round++) {
    size_t bytes;
    uint8_t *text = random_text(&bytes);
    nt_terms terms = {.analyser = random_analyser(), .columns = 1 + chance(50), .is_signed = chance(2)};
    terms.norm = chance(3);
    void *block;
    nt_terms_scratch scratch = make_scratch(&terms.analyser, bytes, &block);
    size_t count = nt_terms_of(&terms, text, bytes, &scratch);
    met += count;
    double length = 0;
    for (size_t i = 0; i < count; i++) {
      EXPECT(scratch.columns[i] < terms.columns, "column %u", scratch.columns[i]);
      EXPECT(i == 0 || scratch.columns[i - 1] < scratch.columns[i], "columns ascend at %zu", i);
      double weight = scratch.numbers[i].weight;
      length += terms.norm == NT_TERM_NORM_L2 ? weight * weight : fabs(weight);
    }
    if (terms.norm != NT_TERM_NORM_NONE) EXPECT(length == 0 || fabs(length - 1) < 1e-5, "length %g", length);
    free(block);
    free(text);
  }
  EXPECT(met > 100000, "%zu terms", met);
}

/// Each is a megabyte, and takes as long as its terms.
static void hostile_texts_are_counted_whole(void) {
  enum { bytes_max = 1 << 20 };
  uint8_t *text = malloc(bytes_max);
  for (size_t piece = 0; piece < sizeof pieces / sizeof *pieces; piece++) {
    size_t size = strlen(pieces[piece]), count = 0;
    for (; count + size <= bytes_max; count += size) memcpy(text + count, pieces[piece], size);
    for (uint32_t unit = 0; unit < 3; unit++) {
      nt_terms terms = {.analyser = {.unit = unit, .shortest = 1, .longest = 3}, .columns = 1 << 20};
      void *block;
      nt_terms_scratch scratch = make_scratch(&terms.analyser, bytes_max, &block);
      size_t found = nt_terms_of(&terms, text, count, &scratch);
      EXPECT(found <= nt_term_count(&terms.analyser, count), "piece %zu, unit %u: %zu", piece, unit, found);
      free(block);
    }
  }
  free(text);
}

/// The layer behind terms has the bits of a row of all columns, multiplied in order.
static void the_layer_has_the_bits_of_a_dense_one(void) {
  static const nt_isa isas[] = {NT_ISA_SCALAR, NT_ISA_AVX2, NT_ISA_AVX512VNNI, NT_ISA_NEON};
  enum { columns = 200 };
  for (uint32_t outputs = 1; outputs < 40; outputs++) {
    size_t panels = nt_panel_count(outputs), stride = nt_sparse_stride(outputs);
    float *weights = calloc(columns * stride, sizeof *weights), *bias = calloc(panels * NT_PANEL_COLUMNS, sizeof *bias);
    for (size_t c = 0; c < columns; c++) {
      for (size_t o = 0; o < outputs; o++) weights[c * stride + o] = (float)chance(2000) / 1000 - 1;
    }
    for (size_t o = 0; o < outputs; o++) bias[o] = (float)chance(2000) / 1000 - 1;
    nt_terms_step step = {.terms = {.analyser = random_analyser(), .columns = columns, .norm = NT_TERM_NORM_L2},
                          .text = 1,
                          .texts_per_row = 2,
                          .bytes_max = 400};
    size_t bytes;
    uint8_t *text = random_text(&bytes);
    nt_text_item items[2] = {{.bytes = text}, {.bytes = text, .length = (uint32_t)bytes}};
    size_t scratch_at = 64 + 64 * 1024;
    uint8_t *arena = aligned_alloc(64, (scratch_at + nt_terms_scratch_bytes(&step.terms.analyser, 400) + 63) / 64 * 64);
    memcpy(arena, items, sizeof items);
    size_t offsets[] = {0, 64, scratch_at};
    nt_call call = {.arena = arena, .offsets = offsets, .items = 1, .rows = 1, .units = 1};
    nt_terms_run(&step, &call);
    float expected[40];
    for (size_t o = 0; o < outputs; o++) {
      float sum = 0;
      for (size_t c = 0; c < columns; c++) sum = fmaf(((float *)(arena + 64))[c], weights[c * stride + o], sum);
      expected[o] = sum + bias[o];
      if (expected[o] < 0) expected[o] = 0;
    }
    for (size_t isa = 0; isa < sizeof isas / sizeof *isas; isa++) {
#if defined(NT_USE_SIMDE)
      if (!nt_isa_exists(isas[isa])) continue;
#else
      if (!nt_isa_supported(isas[isa])) continue;
#endif
      nt_terms_layer layer = {.step = step,
                              .row = nt_sparse_row_for(isas[isa]),
                              .layer = {.weights = weights,
                                        .bias = bias,
                                        .outputs = outputs,
                                        .stride = (uint32_t)stride,
                                        .depth = columns,
                                        .activation = NT_ACTIVATION_RELU}};
      nt_terms_layer_run(&layer, &call);
      EXPECT(memcmp(arena + 64, expected, outputs * sizeof(float)) == 0, "%u outputs on %s", outputs,
             nt_isa_name(isas[isa]));
    }
    free(arena);
    free(text);
    free(weights);
    free(bias);
  }
}

int main(void) {
  terms_stay_within_their_memory();
  hostile_texts_are_counted_whole();
  the_layer_has_the_bits_of_a_dense_one();
  if (failures == 0) printf("every test passed\n");
  return failures == 0 ? 0 : 1;
}
