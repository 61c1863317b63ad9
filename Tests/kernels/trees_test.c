// Proves that every layout of trees on every instruction set gives the bits of plain recursion over the nodes, and that
// ranks are what nt_trees.h says. `run` compiles it with sanitizers, with SIMDe and for aarch64, and executes it.
//
// With the argument `time` it prints what a row takes instead, in nanoseconds, for every layout that suits some shapes.

#define _POSIX_C_SOURCE 200112L
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "nt_trees_internal.h"

static int passed, failed;

#define CHECK(condition, ...)                   \
  do {                                          \
    if (condition) {                            \
      passed++;                                 \
    } else if (++failed <= 20) {                \
      printf("FAILED: " __VA_ARGS__), puts(""); \
    }                                           \
  } while (0)

static uint64_t state = 1;

static uint64_t next_random(void) {
  uint64_t z = state += 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}
static uint32_t below(uint32_t count) { return (uint32_t)(next_random() % count); }
static float next_float(void) { return (float)(next_random() >> 40) / (float)(1 << 23) - 1.0f; }

static void *exact(size_t bytes) {
  void *memory = malloc(bytes ? bytes : 1);
  if (!memory) abort();
  return memory;
}
static void *aligned(size_t bytes) {
  void *memory;
  if (posix_memalign(&memory, NT_ALIGNMENT, bytes ? bytes : 1)) abort();
  memset(memory, 0, bytes);
  return memory;
}

// MARK: - random models

/// A forest with its ranks, and all that it points to.
typedef struct model {
  nt_ranks ranks;
  nt_forest forest;
  nt_rank_table *tables;
  nt_rank_copy *copies;
  nt_rank_set *sets;
  nt_rank_codes *codes;
  uint8_t *code_bytes;
  uint32_t *set_bits;
  float *f32;
  double *f64;
  uint32_t *column_tables;
  nt_tree *trees;
  nt_tree_node *nodes;
  double *leaves;
  uint32_t *range_first;
  double *start, *bias;
} model;

/// How a model is made.
typedef struct shape {
  uint32_t columns, trees, ranges, width, depth;
  bool is_complete, is_oblivious, is_f64, sums_f32, has_copies, has_sets;
  /// Sets in seven columns; 0: few or many, where it has any.
  uint32_t sets;
  /// Leaves a tree may have at most, for unbalanced ones; 0: any number.
  uint32_t leaves_max;
} shape;

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/// Thresholds of a table: few or 254, halves of small integers, so that inputs meet them.
static void make_table(model *m, uint32_t i, bool is_f64) {
  double sorted[NT_RANK_THRESHOLDS_MAX];
  uint32_t count = below(4) ? 1 + below(20) : NT_RANK_THRESHOLDS_MAX, kept = 0;
  for (uint32_t k = 0; k < count; k++) sorted[k] = 0.5 * ((double)below(600) - 300);
  if (below(4) == 0) sorted[0] = INFINITY;
  if (below(4) == 0) sorted[count / 2] = is_f64 ? 5e-324 : 1e-45;
  qsort(sorted, count, sizeof *sorted, by_value);
  for (uint32_t k = 0; k < count; k++) {
    if (!kept || sorted[k] != sorted[kept - 1]) sorted[kept++] = sorted[k];
  }
  double *to = m->f64 + (size_t)i * NT_RANK_TABLE_NUMBERS;
  for (uint32_t k = 0; k < NT_RANK_TABLE_NUMBERS; k++) to[k] = NAN;
  memcpy(to + 16, sorted, kept * sizeof *sorted);
  for (uint32_t k = 0; k < 15; k++) to[k] = to[16 + 16 * (k + 1)];
  for (uint32_t k = 0; k < NT_RANK_TABLE_NUMBERS; k++) m->f32[(size_t)i * NT_RANK_TABLE_NUMBERS + k] = (float)to[k];
  uint8_t zero = 0;
  for (uint32_t k = 16; k < NT_RANK_TABLE_NUMBERS; k++) zero += 0 >= to[k];
  m->tables[i].zero = zero;
  m->tables[i].missing = below(3) == 0 ? NT_RANK_THRESHOLDS_MAX : below(2) ? zero : 0;
}

/// Runs of sets of one column; some are looked up at once, others one by one.
static void make_codes(model *m) {
  nt_ranks *ranks = &m->ranks;
  m->codes = exact(ranks->set_count * sizeof *m->codes), m->code_bytes = exact(98 * ranks->set_count);
  size_t at = 0;
  for (uint32_t i = 0; i < ranks->set_count;) {
    nt_rank_codes *codes = &m->codes[ranks->codes_count++];
    *codes = (nt_rank_codes){.column = m->sets[i].column, .first_set = i};
    for (; i < ranks->set_count && m->sets[i].column == codes->column; i++, codes->sets++) {
      if (m->sets[i].bit_count > codes->code_count) codes->code_count = m->sets[i].bit_count;
    }
    if (below(4) == 0) continue;
    nt_rank_fill_codes(ranks, codes, m->code_bytes + at);
    codes->bytes = m->code_bytes + at, at += nt_rank_codes_bytes(codes);
  }
  ranks->codes = m->codes;
}

static void make_ranks(model *m, const shape *s) {
  uint32_t tables = 0;
  m->tables = exact(s->columns * 2 * sizeof *m->tables);
  m->copies = exact(s->columns * 4 * sizeof *m->copies);
  m->column_tables = exact((s->columns + 1) * sizeof(uint32_t));
  m->f64 = aligned((size_t)s->columns * 2 * NT_RANK_TABLE_NUMBERS * sizeof(double));
  m->f32 = aligned((size_t)s->columns * 2 * NT_RANK_TABLE_NUMBERS * sizeof(float));
  nt_ranks *ranks = &m->ranks;
  ranks->columns = s->columns, ranks->is_f64 = s->is_f64;
  ranks->flushes_tiny = below(3) == 0;
  for (uint32_t column = 0; column < s->columns; column++) {
    m->column_tables[column] = tables;
    for (uint32_t k = column ? below(3) : 1; k > 0; k--, tables++) {
      nt_rank_table *table = &m->tables[tables];
      *table = (nt_rank_table){.column = column, .zero_is_missing = below(5) == 0, .copy_first = ranks->copy_count};
      ranks->has_missing_zeros |= table->zero_is_missing;
      make_table(m, tables, s->is_f64);
      for (uint32_t c = s->has_copies ? below(3) : 0; c > 0; c--) {
        m->copies[ranks->copy_count++] = (nt_rank_copy){tables, (uint8_t)(below(2) * NT_RANK_THRESHOLDS_MAX)};
      }
      table->copy_end = ranks->copy_count;
    }
  }
  m->column_tables[s->columns] = tables;
  ranks->table_count = tables, ranks->set_count = s->has_sets ? 1 + below(below(3) ? 5 : 200) : s->sets;
  m->sets = exact(ranks->set_count * sizeof *m->sets);
  m->set_bits = exact(3 * sizeof(uint32_t));
  for (uint32_t i = 0; i < 3; i++) m->set_bits[i] = (uint32_t)next_random();
  for (uint32_t i = 0; i < ranks->set_count; i++) {
    uint32_t column = s->sets ? i * 7 / s->sets : i > 0 && below(8) ? m->sets[i - 1].column : below(s->columns);
    m->sets[i] = (nt_rank_set){m->set_bits, 32 * (1 + below(3)), column, (uint8_t)below(2)};
  }
  ranks->tables = m->tables, ranks->copies = m->copies, ranks->sets = m->sets;
  make_codes(m);
  ranks->column_tables = m->column_tables;
  ranks->thresholds = s->is_f64 ? (const void *)m->f64 : m->f32;
}

/// Grows a tree in preorder and returns its root as a reference.
static int32_t grow(model *m, nt_tree *tree, const shape *s, uint32_t depth, const nt_tree_node *levels) {
  bool is_full = s->leaves_max && tree->leaves + depth + 1 >= s->leaves_max;
  if (depth == s->depth || is_full || (!s->is_complete && depth > 0 && below(10) < 2)) {
    if (depth > tree->depth) tree->depth = depth;
    return ~(int32_t)tree->leaves++;
  }
  uint32_t bytes = nt_ranks_bytes(&m->ranks);
  int32_t at = (int32_t)tree->nodes++;
  nt_tree_node *node = &m->nodes[tree->first_node + (uint32_t)at];
  node->input = below(bytes);
  bool is_set = node->input >= m->ranks.table_count + m->ranks.copy_count;
  node->rank = below(30) == 0 ? NT_RANK_NEVER
               : is_set       ? 1
                              : (uint8_t)(1 + below(below(2) ? 20 : NT_RANK_THRESHOLDS_MAX));
  if (s->is_oblivious) node->input = levels[depth].input, node->rank = levels[depth].rank;
  int32_t left = grow(m, tree, s, depth + 1, levels), right = grow(m, tree, s, depth + 1, levels);
  node->child[0] = left, node->child[1] = right;
  return at;
}

static model make(const shape *s) {
  model m = {0};
  make_ranks(&m, s);
  size_t per_tree = (size_t)1 << s->depth, outputs = (size_t)s->ranges * s->width;
  m.trees = exact(s->trees * sizeof *m.trees), m.nodes = exact(s->trees * per_tree * sizeof *m.nodes);
  m.leaves = exact(s->trees * per_tree * s->width * sizeof(double));
  m.range_first = exact((s->ranges + 1) * sizeof(uint32_t));
  nt_forest *forest = &m.forest;
  for (uint32_t t = 0; t < s->trees; t++) {
    nt_tree_node levels[16];
    for (uint32_t d = 0; d < 16; d++) {
      levels[d] = (nt_tree_node){.input = below(nt_ranks_bytes(&m.ranks)), .rank = (uint8_t)(1 + below(20))};
    }
    m.trees[t] = (nt_tree){.first_node = forest->node_count, .first_leaf = forest->leaf_count};
    grow(&m, &m.trees[t], s, 0, levels);
    forest->node_count += m.trees[t].nodes, forest->leaf_count += m.trees[t].leaves;
    if (m.trees[t].depth > forest->depth_max) forest->depth_max = m.trees[t].depth;
    if (m.trees[t].leaves > forest->leaves_max) forest->leaves_max = m.trees[t].leaves;
  }
  for (size_t i = 0; i < forest->leaf_count * (size_t)s->width; i++) {
    m.leaves[i] = below(20) == 0 ? -0.0 : (double)next_float();
  }
  m.range_first[0] = 0, m.range_first[s->ranges] = s->trees;
  for (uint32_t r = 1; r < s->ranges; r++)
    m.range_first[r] = m.range_first[r - 1] + below(s->trees - m.range_first[r - 1] + 1);
  m.start = exact(outputs * sizeof(double)), m.bias = exact(outputs * sizeof(double));
  for (size_t i = 0; i < outputs; i++)
    m.start[i] = below(2) ? -0.0 : (double)next_float(), m.bias[i] = (double)next_float();
  forest->trees = m.trees, forest->nodes = m.nodes, forest->leaves = m.leaves, forest->range_first = m.range_first;
  forest->tree_count = s->trees, forest->range_count = s->ranges, forest->width = s->width;
  forest->rank_bytes = nt_ranks_bytes(&m.ranks), forest->sums_f32 = s->sums_f32;
  forest->set_bytes = m.ranks.set_count, forest->code_columns = m.ranks.codes_count;
  for (uint32_t c = 0; c < m.ranks.codes_count; c++) forest->categories += m.codes[c].code_count + 2;
  return m;
}

static void release(model *m) {
  free(m->tables), free(m->copies), free(m->sets), free(m->codes), free(m->code_bytes), free(m->set_bits), free(m->f32),
      free(m->f64), free(m->column_tables);
  free(m->trees), free(m->nodes), free(m->leaves), free(m->range_first), free(m->start), free(m->bias);
}

// MARK: - by definition

static double input(const nt_ranks *ranks, const void *x, size_t at) {
  return ranks->is_f64 ? ((const double *)x)[at] : (double)((const float *)x)[at];
}

/// One byte of a row, by what nt_trees.h says of it.
static uint8_t byte_of(const model *m, const void *row, uint32_t i) {
  const nt_ranks *ranks = &m->ranks;
  if (i >= ranks->table_count + ranks->copy_count) {
    const nt_rank_set *set = &ranks->sets[i - ranks->table_count - ranks->copy_count];
    double x = input(ranks, row, set->column);
    if (isnan(x)) return set->missing;
    double code = trunc(x);
    if (code < 0 || code >= set->bit_count) return 1;
    return !(set->bits[(uint32_t)code / 32] >> (uint32_t)code % 32 & 1);
  }
  bool is_copy = i >= ranks->table_count;
  uint32_t number = is_copy ? ranks->copies[i - ranks->table_count].table : i;
  const nt_rank_table *table = &ranks->tables[number];
  double x = input(ranks, row, table->column);
  bool is_tiny = fabs(x) <= (double)1e-35f;
  if (isnan(x) || (is_tiny && table->zero_is_missing)) {
    return is_copy ? ranks->copies[i - ranks->table_count].missing : table->missing;
  }
  if (is_tiny && ranks->flushes_tiny) x = 0;
  uint8_t rank = 0;
  for (size_t k = 16; k < NT_RANK_TABLE_NUMBERS; k++) {
    rank += x >= input(ranks, ranks->thresholds, (size_t)number * NT_RANK_TABLE_NUMBERS + k);
  }
  return rank;
}

static void expect_row(const model *m, const nt_trees *trees, const uint8_t *bytes, float *y) {
  const nt_forest *forest = &m->forest;
  for (uint32_t range = 0; range < forest->range_count; range++) {
    for (uint32_t w = 0; w < forest->width; w++) {
      size_t output = (size_t)range * forest->width + w;
      double d = trees->start ? trees->start[output] : 0;
      float f = (float)d;
      for (uint32_t t = m->range_first[range]; t < m->range_first[range + 1]; t++) {
        int32_t at = m->trees[t].nodes ? 0 : ~0;
        while (at >= 0) {
          const nt_tree_node *node = &m->nodes[m->trees[t].first_node + (uint32_t)at];
          at = node->child[bytes[node->input] >= node->rank];
        }
        double leaf = m->leaves[(size_t)(m->trees[t].first_leaf + (uint32_t)~at) * forest->width + w];
        d += leaf, f += (float)leaf;
      }
      if (forest->sums_f32) {
        if (trees->divisor != 1) f /= (float)trees->divisor;
        y[output] = trees->bias ? f + (float)trees->bias[output] : f;
      } else {
        if (trees->divisor != 1) d /= trees->divisor;
        y[output] = (float)(trees->bias ? d + trees->bias[output] : d);
      }
    }
  }
}

// MARK: - checks

static void fill_inputs(const model *m, void *x, size_t count) {
  static const double awkward[] = {0, -0.0, 1e-36, -1e-36, 1e-35, INFINITY, -INFINITY, NAN, -0.5, 31.9, 1e30, 1e-45};
  for (size_t i = 0; i < count; i++) {
    double v = below(4) == 0 ? awkward[below(sizeof awkward / sizeof *awkward)] : 0.5 * ((double)below(700) - 350);
    if (below(6) == 0) v = nextafter(v, below(2) ? INFINITY : -INFINITY);
    if (m->ranks.is_f64) {
      ((double *)x)[i] = v;
    } else {
      ((float *)x)[i] = (float)v;
    }
  }
}

static void check_rank(const model *m, nt_isa isa, const void *x, size_t rows, const uint8_t *expected) {
  size_t bytes = nt_ranks_bytes(&m->ranks), lanes = rows + below(3);
  uint8_t *v = exact(bytes * lanes);
  nt_rank_rows(isa)(&m->ranks, x, rows, lanes, v);
  bool right = true;
  for (size_t r = 0; r < rows; r++) {
    for (size_t i = 0; i < bytes; i++) right = right && v[i * lanes + r] == expected[r * bytes + i];
  }
  CHECK(right, "ranks %s, %zu rows of %zu bytes", nt_isa_name(isa), rows, bytes);
  free(v);
}

static void check_layout(const model *m, nt_trees *trees, const nt_trees_layout *layout, nt_isa isa, const void *x,
                         size_t rows, const float *expected) {
  size_t bytes = layout->bytes(&m->forest), outputs = (size_t)m->forest.range_count * m->forest.width;
  if (bytes == 0) return;
  nt_forest forest = m->forest;
  forest.ranks = &m->ranks;
  void *packed = aligned(bytes), *scratch = aligned(layout->scratch_bytes(&m->forest));
  memset(scratch, 0xa5, layout->scratch_bytes(&m->forest));
  if (layout->pack(&forest, packed)) {
    // A packed form may be moved.
    void *moved = aligned(bytes);
    memcpy(moved, packed, bytes), memset(packed, 0x5a, bytes);
    float *y = exact(rows * outputs * sizeof *y);
    trees->rank = nt_rank_rows(isa);
    layout->run(trees, moved, x, rows, y, scratch);
    CHECK(!memcmp(y, expected, rows * outputs * sizeof *y),
          "%s %s: %u trees, depth %u, %zu rows, %u ranges, width %u, f64 %d, sums f32 %d, %u bytes", layout->name,
          nt_isa_name(isa), m->forest.tree_count, m->forest.depth_max, rows, m->forest.range_count, m->forest.width,
          m->ranks.is_f64, m->forest.sums_f32, m->forest.rank_bytes);
    free(y), free(moved);
  }
  free(packed), free(scratch);
}

static const nt_isa all_isas[] = {NT_ISA_SCALAR, NT_ISA_AVX2, NT_ISA_AVX512VNNI, NT_ISA_NEON, NT_ISA_NEON_I8MM};

static bool is_usable(nt_isa isa) {
#if defined(NT_USE_SIMDE)
  if (isa == NT_ISA_AVX512VNNI) return true;
#endif
  return nt_isa_supported(isa);
}

static void check(const shape *s, size_t rows) {
  model m = make(s);
  size_t outputs = (size_t)s->ranges * s->width, bytes = m.forest.rank_bytes;
  nt_trees trees = {.ranks = m.ranks,
                    .divisor = below(2) ? 1 : 3,
                    .range_count = s->ranges,
                    .width = s->width,
                    .sums_f32 = s->sums_f32};
  trees.start = below(2) ? m.start : NULL, trees.bias = below(2) ? m.bias : NULL;
  void *x = exact(rows * s->columns * (s->is_f64 ? 8 : 4));
  fill_inputs(&m, x, rows * s->columns);
  uint8_t *ranked = exact(rows * bytes);
  float *expected = exact(rows * outputs * sizeof *expected);
  for (size_t r = 0; r < rows; r++) {
    for (uint32_t i = 0; i < bytes; i++) ranked[r * bytes + i] = byte_of(&m, nt_trees_row(&trees, x, r), i);
    expect_row(&m, &trees, ranked + r * bytes, expected + r * outputs);
  }
  for (size_t i = 0; i < sizeof all_isas / sizeof *all_isas; i++) {
    nt_isa isa = all_isas[i];
    if (!is_usable(isa)) continue;
    check_rank(&m, isa, x, rows, ranked);
    const nt_trees_layout *layouts[NT_TREES_LAYOUTS_MAX];
    size_t count = nt_trees_layouts(isa, layouts);
    for (size_t l = 0; l < count; l++) check_layout(&m, &trees, layouts[l], isa, x, rows, expected);
  }
  free(x), free(ranked), free(expected);
  release(&m);
}

/// Full blocks, their remainders and the join of equal choices: any mixture of layouts gives each row its answer.
static void check_step(void) {
  shape s = {.columns = 9, .trees = 70, .ranges = 1, .width = 1, .depth = 5};
  model m = make(&s);
  nt_trees trees = {.ranks = m.ranks, .rank = nt_rank_rows(NT_ISA_SCALAR), .divisor = 1, .range_count = 1, .width = 1};
  const nt_trees_layout *two[] = {&nt_trees_nodes, &nt_trees_complete};
  void *packed[2];
  size_t scratch_bytes = 0, rows_max = 300;
  for (size_t i = 0; i < 2; i++) {
    packed[i] = aligned(two[i]->bytes(&m.forest));
    CHECK(two[i]->pack(&m.forest, packed[i]), "a shallow forest suits both");
    if (two[i]->scratch_bytes(&m.forest) > scratch_bytes) scratch_bytes = two[i]->scratch_bytes(&m.forest);
  }
  for (size_t b = 0; b < NT_TREES_BUCKETS; b++) {
    size_t i = below(2);
    trees.chosen[b] = (nt_trees_choice){two[i]->run, packed[i]};
  }
  float *x = exact(rows_max * s.columns * 4), *expected = exact(rows_max * 4);
  fill_inputs(&m, x, rows_max * s.columns);
  void *scratch = aligned(scratch_bytes);
  two[0]->run(&trees, packed[0], x, rows_max, expected, scratch);
  free(scratch);
  for (size_t rows = 1; rows <= rows_max; rows++) {
    size_t x_bytes = nt_round_up(rows * s.columns * 4, 64), y_bytes = nt_round_up(rows * 4, 64);
    uint8_t *arena = aligned(x_bytes + y_bytes + scratch_bytes);
    memcpy(arena, x, rows * s.columns * 4);
    size_t offsets[] = {0, x_bytes, x_bytes + y_bytes};
    nt_call call = {.arena = arena, .offsets = offsets, .items = rows, .rows = rows, .units = rows};
    nt_trees_step(NT_ISA_SCALAR)(&trees, &call);
    CHECK(!memcmp(arena + x_bytes, expected, rows * 4), "step of %zu rows", rows);
    free(arena);
  }
  free(x), free(expected), free(packed[0]), free(packed[1]);
  release(&m);
}

// MARK: - timing

static double now_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

enum { timed_rows = 1024 };

/// Nanoseconds of a row, the best of twenty rounds over 1,024 different rows, which no branch predictor learns.
static double time_rows(const nt_trees *trees, const nt_trees_layout *layout, const void *packed, const void *x,
                        size_t batch, float *y, void *scratch) {
  double best = INFINITY;
  for (int round = 0; round < 20; round++) {
    double start = now_nanoseconds();
    for (size_t done = 0; done < timed_rows; done += batch) {
      layout->run(trees, packed, nt_trees_row(trees, x, done), batch, y, scratch);
    }
    double taken = (now_nanoseconds() - start) / timed_rows;
    if (taken < best) best = taken;
  }
  return best;
}

static void time_shape(const char *name, const shape *s) {
  static const size_t batches[] = {1, 8, 64, timed_rows};
  model m = make(s);
  nt_trees trees = {
      .ranks = m.ranks, .divisor = 1, .range_count = s->ranges, .width = s->width, .sums_f32 = s->sums_f32};
  void *x = exact(timed_rows * s->columns * (s->is_f64 ? 8 : 4));
  float *y = exact(timed_rows * (size_t)s->ranges * s->width * sizeof *y);
  fill_inputs(&m, x, timed_rows * s->columns);
  printf("%s: ns a row for 1, 8, 64 and %d rows\n", name, timed_rows);
  for (size_t i = 0; i < sizeof all_isas / sizeof *all_isas; i++) {
    const nt_trees_layout *layouts[NT_TREES_LAYOUTS_MAX];
    size_t count = is_usable(all_isas[i]) ? nt_trees_layouts(all_isas[i], layouts) : 0;
    trees.rank = nt_rank_rows(all_isas[i]);
    for (size_t l = 0; l < count; l++) {
      size_t bytes = layouts[l]->bytes(&m.forest);
      if (bytes == 0) continue;
      m.forest.ranks = &m.ranks;
      void *packed = aligned(bytes), *scratch = aligned(layouts[l]->scratch_bytes(&m.forest));
      if (layouts[l]->pack(&m.forest, packed)) {
        printf("  %-10s %-12s %5zu KiB", nt_isa_name(all_isas[i]), layouts[l]->name, bytes / 1024);
        for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
          printf(" %8.0f", time_rows(&trees, layouts[l], packed, x, batches[b], y, scratch));
        }
        printf("\n");
      }
      free(packed), free(scratch);
    }
  }
  free(x), free(y);
  release(&m);
}

static void time_shapes(void) {
  time_shape("500 trees of depth 6, 28 columns",
             &(shape){.columns = 28, .trees = 500, .ranges = 1, .width = 1, .depth = 6, .is_complete = true});
  time_shape("500 trees of depth 8, 100 columns",
             &(shape){.columns = 100, .trees = 500, .ranges = 1, .width = 1, .depth = 8, .is_complete = true});
  time_shape(
      "500 oblivious trees of depth 6, 28 columns",
      &(shape){
          .columns = 28, .trees = 500, .ranges = 1, .width = 1, .depth = 6, .is_complete = true, .is_oblivious = true});
  time_shape("200 trees of depth 10, 28 columns",
             &(shape){.columns = 28, .trees = 200, .ranges = 1, .width = 1, .depth = 10, .leaves_max = 500});
  time_shape("500 leaf-wise trees of 31 leaves, 28 columns",
             &(shape){.columns = 28, .trees = 500, .ranges = 1, .width = 1, .depth = 14, .leaves_max = 31});
  time_shape(
      "500 trees of depth 6, 28 columns and 2,000 sets of 32 categories in 7 columns",
      &(shape){.columns = 28, .trees = 500, .ranges = 1, .width = 1, .depth = 6, .is_complete = true, .sets = 2000});
}

int main(int count, char **arguments) {
  if (count > 1 && !strcmp(arguments[1], "time")) return time_shapes(), 0;
  static const uint32_t row_counts[] = {1, 2, 3, 4, 5, 8, 9, 31, 32, 33, 63, 64, 65, 130, 515};
  for (uint32_t round = 0; round < 400; round++) {
    shape s = {.columns = 1 + below(below(3) ? 40 : 200),
               .trees = 1 + below(below(2) ? 10 : 150),
               .ranges = below(3) ? 1 : 1 + below(4),
               .depth = round % 11,
               .is_complete = below(2),
               .is_oblivious = below(4) == 0,
               .is_f64 = below(2),
               .sums_f32 = below(2),
               .has_copies = below(2),
               .has_sets = below(3) == 0,
               .leaves_max = below(2) ? 0 : 2 + below(63)};
    if (s.is_oblivious) s.is_complete = true, s.leaves_max = 0;
    if (s.depth > 8 && s.trees > 70) s.trees = 70;
    s.width = s.ranges == 1 && below(3) == 0 ? 1 + below(5) : 1;
    check(&s, row_counts[below(sizeof row_counts / sizeof *row_counts)]);
  }
  check_step();
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
