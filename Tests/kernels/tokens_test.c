// Steps of encoders against plain loops in double precision, and every instruction set against the scalar twin.

#include "tokens_test.h"

#include "nt_rows.h"

/// Keys and values in front of those of every row.
typedef struct prefix {
  size_t count;
  float *keys, *values;
} prefix;

/// Attention of all heads of one row, in double precision.
static void attend(const float *qkv, size_t tokens, size_t heads, size_t width, const prefix *p, double *y) {
  size_t columns = heads * width, all = p->count + tokens;
  double *weights = malloc((all + 1) * sizeof *weights);
  for (size_t head = 0; head < heads; head++) {
    for (size_t t = 0; t < tokens; t++) {
      double largest = -INFINITY, sum = 0;
      for (size_t key = 0; key < all; key++) {
        const float *own = key < p->count ? p->keys + key * columns : qkv + (key - p->count) * 3 * columns + columns;
        double score = 0;
        for (size_t c = head * width; c < (head + 1) * width; c++) {
          score += (double)qkv[t * 3 * columns + c] * (double)own[c];
        }
        weights[key] = score / sqrt((double)width);
        largest = fmax(largest, weights[key]);
      }
      for (size_t key = 0; key < all; key++) sum += weights[key] = exp(weights[key] - largest);
      for (size_t c = head * width; c < (head + 1) * width; c++) {
        double answer = 0;
        for (size_t key = 0; key < all; key++) {
          const float *own =
              key < p->count ? p->values + key * columns : qkv + (key - p->count) * 3 * columns + 2 * columns;
          answer += weights[key] * (double)own[c];
        }
        y[t * columns + c] = answer / sum;
      }
    }
  }
  free(weights);
}

static void check_attention(size_t heads, size_t width, size_t places, const uint32_t *starts, size_t rows) {
  size_t columns = heads * width, tokens = starts[rows], count = tokens * columns;
  float *qkv = random_floats(3 * count, 3), *first = malloc(count * 4 + 4), *found = malloc(count * 4 + 4);
  double *expected = malloc((count + 1) * sizeof *expected);
  prefix p = {.count = places};
  if (places > 0) {
    p.keys = random_floats(places * columns, 3);
    p.values = random_floats(places * columns, 3);
  }
  size_t longest = 0;
  for (size_t row = 0; row < rows; row++) {
    size_t length = starts[row + 1] - starts[row];
    longest = length > longest ? length : longest;
    attend(qkv + 3 * starts[row] * columns, length, heads, width, &p, expected + starts[row] * columns);
  }
  float *parts[3];
  for (size_t part = 0; part < 3; part++) {
    parts[part] = malloc(count * 4 + 4);
    for (size_t t = 0; t < tokens; t++) {
      memcpy(parts[part] + t * columns, qkv + t * 3 * columns + part * columns, columns * 4);
    }
  }
  size_t scratch = nt_attention_scratch_bytes(width, places + longest);
  for (size_t i = 0; i < all_count; i++) {
    if (!is_usable(all[i])) continue;
    nt_attention attention = {.kernels = nt_f32_kernels_for(all[i]),
                              .heads = (uint32_t)heads,
                              .head_width = (uint32_t)width,
                              .scale = (float)(1 / sqrt((double)width)),
                              .is_fused = true,
                              .prefix = (uint32_t)places,
                              .prefix_keys = p.keys,
                              .prefix_values = p.values};
    buffer fused[] = {{qkv, 3 * count * 4}, {NULL, count * 4}, {NULL, scratch}};
    run(nt_attention_step(all[i]), &attention, starts, rows, false, fused, 3, 1, found);
    // Scores reach 30: their last digit is worth 2e-6.
    compare("attention", all[i], found, expected, count, 1e-5);
    if (i == 0) memcpy(first, found, count * 4);
    CHECK(!memcmp(first, found, count * 4), "attention on %s: other bits than scalar", nt_isa_name(all[i]));
    attention.is_fused = false;
    buffer separate[] = {
        {parts[0], count * 4}, {parts[1], count * 4}, {parts[2], count * 4}, {NULL, count * 4}, {NULL, scratch}};
    run(nt_attention_step(all[i]), &attention, starts, rows, false, separate, 5, 3, found);
    CHECK(!memcmp(first, found, count * 4), "attention of three values on %s: other bits", nt_isa_name(all[i]));
  }
  for (size_t part = 0; part < 3; part++) free(parts[part]);
  free(qkv), free(first), free(found), free(expected), free(p.keys), free(p.values);
}

static void check_pool(size_t columns, const uint32_t *starts, size_t rows) {
  size_t tokens = starts[rows], count = rows * columns;
  float *x = random_floats(tokens * columns, 5), *first = malloc(count * 4), *found = malloc(count * 4);
  double *expected = malloc(count * sizeof *expected);
  for (int mode = NT_POOL_MEAN; mode <= NT_POOL_MAX; mode++) {
    for (size_t row = 0; row < rows; row++) {
      for (size_t c = 0; c < columns; c++) {
        double sum = 0, largest = -INFINITY;
        size_t length = starts[row + 1] - starts[row];
        for (size_t t = starts[row]; t < starts[row + 1]; t++) {
          sum += (double)x[t * columns + c];
          largest = fmax(largest, (double)x[t * columns + c]);
        }
        double head = length ? (double)x[starts[row] * columns + c] : 0;
        double answer = mode == NT_POOL_MEAN ? sum / (double)length : mode == NT_POOL_MAX ? largest : head;
        expected[row * columns + c] = length ? answer : 0;
      }
    }
    nt_token_pool pool = {.columns = (uint32_t)columns, .mode = (nt_pool_mode)mode};
    buffer buffers[] = {{x, tokens * columns * 4}, {NULL, count * 4}};
    for (size_t i = 0; i < all_count; i++) {
      if (!is_usable(all[i])) continue;
      run(nt_token_pool_step(all[i]), &pool, starts, rows, true, buffers, 2, 1, found);
      compare("pool", all[i], found, expected, count, 2e-6);
      if (i == 0) memcpy(first, found, count * 4);
      CHECK(!memcmp(first, found, count * 4), "pool on %s: other bits than scalar", nt_isa_name(all[i]));
    }
  }
  free(x), free(first), free(found), free(expected);
}

/// Each finite binary16 by its definition: sign, 5 bits of exponent, 10 bits of fraction.
static double half(uint16_t bits) {
  int exponent = bits >> 10 & 31, fraction = bits & 1023;
  double magnitude = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
  return bits & 0x8000 ? -magnitude : magnitude;
}

static void check_halves(void) {
  enum { rows = 62, width = 1024 };
  static uint16_t table[rows][width];
  static float found[rows][width];
  int32_t index[rows];
  for (size_t row = 0; row < rows; row++) {
    index[row] = (int32_t)row;
    // Exponents 0 to 30 of both signs.
    for (size_t c = 0; c < width; c++) table[row][c] = (uint16_t)((row % 2) << 15 | (row / 2) << 10 | c);
  }
  nt_embedding embedding = {.table = table, .rows = rows, .width = width, .form = NT_TABLE_F16};
  uint32_t starts[] = {0, rows};
  buffer buffers[] = {{index, sizeof index}, {NULL, sizeof found}};
  for (size_t i = 0; i < all_count; i++) {
    if (!is_usable(all[i])) continue;
    run(nt_embedding_step(all[i]), &embedding, starts, 1, false, buffers, 2, 1, found);
    for (size_t row = 0; row < rows; row++) {
      for (size_t c = 0; c < width; c++) {
        double expected = half(table[row][c]);
        CHECK((double)found[row][c] == expected && !signbit(found[row][c]) == !signbit(expected),
              "binary16 %04x on %s: expected %g, found %g", table[row][c], nt_isa_name(all[i]), expected,
              (double)found[row][c]);
      }
    }
  }
}

static void check_embedding(size_t width) {
  enum { rows = 9, offset = 2 };
  float *plain = random_floats(rows * width, 1), *scales = random_floats(rows, 1);
  int8_t *bytes = malloc(rows * width);
  for (size_t i = 0; i < rows * width; i++) bytes[i] = (int8_t)(next_random() % 255) - 127;
  uint32_t starts[] = {0, 5, 5, 8};
  int32_t index[] = {0, 6, INT32_MAX, INT32_MIN, -1, 3, 5, 7};
  size_t of_values[] = {2, 8, 8, 0, 1, 5, 7, 8}, of_places[] = {2, 3, 4, 5, 6, 2, 3, 4};
  float *found = malloc(8 * width * 4);
  for (int form = 0; form < 2; form++) {
    for (int by_place = 0; by_place < 2; by_place++) {
      nt_embedding embedding = {.table = form ? (const void *)bytes : plain,
                                .scales = form ? scales : NULL,
                                .rows = rows,
                                .width = (uint32_t)width,
                                .offset = offset,
                                .form = form ? NT_TABLE_S8 : NT_TABLE_F32,
                                .is_by_position = by_place};
      buffer buffers[] = {{index, sizeof index}, {NULL, 8 * width * 4}};
      for (size_t i = 0; i < all_count; i++) {
        if (!is_usable(all[i])) continue;
        run(nt_embedding_step(all[i]), &embedding, starts, 3, false, buffers, 2, 1, found);
        for (size_t item = 0; item < 8; item++) {
          size_t row = by_place ? of_places[item] : of_values[item];
          for (size_t c = 0; c < width; c++) {
            float expected = form ? (float)bytes[row * width + c] * scales[row] : plain[row * width + c];
            CHECK(found[item * width + c] == expected, "embedding on %s, item %zu", nt_isa_name(all[i]), item);
          }
        }
      }
    }
  }
  free(plain), free(scales), free(bytes), free(found);
}

static void check_normalise(size_t columns) {
  enum { items = 4 };
  size_t count = items * columns;
  float *x = random_floats(count, 50), *first = malloc(count * 4), *found = malloc(count * 4);
  double *expected = malloc(count * sizeof *expected);
  memset(x, 0, columns * 4);
  for (size_t item = 0; item < items; item++) {
    double sum = 0;
    for (size_t c = 0; c < columns; c++) sum += (double)x[item * columns + c] * (double)x[item * columns + c];
    for (size_t c = 0; c < columns; c++) {
      expected[item * columns + c] = (double)x[item * columns + c] / fmax(sqrt(sum), 1e-12);
    }
  }
  nt_normalise normalise = {.columns = (uint32_t)columns, .epsilon = 1e-12f};
  uint32_t starts[] = {0, items};
  buffer buffers[] = {{x, count * 4}, {NULL, count * 4}};
  for (size_t i = 0; i < all_count; i++) {
    if (!is_usable(all[i])) continue;
    run(nt_normalise_step(all[i]), &normalise, starts, 1, false, buffers, 2, 1, found);
    compare("normalise", all[i], found, expected, count, 3e-7);
    if (i == 0) memcpy(first, found, count * 4);
    CHECK(!memcmp(first, found, count * 4), "normalise on %s: other bits than scalar", nt_isa_name(all[i]));
  }
  free(x), free(first), free(found), free(expected);
}

int check_tokens(void) {
  static const uint32_t mixed[] = {0, 3, 3, 4, 21, 54, 70}, long_row[] = {0, 130};
  static const size_t shapes[][2] = {{1, 1}, {1, 8}, {3, 21}, {4, 32}, {2, 64}};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    check_attention(shapes[i][0], shapes[i][1], 0, mixed, 6);
    check_attention(shapes[i][0], shapes[i][1], 0, long_row, 1);
    check_attention(shapes[i][0], shapes[i][1], 5, mixed, 6);
    check_attention(shapes[i][0], shapes[i][1], 40, mixed, 6);
  }
  for (size_t columns = 1; columns <= 70; columns += 3) {
    check_pool(columns, mixed, 6);
    check_embedding(columns);
    check_normalise(columns);
  }
  check_normalise(384);
  check_halves();
  printf("encoders: %d passed, %d failed\n", passed, failed);
  return failed;
}
