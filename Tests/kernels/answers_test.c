// Spans and entities of texts against plain loops, and every instruction set against the scalar twin.

#include "tokens_test.h"

/// Spans of rows of two texts, with special tokens around both; each word has one to three tokens.
static void random_spans(nt_token_span *spans, const uint32_t *starts, size_t rows) {
  for (size_t row = 0; row < rows; row++) {
    int32_t word = 0, at = 0, sequence = 0;
    size_t middle = starts[row] + (starts[row + 1] - starts[row]) / 3;
    for (size_t t = starts[row]; t < starts[row + 1]; t++) {
      if (t == middle) sequence = 1, word = at = 0;
      if (t == starts[row] || t == middle || t + 1 == starts[row + 1]) {
        spans[t] = (nt_token_span){.word = -1, .sequence = sequence};
        continue;
      }
      if (next_random() % 3) word++;
      spans[t] = (nt_token_span){.start = at, .end = at + 3, .word = word, .sequence = sequence};
      at += 4;
    }
  }
}

static void check_spans(const uint32_t *starts, size_t rows, uint32_t tokens_max) {
  size_t tokens = starts[rows];
  float *logits = random_floats(2 * tokens, 6), *first = malloc(rows * 12), *found = malloc(rows * 12);
  nt_token_span *spans = malloc((tokens + 1) * sizeof *spans);
  double *expected = calloc(rows * 3, sizeof *expected);
  random_spans(spans, starts, rows);
  for (size_t row = 0; row < rows; row++) {
    size_t begin = starts[row], end = starts[row + 1];
    double best = -INFINITY, sums[2] = {0, 0};
    size_t from = end, to = end;
    for (size_t s = begin; s < end; s++) {
      bool is_own = spans[s].word >= 0 && spans[s].sequence == 1;
      for (int which = 0; which < 2; which++) {
        if (is_own || s == begin) sums[which] += exp((double)logits[2 * s + (size_t)which]);
      }
      for (size_t e = s; is_own && e < end && e - s < tokens_max; e++) {
        if (spans[e].word < 0) continue;
        double sum = (double)(logits[2 * s] + logits[2 * e + 1]);
        if (sum > best) best = sum, from = s, to = e;
      }
    }
    if (from == end) continue;
    expected[3 * row] = spans[from].start;
    expected[3 * row + 1] = spans[to].end;
    expected[3 * row + 2] = exp((double)logits[2 * from]) / sums[0] * exp((double)logits[2 * to + 1]) / sums[1];
  }
  nt_answer_span answer = {.sequence = 1, .tokens_max = tokens_max};
  buffer buffers[] = {{logits, 2 * tokens * 4}, {spans, tokens * sizeof *spans}, {NULL, rows * 12}};
  for (size_t i = 0; i < all_count; i++) {
    if (!is_usable(all[i])) continue;
    run(nt_answer_span_step(all[i]), &answer, starts, rows, true, buffers, 3, 2, found);
    compare("answer", all[i], found, expected, 3 * rows, 1e-6);
    if (i == 0) memcpy(first, found, rows * 12);
    CHECK(!memcmp(first, found, rows * 12), "answer on %s: other bits than scalar", nt_isa_name(all[i]));
  }
  free(logits), free(first), free(found), free(spans), free(expected);
}

static void check_entities(const uint32_t *starts, size_t rows, uint32_t entities_max) {
  enum { classes = 5 };
  static const int32_t kinds[classes] = {-1, 0, 0, 1, 1};
  static const uint8_t begins[classes] = {0, 1, 0, 1, 0};
  size_t tokens = starts[rows], width = 4 * entities_max;
  float *x = random_floats(classes * tokens, 1), *first = malloc(rows * width * 4), *found = malloc(rows * width * 4);
  nt_token_span *spans = malloc((tokens + 1) * sizeof *spans);
  double *expected = calloc(rows * width, sizeof *expected);
  random_spans(spans, starts, rows);
  for (size_t row = 0; row < rows; row++) {
    double *to = expected + row * width;
    for (size_t i = 0; i < entities_max; i++) to[4 * i] = -1;
    int32_t kind = -1;
    size_t count = 0, words = 0;
    for (size_t t = starts[row]; t < starts[row + 1]; t++) {
      bool goes_on = t > starts[row] && spans[t].word >= 0 && spans[t].word == spans[t - 1].word &&
                     spans[t].sequence == spans[t - 1].sequence;
      if (goes_on) {
        if (kind >= 0 && count <= entities_max) to[4 * (count - 1) + 2] = spans[t].end;
        continue;
      }
      size_t class = 0;
      for (size_t c = 1; c < classes; c++) class = x[t * classes + c] > x[t * classes + class] ? c : class;
      int32_t own = spans[t].word < 0 ? -1 : kinds[class];
      if (own >= 0 && (own != kind || begins[class])) count++, words = 0;
      kind = own;
      if (own < 0 || count > entities_max) continue;
      double *entity = to + 4 * (count - 1);
      if (words == 0) entity[0] = own, entity[1] = spans[t].start;
      entity[2] = spans[t].end;
      entity[3] = (entity[3] * (double)words + (double)x[t * classes + class]) / (double)(words + 1);
      words++;
    }
  }
  nt_entities entities = {.classes = classes, .entities_max = entities_max, .kinds = kinds, .begins = begins};
  buffer buffers[] = {{x, classes * tokens * 4}, {spans, tokens * sizeof *spans}, {NULL, rows * width * 4}};
  for (size_t i = 0; i < all_count; i++) {
    if (!is_usable(all[i])) continue;
    run(nt_entities_step(all[i]), &entities, starts, rows, true, buffers, 3, 2, found);
    compare("entities", all[i], found, expected, rows * width, 1e-6);
    if (i == 0) memcpy(first, found, rows * width * 4);
    CHECK(!memcmp(first, found, rows * width * 4), "entities on %s: other bits", nt_isa_name(all[i]));
  }
  free(x), free(first), free(found), free(spans), free(expected);
}

int check_answers(void) {
  static const uint32_t mixed[] = {0, 3, 3, 4, 21, 54, 70}, long_row[] = {0, 130};
  for (uint32_t count = 1; count <= 40; count += 3) {
    check_spans(mixed, 6, count);
    check_spans(long_row, 1, count);
    check_entities(mixed, 6, count);
    check_entities(long_row, 1, count);
  }
  printf("answers in texts: %d passed, %d failed\n", passed, failed);
  return failed;
}
