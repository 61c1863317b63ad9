#include "nt_trees_internal.h"

const uint32_t nt_trees_bucket_rows[NT_TREES_BUCKETS] = {1, 2, 4, 8, 16, 32, 48, 64, 128, 256};

#if defined(NT_X86)
#include <cpuid.h>

/// VBMI looks bytes up in registers and GFNI transposes bits: Ice Lake and Zen 4 were the first to have both. The
/// instruction set avx512vnni, of which this is asked, implies the rest.
bool nt_trees_has_vbmi(void) {
#if defined(NT_USE_SIMDE)
  return true;
#else
  uint32_t a, b, c, d;
  if (!nt_isa_supported(NT_ISA_AVX512VNNI) || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  bool vbmi = c >> 1 & 1, gfni = c >> 8 & 1, cd = b >> 28 & 1;
  return vbmi && gfni && cd;
#endif
}
#endif

size_t nt_trees_layouts(nt_isa isa, const nt_trees_layout **layouts) {
  size_t count = 0;
  layouts[count++] = &nt_trees_nodes;
  layouts[count++] = &nt_trees_complete;
#if defined(NT_X86)
  if (nt_isa_of_vectors(isa) == NT_ISA_AVX512VNNI && nt_trees_has_vbmi()) {
    layouts[count++] = &nt_trees_lanes__avx512vbmi;
    layouts[count++] = &nt_trees_blocks__avx512vbmi;
    layouts[count++] = &nt_trees_any_lanes__avx512vbmi;
    layouts[count++] = &nt_trees_rows__avx512vbmi;
    layouts[count++] = &nt_trees_any_rows__avx512vbmi;
    layouts[count++] = &nt_trees_merged__avx512vbmi;
    layouts[count++] = &nt_trees_oblivious_lanes__avx512vbmi;
    layouts[count++] = &nt_trees_oblivious_rows__avx512vbmi;
  } else if (isa != NT_ISA_SCALAR) {
    layouts[count++] = &nt_trees_lanes__avx2;
    layouts[count++] = &nt_trees_rows__avx2;
    layouts[count++] = &nt_trees_oblivious_lanes__avx2;
    layouts[count++] = &nt_trees_oblivious_rows__avx2;
  }
#elif defined(NT_ARM64)
  if (isa != NT_ISA_SCALAR) layouts[count++] = &nt_trees_rows__neon;
#else
  (void)isa;
#endif
  assert(count <= NT_TREES_LAYOUTS_MAX);
  return count;
}

/// The bucket of a number of rows.
static size_t bucket_of(size_t rows) {
  size_t bucket = NT_TREES_BUCKETS - 1;
  while (nt_trees_bucket_rows[bucket] > rows) bucket--;
  return bucket;
}

/// Full blocks go to the layout of their bucket; what remains, to that of its own, unless it is the same.
static void run(const void *parameters, const nt_call *call) {
  const nt_trees *trees = parameters;
  const uint8_t *x = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  void *scratch = nt_buffer(call, 2);
  size_t outputs = (size_t)trees->range_count * trees->width, rows = call->items;
  size_t row_bytes = trees->ranks.columns * (trees->ranks.is_f64 ? sizeof(double) : sizeof(float));
  while (rows > 0) {
    size_t bucket = bucket_of(rows), count = rows;
    size_t full = rows - rows % nt_trees_bucket_rows[bucket];
    if (full < rows && trees->chosen[bucket_of(rows - full)].packed != trees->chosen[bucket].packed) count = full;
    trees->chosen[bucket].run(trees, trees->chosen[bucket].packed, x, count, y, scratch);
    rows -= count, x += count * row_bytes, y += count * outputs;
  }
}

nt_step_function nt_trees_step(nt_isa isa) { return nt_isa_exists(isa) ? run : NULL; }

void nt_complete(const nt_forest *forest, const nt_tree *tree, unsigned depth, nt_complete_tree *complete) {
  assert(depth <= NT_TREES_COMPLETE_DEPTH_MAX);
  const nt_tree_node *nodes = forest->nodes + tree->first_node;
  size_t positions = ((size_t)1 << depth) - 1;
  int32_t at[(2 << NT_TREES_COMPLETE_DEPTH_MAX) - 1];
  at[0] = tree->nodes ? 0 : ~0;
  for (size_t p = 0; p < positions; p++) {
    complete->node[p] = at[p] < 0 ? -1 : at[p];
    for (size_t side = 0; side < 2; side++) at[2 * p + 1 + side] = at[p] < 0 ? at[p] : nodes[at[p]].child[side];
  }
  memcpy(complete->exit, at + positions, sizeof *at * (positions + 1));
}
