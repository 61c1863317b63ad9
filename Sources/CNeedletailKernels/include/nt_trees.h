/// The step that sums an ensemble of decision trees. Buffers: fp32 or fp64 input; fp32 output; scratch.
///
/// Three stages. A row becomes *ranks* once: a byte for each input that splits ask about. The trees are then walked on
/// bytes, in one of several *layouts* that a plan packs at load and picks by the number of rows. The values of the
/// leaves are added tree by tree in the order of the model, in fp32 or fp64 as its source does, so every layout and
/// every instruction set gives the same bits.
///
/// **Ranks.** Split `x < t goes left` becomes `rank(x) < r goes left`, where rank(x) counts the thresholds of the
/// column that are <= x, and r is the place of t among them, from 1: exact, because it only compares x with thresholds.
/// A table holds at most 254 thresholds, so that ranks are bytes; a column with more has several tables. What a missing
/// value does is part of the input: where splits of one column send it to different sides, a second byte is a *copy*
/// of the first that differs in missing values only. A categorical split asks about the byte of its *set*, which is 0
/// for members and 1 for all else.
#pragma once

#include "nt_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Thresholds of one table, so that 0 to 254 are ranks and no rank reaches NT_RANK_NEVER.
#define NT_RANK_THRESHOLDS_MAX 254
/// As the rank of a node: no byte is that large, so every row goes left.
#define NT_RANK_NEVER 255
/// Numbers of a table: 16 pivots, which are every 16th threshold from the 17th on, then 256 thresholds in ascending
/// order. NaN fills what is left, and is above every x.
#define NT_RANK_TABLE_NUMBERS 272
/// Largest magnitude that LightGBM takes for zero.
#define NT_TREES_TINY 1e-35f
/// Deepest tree that is laid out as a complete one, of 1,024 leaves.
#define NT_TREES_COMPLETE_DEPTH_MAX 10

/// One table of thresholds, and the byte that it fills.
typedef struct nt_rank_table {
  /// Column of the input row.
  uint32_t column;
  /// Its copies: places in nt_ranks.copies.
  uint32_t copy_first, copy_end;
  /// The byte of a missing value.
  uint8_t missing;
  /// The rank of 0.
  uint8_t zero;
  /// Whether values within NT_TREES_TINY of 0 are missing as well.
  bool zero_is_missing;
} nt_rank_table;

/// A byte that equals a table's but for missing values.
typedef struct nt_rank_copy {
  uint32_t table;
  uint8_t missing;
} nt_rank_copy;

/// A set of categories: code c, the value truncated towards 0, is a member if bit c is set. Negative codes, and those
/// from `bit_count` on, are none.
typedef struct nt_rank_set {
  const uint32_t *bits;
  uint32_t bit_count;
  uint32_t column;
  uint8_t missing;
} nt_rank_set;

/// Sets of one column that stand one after the other, which one look-up asks at once: a model may have thousands.
typedef struct nt_rank_codes {
  uint32_t column;
  uint32_t first_set, sets;
  /// Codes from here on are members of none of the sets.
  uint32_t code_count;
  /// `sets` bytes for each code, then for all other values, then for missing ones. Null: sets are asked one by one.
  const uint8_t *bytes;
} nt_rank_codes;

/// How rows become bytes: those of the tables, then those of the copies, then those of the sets.
typedef struct nt_ranks {
  const nt_rank_table *tables;
  const nt_rank_copy *copies;
  const nt_rank_set *sets;
  /// All sets, in their order.
  const nt_rank_codes *codes;
  /// NT_RANK_TABLE_NUMBERS a table, of the type of the input; aligned to NT_ALIGNMENT.
  const void *thresholds;
  /// Per column of the input, its first table; tables stand in the order of their columns. One more entry ends the
  /// last.
  const uint32_t *column_tables;
  uint32_t columns, table_count, copy_count, set_count, codes_count;
  /// The input is fp64, and so are the thresholds.
  bool is_f64;
  /// Values within NT_TREES_TINY of 0 count as 0.
  bool flushes_tiny;
  /// Some table takes zeros for missing.
  bool has_missing_zeros;
} nt_ranks;

/// The bytes of sets that are looked up at once.
static inline size_t nt_rank_codes_bytes(const nt_rank_codes *codes) {
  return ((size_t)codes->code_count + 2) * codes->sets;
}

/// Fills the bytes of `codes` from its sets.
void nt_rank_fill_codes(const nt_ranks *ranks, const nt_rank_codes *codes, uint8_t *bytes);

static inline uint32_t nt_ranks_bytes(const nt_ranks *ranks) {
  return ranks->table_count + ranks->copy_count + ranks->set_count;
}

/// One split of the model as layouts are packed from it.
typedef struct nt_tree_node {
  /// Left and right. From 0: a node of the same tree, of a larger number than its own. Below: leaf ~child.
  int32_t child[2];
  /// The byte that it asks about; right if byte >= rank.
  uint32_t input;
  /// 1 to 254, or NT_RANK_NEVER.
  uint8_t rank;
} nt_tree_node;

/// One tree; its root is node 0, or leaf 0 where there is no node.
typedef struct nt_tree {
  uint32_t first_node, nodes;
  uint32_t first_leaf, leaves;
  uint32_t depth;
} nt_tree;

/// A whole model. Counts are at most 2²² nodes and leaves, 2¹⁶ trees and 2²² bytes a row.
typedef struct nt_forest {
  const nt_tree *trees;
  const nt_tree_node *nodes;
  /// `width` numbers a leaf; fp32 numbers where `sums_f32`.
  const double *leaves;
  /// Trees of one sum stand together: range r is trees range_first[r] ..< range_first[r + 1], and writes outputs
  /// r * width ..< (r + 1) * width.
  const uint32_t *range_first;
  uint32_t tree_count, node_count, leaf_count;
  uint32_t range_count, width;
  uint32_t depth_max, leaves_max;
  /// Bytes of a ranked row, and those of sets among them.
  uint32_t rank_bytes, set_bytes;
  /// Columns of categories: entries of nt_ranks.codes. Categories of all of them, two more each included.
  uint32_t code_columns, categories;
  bool sums_f32;
  /// What inputs mean; of the sets only. Null where nothing is packed.
  const nt_ranks *ranks;
} nt_forest;

struct nt_trees;

/// Sums `rows` rows. `scratch` is aligned to NT_ALIGNMENT and as large as the layout asks.
typedef void (*nt_trees_function)(const struct nt_trees *trees, const void *packed, const void *x, size_t rows,
                                  float *y, void *scratch);

/// One way to lay a forest out and to walk it.
typedef struct nt_trees_layout {
  const char *name;
  /// Bytes of the packed form by the counts of the forest alone; 0 where the layout does not suit it.
  size_t (*bytes)(const nt_forest *forest);
  /// `packed` is zeroed, and aligned to NT_ALIGNMENT; it holds no pointers, so it may be moved. False where the trees
  /// turn out not to suit the layout.
  bool (*pack)(const nt_forest *forest, void *packed);
  size_t (*scratch_bytes)(const nt_forest *forest);
  nt_trees_function run;
  /// Rows that are as fast as one.
  uint32_t block_rows;
} nt_trees_layout;

/// The layouts that this CPU can run and that `isa` asks for, the general one first: it takes every forest. Returns
/// their number, at most NT_TREES_LAYOUTS_MAX.
size_t nt_trees_layouts(nt_isa isa, const nt_trees_layout **layouts);
#define NT_TREES_LAYOUTS_MAX 12

/// Numbers of rows from which another layout may be chosen: 1, 2, 4, 8, 16, 32, 48, 64, 128, 256.
#define NT_TREES_BUCKETS 10
extern const uint32_t nt_trees_bucket_rows[NT_TREES_BUCKETS];

/// The kernel that sums the rows of a bucket; the packed form belongs to the layout.
typedef struct nt_trees_choice {
  nt_trees_function run;
  const void *packed;
} nt_trees_choice;

/// Parameters of the step.
typedef struct nt_trees {
  nt_ranks ranks;
  /// Ranks rows: byte i of row r goes to v[i * lanes + r].
  void (*rank)(const nt_ranks *ranks, const void *x, size_t rows, size_t lanes, uint8_t *v);
  /// Per output: what a sum starts with, and what is added in the end; null: zeros.
  const double *start, *bias;
  /// The divisor of the sums; 1 for none.
  double divisor;
  uint32_t range_count, width;
  bool sums_f32;
  /// By number of rows.
  nt_trees_choice chosen[NT_TREES_BUCKETS];
} nt_trees;

/// The rank function of an instruction set.
typedef void (*nt_rank_function)(const nt_ranks *ranks, const void *x, size_t rows, size_t lanes, uint8_t *v);
nt_rank_function nt_rank_rows(nt_isa isa);

/// The step, which is the same for every instruction set: what differs is chosen in its parameters. Null where `isa` is
/// of another architecture.
nt_step_function nt_trees_step(nt_isa isa);

#ifdef __cplusplus
}
#endif
