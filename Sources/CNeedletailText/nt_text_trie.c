#include <stdlib.h>

#include "nt_text_internal.h"

/// Blocks that children are still fitted into. Older ones stay as full as they are, which bounds the time of building.
#define OPEN_BLOCKS 16u
/// Nodes that a block may fail before it is closed.
#define FAILURES_MAX 32u

typedef struct block {
  uint32_t number, failures;
  /// A bit for each free unit.
  uint64_t free[4];
} block;

typedef struct trie_builder {
  nt_text_trie_builder *trie;
  size_t capacity;
  block open[OPEN_BLOCKS];
  uint32_t opened;
} trie_builder;

/// A node whose children are not laid yet: the keys that pass through it, and how many bytes lead to it.
typedef struct node {
  uint32_t unit, begin, end, depth;
} node;

static bool add_block(trie_builder *builder) {
  nt_text_trie_builder *trie = builder->trie;
  if (trie->count + 256 > (1u << 31)) return false;
  if (trie->count + 256 > builder->capacity) {
    size_t capacity = builder->capacity * 2 + 1024;
    nt_text_unit *units = realloc(trie->units, capacity * sizeof *units);
    if (units == NULL) return false;
    trie->units = units;
    uint32_t *values = realloc(trie->values, capacity * sizeof *values);
    if (values == NULL) return false;
    trie->values = values;
    builder->capacity = capacity;
  }
  for (size_t unit = trie->count; unit < trie->count + 256; unit++) {
    trie->units[unit] = (nt_text_unit){0, NT_TEXT_NONE};
    trie->values[unit] = NT_TEXT_NONE;
  }
  block *slot = &builder->open[builder->opened++ % OPEN_BLOCKS];
  *slot = (block){(uint32_t)(trie->count / 256), 0, {~(uint64_t)0, ~(uint64_t)0, ~(uint64_t)0, ~(uint64_t)0}};
  trie->count += 256;
  return true;
}

static bool is_free(const block *block, uint32_t unit) { return block->free[unit >> 6] >> (unit & 63) & 1; }

/// A base for children by `labels` within one block, or NT_TEXT_NONE.
static uint32_t fit(block *block, const uint8_t *labels, uint32_t count) {
  for (uint32_t word = 0; word < 4; word++) {
    for (uint64_t left = block->free[word]; left != 0; left &= left - 1) {
      uint32_t base = (word * 64 + (uint32_t)__builtin_ctzll(left)) ^ labels[0];
      uint32_t fits = 1;
      while (fits < count && is_free(block, base ^ labels[fits])) fits++;
      if (fits == count) return base;
    }
  }
  block->failures++;
  return NT_TEXT_NONE;
}

/// Finds room for the children of a node, and lays them.
static bool place(trie_builder *builder, uint32_t parent, const uint8_t *labels, uint32_t count, uint32_t *base) {
  for (;;) {
    uint32_t open = builder->opened < OPEN_BLOCKS ? builder->opened : OPEN_BLOCKS;
    for (uint32_t index = 0; index < open; index++) {
      block *block = &builder->open[index];
      if (block->failures >= FAILURES_MAX) continue;
      uint32_t found = fit(block, labels, count);
      if (found == NT_TEXT_NONE) continue;
      *base = block->number * 256 + found;
      for (uint32_t label = 0; label < count; label++) {
        uint32_t unit = found ^ labels[label];
        block->free[unit >> 6] &= ~((uint64_t)1 << (unit & 63));
        builder->trie->units[*base ^ labels[label]].check = parent;
      }
      builder->trie->units[parent].base |= *base;
      return true;
    }
    if (!add_block(builder)) return false;
  }
}

bool nt_text_trie_build(const nt_text_key *keys, size_t count, nt_text_trie_builder *trie) {
  *trie = (nt_text_trie_builder){NULL, NULL, 0};
  trie_builder builder = {.trie = trie};
  // Nodes wait in a queue: one for each first byte of what follows, so that there are at most as many as keys.
  size_t room = count + 1, first = 0, waiting = 1;
  node *queue = malloc(room * sizeof *queue);
  bool built = queue != NULL && add_block(&builder);
  if (built) {
    // The root is unit 0, which is no child of any node.
    builder.open[0].free[0] &= ~(uint64_t)1;
    queue[0] = (node){0, 0, (uint32_t)count, 0};
  }
  while (built && waiting > 0) {
    node node = queue[first];
    first = (first + 1) % room;
    waiting--;
    uint32_t key = node.begin;
    if (key < node.end && keys[key].count == node.depth) {
      trie->units[node.unit].base = NT_TEXT_ENDS_TOKEN;
      trie->values[node.unit] = keys[key++].value;
    }
    if (key == node.end) continue;
    uint8_t labels[256];
    uint32_t begins[257], children = 0;
    for (; key < node.end; key++) {
      uint8_t label = keys[key].bytes[node.depth];
      if (children > 0 && labels[children - 1] == label) continue;
      labels[children] = label;
      begins[children++] = key;
    }
    begins[children] = node.end;
    uint32_t base;
    built = place(&builder, node.unit, labels, children, &base);
    for (uint32_t child = 0; built && child < children; child++) {
      queue[(first + waiting++) % room] =
          (struct node){base ^ labels[child], begins[child], begins[child + 1], node.depth + 1};
    }
  }
  free(queue);
  if (built) return true;
  free(trie->units);
  free(trie->values);
  *trie = (nt_text_trie_builder){NULL, NULL, 0};
  return false;
}
